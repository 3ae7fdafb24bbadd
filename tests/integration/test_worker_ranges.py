"""Some bytes of an input, from real servers: resumed where they break off, compared with their digests, and all of it where need be."""

import asyncio
import hashlib
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from test_worker_places import FILM, Films, bucket, served

from millrace.blobs.local import LocalBlobs
from millrace.blobs.location import open_blobs
from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Bundle, Ranges, Span
from millrace.outbound.addresses import EVERYWHERE
from millrace.outbound.guard import Guard
from millrace.runtime.clock import SystemClock
from millrace.worker.control import Control
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching, FetchLimits, NoRangesError
from millrace.worker.fetch_http import HttpFetch
from millrace.worker.object_store import ObjectFetch

SPANS: tuple[tuple[Span, ...], ...] = (((0, 5000),), ((100_000, 150_000), (200_000, 200_001)), ((500_000, 512_000),))


def ranges_of(*bundles: tuple[Span, ...], data: bytes = FILM) -> Ranges:
    digests = [hashlib.sha256(b"".join(data[begin:end] for begin, end in spans)).hexdigest() for spans in bundles]
    found = (Bundle(spans=spans, sha256=digest) for spans, digest in zip(bundles, digests, strict=True))
    return Ranges(size=len(data), bundles=tuple(found))


def with_holes(*bundles: tuple[Span, ...]) -> bytes:
    found = bytearray(len(FILM))
    for spans in bundles:
        for begin, end in spans:
            found[begin:end] = FILM[begin:end]
    return bytes(found)


def fetching(location: str, target: Path, ranges: Ranges, told: Callable[[int, int | None], None]) -> Fetching:
    clock = SystemClock()
    limits = FetchLimits(silence_s=60.0)
    return Fetching(location=location, target=target, limits=limits, control=Control(clock), told=told, ranges=ranges)


def fetched(tmp_path: Path, films: Any, ranges: Ranges) -> tuple[bytes, list[tuple[int, int | None]]]:
    """What is in the file then, and what was told on the way."""
    told: list[tuple[int, int | None]] = []

    async def main(url: str) -> bytes:
        fetch = HttpFetch(Guard(allowed=EVERYWHERE), clock=SystemClock(), draw=lambda: 0.0)
        target = tmp_path / "input"
        async with AsyncExitStack() as stack:
            stack.push_async_callback(fetch.close)
            await fetch(fetching(f"{url}/film.mp4", target, ranges, lambda *said: told.append(said)))
        return target.read_bytes()

    with served(*films.routes()) as url:
        return asyncio.run(main(url)), told


def test_only_these_bytes_come_and_holes_lie_between(tmp_path: Path) -> None:
    films = Films()
    found, told = fetched(tmp_path, films, ranges_of(*SPANS))
    assert found == with_holes(*SPANS)
    assert sorted(films.asked) == ["bytes=0-4999", "bytes=100000-149999", "bytes=200000-200000", "bytes=500000-511999"]
    assert told[-1] == (67_001, 67_001)


def test_a_range_that_breaks_off_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    films = Films()
    films.cut = [1000, 0, 20_000]
    found, _ = fetched(tmp_path, films, ranges_of(((100_000, 150_000),)))
    assert found == with_holes(((100_000, 150_000),))
    assert films.asked == ["bytes=100000-149999", "bytes=101000-149999", "bytes=101000-149999", "bytes=121000-149999"]


def test_a_server_that_breaks_off_always_is_given_up(tmp_path: Path) -> None:
    films = Films()
    films.cut = [0] * 10
    with pytest.raises(TaskFailedError, match="tried 4 times") as caught:
        fetched(tmp_path, films, ranges_of(((100_000, 150_000),)))
    assert caught.value.failure.failure_class is FailureClass.NETWORK


class Altered(Films):
    """Films whose first answers have one byte that is another."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def film(self, request: Any) -> Any:
        response = super().film(request)
        if self.times:
            self.times -= 1
            response.body = response.body[:-1] + bytes([response.body[-1] ^ 1])
        return response


def test_what_came_otherwise_is_fetched_once_more(tmp_path: Path) -> None:
    films = Altered(1)
    found, _ = fetched(tmp_path, films, ranges_of(((100_000, 150_000),)))
    assert found == with_holes(((100_000, 150_000),))
    assert len(films.asked) == 2


def test_a_film_that_is_another_by_now_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match="bytes from 100000 on are not those that it had") as caught:
        fetched(tmp_path, Altered(2), ranges_of(((100_000, 150_000),)))
    assert caught.value.failure.failure_class is FailureClass.INPUT


def test_a_film_of_another_length_is_refused_before_its_bytes_come(tmp_path: Path) -> None:
    films = Films()
    films.data = FILM + b"more"
    with pytest.raises(TaskFailedError, match="it has 512004 bytes, and had 512000"):
        fetched(tmp_path, films, ranges_of(((100_000, 150_000),)))


def test_an_input_that_is_too_long_is_refused_whatever_is_wanted_of_it(tmp_path: Path) -> None:
    huge = Ranges(size=1 << 60, bundles=ranges_of(((0, 10),)).bundles)
    with pytest.raises(TaskFailedError, match="it is longer than"):
        fetched(tmp_path, Films(), huge)


class Unranged(Films):
    """A server that knows no ranges."""

    def film(self, request: Any) -> Any:
        self.asked.append(request.headers.get("range"))
        return Response(self.data)


def test_a_server_without_ranges_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(NoRangesError):
        fetched(tmp_path, Unranged(), ranges_of(((100_000, 150_000),)))


def test_of_a_server_without_ranges_the_beginning_can_be_had(tmp_path: Path) -> None:
    found, _ = fetched(tmp_path, Unranged(), ranges_of(((0, 5000),)))
    assert found == with_holes(((0, 5000),))


def test_ranges_of_an_object(tmp_path: Path) -> None:
    async def main() -> bytes:
        async def once() -> Any:
            yield FILM

        await bucket(tmp_path)("s3://films").put("a/film.mp4", once())
        fetch = ObjectFetch(bucket(tmp_path), clock=SystemClock(), draw=random.Random(1).random)
        await fetch(fetching("s3://films/a/film.mp4", tmp_path / "input", ranges_of(*SPANS), lambda *_: None))
        return (tmp_path / "input").read_bytes()

    assert asyncio.run(main()) == with_holes(*SPANS)


def test_a_store_that_gives_all_for_a_range_is_asked_for_none(tmp_path: Path) -> None:
    class Whole(LocalBlobs):
        serves_ranges = False

    async def main() -> None:
        fetch = ObjectFetch(lambda _: Whole(tmp_path), clock=SystemClock(), draw=random.Random(1).random)
        with pytest.raises(NoRangesError):
            await fetch(fetching("s3://films/film.mp4", tmp_path / "input", ranges_of(*SPANS), lambda *_: None))

    asyncio.run(main())


def test_ranges_of_an_object_in_a_bucket(tmp_path: Path, s3_endpoint: str) -> None:
    """Whether that server knows ranges or not."""
    keys = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret-value"}
    location = f"s3://media/{tmp_path.name}?endpoint={s3_endpoint}"

    async def main() -> bytes | None:
        async def once() -> Any:
            yield FILM

        await open_blobs(location, environ=keys).put("film.mp4", once())
        target = tmp_path / "input"
        fetch = ObjectFetch(
            lambda _: open_blobs(location, environ=keys), clock=SystemClock(), draw=random.Random(1).random
        )
        try:
            await fetch(fetching("s3://media/film.mp4", target, ranges_of(*SPANS), lambda *_: None))
        except NoRangesError:
            return None
        return await asyncio.to_thread(target.read_bytes)

    assert asyncio.run(main()) in (with_holes(*SPANS), None)
