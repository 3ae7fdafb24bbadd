"""Bring the input of a task to where an engine can read it: a real file below an allowed root, or in the scratch folder."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Ranges
from millrace.worker.control import Control
from millrace.worker.digest import digest_of
from millrace.worker.failure import HandBackError, TaskFailedError
from millrace.worker.kept_inputs import KeptInputs
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


def is_fetched(location: str | None) -> bool:
    """Whether an input comes over the network, so that the file is the worker's own. Raises as `scheme_of`."""
    return location is not None and scheme_of(location) != "file"


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
    """One fetch: what to fetch, where to put it, and whom to ask and tell on the way. With `ranges` these bytes of it are enough.
    `sha256` is that of the whole, where it is known. `known` is the version that is here already, as its server names it: that one need not come.
    """

    location: str
    target: Path
    limits: FetchLimits
    control: Control
    told: Told
    ranges: Ranges | None = None
    sha256: str = ""
    known: str = ""

    @property
    def key(self) -> str:
        """What names this input and no other one for ever; empty where nothing does."""
        return key_of(self.location, self.sha256)


def key_of(location: str, sha256: str) -> str:
    """As `Fetching.key`. An upload never changes once it has arrived; elsewhere it takes the digest, beside the place that a job may read."""
    if location.startswith("upload://"):
        return location
    return f"{sha256} {location}" if sha256 else ""


class Fetched(Struct, frozen=True, kw_only=True):
    """The local file, how many bytes came for it, and whether it is all there."""

    path: Path
    moved: int = 0
    is_whole: bool = True


class NoRangesError(Exception):
    """The source gives all of the file or nothing."""


class Came(Struct, frozen=True, kw_only=True):
    """What a server said of what it serves: the `version` that came whole, by a name that no other one ever has (empty where there is none), and
    whether that is the one that was `known`, so that nothing came.
    """

    version: str = ""
    is_known: bool = False


RemoteFetch = Callable[[Fetching], Awaitable[Came]]
"""Writes the input to `target`, all of it or the ranges that are wanted. Raises as `download`."""


class Fetcher:
    """Fetches by scheme. `remote` maps each scheme to what can fetch it; schemes that are missing are refused. `kept` are inputs that
    were fetched before.
    """

    def __init__(self, roots: Roots, remote: Mapping[str, RemoteFetch], kept: KeptInputs) -> None:
        """`roots` judges paths."""
        self._roots = roots
        self._remote = remote
        self._kept = kept

    async def fetch(self, fetching: Fetching) -> Fetched:
        """Bring it here. A path is used where it lies and never copied, and what was kept is not fetched again.

        Raises:
            TaskFailedError: the input is not allowed, not there, not the one that is meant, or could not be fetched.
            HandBackError: there is no room for it here.
        """
        scheme = scheme_of(fetching.location)
        if scheme == "file":
            return Fetched(path=self._roots.input(fetching.location))
        remote = self._remote.get(scheme)
        if remote is None:
            raise TaskFailedError(
                FailureClass.CAPABILITY,
                f"cannot fetch {shown(fetching.location)}: this worker has no access to {scheme}://",
            )
        # It may be another name of one that is kept: never write into that.
        fetching.target.unlink(missing_ok=True)
        if fetching.key and fetching.ranges is None:
            async with self._kept.turn(fetching.key):
                return await self._found(remote, fetching)
        return await self._found(remote, fetching)

    async def keep(self, location: str, sha256: str, path: Path) -> None:
        """Keep a file that was fetched from there, now that its SHA-256 is known."""
        await asyncio.to_thread(self._kept.keep, key_of(location, sha256), path)

    async def make_room(self, at_least_bytes: int) -> None:
        """Have so much room, if that takes no more than to drop what is kept. Raises OSError."""
        await self._kept.make_room(at_least_bytes)

    async def _found(self, remote: RemoteFetch, fetching: Fetching) -> Fetched:
        target = fetching.target
        if fetching.key and await self._was_kept(fetching):
            return Fetched(path=target)
        if fetching.ranges is not None:
            with suppress(NoRangesError):
                await self._with_room(remote, fetching)
                return Fetched(path=target, moved=fetching.ranges.needed, is_whole=False)
        came = await self._revalidated(remote, replace(fetching, ranges=None))
        if came.is_known:
            return Fetched(path=target)
        size = target.stat().st_size
        if size == 0:
            raise TaskFailedError(FailureClass.INPUT, f"cannot use the input {shown(fetching.location)}: it is empty")
        if fetching.sha256 and await asyncio.to_thread(digest_of, target) != fetching.sha256:
            raise TaskFailedError(
                FailureClass.INPUT,
                f"cannot use the input {shown(fetching.location)}: it is not the one that it was when the film was divided; it must "
                "not change while it is read",
            )
        if fetching.key:
            await asyncio.to_thread(self._kept.keep, fetching.key, target)
        elif came.version:
            await asyncio.to_thread(self._kept.keep, fetching.location, target, version=came.version)
        return Fetched(path=target, moved=size)

    async def _revalidated(self, remote: RemoteFetch, fetching: Fetching) -> Came:
        """All of it, or the one that is kept where its server says that it still is what lies there."""
        location = fetching.location
        known = "" if fetching.key else await asyncio.to_thread(self._kept.version_of, location)
        came = await self._with_room(remote, replace(fetching, known=known))
        if not came.is_known:
            return came
        fetching.target.unlink(missing_ok=True)
        if await asyncio.to_thread(self._kept.take, location, fetching.target, version=known):
            return came
        return await self._with_room(remote, fetching)  # it went meanwhile, to make room

    async def _was_kept(self, fetching: Fetching) -> bool:
        return await asyncio.to_thread(self._kept.take, fetching.key, fetching.target)

    async def _with_room(self, remote: RemoteFetch, fetching: Fetching) -> Came:
        try:
            return await remote(fetching)
        except HandBackError:
            if not await self._kept.make_room(sys.maxsize):
                raise
            return await remote(replace(fetching, known=""))
