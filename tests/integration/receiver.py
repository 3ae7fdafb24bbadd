"""A receiver of webhooks on this machine, in raw HTTP, that answers each request as the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct, field

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HANG, CLOSE, ENDLESS = b"hang", b"close", b"endless"


def answer(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Word", "content-length: 0", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Got(Struct):
    """One request."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.content)


class Receiver(Struct):
    """`port` is where it listens; `answers` gives the answer for each request."""

    port: int
    answers: Callable[[Got], bytes] = lambda _: OK
    got: list[Got] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    open: int = 0
    most_open: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60), self.arrived:
            await self.arrived.wait_for(condition)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """It listens until the end."""
    receiver = Receiver(port=0)
    streams: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.open += 1
        receiver.most_open = max(receiver.most_open, receiver.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            got = Got(first.split(" ")[1], headers, content)
            async with receiver.arrived:
                receiver.got.append(got)
                receiver.arrived.notify_all()
            said = receiver.answers(got)
            if said == HANG:
                await reader.read()  # until the other side has had enough
            elif said == ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                    await writer.drain()
            elif said != CLOSE:
                writer.write(said)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            receiver.open -= 1
            writer.close()
            async with receiver.arrived:
                receiver.arrived.notify_all()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        streams.add(task)
        task.add_done_callback(streams.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(streams):
            task.cancel()
