"""Inputs by http(s): limited size and time, resumption by Range (RFC 9110, section 14). Where a request may go, also after a
redirect, is judged in `outbound`, as for everything else that strangers have us ask.
"""

import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.outbound.connect import Connector, NoConnectionError
from millrace.outbound.get import NoAnswerError, get
from millrace.outbound.guard import ForbiddenTargetError, Guard, UnresolvedError
from millrace.runtime.clock import Clock
from millrace.worker.download import BrokenOffError, Opened, download, range_header
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Came, Fetching, shown

if TYPE_CHECKING:
    import httpx2

_MAY_PASS = frozenset({408, 416, 425, 429})
"""416: there is less of it than the server said at first."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d*/(\d{1,18}|\*)")
_PACKED = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"})


class HttpFetch:
    """Fetches over http(s)."""

    def __init__(
        self, guard: Guard, *, clock: Clock, draw: Callable[[], float], tls: ssl.SSLContext | None = None
    ) -> None:
        """`guard` judges where inputs may lie; `tls` None: well-known authorities."""
        self._connector = Connector(guard, tls=tls)
        self._clock = clock
        self._draw = draw

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()

    async def __call__(self, fetching: Fetching) -> Came:
        """Fill the target, unless the server says that the known version still lies there (RFC 9110, 13.1.2); see `download` for what it
        raises.
        """
        version = _Version(known=fetching.known)

        @asynccontextmanager
        async def source(offset: int, end: int | None) -> AsyncIterator[Opened]:
            if end is not None:  # compared with its digest in the end, so whatever is there now will do
                async with self._answer(fetching, {"range": range_header(offset, end)}) as response:
                    yield _part(response, offset)
                return
            # Without a strong tag nobody can say that what comes now belongs to what came before (RFC 9110, 13.1.5).
            part = {"range": range_header(offset, None), "if-range": version.tag} if offset and version.tag else {}
            ask = {"if-none-match": version.known} if version.known and not offset else {}
            async with self._answer(fetching, {**part, **ask}) as response:
                yield _opened(response, offset, version)

        try:
            await download(fetching, source, clock=self._clock, draw=self._draw)
        except _UnchangedError:
            return Came(version=fetching.known, is_known=True)
        return Came(version=version.lasting)

    @asynccontextmanager
    async def _answer(self, fetching: Fetching, headers: dict[str, str]) -> AsyncIterator["httpx2.Response"]:
        """A successful response, after all redirects."""
        import httpx2  # noqa: PLC0415  only workers that fetch by http pay for the import

        silence_s = fetching.limits.silence_s
        try:
            async with get(
                self._connector, fetching.location, headers=headers, silence_s=silence_s, head_s=2 * silence_s,
                clock=self._clock,
            ) as response:  # fmt: skip
                _judge(response, fetching)
                yield response
        except ForbiddenTargetError as error:
            raise TaskFailedError(
                FailureClass.REQUEST, f"cannot fetch {shown(fetching.location)}: it {error}"
            ) from None
        except httpx2.InvalidURL as error:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot fetch {shown(fetching.location)}: {error}") from None
        except (UnresolvedError, NoConnectionError, NoAnswerError) as error:
            raise BrokenOffError(str(error)) from None
        except httpx2.TransportError as error:
            raise BrokenOffError(str(error) or type(error).__name__) from None


class _UnchangedError(Exception):
    """What is known is what lies there."""


class _Version(Struct):
    """Which of the files that may lie at an address is being fetched: its strong ETag (empty: none), and its length. `known` is the tag of the
    one that is here already. `is_elsewhere`: a redirect led there, and a tag means nothing at two addresses.
    """

    tag: str = ""
    total: int | None = None
    known: str = ""
    is_elsewhere: bool = False

    @property
    def lasting(self) -> str:
        """What names it also when it is asked for again, once it came whole; empty for nothing."""
        return self.tag if self.total is not None and self.tag.isascii() and not self.is_elsewhere else ""


def _judge(response: "httpx2.Response", fetching: Fetching) -> None:
    status = response.status_code
    if status == 304 and fetching.known:
        return
    if status in (200, 206):
        # Unpacked, a few kilobytes would be a full disk; packed, it is no film.
        packed = [one.strip().lower() for one in response.headers.get("content-encoding", "").split(",")]
        if not _PACKED.isdisjoint(packed):
            raise TaskFailedError(
                FailureClass.INPUT,
                f"cannot fetch {shown(fetching.location)}: the server packs it ({packed[0][:20]}), which it was asked not to; "
                "have it served as it is",
            )
        return
    what = f"the server answered {status} {response.reason_phrase[:80]}".rstrip()
    if status in _MAY_PASS or status >= 500:
        raise BrokenOffError(what)
    raise TaskFailedError(FailureClass.INPUT, f"cannot fetch {shown(fetching.location)}: {what}; check the address")


def _part(response: "httpx2.Response", wanted: int) -> Opened:
    """Where a range begins, or at 0 the whole file where the server knows no ranges."""
    pieces = response.aiter_raw()
    if response.status_code == 200:
        return Opened(offset=0, total=_length(response), pieces=pieces)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if found is None or int(found[1]) != wanted:
        raise BrokenOffError("the server answered with another range than was asked for")
    return Opened(offset=wanted, total=int(found[2]) if found[2] != "*" else None, pieces=pieces)


def _length(response: "httpx2.Response") -> int | None:
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) <= 18 else None


def _opened(response: "httpx2.Response", wanted: int, version: _Version) -> Opened:
    """Where the body begins and ends, by its own word; anything but the range that was asked for begins at 0."""
    tag = response.headers.get("etag", "")
    known, version.known = version.known, ""
    if response.status_code == 304:
        if known and tag in ("", known) and not response.history:
            raise _UnchangedError
        # The next try asks for all of it.
        raise BrokenOffError("the server answered as if another file were known here")
    # Raw pieces, as they come: gathered into larger ones, those before a break would be lost with it.
    pieces = response.aiter_raw()
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None or not wanted or int(found[1]) != wanted:
            raise BrokenOffError("the server answered with another range than was asked for")
        total = int(found[2]) if found[2] != "*" else version.total
        if (tag and tag != version.tag) or (version.total is not None and total != version.total):
            version.tag = ""  # so that the next try begins anew
            raise BrokenOffError("there is another file now than when it began")
        return Opened(offset=wanted, total=total, pieces=pieces)
    version.tag = tag if tag.startswith('"') else ""
    version.total = _length(response)
    version.is_elsewhere = bool(response.history)
    return Opened(offset=0, total=version.total, pieces=pieces)
