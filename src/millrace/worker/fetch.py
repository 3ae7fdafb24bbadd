"""Bring the input of a task to where an engine can read it: a real file below an allowed root, or in the scratch folder."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.worker.control import Control
from millrace.worker.failure import TaskFailedError
from millrace.worker.roots import Roots

SCHEMES = ("http", "https", "s3", "upload")

Told = Callable[[int, int | None], None]
"""Told the bytes fetched so far and the bytes in all, where known."""


class FetchLimits(Struct, frozen=True, kw_only=True):
    """What a fetch may take.

    Attributes:
        largest_bytes: a longer input is refused.
        deadline_s: a fetch that takes longer fails.
        silence_s: a peer that sends nothing for so long is taken for dead.
        least_bytes: one that sends less in `span_s` seconds, of which it was waited for all, is taken for one that only drips.
        span_s: see there.
        tries: broken connections in a row, without a byte gained, after which the fetch fails.
        keep_free_bytes: room that must stay free in the scratch folder.
    """

    largest_bytes: int = 1 << 40
    deadline_s: float = 6 * 3600.0
    silence_s: float = 30.0
    least_bytes: int = 64 << 10
    span_s: float = 60.0
    tries: int = 4
    keep_free_bytes: int = 0


def scheme_of(location: str) -> str:
    """`file` for an absolute path, otherwise the scheme of an allowed URL.

    Raises:
        TaskFailedError: class `request`, before anything was started.
    """
    if location.startswith(("/", "-")) or "://" not in location:
        return "file"  # `Roots` refuses what is no absolute path
    scheme = location.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise TaskFailedError(
            FailureClass.REQUEST,
            f"cannot fetch {shown(location)}: the scheme {scheme[:20]!r} is not allowed; "
            f"use an absolute path or one of {', '.join(SCHEMES)}",
        )
    return scheme


def shown(location: str) -> str:
    """A location as it may stand in logs and messages: without user, password, query and fragment, which hold secrets."""
    if "://" not in location:
        return location
    try:
        parts = urlsplit(location)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return location.partition("://")[0] + "://..."


class Fetching(Struct, frozen=True, kw_only=True):
    """One fetch: what to fetch, where to put it, and whom to ask and tell on the way."""

    location: str
    target: Path
    limits: FetchLimits
    control: Control
    told: Told


RemoteFetch = Callable[[Fetching], Awaitable[None]]
"""Writes the whole input to `target`. Raises TaskFailedError or HandBackError."""


class Fetcher:
    """Fetches by scheme. `remote` maps each scheme to what can fetch it; schemes that are missing are refused."""

    def __init__(self, roots: Roots, remote: Mapping[str, RemoteFetch]) -> None:
        """`roots` judges paths."""
        self._roots = roots
        self._remote = remote

    async def fetch(self, fetching: Fetching) -> Path:
        """The local file. A path is used where it lies and never copied.

        Raises:
            TaskFailedError: the input is not allowed, not there, or could not be fetched.
            HandBackError: there is no room for it here.
        """
        scheme = scheme_of(fetching.location)
        if scheme == "file":
            return self._roots.input(fetching.location)
        remote = self._remote.get(scheme)
        if remote is None:
            raise TaskFailedError(
                FailureClass.CAPABILITY,
                f"cannot fetch {shown(fetching.location)}: this worker has no access to {scheme}://",
            )
        await remote(fetching)
        if fetching.target.stat().st_size == 0:
            raise TaskFailedError(FailureClass.INPUT, f"cannot use the input {shown(fetching.location)}: it is empty")
        return fetching.target
