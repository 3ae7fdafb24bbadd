"""Profiles: list, show, check."""

from millrace.api.master import Master
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.edge.call import Call
from millrace.edge.refusal import invalid, not_found
from millrace.engines import profiles
from millrace.wire.v1.base import Document
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.system import ProfileList, ProfileView


def _view(profile: Profile) -> ProfileView:
    return ProfileView(name=profile.name, description=profile.description, document=to_document(profile))


async def show_all(_: Master, call: Call[None]) -> ProfileList:
    """The built-in profiles."""
    call.only()
    return ProfileList(profiles=[_view(profiles.named(name)) for name in profiles.names()])


async def show(_: Master, call: Call[None]) -> ProfileView:
    """One profile, or what a scenario's name stands for."""
    try:
        return _view(profiles.named(call.path["name"]))
    except profiles.UnknownProfileError as error:
        raise not_found(str(error)) from None


async def check(_: Master, call: Call[Document]) -> ProfileView:
    """Whether a profile could be used; it is stored nowhere."""
    try:
        return _view(profile_from(call.body))
    except ProfileError as error:
        raise invalid(*(FieldError(field=path, message=text) for path, text in error.findings), status=422) from None
