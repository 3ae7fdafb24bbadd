"""A server that does as a stranger likes, in raw HTTP on this machine, and names that lead where a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from msgspec import Struct, field

from millrace.outbound.addresses import network
from millrace.outbound.guard import Guard

LOOPBACK = [network("127.0.0.0/8")]


class Asked(Struct):
    """One request."""

    path: str
    headers: dict[str, str]


Serve = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def says(status: str, *headers: str, body: bytes = b"") -> Serve:
    """An answer that is the same each time; it says how long it is unless the headers do."""

    async def serve(_: Asked, writer: asyncio.StreamWriter) -> None:
        known = any(one.lower().startswith(("content-length", "transfer-encoding")) for one in headers)
        lines = [f"HTTP/1.1 {status}", *headers, *(() if known else (f"content-length: {len(body)}",))]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return serve


class Stranger(Struct):
    """`port` is where it listens, `asked` what came. `serve` may be replaced at any time."""

    serve: Serve
    port: int = 0
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def stranger(
    serve: Serve, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Stranger]:
    """It listens until the end. Each connection takes one request after the other, as long as the client likes."""
    found = Stranger(serve=serve)
    streams: set[asyncio.Task[Any]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        streams.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                asked = Asked(first.split(" ")[1], headers)
                found.asked.append(asked)
                await found.serve(asked, writer)
                await writer.drain()
                if writer.is_closing():
                    break
        streams.discard(task)
        writer.close()

    server = await asyncio.start_server(talk, host, port, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(streams):
            task.cancel()


class Names:
    """A resolver: each name leads to the addresses given for it, one answer after the other, the last one for ever."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        left = self._answers.get(host)
        if left is None:
            raise OSError(f"{host} is unknown")
        return left.pop(0) if len(left) > 1 else left[0]


def guard_of(names: Names, *, allowed: Sequence[Any] = LOOPBACK) -> Guard:
    """A guard that asks these names; this machine is allowed, for that is where strangers are in tests."""
    return Guard(allowed=allowed, option="--input-allow-network", resolve=names)
