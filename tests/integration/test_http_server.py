"""The server of a master on a real socket: each reply is one write, and a stream's head waits for nothing."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from millrace.programs.http.server import HttpServer
from millrace.runtime.clock import VirtualClock

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Event], Awaitable[None]]


def serve(talk: Talk) -> None:
    """Let `talk` have a connection to a server whose `/slow` sends its body only after the event."""

    async def main() -> None:
        go_on = asyncio.Event()

        async def app(scope: Any, _: Any, send: Any) -> None:
            stream = scope["path"] == "/slow"
            headers = [] if stream else [(b"content-length", b"5")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if stream:
                await go_on.wait()
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"hello"})

        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with HttpServer(app, listening, certificate=None, key=None, before_stop=lambda: None):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await talk(reader, writer, go_on)
            writer.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_head_and_body_arrive_together() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: asyncio.Event) -> None:
        for _turn in range(20):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            # One read gives what one write sent: the body is there with the head every time.
            assert (await reader.read(65536)).endswith(b"\r\n\r\nhello")

    serve(talk)


def test_a_streams_head_goes_out_before_its_first_piece() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, go_on: asyncio.Event) -> None:
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"

    serve(talk)


def test_a_reply_without_a_body_is_whole_and_the_connection_goes_on() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: asyncio.Event) -> None:
        for _turn in range(3):
            writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"content-length: 5" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n")

    serve(talk)


def test_nothing_wakes_it_while_nobody_is_connected() -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError("nobody asks for anything")

    async def main() -> None:
        clock = VirtualClock()
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        async with HttpServer(
            app, listening, certificate=None, key=None, before_stop=lambda: None, clock=clock
        ) as server:
            await clock.settle()
            assert clock.sleeping == 0
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not (server.connections and clock.sleeping):
                await asyncio.sleep(0)
            await clock.advance(60)  # who says nothing is sent away, as ever
            assert await reader.read() == b""
            writer.close()
            while server.connections:
                await asyncio.sleep(0)
            await clock.advance(2)
            assert clock.sleeping == 0

    asyncio.run(asyncio.wait_for(main(), 30))
