"""What a request asks to be made: its profile, as the job's parameters change it, and what that needs of a node."""

from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.parameters import ParameterError, with_parameters
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.needs import Needs
from millrace.engines import profiles
from millrace.engines.ffmpeg.encoders import candidates_of, streams_of
from millrace.scheduler.errors import Finding, InvalidError
from millrace.wire.v1.jobs import JobRequest, Parameters

_CANONICAL = msgspec.json.Encoder(order="sorted")
_NONE = Parameters()
DEFAULT_PROFILE = "web-hls"
DEFAULT_SCENARIO = "720p30-h264"


class Wanted(Struct, frozen=True, kw_only=True):
    """A resolved profile: its name, itself as JSON with sorted keys, and its needs."""

    name: str
    document: msgspec.Raw
    needs: Needs


def wanted_of(request: JobRequest, parameters: dict[str, object]) -> Wanted:
    """Resolve the profile; `parameters` are those that the request gives.

    Raises:
        InvalidError: the request asks for what cannot be; names each field at fault.
    """
    if request.profile is not None and request.scenario is not None:
        raise InvalidError(Finding("scenario", "give either a profile or a scenario, not both"))
    field = "scenario" if request.scenario is not None else "profile"
    name = request.scenario or request.profile
    if name is None:
        name = DEFAULT_PROFILE if request.input is not None else DEFAULT_SCENARIO
    engine = "gstreamer" if request.engine == "gstreamer" else "ffmpeg"
    try:
        if isinstance(name, str) and not parameters:
            found = _named(name, engine)
        else:
            profile = profiles.named(name) if isinstance(name, str) else profile_from(name)
            found = _wanted(with_parameters(profile, parameters)[0], engine)
    except profiles.UnknownProfileError as error:
        raise InvalidError(Finding(field, str(error), profiles.names())) from error
    except ProfileError as error:
        raise InvalidError(*(Finding(f"{field}.{path}", message) for path, message in error.findings)) from error
    except ParameterError as error:
        raise InvalidError(Finding(f"parameters.{error.parameter}", error.text)) from error
    if request.requires:
        return replace(found, needs=replace(found.needs, labels=request.requires))
    return found


@lru_cache(maxsize=256)
def _named(name: str, engine: str) -> Wanted:
    """What most jobs ask for, worked out once: a profile by name and nothing changed."""
    return _wanted(profiles.named(name), engine)


def _wanted(profile: Profile, engine: str) -> Wanted:
    needs = Needs(engine=engine, encoders=candidates_of(profile), streams=streams_of(profile))
    return Wanted(name=profile.name, document=msgspec.Raw(_CANONICAL.encode(to_document(profile))), needs=needs)


def given(parameters: Parameters) -> dict[str, object]:
    """The parameters that were given, as plain data."""
    if parameters == _NONE:
        return {}
    return {key: value for key, value in msgspec.to_builtins(parameters).items() if value is not None}
