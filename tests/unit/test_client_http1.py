"""HTTP/1.1 as clients speak it, byte by byte."""

import pytest

from millrace.client.calls import Call, FileSlice
from millrace.client.http1 import LARGEST_HEAD_BYTES, BadAnswer, Lines, Origin, Reading, head

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: a\r\nx-one: b\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\ntrailer: 1\r\n\r\n"
HINTED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + PLAIN
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def a_call(method="GET", **more):
    return Call(method=method, path="/v1/x", read=lambda answer: answer, **more)


def read(data, size):
    reading, body = Reading(), b""
    for at in range(0, len(data), size):
        body += b"".join(reading.feed(data[at : at + size]))
    return reading, body


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("data", "status", "body", "reusable"),
    [
        (PLAIN, 200, b"hello", True),
        (CHUNKED, 200, b"hello", True),
        (HINTED, 200, b"hello", True),
        (EMPTY, 204, b"", True),
        (CLOSING, 200, b"hello", False),
        (OLD, 200, b"hello", False),
    ],
)
def test_an_answer_in_pieces_of_any_size(data, size, status, body, reusable):
    reading, found = read(data, size)
    assert (reading.status, found, reading.ended, reading.reusable) == (status, body, True, reusable)
    assert "link" not in reading.headers


def test_headers_of_one_name_are_a_list():
    reading, _ = read(PLAIN, 1000)
    assert reading.headers == {"content-length": "5", "x-one": "a, b"}


def test_a_body_without_a_length_ends_with_the_connection():
    reading, body = read(b"HTTP/1.1 200 OK\r\n\r\nhello", 1000)
    assert (body, reading.ended) == (b"hello", False)
    reading.close()
    assert (reading.ended, reading.reusable) == (True, False)


@pytest.mark.parametrize("data", [PLAIN, CHUNKED])
def test_what_is_cut_off_is_no_answer(data):
    for length in range(len(data)):
        reading, _ = read(data[:length], 1000)
        with pytest.raises(BadAnswer, match="closed the connection"):
            reading.close()


@pytest.mark.parametrize("size", [1, 1000])
def test_what_nobody_asked_for_is_not_taken_for_the_next_answer(size):
    reading, body = read(PLAIN + b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nevil", size)
    assert (reading.status, body, reading.ended, reading.reusable) == (200, b"hello", True, False)
    assert reading.headers["content-length"] == "5"


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"])  # fmt: skip
def test_what_is_no_answer_is_said_to_be_none(data):
    with pytest.raises(BadAnswer, match="no HTTP"):
        read(data, 1000)


def test_a_head_without_end_is_not_read_for_ever():
    with pytest.raises(BadAnswer, match="head that does not end"):
        read(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * LARGEST_HEAD_BYTES, 4096)


@pytest.mark.parametrize(
    ("base", "secure", "host", "port", "authority", "prefix"),
    [
        ("http://a", False, "a", 80, "a", ""),
        ("https://a/farm", True, "a", 443, "a", "/farm"),
        ("http://[::1]:8080", False, "::1", 8080, "[::1]:8080", ""),
    ],
)
def test_where_a_master_is(base, secure, host, port, authority, prefix):
    assert Origin.of(base) == Origin(secure=secure, host=host, port=port, authority=authority, prefix=prefix)


def test_a_request(tmp_path):
    origin = Origin.of("http://a:1/farm")
    assert head(a_call(query=(("q", "a&b"),)), origin, {"x": "1"}) == b"GET /farm/v1/x?q=a%26b HTTP/1.1\r\nhost: a:1\r\nx: 1\r\n\r\n"  # fmt: skip
    # The length is always declared, also that of nothing.
    assert b"\r\ncontent-length: 0\r\n" in head(a_call("POST"), origin, {})
    part = FileSlice(path=tmp_path / "film", offset=2, length=7)
    assert b"\r\ncontent-length: 7\r\n" in head(a_call("PATCH", body=part), origin, {})


def test_lines_from_pieces():
    lines = Lines()
    found = [line for piece in (b"a\r", b"\nb\n\n\xc3", b"\xbc\nrest") for line in lines.feed(piece)]
    assert found == ["a", "b", "", "ü"]
