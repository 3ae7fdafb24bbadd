"""Where big bytes lie among the blobs. One place, so that what is written is found, and what is deleted is gone."""

import hashlib
import re
from datetime import UTC, datetime

from millrace.blobs.values import BlobKeyInvalid, check_key
from millrace.domain import ids
from millrace.edge.refusal import invalid
from millrace.wire.v1.problems import FieldError

KEPT = "master:"
"""What the location of an output kept by the master begins with; the rest is its key among the blobs."""

UPLOADS = "uploads"
"""The folder of all uploads."""

CACHE = "cache"
"""The folder of finished pieces of films that outlive their jobs."""

_UPLOAD = re.compile(r"u[0-9a-f]{32}")


def job_prefix(job_id: str) -> str:
    """Where everything lies that is kept for a job; deleted with it."""
    return f"jobs/{job_id}/"


def output_key(task_id: str, attempt: int, name: str) -> str:
    """Where an attempt's output lies. Attempts never share a key, so a late writer spoils nothing that was recorded."""
    return attempt_prefix(task_id, attempt) + name


def attempt_prefix(task_id: str, attempt: int) -> str:
    """Below which all outputs of an attempt lie."""
    job, _, index = task_id.partition(".")
    return f"{job_prefix(job)}{index}.{attempt}/"


def position_in(key: str) -> int:
    """The position of the task whose output lies under this key; 0 where it is no task's."""
    index = key.split("/")[2].partition(".")[0] if key.count("/") > 2 else ""
    return int(index) if index.isdecimal() else 0


def cached_key(tenant: str, key: str) -> str:
    """Where a finished piece lies under its key. Tenants share none: what lies there tells which films somebody else has."""
    return f"{CACHE}/{hashlib.sha256(tenant.encode()).hexdigest()[:32]}/{key}"


def is_kept(location: str) -> bool:
    """Whether the master keeps this output."""
    return location.startswith(KEPT)


def check_name(name: str) -> str:
    """The name of an output, with slashes for folders.

    Raises:
        RefusalError: it could leave its folder, or not every storage takes it.
    """
    try:
        return check_key(name)
    except BlobKeyInvalid as error:
        raise invalid(FieldError(field="name", message=str(error).partition(": ")[2])) from None


def upload_prefix(upload_id: str) -> str:
    """Where an upload's pieces lie."""
    return f"{UPLOADS}/{upload_id}/"


def begun_at(upload_id: str) -> datetime:
    """When an upload was begun, as its id tells."""
    return datetime.fromtimestamp(int(upload_id[1:13], 16) / 1000, tz=UTC)


def is_upload_id(text: str) -> bool:
    """Whether the text has the form of an upload's id."""
    return _UPLOAD.fullmatch(text) is not None


def new_upload_id(now_ms: int, random: bytes) -> str:
    """An upload's id, sortable by time."""
    return "u" + ids.job_id(now_ms, random)[1:]
