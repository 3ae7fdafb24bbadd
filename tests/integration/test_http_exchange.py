"""What a server promises on the wire besides time and size: framing, order, and an end for everybody."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from millrace.programs.http import server
from millrace.programs.http.listen import listen
from millrace.programs.http.server import HttpServer

PATIENCE_S = 30.0
HOST = b"host: a\r\n"
new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"], autouse=True)
def loop_factory(request: pytest.FixtureRequest) -> None:
    global new_loop  # noqa: PLW0603  every test here runs on each
    new_loop = request.param


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main, PATIENCE_S))


class Scene:
    """A server, and an application that does by path what the tests need."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.scopes: list[Any] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.told = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, size, more = scope["path"], 0, True
        self.scopes.append(scope)
        self.seen.append(path)
        self.asked.set()
        if path == "/refused":
            await self._whole(send, b"no")
            return
        if path.startswith("/parked"):
            await self.go_on.wait()
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        if path.startswith("/waits"):
            await self._waits(receive)
            return
        if path == "/fails":
            raise RuntimeError("a fault of ours")
        if path == "/injected":
            await self._whole(send, b"", (b"x-odd", b"a\r\nset-cookie: b"))
        elif path == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"ab", b"", b"c"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        elif path in ("/longer", "/shorter"):
            await self._whole(send, b"12345", (b"content-length", b"4" if path == "/longer" else b"6"))
        else:
            await self._whole(send, b"%s %d" % (path.encode(), size))
        self.seen.append(f"answered {path}")

    async def _waits(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.told.set()

    async def _whole(self, send: Any, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        head = [(b"content-length", b"%d" % len(body)), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


Test = Callable[[Scene, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def on_connection(test: Test) -> None:
    async def main() -> None:
        listening = listen("127.0.0.1", 0)
        scene = Scene()
        address = listening.getsockname()
        async with HttpServer(scene, listening, certificate=None, key=None, before_stop=scene.go_on.set):
            reader, writer = await asyncio.open_connection(*address)
            try:
                await test(scene, reader, writer)
            finally:
                writer.transport.abort()

    run(main())


def talk(request: bytes) -> bytes:
    """What comes back until the server hangs up."""
    answers: list[bytes] = []

    async def test(_: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request)
        answers.append(await reader.read())

    on_connection(test)
    return answers[0]


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next answer that says how long it is."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


def test_requests_sent_at_once_are_answered_in_their_order_and_one_after_the_other() -> None:
    async def test(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies = b"".join(
            b"POST /%s HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (name, HOST, size, b"x" * size)
            for name, size in ((b"parked", 3), (b"b", 4), (b"c", 0))
        )
        writer.write(bodies)
        await scene.asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.seen == ["/parked"]
        scene.go_on.set()
        assert [await answer(reader) for _ in range(3)] == [(200, b"/parked 3"), (200, b"/b 4"), (200, b"/c 0")]
        assert scene.seen == ["/parked", "answered /parked", "/b", "answered /b", "/c", "answered /c"]

    on_connection(test)


def test_a_body_is_asked_for_when_somebody_wants_it() -> None:
    async def test(_: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"POST /%s HTTP/1.1\r\n" + HOST + b"expect: 100-Continue\r\ncontent-length: 2\r\n\r\n"
        writer.write(head % b"wanted")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert await answer(reader) == (200, b"/wanted 2")
        writer.write(head % b"refused")
        assert await answer(reader) == (200, b"no")

    on_connection(test)


def test_a_protocol_that_is_not_spoken_here_is_passed_over() -> None:
    async def test(_: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upgrade = b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
        writer.write(b"GET /a HTTP/1.1\r\n" + HOST + upgrade + b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n")
        assert [await answer(reader), await answer(reader)] == [(200, b"/a 0"), (200, b"/b 0")]

    on_connection(test)


def test_a_stream_is_chunked_and_for_http_1_0_it_ends_with_the_connection() -> None:
    chunked = talk(b"GET /stream HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert chunked.endswith(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert b"transfer-encoding: chunked\r\n" in chunked
    assert b"connection: close\r\n" in chunked
    old = talk(b"GET /stream HTTP/1.0\r\n\r\n")
    assert old.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in old


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET http://[ HTTP/1.1\r\n%s\r\n" % HOST,
        b"GET /\xff HTTP/1.1\r\n%s\r\n" % HOST,
        b"GET /a\r\n\r\n",
        b"GET /a HTTP/2.0\r\n%s\r\n" % HOST,
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\n%s%s\r\n" % (HOST, HOST),
        b"PUT /a HTTP/1.1\r\n%stransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n" % HOST,
        # Framing that a proxy in front could read in another way (request smuggling, RFC 9112, 11.2).
        *(
            b"POST /a HTTP/1.1\r\n%s%s\r\n\r\n0\r\n\r\n" % (HOST, framing)
            for framing in (
                b"content-length: 5\r\ntransfer-encoding: chunked",
                b"transfer-encoding: chunked\r\ncontent-length: 5",
                b"content-length: 5\r\ncontent-length: 5",
                b"content-length: 5\r\ncontent-length: 6",
                b"content-length: 5, 5",
                b"content-length: +5",
                b"content-length: 0x5",
                b"content-length: 5 5",
                b"content-length: -1",
                b"content-length: 99999999999999999999",
                b"content-length : 5",
                b"content-length:",
                b"transfer-encoding: xchunked",
                b"transfer-encoding: chunked, identity",
                b"transfer-encoding: identity",
                b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                b"transfer-encoding : chunked",
                b" transfer-encoding: chunked",
                b"transfer-encoding: \x0bchunked",
                b"transfer-encoding:\r\n chunked",
                b"transfer\x00encoding: chunked",
                b"x: a\r\n b",
                b"x: a\rb",
                b"x: a\x00b",
                b"x y: a",
                b": a",
            )
        ),
        b"GET /a HTTP/1.1\nhost: a\n\n",
        b"GET /a HTTP/1.1\r\nhost: a\n\r\n",
        b"GET /a\x00 HTTP/1.1\r\n%s\r\n" % HOST,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        # Its body would be lost: the parser leaves what follows to the other protocol.
        b"PUT /a HTTP/1.1\r\n%sconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nab" % HOST,
    ],
)
def test_what_is_no_http_gets_a_problem_and_an_end(request_: bytes) -> None:
    async def test(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request_)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n")
        assert json.loads(body)["type"] == "urn:millrace:problem:malformed"
        assert scene.seen == []

    on_connection(test)


@pytest.mark.parametrize(
    "chunk",
    [
        b"G\r\n",
        b"5\n",
        b"-1\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 ;\r\n",
        b"FFFFFFFFFFFFFFFFF\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n0\r\n\r\n",
    ],
)
def test_chunks_that_are_none_end_the_connection(chunk: bytes) -> None:
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
    found = talk(head + chunk + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("trailer", [b"x-api-key: other", b"host: other", b"expect: 100-continue"])
def test_what_stands_behind_a_body_is_no_header(trailer: bytes) -> None:
    async def test(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"PUT /a HTTP/1.1\r\n" + HOST + b"x-api-key: own\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\nGET /b HTTP/1.1\r\n" + HOST + b"\r\n")
        assert [await answer(reader), await answer(reader)] == [(200, b"/a 2"), (200, b"/b 0")]
        assert scene.scopes[0]["headers"] == [
            (b"host", b"a"),
            (b"x-api-key", b"own"),
            (b"transfer-encoding", b"chunked"),
        ]

    on_connection(test)


@pytest.mark.parametrize("path", [b"/fails", b"/injected"])
def test_a_fault_before_the_answer_is_a_500(path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    head, _, body = talk(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, HOST)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in head
    assert json.loads(body)["status"] == 500
    assert [record.message for record in caplog.records] == ["http.failed"]


@pytest.mark.parametrize("path", [b"/longer", b"/shorter"])
def test_a_body_that_is_not_as_long_as_its_head_says_is_cut(path: bytes) -> None:
    answer = talk(b"GET %s HTTP/1.1\r\n%s\r\nGET /b HTTP/1.1\r\n%s\r\n" % (path, HOST, HOST))
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_the_address_comes_in_its_parts() -> None:
    async def test(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for address in (b"/a%20b/c?x=1&y=?", b"http://other:1/d?z#e", b"/f#g", b"http://a", b"http://a:8?x=1"):
            writer.write(b"GET " + address + b" HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nx-two: 2\r\n\r\n")
            assert (await answer(reader))[0] == 200
        parts = [(scope["path"], scope["raw_path"], scope["query_string"]) for scope in scene.scopes]
        assert parts[:3] == [("/a b/c", b"/a%20b/c", b"x=1&y=?"), ("/d", b"/d", b"z"), ("/f", b"/f", b"")]
        assert parts[3:] == [("/", b"/", b""), ("/", b"/", b"x=1")]
        assert scene.scopes[0]["headers"] == [(b"host", b"a"), (b"x-two", b"1"), (b"x-two", b"2")]
        assert scene.scopes[0]["client"] == writer.get_extra_info("sockname")

    on_connection(test)


@pytest.mark.parametrize("next_", [b"", b"GET /b HTTP/1.1\r\n\r\n"])
def test_who_is_being_answered_is_told_that_the_client_left(next_: bytes) -> None:
    async def test(scene: Scene, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /waits HTTP/1.1\r\n" + HOST + b"\r\n" + next_)
        await scene.asked.wait()
        writer.transport.abort()
        await scene.told.wait()
        assert scene.seen == ["/waits"]

    on_connection(test)


def test_a_stop_waits_for_answers_and_not_for_idle_connections_or_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        listening = listen("127.0.0.1", 0)
        scene = Scene()
        serving = HttpServer(scene, listening, certificate=None, key=None, before_stop=lambda: None)
        await serving.start()
        peers = [await asyncio.open_connection(*listening.getsockname()) for _ in range(3)]
        (idle, _), (answered, one), (stuck, other) = peers
        one.write(b"GET /parked HTTP/1.1\r\n" + HOST + b"\r\n")
        await scene.asked.wait()
        scene.asked.clear()
        other.write(b"GET /waits HTTP/1.1\r\n" + HOST + b"\r\n")
        await scene.asked.wait()
        stopping = asyncio.create_task(serving.stop())
        assert await idle.read() == b""
        assert not stopping.done()
        scene.go_on.set()
        assert (await answered.read()).endswith(b"connection: close\r\n\r\n/parked 0")
        await stopping
        with contextlib.suppress(ConnectionError):
            assert await stuck.read() == b""
        assert not serving.connections
        for _, writer in peers:
            writer.transport.abort()

    monkeypatch.setattr(server, "GRACE_S", 0.5)
    run(main())


def test_a_body_that_nobody_reads_yet_stays_with_its_sender() -> None:
    async def test(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = 64 << 20  # far more than the kernel holds on the way
        writer.write(b"PUT /parked HTTP/1.1\r\n" + HOST + b"content-length: %d\r\n\r\n" % size + b"x" * size)
        for _ in range(5000):
            await asyncio.sleep(0)
        assert writer.transport.get_write_buffer_size() > size // 2
        scene.go_on.set()
        assert await answer(reader) == (200, b"/parked %d" % size)

    on_connection(test)
