"""Health, profiles, uploads."""

from millrace.wire.v1.base import Count, Document, Name, Reply, Request


class HealthView(Reply):
    """Whether the parts answer. `status` is `healthy`, or `degraded` while the database takes no writes: `store` says why."""

    status: str
    store: str
    version: str


class ReadyView(Reply):
    """Whether this master should get traffic."""

    ready: bool
    reason: str


class ProfileView(Reply):
    """A profile by name."""

    name: str
    description: str
    document: Document


class ProfileList(Reply):
    """The profiles that this master knows by name."""

    profiles: list[ProfileView]


class UploadRequest(Request):
    """A file that is going to be uploaded."""

    name: Name
    size: Count


class UploadView(Reply):
    """An upload and how many bytes of it have arrived. Use `upload://ID` as a job's input once it is whole."""

    id: str
    name: str
    size: int
    offset: int
