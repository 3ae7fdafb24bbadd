"""Whole answers: what goes over the wire, and that those of one turn of the event loop are sent together, after it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from millrace.edge.access import Rules
from millrace.edge.call import WHOLE, Answer
from millrace.edge.refusal import PROBLEM_CONTENT_TYPE
from millrace.edge.server import Edge
from millrace.programs.http.protocol import Crowd, HttpProtocol
from millrace.web.astray import with_way_back

HOST = b"host: a\r\n\r\n"
SHARED = ((b"x-content-type-options", b"nosniff"), (b"content-type", b"text/plain"))


class Wire(asyncio.Transport):
    """A transport that only remembers what happened, in the order of all wires of a scene."""

    def __init__(self, seen: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.seen = seen
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.seen.append(("sent", bytes(data)))

    def close(self) -> None:
        self.closed = True
        self.seen.append(("closed", None))

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Scene:
    """A server without sockets, whose application answers with what the test says."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"status": 200, "shared": SHARED, "headers": (), "body": b"hello", **answer}
        self.seen: list[tuple[str, Any]] = []
        self.crowd = Crowd(self._app)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        assert WHOLE in scope["extensions"]
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": WHOLE, **self.answer})
        self.seen.append(("answered", scope["path"]))

    def connected(self) -> HttpProtocol:
        protocol = HttpProtocol(self.crowd)
        protocol.connection_made(Wire(self.seen))
        return protocol

    def sent(self) -> bytes:
        return b"".join(what for event, what in self.seen if event == "sent")


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(limited())


def told(request: bytes, **answer: Any) -> Scene:
    """The scene after one request."""
    scene: Scene | None = None

    async def main() -> None:
        nonlocal scene
        scene = Scene(**answer)
        scene.connected().data_received(request)
        await turns()

    run(main)
    assert scene is not None
    return scene


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_whole_answer_says_its_length_and_keeps_the_connection() -> None:
    scene = told(b"GET / HTTP/1.1\r\n" + HOST, headers=((b"x-request-id", b"7"),))
    assert scene.sent() == (
        b"HTTP/1.1 200 OK\r\nx-content-type-options: nosniff\r\ncontent-type: text/plain\r\nx-request-id: 7\r\n"
        b"content-length: 5\r\n\r\nhello"
    )
    assert ("closed", None) not in scene.seen


@pytest.mark.parametrize(
    ("request_", "answer", "end"),
    [
        (b"HEAD / HTTP/1.1\r\n" + HOST, {}, b"content-length: 5\r\n\r\n"),
        (b"GET / HTTP/1.1\r\n" + HOST, {"status": 204, "shared": (), "body": b""}, b"204 No Content\r\n\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", {}, b"connection: close\r\ncontent-length: 5\r\n\r\nhello"),
    ],
)
def test_some_have_no_body_and_some_end_the_connection(request_: bytes, answer: Any, end: bytes) -> None:
    scene = told(request_, **answer)
    assert scene.sent().endswith(end)
    assert scene.sent().count(b"content-length") == (answer.get("status") != 204)
    assert (("closed", None) in scene.seen) == (b"close" in end)


def test_who_says_that_it_closes_says_so_once_and_sends_first() -> None:
    scene = told(b"GET / HTTP/1.1\r\n" + HOST + b"GET /b HTTP/1.1\r\n" + HOST, headers=((b"connection", b"close"),))
    assert scene.sent().count(b"connection: close\r\n") == 1
    assert [event for event, _ in scene.seen] == ["sent", "closed", "answered"]


@pytest.mark.parametrize("where", ["shared", "headers"])
@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_that_is_more_than_a_line_is_a_fault_every_time(where: str, value: bytes) -> None:
    for _ in range(2):
        scene = told(b"GET / HTTP/1.1\r\n" + HOST, **{where: ((b"x-odd", value),)})
        assert scene.sent().startswith(b"HTTP/1.1 500 ")
        assert b"cookie" not in scene.sent()


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_browser_that_is_lost_finds_a_page_and_a_program_the_problem(accept: str) -> None:
    """The guide of the pages reads ASGI's own messages, so an application that is asked by a browser must send those."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Edge((), None, rules=Rules, explain=lambda _: None, lost=_nothing_here)(scope, receive, send)

    async def main() -> None:
        scene = Scene()
        scene.crowd.app = with_way_back(app)
        scene.connected().data_received(b"GET /nowhere HTTP/1.1\r\naccept: %s\r\n" % accept.encode() + HOST)
        await turns()
        assert scene.sent().startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert (b"There is no page at this address." in scene.sent()) == (accept == "text/html")
        assert scene.sent().count(b"content-type: ") == 1

    run(main)


def _nothing_here(_: Any) -> Answer:
    return Answer(status=404, media=PROBLEM_CONTENT_TYPE)


def test_a_whole_answer_cannot_follow_one_that_has_begun() -> None:
    scene = told(b"GET /begun HTTP/1.1\r\n" + HOST)
    assert b"hello" not in scene.sent()
    assert scene.seen[-1] == ("closed", None)


def test_the_answers_of_one_turn_are_sent_together_after_it() -> None:
    async def main() -> None:
        scene = Scene()
        for number in range(3):
            scene.connected().data_received(b"GET /%d HTTP/1.1\r\n" % number + HOST)
        await turns()
        assert [event for event, _ in scene.seen] == ["answered"] * 3 + ["sent"] * 3

    run(main)


def test_what_is_sent_at_once_comes_after_what_was_gathered_and_one_that_is_gone_does_not_disturb_the_others() -> None:
    async def main() -> None:
        scene = Scene()
        first, gone, last = (scene.connected() for _ in range(3))
        first.write_soon(b"one ")
        first.write_soon(b"two ")
        gone.write_soon(b"never ")
        last.write_soon(b"four")
        first.write(b"three ")
        gone.transport.abort()
        assert scene.sent() == b"one two three "
        await turns()
        assert scene.sent() == b"one two three four"

    run(main)


def test_a_server_that_stops_sends_what_was_gathered() -> None:
    async def main() -> None:
        scene = Scene()
        protocol = scene.connected()
        protocol.write_soon(b"the last answer")
        protocol.part_soon()
        assert scene.seen == [("sent", b"the last answer"), ("closed", None)]

    run(main)
