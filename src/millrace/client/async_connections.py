"""Connections on an event loop: opened where needed, kept while they are fresh, thrown away where anything went wrong."""

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import cast

from millrace.client.calls import Answer, Call
from millrace.client.connections import outgoing
from millrace.client.http import FRESH_S, KEPT, Terms, breaking, headers
from millrace.client.http1 import READ_BYTES, Lines, Origin, Reading, head

_END = object()


class _Line(asyncio.Protocol):
    """One connection. `read` gives what came, which is held up while nobody wants it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.spoiled = False  # it was closed, or somebody spoke who was not asked
        self.asked = False
        self.lost = asyncio.Event()
        self._came: list[bytes] = []
        self._size = 0
        self._over = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.spoiled = self.spoiled or not self.asked
        self._came.append(data)
        self._size += len(data)
        if self._size > READ_BYTES:
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        self._over = self.spoiled = True
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = self.spoiled = True
        self._error = error
        self.lost.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self, silence_s: float) -> bytes:
        """What came; empty at the end. Raises OSError."""
        async with asyncio.timeout(silence_s):
            while not self._came:
                if self._error is not None:
                    raise self._error
                if self._over:
                    return b""
                self._news.clear()
                await self._news.wait()
        data, self._came = b"".join(self._came), []
        if self._size > READ_BYTES and not self._over:
            self.transport.resume_reading()
        self._size = 0
        return data

    async def send(self, data: bytes, silence_s: float) -> bool:
        """Whether the other end takes more. Raises TimeoutError."""
        if self.spoiled:
            return False
        self.transport.write(data)
        if not self._writable.is_set():
            async with asyncio.timeout(silence_s):
                await self._writable.wait()
        return not self.spoiled


class AsyncResponse:
    """An answer whose head is here and whose body is read bit by bit. What breaks off raises LineError."""

    def __init__(
        self, line: _Line, reading: Reading, begun: list[bytes], silence_s: float, keep: Callable[[], None]
    ) -> None:
        """`begun` is what has come of the body already; `keep` takes the connection for another request."""
        self._line = line
        self._reading = reading
        self._begun = begun
        self._silence_s = silence_s
        self._keep = keep
        self._closed = False
        self.status = reading.status
        self.headers: Mapping[str, str] = reading.headers

    @property
    def head(self) -> Answer:
        """The answer without its body."""
        return Answer(status=self.status, headers=self.headers, body=b"")

    async def whole(self) -> Answer:
        """All of it."""
        try:
            body = b"".join([piece async for piece in self.pieces()])
            return Answer(status=self.status, headers=self.headers, body=body)
        finally:
            self.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        for piece in self._begun:
            yield piece
        while not self._reading.ended:
            for piece in await _more(self._line, self._reading, self._silence_s):
                yield piece

    async def lines(self) -> AsyncIterator[str]:
        """The body as lines of text; what comes after the last line end is left out."""
        lines = Lines()
        async for piece in self.pieces():
            for line in lines.feed(piece):
                yield line

    def close(self) -> None:
        """Done with it, read to its end or not. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._reading.ended and self._reading.reusable:
            self._keep()
        else:
            self._line.transport.abort()


async def _more(line: _Line, reading: Reading, silence_s: float) -> list[bytes]:
    with breaking(sent=True):
        data = await line.read(silence_s)
        if data:
            return reading.feed(data)
        reading.close()
        return []


class AsyncConnections:
    """To any number of masters, on one event loop."""

    def __init__(self, terms: Terms, tls: ssl.SSLContext | None, place: Path | None) -> None:
        """`tls` verifies certificates; `place` is a unix socket behind which all masters are."""
        self._terms = terms
        self._tls = tls
        self._place = place
        self._headers = headers(terms)
        self._idle: list[tuple[str, float, _Line]] = []

    async def close(self) -> None:
        """Close those that are idle."""
        idle, self._idle = self._idle, []
        for _, _, line in idle:
            line.transport.abort()
            await line.lost.wait()

    async def begin(self, base: str, call: Call[object]) -> AsyncResponse:
        """Send a call and wait for the head of its answer, which the caller closes.

        Raises:
            LineError: no answer came.
            InterruptedTransferError: the file that is to be sent became shorter.
            OSError: it cannot be read.
        """
        origin = Origin.of(base)
        request = head(call, origin, self._headers)
        line = self._fresh(base)
        if line is None:
            with breaking(sent=False):
                line = await self._open(origin)
        try:
            line.asked = True
            await self._send(line, request, call)
            reading, begun = Reading(), list[bytes]()
            while not reading.headed:
                begun += await _more(line, reading, call.silence_s)
        except BaseException:
            line.transport.abort()
            raise
        return AsyncResponse(line, reading, begun, call.silence_s, functools.partial(self._keep, base, line))

    async def _send(self, line: _Line, request: bytes, call: Call[object]) -> None:
        if isinstance(call.body, bytes):
            with breaking(sent=True):
                await line.send(request + call.body, call.silence_s)
            return
        pieces = outgoing(request, call.body)
        while isinstance(piece := await asyncio.to_thread(next, pieces, _END), bytes):
            with breaking(sent=True):
                # Who refuses a body may close before it has come, and its answer is worth more than the error.
                if not await line.send(piece, call.silence_s):
                    return

    def _fresh(self, base: str) -> _Line | None:
        """An idle connection to this master on which nothing has happened."""
        found, kept = None, list[tuple[str, float, _Line]]()
        for one in reversed(self._idle):
            if time.monotonic() - one[1] > FRESH_S or one[2].spoiled:
                one[2].transport.abort()
            elif one[0] == base and found is None:
                found = one[2]
            else:
                kept.insert(0, one)
        self._idle = kept
        return found

    def _keep(self, base: str, line: _Line) -> None:
        line.asked = False
        if len(self._idle) < KEPT and not line.spoiled:
            self._idle.append((base, time.monotonic(), line))
        else:
            line.transport.abort()

    async def _open(self, origin: Origin) -> _Line:
        loop, limit_s = asyncio.get_running_loop(), self._terms.connect_timeout_s
        if self._place is not None:
            async with asyncio.timeout(limit_s):
                return (await loop.create_unix_connection(_Line, str(self._place)))[1]
        async with asyncio.timeout(limit_s):
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        for at, (family, _, _, _, address) in enumerate(found):
            try:
                # One address after the other, as `socket.create_connection` does: one that is deaf must not take the time of all.
                async with asyncio.timeout(limit_s):
                    return (await self._connected(family, str(address[0]), origin))[1]
            except OSError:
                if at == len(found) - 1:
                    raise
        raise OSError(f"{origin.host} has no address")

    async def _connected(self, family: int, address: str, origin: Origin) -> "tuple[asyncio.Transport, _Line]":
        return await asyncio.get_running_loop().create_connection(
            _Line,
            address,
            origin.port,
            family=family,
            ssl=self._tls if origin.secure else None,
            server_hostname=origin.host if origin.secure else None,
        )
