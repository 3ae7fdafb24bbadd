"""What a stranger may send to a master before any key was looked at."""

import asyncio
import gc

import pytest

from millrace.programs.http.last_words import HEAD_LIMIT
from millrace.programs.http.listen import listen
from millrace.programs.http.server import HttpServer


async def app(scope, receive, send):
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def talk(*pieces, times=1):
    """What the server answers until it closes the connection."""

    async def main():
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        async with HttpServer(app, listening, certificate=None, key=None, before_stop=lambda: None):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for _ in range(times):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                answer = await reader.read()
            except ConnectionError:
                answer = b"reset"
            finally:
                writer.close()
            return answer

    try:
        return asyncio.run(asyncio.wait_for(main(), 20.0))
    finally:
        gc.collect()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /" + b"a" * HEAD_LIMIT + b"b" * 10],
        [b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * HEAD_LIMIT],
        [b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n" * (HEAD_LIMIT // 6 + 1)],
    ],
)
def test_a_head_over_the_limit_is_refused_before_it_ends(pieces):
    assert talk(*pieces).startswith(b"HTTP/1.1 431 ")


def test_trailers_are_bounded_like_headers():
    head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
    # What follows the refusal may meet a closed socket, and the refusal is lost with it.
    assert talk(head, b"x: ", *[b"a" * HEAD_LIMIT] * 8).startswith((b"HTTP/1.1 431 ", b"reset"))


def test_a_body_counts_as_no_head():
    size = 5 * HEAD_LIMIT
    head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
    answer = talk(head, *[b"b" * HEAD_LIMIT] * 5)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"b" * size)


def test_a_body_in_small_chunks_counts_as_no_head():
    head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = talk(head, *[b"1\r\nx\r\n" * 20_000] * 3, b"0\r\n\r\n")
    assert answer.endswith(b"x" * 60_000)


def test_many_requests_on_one_connection_are_counted_apart():
    each = b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * (HEAD_LIMIT // 3) + b"\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    assert talk(*[each] * 8, last).count(b"HTTP/1.1 200 ") == 9
