"""What clients do with their connections, blocking and on an event loop, against a peer that plays a script."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest

from millrace.client import async_connections, connections
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Call, FileSlice, Repeat
from millrace.client.client import Client
from millrace.client.errors import InterruptedTransferError, RefusedError, UnauthorizedError, UnreachableError
from millrace.client.http import Terms, trust

PATIENCE_S = 60.0
CERTIFICATES = Path(__file__).parent / "certificates"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

Script = Callable[[socket.socket], None]
"""Plays one connection; it is closed afterwards."""


class Peer:
    """Listens; the connections that come play the scripts in turn, and the last one again and again."""

    def __init__(self, *scripts: Script, place: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts)
        self._tls = tls
        self.came = 0
        self._socket = socket.socket(socket.AF_INET if place is None else socket.AF_UNIX)
        self._socket.bind(("127.0.0.1", 0) if place is None else str(place))
        self._socket.listen()
        scheme = "http" if tls is None else "https"
        self.url = "http://peer" if place else f"{scheme}://localhost:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._play, daemon=True).start()

    def _play(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            self.came += 1
            line.settimeout(PATIENCE_S)
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            with contextlib.suppress(OSError), line:
                script(line if self._tls is None else self._tls.wrap_socket(line, server_side=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def request_of(line: socket.socket) -> bytes:
    """The head of a request; its body is read too where there is one."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = line.recv(4096)
        if not piece:
            return b""
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    for name in head.split(b"\r\n"):
        if name.startswith(b"content-length: "):
            left = int(name.partition(b": ")[2]) - len(body)
            while left > 0 and (piece := line.recv(65536)):
                left -= len(piece)
    return head


def answers(text: bytes = HELLO) -> Script:
    """Answers every request in the same way."""

    def play(line: socket.socket) -> None:
        while request_of(line):
            line.sendall(text)

    return play


def a_call(method: str = "GET", **more: object) -> Call[bytes]:
    return Call(method=method, path="/v1/x", read=lambda answer: answer.body, **more)


class Blocking:
    """The client for commands."""

    def __init__(self, peer: Peer, terms: Terms, place: Path | None) -> None:
        self.client = Client([peer.url], terms, place=place, wait=lambda _: None)

    async def do(self, call: Call[bytes]) -> bytes:
        return await asyncio.to_thread(self.client.do, call)

    async def first_piece(self, call: Call[bytes]) -> bytes:
        def read() -> bytes:
            with self.client.stream(call) as response:
                return next(response.pieces())

        return await asyncio.to_thread(read)

    async def all_pieces(self, call: Call[bytes]) -> bytes:
        def read() -> bytes:
            with self.client.stream(call) as response:
                return b"".join(response.pieces())

        return await asyncio.to_thread(read)

    async def close(self) -> None:
        self.client.close()


class OnALoop:
    """The client of workers."""

    def __init__(self, peer: Peer, terms: Terms, place: Path | None) -> None:
        self.client = AsyncClient([peer.url], terms, place=place)

    async def do(self, call: Call[bytes]) -> bytes:
        return await self.client.do(call)

    async def first_piece(self, call: Call[bytes]) -> bytes:
        async with self.client.stream(call) as response:
            async for piece in response.pieces():
                return piece
        return b""

    async def all_pieces(self, call: Call[bytes]) -> bytes:
        async with self.client.stream(call) as response:
            return b"".join([piece async for piece in response.pieces()])

    async def close(self) -> None:
        await self.client.close()


Kind = type[Blocking] | type[OnALoop]


@pytest.fixture(params=[Blocking, OnALoop], ids=["blocking", "on a loop"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@contextlib.asynccontextmanager
async def talking(
    kind: Kind, peer: Peer, place: Path | None = None, **terms: object
) -> AsyncIterator[Blocking | OnALoop]:
    talk = kind(peer, Terms(**{"patience_s": 0.0, **terms}), place)
    try:
        yield talk
    finally:
        await talk.close()


def test_a_connection_carries_one_request_after_the_other(kind: Kind) -> None:
    async def main() -> None:
        with Peer(answers()) as peer:
            async with talking(kind, peer) as talk:
                for _ in range(3):
                    assert await talk.do(a_call()) == b"hello"
                    assert await talk.do(a_call("POST", body=b"x" * 100_000)) == b"hello"
                    assert await talk.all_pieces(a_call()) == b"hello"
            assert peer.came == 1

    asyncio.run(main())


def test_a_connection_that_was_closed_meanwhile_is_not_used_again(kind: Kind) -> None:
    closed = threading.Event()

    def once(line: socket.socket) -> None:
        request_of(line)
        line.sendall(HELLO)
        line.shutdown(socket.SHUT_RDWR)
        closed.set()

    async def main() -> None:
        with Peer(once, answers()) as peer:
            async with talking(kind, peer) as talk:
                # It must not be told as a broken connection, after which this call could not be sent again.
                assert await talk.do(a_call("POST", repeat=Repeat.UNSENT)) == b"hello"
                await asyncio.to_thread(closed.wait, PATIENCE_S)
                await asyncio.sleep(0)
                assert await talk.do(a_call("POST", repeat=Repeat.UNSENT)) == b"hello"
            assert peer.came == 2

    asyncio.run(main())


def test_what_nobody_asked_for_is_no_answer_to_the_next_request(kind: Kind) -> None:
    said, asked = threading.Event(), threading.Event()

    def twice(line: socket.socket) -> None:
        request_of(line)
        line.sendall(HELLO)
        asked.wait(PATIENCE_S)
        line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        said.set()
        line.recv(1)  # until it is dropped

    async def main() -> None:
        with Peer(twice, answers()) as peer:
            async with talking(kind, peer) as talk:
                assert await talk.do(a_call()) == b"hello"
                asked.set()
                await asyncio.to_thread(said.wait, PATIENCE_S)
                for _ in range(10):  # what came is seen at the next turn of the loop
                    await asyncio.sleep(0)
                assert await talk.do(a_call()) == b"hello"
            assert peer.came == 2

    asyncio.run(main())


def test_an_idle_connection_is_taken_for_a_good_one_for_a_while_only(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (connections, async_connections):
        monkeypatch.setattr(module, "FRESH_S", -1.0)

    async def main() -> None:
        with Peer(answers()) as peer:
            async with talking(kind, peer) as talk:
                await talk.do(a_call())
                await talk.do(a_call())
            assert peer.came == 2

    asyncio.run(main())


def test_a_stream_that_is_left_early_is_not_used_again(kind: Kind) -> None:
    async def main() -> None:
        with Peer(answers(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhello"), answers()) as peer:
            async with talking(kind, peer) as talk:
                assert await talk.first_piece(a_call()) == b"hello"
                assert await talk.do(a_call()) == b"hello"
            assert peer.came == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "it closed the connection without an answer"),
        (HELLO[:-1], "it closed the connection in the middle of its answer"),
        (b"220 mail.example ESMTP\r\n", "it answered with something that is no HTTP"),
    ],
)
def test_what_went_wrong_is_said(kind: Kind, said: bytes, words: str) -> None:
    def play(line: socket.socket) -> None:
        request_of(line)
        line.sendall(said)

    async def main() -> None:
        with Peer(play) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(UnreachableError, match=f"cannot reach the master at {peer.url}: {words}"):
                    await talk.do(a_call())
                with pytest.raises(UnreachableError, match="; it may have been done all the same"):
                    await talk.do(a_call("POST", repeat=Repeat.UNSENT))

    asyncio.run(main())


def test_a_reset_is_said_in_the_systems_words(kind: Kind) -> None:
    def reset(line: socket.socket) -> None:
        request_of(line)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def main() -> None:
        with Peer(reset) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(UnreachableError, match=r": Connection reset by peer$"):
                    await talk.do(a_call())

    asyncio.run(main())


def test_nobody_waits_for_ever(kind: Kind) -> None:
    def silent(line: socket.socket) -> None:
        line.recv(1 << 20)
        line.recv(1)  # until the other end has had enough

    async def main() -> None:
        with Peer(silent) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(UnreachableError, match=r"no answer within 0\.05 s"):
                    await talk.do(a_call(silence_s=0.05))

    asyncio.run(main())


def test_a_stream_that_breaks_off_says_so(kind: Kind) -> None:
    def play(line: socket.socket) -> None:
        request_of(line)
        line.sendall(HELLO[:-2])

    async def main() -> None:
        with Peer(play) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(
                    InterruptedTransferError, match="cannot read all of /v1/x: it closed the connection"
                ):
                    await talk.all_pieces(a_call())

    asyncio.run(main())


def test_a_refusal_is_heard_while_the_body_is_still_being_sent(kind: Kind, tmp_path: Path) -> None:
    film = tmp_path / "film"
    with film.open("wb") as file:
        file.truncate(64 << 20)

    def refuse(line: socket.socket) -> None:
        line.recv(4096)
        line.sendall(b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while line.recv(1 << 20):  # a close with bytes unread would take the answer along (RFC 9112, 9.6)
                pass

    def refuse_and_be_gone(line: socket.socket) -> None:
        line.recv(4096)
        line.sendall(b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")

    async def main() -> None:
        # An event loop may hear of the end before it hears the answer; who blocks reads what there is.
        with Peer(refuse if kind is OnALoop else refuse_and_be_gone) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(UnauthorizedError):
                    await talk.do(a_call("PUT", body=FileSlice(path=film, offset=0, length=64 << 20)))

    asyncio.run(main())


def test_a_file_that_became_shorter_is_the_files_fault_and_one_that_is_gone_too(kind: Kind, tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.write_bytes(b"x" * 10)

    async def main() -> None:
        with Peer(answers()) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(InterruptedTransferError, match="it became shorter while it was read"):
                    await talk.do(a_call("PUT", body=FileSlice(path=film, offset=0, length=11)))
                with pytest.raises(FileNotFoundError):
                    await talk.do(a_call("PUT", body=FileSlice(path=tmp_path / "none", offset=0, length=1)))
                assert await talk.do(a_call("PUT", body=FileSlice(path=film, offset=2, length=8))) == b"hello"

    asyncio.run(main())


def test_a_unix_socket(kind: Kind, tmp_path: Path) -> None:
    place = tmp_path / "s.sock"

    async def main() -> None:
        with Peer(answers(), place=place) as peer:
            async with talking(kind, peer, place) as talk:
                assert await talk.do(a_call()) == await talk.do(a_call()) == b"hello"
            async with talking(kind, peer, tmp_path / "none") as talk:
                with pytest.raises(UnreachableError, match="No such file or directory"):
                    await talk.do(a_call())
            assert peer.came == 1

    asyncio.run(main())


def serving(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / certificate)
    return context


def test_tls_by_an_authority_that_is_named(kind: Kind) -> None:
    async def main() -> None:
        with Peer(answers(), tls=serving("localhost.pem")) as peer:
            async with talking(kind, peer, tls=trust(CERTIFICATES / "localhost.pem")) as talk:
                assert await talk.do(a_call()) == await talk.do(a_call()) == b"hello"
            assert peer.came == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("shown", "authority"), [("localhost.pem", None), ("localhost.pem", "elsewhere.pem"), ("ended.pem", "ended.pem")]
)
def test_a_certificate_that_is_not_trusted_ends_it_at_once(kind: Kind, shown: str, authority: str | None) -> None:
    async def main() -> None:
        trusted = trust(CERTIFICATES / authority) if authority else None
        with Peer(answers(), tls=serving(shown)) as peer:
            async with talking(kind, peer, tls=trusted, patience_s=1000.0, eager=True) as talk:
                with pytest.raises(UnreachableError, match="certificate verify failed"):
                    await talk.do(a_call())

    asyncio.run(main())


def test_a_key_that_would_be_a_header_of_its_own_is_refused_and_not_shown(kind: Kind) -> None:
    with Peer(answers()) as peer, pytest.raises(ValueError, match="cannot use the API key") as caught:
        kind(peer, Terms(key="secret\r\nx-role: admin"), None)
    assert "secret" not in str(caught.value)


def test_who_is_cancelled_leaves_no_connection_behind() -> None:
    async def main() -> None:
        asked, gone = threading.Event(), threading.Event()

        def silent(line: socket.socket) -> None:
            request_of(line)
            asked.set()
            with contextlib.suppress(ConnectionError):
                line.recv(1)
            gone.set()

        with Peer(silent) as peer:
            async with talking(OnALoop, peer) as talk:
                waiting = asyncio.ensure_future(talk.do(a_call()))
                await asyncio.to_thread(asked.wait, PATIENCE_S)
                waiting.cancel()
                await asyncio.wait((waiting,))
                assert await asyncio.to_thread(gone.wait, PATIENCE_S)

    asyncio.run(main())


def test_a_reader_who_is_slow_holds_the_sender_up() -> None:
    """What nobody reads stays with the sender, not in the memory of the client."""
    size = 64 << 20
    all_sent = threading.Event()

    def pour(line: socket.socket) -> None:
        request_of(line)
        line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        line.sendall(bytes(size))
        all_sent.set()

    async def main() -> None:
        with Peer(pour) as peer:
            client = AsyncClient([peer.url], Terms(patience_s=0.0))
            async with client, client.stream(a_call()) as response:
                pieces = response.pieces()
                got = len(await anext(pieces))
                while response._line.transport.is_reading() and not all_sent.is_set():
                    await asyncio.sleep(0)
                assert not all_sent.is_set()
                async for piece in pieces:
                    got += len(piece)
                assert got == size

    asyncio.run(main())


def test_the_answer_of_a_stranger_is_no_traceback(kind: Kind) -> None:
    async def main() -> None:
        with Peer(answers(b"HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\n<html>")) as peer:
            async with talking(kind, peer) as talk:
                with pytest.raises(RefusedError, match="the master answered 500"):
                    await talk.do(a_call())

    asyncio.run(main())
