"""Files that a master keeps, fetched through the worker's own client: inputs that were uploaded (`upload://ID`), and pieces of a film
that other workers have made.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from millrace.client.async_client import AsyncClient
from millrace.client.calls import Answer, Call, segment
from millrace.client.errors import ClientError, ConflictError, InterruptedTransferError, StaleError, UnreachableError
from millrace.domain.failures import FailureClass
from millrace.runtime.clock import Clock
from millrace.worker.download import BrokenOffError, Opened, Source, download, range_header
from millrace.worker.failure import NotArrivedError, TaskFailedError, from_client_error
from millrace.worker.fetch import Came, Fetching

NOT_ARRIVED = "not-arrived"
"""The kind of problem of an upload that has not come so far."""


class UploadFetch:
    """Fetches uploads."""

    def __init__(self, client: AsyncClient, *, clock: Clock, draw: Callable[[], float]) -> None:
        """`clock` and `draw` time the repeats."""
        self._client = client
        self._clock = clock
        self._draw = draw

    async def __call__(self, fetching: Fetching) -> Came:
        """Fill the target; see `download` for what it raises."""
        identity = fetching.location.removeprefix("upload://")
        if not identity or "/" in identity:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot fetch {fetching.location!r}: it names no upload")
        source = master_source(self._client, fetching, f"/v1/uploads/{segment(identity)}/content")
        try:
            await download(fetching, source, clock=self._clock, draw=self._draw)
        except _StillComesError:
            raise await _not_arrived(source, fetching) from None
        return Came()


class _StillComesError(Exception):
    """Some of what was asked for has not arrived."""


async def _not_arrived(source: Source, fetching: Fetching) -> NotArrivedError:
    """What the task waits for."""
    if fetching.ranges is not None:
        return NotArrivedError(fetching.ranges.end, fetching.ranges.size)
    try:
        async with source(0, 1) as opened:
            size = opened.total or 0
    except (_StillComesError, BrokenOffError):
        size = 0
    return NotArrivedError(size or 1, size)


def master_source(
    client: AsyncClient, fetching: Fetching, path: str, query: tuple[tuple[str, str], ...] = ()
) -> Source:
    """A file below a master's API, between any offsets. Raises StaleError, too, where the attempt that asks is over."""

    @asynccontextmanager
    async def source(offset: int, end: int | None) -> AsyncIterator[Opened]:
        call = Call(
            method="GET",
            path=path,
            read=_nothing,
            query=query,
            headers={"range": asked} if (asked := range_header(offset, end)) else {},
            silence_s=fetching.limits.silence_s,
        )
        try:
            async with client.stream(call) as response:
                begins = offset if response.status_code == 206 else 0
                said = response.headers
                length, range_of = said.get("content-length", ""), said.get("content-range", "").rpartition("/")[2]
                total = int(range_of) if range_of.isdecimal() else int(length) if length.isdecimal() else None
                yield Opened(offset=begins, total=total, pieces=response.aiter_raw())
        except (InterruptedTransferError, UnreachableError) as error:
            raise BrokenOffError(str(error)) from None
        except StaleError:
            raise
        except ConflictError as error:
            if error.kind == NOT_ARRIVED:
                raise _StillComesError from None
            raise from_client_error(error, f"fetch {fetching.location}") from error
        except ClientError as error:
            raise from_client_error(error, f"fetch {fetching.location}") from error

    return source


def _nothing(_: Answer) -> None:
    return None
