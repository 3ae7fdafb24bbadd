"""How long a server waits for its clients, and for how many: real sockets, and time that the test moves."""

import asyncio
import json
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop

from millrace.edge import certificates
from millrace.edge.access import KNOWN
from millrace.programs.http import door
from millrace.programs.http.door import MOST, Door, most_connections
from millrace.programs.http.listen import listen
from millrace.programs.http.protocol import HttpProtocol
from millrace.programs.http.server import HttpServer
from millrace.programs.http.sweep import (
    FREE_BYTES,
    IDLE_S,
    KNOWN_READER_S,
    PROGRESS_S,
    READER_S,
    REQUEST_S,
    SLOWEST_BYTES_S,
    Sweep,
)
from millrace.runtime.clock import VirtualClock

JSON = b"content-type: application/json\r\n"
TICK_S = 1.0
SMALL = 1 << 16
"""Bytes that the kernel is to hold on the way, so that a client that takes nothing is noticed."""


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"], autouse=True)
def loop_factory(request: pytest.FixtureRequest) -> None:
    """Masters run on uvloop, `transcode` on asyncio's own; both are to be the same to a slow client."""
    global new_loop  # noqa: PLW0603  every test here runs on each
    new_loop = request.param


new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(main, 120.0))


class TurningClock(VirtualClock):
    """Gives sockets and tasks the turns of the loop that they may need, on any loop."""

    async def settle(self) -> None:
        for _ in range(40):
            await asyncio.sleep(0)


class Scene:
    """A server, the time that it lives in, and what its application has seen."""

    def __init__(self, port: int, clock: VirtualClock) -> None:
        self.port = port
        self.clock = clock
        self.seen: list[str] = []
        self.go_on = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.connections: Collection[HttpProtocol] = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Reads the whole body, or answers first, or waits; by path."""
        path = scope["path"]
        if path == "/known":
            scope["state"][KNOWN] = True
        if path.startswith("/parked"):
            await self.go_on.wait()
        size = 0
        more = not path.endswith("unread")
        while more:
            message = await receive()
            if message["type"] != "http.request":
                self.seen.append("gone")
                return
            size += len(message["body"])
            more = message["more_body"]
        text = b"x" * int(scope["query_string"] or b"0") or b"%d" % size
        headers = [] if path == "/stream" else [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/stream":
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await self.go_on.wait()
        await send({"type": "http.response.body", "body": text})
        self.seen.append(f"{scope['method']} {size}")

    async def reach(self, source: str = "127.0.0.1", *, holds: int = SMALL) -> socket.socket:
        """A connection of which nobody reads by himself."""
        own = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sends at once on sockets that say so
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, holds)
        own.setblocking(False)
        own.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self.port))
        return own

    async def connect(self, data: bytes = b"", *, source: str = "127.0.0.1") -> "Peer":
        own = await self.reach(source)
        reader, writer = await asyncio.open_connection(sock=own)
        self.writers.append(writer)
        peer = Peer(self, reader, writer)
        await peer.send(data)
        return peer


class Peer:
    """One client."""

    def __init__(self, scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.scene = scene
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.scene.clock.settle()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer that says how long it is."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_timed_out(self) -> bool:
        """Whether it gets the problem, and then the end."""
        status, headers, body = await self.answer()
        problem = json.loads(body)
        assert (status, headers["connection"], headers["content-type"]) == (408, "close", "application/problem+json")
        assert (problem["type"], problem["status"]) == ("urn:millrace:problem:request-timeout", 408)
        assert problem["detail"].startswith("cannot wait any longer: ")
        return await self.reader.read() == b""

    @property
    def is_open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


def in_scene(
    test: Callable[..., Awaitable[None]], *, certificate: Path | None = None, sends: int = SMALL, **more: Any
) -> None:
    async def main() -> None:
        clock = TurningClock()
        listening = listen("127.0.0.1", 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sends)
        scene = Scene(listening.getsockname()[1], clock)
        serving = HttpServer(
            scene,
            listening,
            certificate=certificate,
            key=certificate,
            before_stop=scene.go_on.set,
            clock=clock,
            **more,
        )
        scene.connections = serving.connections
        async with serving:
            try:
                await test(scene)
            finally:
                for writer in scene.writers:
                    writer.transport.abort()
                await clock.settle()

    run(main())


@pytest.mark.parametrize("head", [b"GET / HTT", b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"\r\n\r\n"])
def test_a_head_that_is_not_whole_in_time_is_answered_and_ended(head: bytes) -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(head)
        await scene.clock.advance(REQUEST_S - TICK_S)
        assert peer.is_open
        await scene.clock.advance(2 * TICK_S)
        assert await peer.is_timed_out()

    in_scene(test)


def test_a_head_in_drops_wins_no_time() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(int(REQUEST_S) + 1):
            await peer.send(b"a")
            await scene.clock.advance(TICK_S)
        assert await peer.is_timed_out()

    in_scene(test)


def test_a_connection_that_asks_nothing_ends_without_a_word() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect()
        await scene.clock.advance(REQUEST_S + TICK_S)
        assert await peer.reader.read() == b""

    in_scene(test)


def test_a_second_head_that_never_ends_is_answered_after_the_first_answer() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\nho")
        assert (await peer.answer())[0] == 200
        await scene.clock.advance(REQUEST_S + TICK_S)
        assert await peer.is_timed_out()

    in_scene(test)


@pytest.mark.parametrize(
    "framing", [b"content-length: 9\r\n\r\n123", b"transfer-encoding: chunked\r\n\r\n3\r\n123\r\n"]
)
def test_a_whole_body_has_its_time_however_it_drips(framing: bytes) -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(b"POST / HTTP/1.1\r\nhost: a\r\n" + JSON + framing)
        for _ in range(4):
            await scene.clock.advance(2 * TICK_S)
            await peer.send(b"1\r\n4\r\n" if b"chunked" in framing else b"4")
        assert peer.is_open
        await scene.clock.advance(4 * TICK_S)
        assert await peer.is_timed_out()
        assert scene.seen == ["gone"]  # the handler was told, and nobody counts on it

    in_scene(test)


def test_a_long_report_gets_the_time_that_it_needs() -> None:
    async def test(scene: Scene) -> None:
        size = FREE_BYTES + 20 * SLOWEST_BYTES_S
        peer = await scene.connect(b"POST / HTTP/1.1\r\nhost: a\r\n" + JSON + b"content-length: %d\r\n\r\n" % size)
        left = size - 1
        for _ in range(19):
            piece = min(left, 2 * SLOWEST_BYTES_S)
            left -= piece
            peer.writer.write(b"x" * piece)
            await peer.writer.drain()
            await scene.clock.advance(TICK_S)
        assert left == 0
        assert peer.is_open
        await scene.clock.advance(REQUEST_S)
        assert peer.is_open
        await scene.clock.advance(3 * TICK_S)
        assert await peer.is_timed_out()

    in_scene(test)


@pytest.mark.parametrize("method", [b"PUT", b"PATCH"])
def test_a_file_may_last_while_it_makes_progress_and_ends_when_it_makes_none(method: bytes) -> None:
    async def test(scene: Scene) -> None:
        head = method + b" / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n"
        peer = await scene.connect(head)
        for _ in range(9):
            await scene.clock.advance(PROGRESS_S - TICK_S)
            await peer.send(b"x")
        assert (await peer.answer())[2] == b"9"
        peer = await scene.connect(head + b"12345678")
        await scene.clock.advance(PROGRESS_S + 3 * TICK_S)
        assert await peer.is_timed_out()
        assert scene.seen == [f"{method.decode()} 9", "gone"]

    in_scene(test)


def test_what_we_are_slow_with_is_not_held_against_the_client() -> None:
    async def test(scene: Scene) -> None:
        size = 1 << 20
        head = b"POST /parked HTTP/1.1\r\nhost: a\r\n" + JSON + b"content-length: %d\r\n\r\n" % size
        peer = await scene.connect(head)
        peer.writer.write(b"x" * size)
        await scene.clock.advance(20 * REQUEST_S)
        scene.go_on.set()
        assert (await peer.answer())[2] == b"%d" % size

    in_scene(test)


def test_a_parked_claim_and_a_stream_are_no_slow_requests() -> None:
    async def test(scene: Scene) -> None:
        ask = b"POST /parked HTTP/1.1\r\nhost: a\r\n" + JSON + b"content-length: 2\r\n\r\n{}"
        begun = b"POST / HTTP/1.1\r\nhost: a\r\n" + JSON + b"content-length: 2\r\n\r\n{"
        parked = await scene.connect(ask)
        # Who sends the next request already waits for the answer to the first, and is not slow either.
        stream = await scene.connect(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n" + begun)
        assert await stream.reader.readuntil(b"begun\r\n")
        await scene.clock.advance(10 * IDLE_S)
        scene.go_on.set()
        assert (await parked.answer())[2] == b"2"
        assert (await stream.reader.readuntil(b"0\r\n\r\n")).startswith(b"1\r\n0\r\n")
        await scene.clock.advance(REQUEST_S - TICK_S)
        await stream.send(b"}")
        assert (await stream.answer())[2] == b"2"
        # What comes after a long answer has all its time.
        await scene.clock.advance(IDLE_S - REQUEST_S)
        assert parked.is_open

    in_scene(test)


def test_an_idle_connection_lives_for_a_while_and_ends_without_a_word() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect()
        for _ in range(3):
            await peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await peer.answer())[0] == 200
            await scene.clock.advance(IDLE_S - TICK_S)
        # Neither the head nor the body pays for the time before it.
        for piece in (b"POST / HTTP/1.1\r\nho", b"st: a\r\ncontent-length: 2\r\n\r\n{", b"}"):
            assert peer.is_open
            await peer.send(piece)
            await scene.clock.advance(REQUEST_S - TICK_S)
        assert (await peer.answer())[2] == b"2"
        await scene.clock.advance(IDLE_S - REQUEST_S)
        assert peer.is_open
        await scene.clock.advance(3 * TICK_S)
        assert await peer.reader.read() == b""

    in_scene(test)


def test_a_body_that_nobody_wants_is_not_waited_for() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(b"GET /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx")
        assert (await peer.answer())[0] == 200
        for _ in range(int(REQUEST_S) + 1):
            await peer.send(b"x")
            await scene.clock.advance(TICK_S)
        assert await peer.reader.read() == b""

    in_scene(test)


def test_a_connection_goes_on_after_a_long_body_that_nobody_read() -> None:
    async def test(scene: Scene) -> None:
        peer = await scene.connect(b"POST /parked-unread HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        await peer.send(b"x" * 1_000_000 + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        scene.go_on.set()
        assert [(await peer.answer())[2], (await peer.answer())[2]] == [b"0", b"0"]

    in_scene(test)


def test_a_client_that_takes_nothing_of_its_answer_is_cut_and_a_slow_one_is_not() -> None:
    async def test(scene: Scene) -> None:
        size = 16 << 20
        peer = await scene.connect(b"GET /?%d HTTP/1.1\r\nhost: a\r\n\r\n" % size)
        taken = 0
        for _ in range(8):
            await scene.clock.advance(READER_S - TICK_S)
            taken += len(await peer.reader.readexactly(1 << 20))
        # The kernel goes on for a while with what it holds.
        while scene.connections:
            await scene.clock.advance(READER_S)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await peer.reader.readexactly(size - taken)

    in_scene(test)


def test_a_client_that_leaves_what_the_kernel_took_for_it_is_cut() -> None:
    async def test(scene: Scene) -> None:
        with await scene.reach() as own:
            await asyncio.get_running_loop().sock_sendall(own, b"GET /?400000 HTTP/1.1\r\nhost: a\r\n\r\n")
            # For all that the server itself knows, the answer is sent.
            while scene.seen != ["GET 0"]:
                await scene.clock.settle()
            assert [one.writable for one in scene.connections] == [None]
            await scene.clock.advance(READER_S - 2 * TICK_S)
            assert len(scene.connections) == 1
            await scene.clock.advance(4 * TICK_S)
            assert len(scene.connections) == 0

    in_scene(test, sends=1 << 20)


def test_a_client_that_takes_a_little_now_and_then_is_cut() -> None:
    async def test(scene: Scene) -> None:
        with await scene.reach(holds=1 << 11) as own:  # so little that its kernel tells of every other step
            await asyncio.get_running_loop().sock_sendall(own, b"GET /?%d HTTP/1.1\r\nhost: a\r\n\r\n" % (16 << 20))
            for _ in range(int(4 * READER_S)):
                if scene.connections:
                    await asyncio.get_running_loop().sock_recv(own, 512)
                await scene.clock.advance(TICK_S)
            assert len(scene.connections) == 0

    in_scene(test)


def test_over_tls_it_is_so_too(tmp_path: Path) -> None:
    farm = certificates.new_authority(datetime.now(UTC))
    pair = certificates.server_pair(farm, ["localhost"], datetime.now(UTC))
    (tmp_path / "shown.pem").write_bytes(pair.key + pair.certificate)
    trusting = ssl.create_default_context(cadata=farm.certificate.decode())

    async def test(scene: Scene) -> None:
        size = 16 << 20
        reader, writer = await asyncio.open_connection(
            sock=await scene.reach(), ssl=trusting, server_hostname="localhost", limit=SMALL
        )
        scene.writers.append(writer)
        writer.write(b"GET /?%d HTTP/1.1\r\nhost: a\r\n\r\n" % size)
        for _ in range(8 * int(READER_S)):
            await reader.readexactly(64 << 10)
            await scene.clock.advance(TICK_S)
        assert len(scene.connections) == 1
        while scene.connections:
            await scene.clock.advance(READER_S)

    in_scene(test, certificate=tmp_path / "shown.pem")


def test_whoever_is_known_may_read_page_by_page() -> None:
    async def test(scene: Scene) -> None:
        with await scene.reach() as own:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(own, b"GET /known?%d HTTP/1.1\r\nhost: a\r\n\r\n" % (16 << 20))
            await loop.sock_recv(own, 1)
            await scene.clock.advance(KNOWN_READER_S - 3 * TICK_S)
            assert len(scene.connections) == 1
            await scene.clock.advance(6 * TICK_S)
            assert len(scene.connections) == 0

    in_scene(test)


def test_a_client_that_takes_64_kib_a_second_is_slow_and_honest() -> None:
    async def test(scene: Scene) -> None:
        with await scene.reach() as own:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(own, b"GET /?%d HTTP/1.1\r\nhost: a\r\n\r\n" % (16 << 20))
            for _ in range(8 * int(READER_S)):
                left = 64 << 10
                while left:
                    left -= len(await loop.sock_recv(own, left))
                await scene.clock.advance(TICK_S)
            assert len(scene.connections) == 1

    in_scene(test)


def test_time_in_which_the_server_did_not_run_is_nobodys_fault() -> None:
    class Connection:
        def __init__(self) -> None:
            self.told: list[float] = []

        def look(self, now_s: float) -> None:
            self.told.append(now_s)

    one = Connection()
    sweep = Sweep({one})  # type: ignore[arg-type]
    for monotonic_s in (1000.0, 1001.0, 1002.5, 5000.0, 5001.0):
        sweep.tick(monotonic_s)
    assert one.told == [0.0, 1.0, 2.5, 4.5, 5.5]


def test_a_request_costs_no_timer() -> None:
    async def test(scene: Scene) -> None:
        loop = asyncio.get_running_loop()
        peer = await scene.connect(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await peer.answer()
        made: list[object] = []
        call_at = loop.call_at
        loop.call_at = lambda *args, **more: made.append(args) or call_at(*args, **more)  # type: ignore[method-assign, func-returns-value]
        try:
            for _ in range(5):
                await peer.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{")
                await peer.send(b"}")
                await peer.answer()
        finally:
            del loop.call_at
        assert made == []

    in_scene(test)


def test_a_flood_is_refused_and_a_place_is_given_back() -> None:
    async def test(scene: Scene) -> None:
        first, second = await scene.connect(), await scene.connect()
        for _ in range(3):
            refused = await scene.connect()
            status, headers, body = await refused.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "2", "close")
            assert json.loads(body)["type"] == "urn:millrace:problem:too-many-connections"
            assert await refused.reader.read() == b""
        await first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await first.answer())[0] == 200
        second.writer.close()
        await scene.clock.settle()
        third = await scene.connect(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await third.answer())[0] == 200

    in_scene(test, most=2)


def test_one_address_leaves_places_to_others() -> None:
    async def test(scene: Scene) -> None:
        inside = [await scene.connect() for _ in range(6)]
        refused = await scene.connect()
        status, headers, body = await refused.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (429, "2", "close")
        assert json.loads(body)["type"] == "urn:millrace:problem:too-many-connections"
        assert await refused.reader.read() == b""
        other = await scene.connect(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", source="127.0.0.2")
        assert (await other.answer())[0] == 200
        for one in inside[:3]:
            one.writer.close()
        while len(scene.connections) > 4:
            await scene.clock.settle()
        again = await scene.connect(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await again.answer())[0] == 200

    in_scene(test, most=8)


def test_a_quarter_of_the_descriptors_is_kept_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((resource.RLIM_INFINITY, MOST), (1 << 20, MOST), (1024, 768), (256, 192), (0, 1)):
        monkeypatch.setattr(door.resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_connections() == most


def test_a_tls_handshake_has_its_time_and_its_place() -> None:
    async def main() -> None:
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        one = Door(listening, 1, full=b"full", crowded=b"", greeting_s=0.2, parting_s=1.0)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        one.open(asyncio.Protocol, lambda: context)
        try:
            for _ in range(2):
                mute, its_writer = await asyncio.open_connection("127.0.0.1", port)
                refused, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await refused.read() == b""  # at once, and without a word that it could not understand
                assert one.look() == 1
                assert await mute.read() == b""  # when its time is over
                writer.close()
                its_writer.close()
        finally:
            one.close()

    run(main())


def test_a_door_without_a_descriptor_left_opens_again() -> None:
    async def main() -> None:
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        came: list[asyncio.Protocol] = []
        one = Door(listening, 9, full=b"", crowded=b"", greeting_s=1.0, parting_s=1.0)
        one.open(lambda: came.append(asyncio.Protocol()) or came[-1], None)  # type: ignore[func-returns-value]
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        peer = socket.socket()
        peer.setblocking(False)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (peer.fileno() + 1, limit))
            await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
            await TurningClock().settle()
            assert (came, one.look()) == ([], 1)
            await TurningClock().settle()
            assert (came, one.look()) == ([], 1)  # it looked once, and rests
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            one.look()
            await TurningClock().settle()
            assert len(came) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            peer.close()
            one.close()

    run(main())
