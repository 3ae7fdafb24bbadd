"""Inputs by URL under attack: what a stranger's URL, name server or web server may try. The canary is a real server of this
machine; it must never be asked.
"""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stranger import LOOPBACK, Asked, Names, Stranger, guard_of, says, stranger

from millrace.edge import certificates
from millrace.outbound.addresses import network
from millrace.outbound.guard import Guard
from millrace.runtime.clock import Clock, SystemClock, VirtualClock
from millrace.worker.control import Control
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching, FetchLimits
from millrace.worker.fetch_http import HttpFetch

FILM = bytes(range(256)) * 400
SECRET = b"the credentials of the machine"
LIMITS = FetchLimits(silence_s=20.0)
ANYWHERE = [network("0.0.0.0/0"), network("::/0")]


async def fetched(
    folder: Path, url: str, guard: Guard, *, limits: FetchLimits = LIMITS, clock: Clock | None = None, **more: Any
) -> bytes:
    """What a fetch of this URL brings."""
    clock = clock or SystemClock()
    fetch = HttpFetch(guard, clock=clock, draw=lambda: 0.0, **more)
    target = folder / "input"
    try:
        await fetch(Fetching(location=url, target=target, limits=limits, control=Control(clock), told=lambda *_: None))
    finally:
        await fetch.close()
    return target.read_bytes()


def refused(
    folder: Path, url: str, guard: Guard, words: str, *, kind: str = "request", clock: Clock | None = None,
    limits: FetchLimits = LIMITS,
) -> str:  # fmt: skip
    """The sentence with which a fetch fails."""
    with pytest.raises(TaskFailedError, match=words) as caught:
        asyncio.run(fetched(folder, url, guard, clock=clock, limits=limits))
    assert caught.value.failure.failure_class == kind
    assert str(caught.value).startswith("cannot fetch ")
    return str(caught.value)


def test_75_what_a_server_calls_its_file_is_nothing_to_us(tmp_path: Path) -> None:
    (tmp_path / "attempt").mkdir()
    headers = (
        "content-disposition: attachment; filename=../../escaped",
        "content-location: file:///etc/passwd",
        "refresh: 0; url=http://127.0.0.1/",
        "set-cookie: a=b",
        "content-type: text/html\x01\x7f",
        "x-" + "a" * 4000 + ": 1",
    )

    async def main() -> None:
        async with stranger(says("200 OK", *headers, body=FILM)) as server:
            url = f"http://127.0.0.1:{server.port}/film.mp4"
            assert await fetched(tmp_path / "attempt", url, Guard(allowed=LOOPBACK)) == FILM

    asyncio.run(main())
    assert sorted(one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*")) == ["attempt", "attempt/input"]


# 27: addresses ----------------------------------------------------------------------------------------------------------

ALWAYS = [
    "169.254.169.254", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "64:ff9b::a9fe:a9fe",
]  # fmt: skip
PRIVATE = ["127.0.0.1", "::1", "10.1.2.3", "172.16.0.9", "192.168.7.7", "100.64.0.1", "fd12::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("address", ALWAYS)
def test_where_clouds_keep_credentials_no_setting_leads(tmp_path: Path, address: str) -> None:
    names = Names(metadata_google_internal=[[address]])
    sentence = refused(tmp_path, "http://metadata.google.internal/computeMetadata/v1/?token=hidden",
                       guard_of(names, allowed=ANYWHERE), "may not be reached")  # fmt: skip
    assert "--input-allow-network" not in sentence
    assert "hidden" not in sentence


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_take_a_setting_that_the_refusal_names(tmp_path: Path, address: str) -> None:
    sentence = refused(tmp_path, "http://nas.example/film.mp4", guard_of(Names(nas_example=[[address]]), allowed=()),
                       r"\(not public\)")  # fmt: skip
    assert "--input-allow-network" in sentence


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
             "[::ffff:127.0.0.1]", "127.0.0.1.", "0", "[0:0:0:0:0:ffff:7f00:1]"],
)  # fmt: skip
def test_28_however_an_address_is_spelled_it_is_judged_as_what_it_is(tmp_path: Path, host: str) -> None:
    async def main() -> None:
        async with stranger(says("200 OK", body=SECRET)) as canary:
            with pytest.raises(TaskFailedError):
                await fetched(
                    tmp_path, f"http://{host}:{canary.port}/", Guard(), limits=FetchLimits(silence_s=20.0, tries=1)
                )
            assert canary.asked == []
            # With the defence off, the canary is asked: it is really there.
            if host in ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost"):
                url = f"http://{host}:{canary.port}/"
                assert await fetched(tmp_path, url, Guard(allowed=LOOPBACK)) == SECRET

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://films.example@127.0.0.1/", "no user and no password"),
        ("http://user:word@films.example/", "no user and no password"),
        ("http://films.example\\@127.0.0.1/", "plain ASCII"),
        ("http://f\u00edlms.example/", "xn--"),
        ("http://films\u3002example/", "xn--"),
        ("http://\u2460\u2461\u2466.0.0.1/", "xn--"),
        ("http://films.example:22/", "must not go to port 22"),
        ("http://films.example:6379x/", "is no URL"),
        ("http://" + "a" * 300 + ".example/", "must name a host"),
        ("http://films.example/" + "a" * 9000, "at most"),
    ],
)
def test_28_a_url_that_two_readers_would_read_in_two_ways_is_refused(tmp_path: Path, url: str, words: str) -> None:
    names = Names(films_example=[["127.0.0.1"]])
    sentence = refused(tmp_path, url, guard_of(names), words)
    assert names.asked == []
    assert "word" not in sentence.partition(": it ")[0]


def test_a_name_with_letters_that_a_url_may_not_hold_is_escaped(tmp_path: Path) -> None:
    async def main() -> str:
        async with stranger(says("200 OK", body=FILM)) as films:
            names = Names(films_example=[["127.0.0.1"]])
            url = f"http://films.example:{films.port}/My Fílm {{1}}.mp4?a=%41"
            assert await fetched(tmp_path, url, guard_of(names)) == FILM
            return films.asked[0].path

    assert asyncio.run(main()) == "/My%20F%C3%ADlm%20%7B1%7D.mp4?a=%41"


# 29: names that lead elsewhere the second time --------------------------------------------------------------------------


def test_29_the_connection_goes_to_the_address_that_was_judged_and_the_name_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            stranger(says("200 OK", body=FILM)) as films,
            stranger(says("200 OK", body=SECRET), host="127.0.0.2", port=films.port) as canary,
        ):
            # Judged is 127.0.0.1; whoever resolved the name once more would come to 127.0.0.2.
            names = Names(films_example=[["127.0.0.1"], ["127.0.0.2"]])
            allowed = [network("127.0.0.1/32")]
            url = f"http://films.example:{films.port}/film.mp4"
            assert await fetched(tmp_path, url, guard_of(names, allowed=allowed)) == FILM
            assert (canary.asked, names.asked) == ([], ["films.example"])
            assert films.asked[0].headers["host"] == f"films.example:{films.port}"
            with pytest.raises(TaskFailedError, match="may not be reached"):
                await fetched(tmp_path, url, guard_of(names, allowed=allowed))

    asyncio.run(main())


def test_29_of_several_addresses_those_that_may_not_be_reached_are_left_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            stranger(says("200 OK", body=FILM)) as films,
            stranger(says("200 OK", body=SECRET), host="127.0.0.2", port=films.port) as canary,
        ):
            allowed = [network("127.0.0.1/32"), network("127.0.0.3/32")]
            names = Names(films_example=[["127.0.0.2", "169.254.169.254", "127.0.0.3", "127.0.0.1"]])
            url = f"http://films.example:{films.port}/film.mp4"
            # Nobody listens at 127.0.0.3, so the next of them is tried.
            assert await fetched(tmp_path, url, guard_of(names, allowed=allowed)) == FILM
            assert canary.asked == []

    asyncio.run(main())


def _tls(names: list[str], folder: Path, authority: certificates.Pair) -> ssl.SSLContext:
    pair = certificates.server_pair(authority, names, datetime.now(UTC))
    (folder / "own.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return context


def test_29_a_certificate_counts_for_its_own_name_also_where_another_has_the_same_address(tmp_path: Path) -> None:
    authority = certificates.new_authority(datetime.now(UTC))
    trusted = ssl.create_default_context(cadata=authority.certificate.decode())

    async def main() -> None:
        tls = _tls(["films.example"], tmp_path, authority)
        async with stranger(says("200 OK", body=FILM), tls=tls) as films:
            names = Names(films_example=[["127.0.0.1"]], bank_example=[["127.0.0.1"]])
            clock = SystemClock()
            fetch = HttpFetch(guard_of(names), clock=clock, draw=lambda: 0.0, tls=trusted)

            async def take(host: str) -> None:
                await fetch(
                    Fetching(
                        location=f"https://{host}:{films.port}/film.mp4", target=tmp_path / host,
                        limits=FetchLimits(silence_s=20.0, tries=1), control=Control(clock), told=lambda *_: None,
                    )
                )  # fmt: skip

            await take("films.example")
            assert (tmp_path / "films.example").read_bytes() == FILM
            # A connection to this address is there, or was: the other name may not have it.
            with pytest.raises(TaskFailedError, match="its certificate is none of this name"):
                await take("bank.example")
            assert len(films.asked) == 1
            await fetch.close()

    asyncio.run(main())


# 30: redirects ----------------------------------------------------------------------------------------------------------


def _leading(location: str) -> Any:
    return says("302 Found", f"location: {location}")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://inner.example:{port}/", r"redirects to http://inner\.example:\d+, which leads to an address"),
        ("http://127.0.0.2:{port}/", r"redirects to http://127\.0\.0\.2:\d+, which leads to an address"),
        ("//inner.example:{port}/", "which leads to an address"),
        ("http://169.254.169.254/latest/meta-data/", r"redirects to http://169\.254\.169\.254, which"),
        ("file:///etc/passwd", "redirects to file://, which must begin with https"),
        ("gopher://127.0.0.2:{port}/x", "which must begin with https"),
        ("http://films.example:x/", "which is no URL"),
        ("http://[::1/", "redirects to nowhere"),
        ("http://user@127.0.0.2:{port}/", "which must hold no user"),
        ("", "redirects to nowhere"),
    ],
)
def test_30_each_redirect_is_judged_as_the_url_was(tmp_path: Path, location: str, words: str) -> None:
    async def main() -> None:
        async with (
            stranger(says("200 OK", body=b"")) as films,
            stranger(says("200 OK", body=SECRET), host="127.0.0.2", port=films.port) as canary,
        ):
            films.serve = _leading(location.format(port=films.port))
            names = Names(**{"films_example": [["127.0.0.1"]], "inner_example": [["127.0.0.2"]],
                             "127_0_0_2": [["127.0.0.2"]], "169_254_169_254": [["169.254.169.254"]]})  # fmt: skip
            guard = guard_of(names, allowed=[network("127.0.0.1/32")])
            with pytest.raises(TaskFailedError, match=words) as caught:
                await fetched(tmp_path, f"http://films.example:{films.port}/film.mp4?key=hidden", guard)
            assert (canary.asked, len(films.asked)) == ([], 1)
            assert "hidden" not in str(caught.value)

    asyncio.run(main())


def test_30_with_the_inner_network_allowed_the_redirect_arrives(tmp_path: Path) -> None:
    """The attack of the test above, with its defence off."""

    async def main() -> None:
        async with (
            stranger(says("200 OK", body=b"")) as films,
            stranger(says("200 OK", body=SECRET), host="127.0.0.2", port=films.port) as canary,
        ):
            films.serve = _leading(f"http://inner.example:{films.port}/")
            names = Names(films_example=[["127.0.0.1"]], inner_example=[["127.0.0.2"]])
            assert await fetched(tmp_path, f"http://films.example:{films.port}/", guard_of(names)) == SECRET
            assert len(canary.asked) == 1

    asyncio.run(main())


def test_30_five_redirects_and_no_more(tmp_path: Path) -> None:
    async def hops(asked: Asked, writer: asyncio.StreamWriter) -> None:
        left = int(asked.path.rpartition("/")[2])
        await (_leading(f"/hop/{left - 1}") if left else says("200 OK", body=FILM))(asked, writer)

    async def main() -> None:
        async with stranger(hops) as films:
            guard = guard_of(Names(films_example=[["127.0.0.1"]]))
            base = f"http://films.example:{films.port}/hop"
            assert await fetched(tmp_path, f"{base}/5", guard) == FILM
            films.asked.clear()
            with pytest.raises(TaskFailedError, match="more than 5 redirects"):
                await fetched(tmp_path, f"{base}/50", guard)
            assert len(films.asked) == 6

    asyncio.run(main())


def test_30_no_redirect_leads_from_https_to_http(tmp_path: Path) -> None:
    authority = certificates.new_authority(datetime.now(UTC))
    trusted = ssl.create_default_context(cadata=authority.certificate.decode())

    async def main() -> None:
        tls = _tls(["films.example"], tmp_path, authority)
        async with (
            stranger(says("200 OK", body=SECRET)) as plain,
            stranger(_leading(f"http://films.example:{plain.port}/"), tls=tls) as films,
        ):
            guard = guard_of(Names(films_example=[["127.0.0.1"]]))
            with pytest.raises(TaskFailedError, match="redirects from https to http://films"):
                await fetched(tmp_path, f"https://films.example:{films.port}/", guard, tls=trusted)
            assert (len(films.asked), plain.asked) == (1, [])

    asyncio.run(main())


# 31: bodies and heads ---------------------------------------------------------------------------------------------------


async def _serving(tmp_path: Path, serve: Any, **more: Any) -> tuple[bytes, Stranger]:
    async with stranger(serve) as films:
        guard = guard_of(Names(films_example=[["127.0.0.1"]]))
        return await fetched(tmp_path, f"http://films.example:{films.port}/film.mp4", guard, **more), films


def _fails(tmp_path: Path, serve: Any, words: str, kind: str, **more: Any) -> None:
    with pytest.raises(TaskFailedError, match=words) as caught:
        asyncio.run(_serving(tmp_path, serve, **more))
    assert caught.value.failure.failure_class == kind


async def _endless(_: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


def test_31_a_body_without_end_ends_at_the_limit(tmp_path: Path) -> None:
    limits = FetchLimits(silence_s=20.0, largest_bytes=1_000_000)
    _fails(tmp_path, _endless, "it is longer than", "input", limits=limits)
    assert (tmp_path / "input").stat().st_size <= 1_000_000


def test_31_a_body_without_end_leaves_the_room_that_must_be_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(folder: Path) -> int:
        return 100_000_000 - sum(one.stat().st_size for one in folder.iterdir())

    monkeypatch.setattr("millrace.worker.disk.free_bytes", left)
    limits = FetchLimits(silence_s=20.0, keep_free_bytes=60_000_000, largest_bytes=200_000_000)
    _fails(tmp_path, _endless, "does not say how long it is, and there is too little room", "disk", limits=limits)
    assert (tmp_path / "input").stat().st_size < 60_000_000


def test_31_a_packed_body_is_refused_and_never_unpacked(tmp_path: Path) -> None:
    serve = says("200 OK", "content-encoding: gzip", body=b"\x1f\x8b" + b"\0" * 1000)
    _fails(tmp_path, serve, r"the server packs it \(gzip\)", "input")


def test_31_a_server_that_says_more_than_it_has_is_given_up(tmp_path: Path) -> None:
    async def lying(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if "range" in asked.headers:
            await says("416 Range Not Satisfiable")(asked, writer)
        else:
            await says("200 OK", "content-length: 999999", 'etag: "one"', body=FILM)(asked, writer)
        writer.close()

    _fails(tmp_path, lying, "answered 416.*tried 4 times", "network")


def test_31_what_comes_beyond_the_length_that_was_said_is_no_part_of_it(tmp_path: Path) -> None:
    async def more(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await says("200 OK", "content-length: 100", body=FILM)(asked, writer)

    data, _ = asyncio.run(_serving(tmp_path, more))
    assert data == FILM[:100]


def test_31_a_head_without_end_is_no_answer(tmp_path: Path) -> None:
    async def heads(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(10**6):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
            await writer.drain()

    _fails(tmp_path, heads, "tried 1 times", "network", limits=FetchLimits(silence_s=20.0, tries=1))


class _Sped(SystemClock):
    """Time that passes faster by as much as a test says, wherever it is waited for."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def test_31_a_slow_drip_is_told_from_a_slow_line(tmp_path: Path) -> None:
    clock = _Sped()
    size = 300_000

    def dripping(each: int) -> Any:
        async def drip(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(0, size, each):
                # Each piece comes ten seconds after the one before, which is no silence yet.
                clock.ahead_s += 10.0
                writer.write(b"x" * each)
                await writer.drain()
                await asyncio.sleep(0)

        return drip

    limits = FetchLimits(silence_s=20.0, least_bytes=64 << 10, span_s=60.0)
    _fails(tmp_path, dripping(100), "there came .* bytes of it", "network", limits=limits, clock=clock)
    data, _ = asyncio.run(_serving(tmp_path, dripping(30_000), limits=limits, clock=clock))
    assert len(data) == size


def test_31_a_head_that_drips_ends_with_its_time(tmp_path: Path) -> None:
    """Each byte comes before the silence is too long, so that alone would wait for ever."""

    async def main() -> None:
        clock = VirtualClock()
        begun = asyncio.Event()

        async def drip(_: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            begun.set()
            await asyncio.Event().wait()

        async with stranger(drip) as films:
            guard = guard_of(Names(films_example=[["127.0.0.1"]]))
            fetching = asyncio.create_task(
                fetched(tmp_path, f"http://films.example:{films.port}/", guard, clock=clock,
                        limits=FetchLimits(silence_s=30.0, tries=1))
            )  # fmt: skip
            await asyncio.wait_for(begun.wait(), 60)
            await clock.advance(59.0)
            assert not fetching.done()
            await clock.advance(2.0)
            with pytest.raises(TaskFailedError, match="no whole answer began within 60 s"):
                await asyncio.wait_for(fetching, 60)

    asyncio.run(main())


class _Changing:
    """A film that is broken off once and goes on as another one."""

    def __init__(self, tag: str = '"two"', total: int = len(FILM), start: int | None = None) -> None:
        self.tag, self.total, self.start = tag, total, start
        self.ranges: list[str | None] = []

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        asked_range = asked.headers.get("range")
        self.ranges.append(asked_range)
        if len(self.ranges) == 1:
            await says("200 OK", f"content-length: {len(FILM)}", 'etag: "one"', body=FILM[:1000])(asked, writer)
            await writer.drain()
            writer.close()
        elif asked_range is not None:
            start = 1000 if self.start is None else self.start
            # It does not heed If-Range, and sends the rest of another file.
            content = f"content-range: bytes {start}-{self.total - 1}/{self.total}"
            await says("206 Partial Content", content, f"etag: {self.tag}", body=b"?" * (self.total - start))(
                asked, writer
            )
        else:
            await says("200 OK", f"etag: {self.tag}", body=FILM[::-1])(asked, writer)


@pytest.mark.parametrize(
    "changing",
    [
        _Changing(),
        _Changing(tag='"one"', total=5000),
        _Changing(tag='"one"', start=999),
        _Changing(tag='"one"', start=0),
        _Changing(tag='W/"one"'),
    ],
    ids=["tag", "length", "earlier", "whole", "weak"],
)
def test_31_two_files_are_never_mixed_though_the_server_answers_a_range_of_another_one(
    tmp_path: Path, changing: _Changing
) -> None:
    limits = FetchLimits(silence_s=20.0, tries=3)
    try:
        data, _ = asyncio.run(_serving(tmp_path, changing, limits=limits))
    except TaskFailedError as error:
        assert "another range" in str(error)  # noqa: PT017
        assert changing.start is not None
    else:
        assert data == FILM[::-1]
        assert changing.ranges == [None, "bytes=1000-", None]
