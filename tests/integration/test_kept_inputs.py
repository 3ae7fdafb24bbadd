"""Inputs that are kept for the next task: fetched once, within bounds, and never half."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from millrace.domain.failures import FailureClass
from millrace.runtime.clock import Clock, SystemClock, VirtualClock
from millrace.worker import disk, kept_inputs
from millrace.worker.control import Control
from millrace.worker.failure import HandBackError, TaskFailedError
from millrace.worker.fetch import Came, Fetched, Fetcher, Fetching, FetchLimits
from millrace.worker.kept_inputs import KeptInputs
from millrace.worker.roots import Roots

ONE = "upload://u" + "1" * 32
OTHER = "upload://u" + "2" * 32


class Place:
    """A scratch folder with inputs that are kept, and somebody to fetch from; `before` is awaited in the middle of each fetch."""

    def __init__(
        self, folder: Path, *, most_bytes: int = 1000, keep_s: float = 60.0, clock: Clock | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock or SystemClock()
        self.kept = KeptInputs(folder / "inputs", most_bytes=most_bytes, keep_s=keep_s, clock=self.clock)
        self.kept._prepare()
        self.asked: list[str] = []
        self.data = b"film" * 10
        self.version = ""
        self.before: Callable[[], Awaitable[None]] | None = None
        self.fetcher = Fetcher(Roots(()), {"upload": self._remote, "http": self._remote}, self.kept)

    async def _remote(self, fetching: Fetching) -> Came:
        self.asked.append(fetching.location)
        fetching.target.write_bytes(self.data[:7])
        if self.before is not None:
            await self.before()
        if fetching.known and fetching.known == self.version:
            return Came(version=self.version, is_known=True)
        fetching.target.write_bytes(self.data)
        return Came(version=self.version)

    async def fetch(self, name: str, location: str = ONE, *, sha256: str = "") -> Fetched:
        return await self.fetcher.fetch(
            Fetching(
                location=location, target=self.folder / name, limits=FetchLimits(), control=Control(self.clock),
                told=lambda *_: None, sha256=sha256,
            )
        )  # fmt: skip

    @property
    def entries(self) -> list[Path]:
        return [path for path in (self.folder / "inputs").rglob("*") if path.is_file()]


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        first, second = await place.fetch("a"), await place.fetch("b")
        assert (first.moved, second.moved) == (40, 0)
        assert second.path.read_bytes() == place.data
        assert first.path.stat().st_ino == second.path.stat().st_ino
        assert place.asked == [ONE]
        await place.fetch("c", OTHER)
        assert place.asked == [ONE, OTHER]

    asyncio.run(main())


def test_two_tasks_at_once_fetch_it_once(tmp_path: Path) -> None:
    async def main() -> None:
        place, begun, go = Place(tmp_path), asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await go.wait()

        place.before = wait
        first = asyncio.create_task(place.fetch("a"))
        await begun.wait()
        second = asyncio.create_task(place.fetch("b"))
        go.set()
        assert [one.moved for one in await asyncio.gather(first, second)] == [40, 0]
        assert place.asked == [ONE]

    asyncio.run(main())


def test_a_task_that_is_paused_in_its_fetch_does_not_hold_the_others_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        place, begun, go = Place(tmp_path, clock=VirtualClock(auto_advance=True)), asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            if len(place.asked) == 1:
                begun.set()
                await go.wait()

        place.before = wait
        first = asyncio.create_task(place.fetch("a"))
        await begun.wait()
        assert (await place.fetch("b")).moved == 40
        go.set()
        await first

    asyncio.run(main())


def test_a_fetch_that_does_not_end_leaves_nothing_to_be_found(tmp_path: Path) -> None:
    async def main() -> None:
        place, begun = Place(tmp_path), asyncio.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        place.before = wait
        task = asyncio.create_task(place.fetch("a"))
        await begun.wait()
        assert place.entries == []  # a kill at this moment finds no half of it
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        place.before = None
        assert (await place.fetch("a")).path.read_bytes() == place.data
        assert len(place.entries) == 1

    asyncio.run(main())


def test_what_is_in_use_survives_its_removal(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        found = await place.fetch("a")
        await place.kept.make_room(1 << 62)
        assert place.entries == []
        assert found.path.read_bytes() == place.data

    asyncio.run(main())


def test_a_second_fetch_to_the_same_place_does_not_write_into_what_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        await place.fetch("a")
        whole, place.data = place.data, b"other"
        await place.fetch("a", OTHER)
        assert (await place.fetch("b")).path.read_bytes() == whole

    asyncio.run(main())


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        place = Place(tmp_path, most_bytes=100, clock=clock)
        for number in (1, 2):
            await place.fetch(str(number), f"upload://{number}")
            await clock.advance(1)
        await place.fetch("again", "upload://1")
        await clock.advance(1)
        await place.fetch("3", "upload://3")
        asked = list(place.asked)
        await place.fetch("x", "upload://1")
        await place.fetch("y", "upload://3")
        assert place.asked == asked
        await place.fetch("z", "upload://2")
        assert place.asked == [*asked, "upload://2"]

    asyncio.run(main())


def test_what_is_larger_than_all_that_may_be_kept_is_not_kept(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path, most_bytes=39)
        await place.fetch("a")
        assert place.entries == []

    asyncio.run(main())


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        place = Place(tmp_path, clock=clock)
        await place.fetch("a")
        await clock.advance(59)
        await place.fetch("b")  # used once more
        await clock.advance(59)
        assert (await place.fetch("c")).moved == 0
        await clock.advance(61)
        place.kept.tidy()
        assert place.entries == []

    asyncio.run(main())


def test_a_worker_that_starts_anew_finds_what_it_kept_and_a_machine_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        await Place(tmp_path).fetch("a")
        again = Place(tmp_path)
        assert (await again.fetch("b")).moved == 0
        monkeypatch.setattr(kept_inputs, "_boot", lambda: "another")
        booted = Place(tmp_path)
        assert booted.entries == []
        assert (await booted.fetch("c")).moved == 40

    asyncio.run(main())


def test_with_no_room_what_is_kept_goes_before_a_task_is_handed_back(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        await place.fetch("a")

        async def full() -> None:
            if place.entries:
                raise HandBackError("there is too little room", delay_s=1.0)

        place.before = full
        assert (await place.fetch("b", OTHER)).moved == 40
        place.before = _full
        await place.kept.make_room(1 << 62)
        with pytest.raises(HandBackError):
            await place.fetch("c", "upload://3")

    asyncio.run(main())


async def _full() -> None:
    raise HandBackError("there is too little room", delay_s=1.0)


def test_room_is_made_for_what_a_task_needs_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        clock = VirtualClock()
        place = Place(tmp_path, clock=clock)
        for number in (1, 2, 3):
            await place.fetch(str(number), f"upload://{number}")
            await clock.advance(1)
        monkeypatch.setattr(disk, "free_bytes", lambda _: 100 - 40 * len(place.entries))
        await place.fetcher.make_room(50)
        assert len(place.entries) == 1
        assert (await place.fetch("x", "upload://3")).moved == 0

    asyncio.run(main())


def test_an_input_whose_digest_is_known_is_compared_with_it_and_then_kept(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        url = "http://films.example/film.mp4"
        await place.fetch("a", url)
        assert place.entries == []  # nobody can say that it is the same the next time
        known = "c3b1a9e1" + "0" * 56
        with pytest.raises(TaskFailedError, match="not the one that it was when the film was divided") as caught:
            await place.fetch("b", url, sha256=known)
        assert caught.value.failure.failure_class is FailureClass.INPUT
        assert place.entries == []
        await place.fetcher.keep(url, known, place.folder / "b")
        assert (await place.fetch("c", url, sha256=known)).moved == 0
        assert place.entries[0].stat().st_nlink == 3

    asyncio.run(main())


URL = "http://films.example/film.mp4?signature=1"


def test_what_its_server_has_in_the_same_version_does_not_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.version = '"one"'
        assert (await place.fetch("a", URL)).moved == 40
        second = await place.fetch("b", URL)
        assert (second.moved, second.path.read_bytes()) == (0, place.data)
        assert place.asked == [URL, URL]  # it is asked each time
        assert (await place.fetch("c", f"{URL}2")).moved == 40  # the same name elsewhere says nothing

    asyncio.run(main())


def test_another_version_comes_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.version = '"one"'
        await place.fetch("a", URL)
        place.version, place.data = '"two"', b"other"
        assert (await place.fetch("b", URL)).moved == 5
        assert [path.read_bytes() for path in place.entries] == [b"other"]
        assert (await place.fetch("c", URL)).path.read_bytes() == b"other"

    asyncio.run(main())


@pytest.mark.parametrize("version", ["", '"' + "x" * kept_inputs.MOST_VERSION_BYTES])
def test_what_has_no_version_or_an_endless_name_of_one_is_not_kept(tmp_path: Path, version: str) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.version = version
        await place.fetch("a", URL)
        assert place.entries == []

    asyncio.run(main())


def test_what_went_while_its_server_was_asked_is_fetched(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(tmp_path)
        place.version = '"one"'
        await place.fetch("a", URL)

        async def gone() -> None:
            await place.kept.make_room(1 << 62)

        place.before = gone
        found = await place.fetch("b", URL)
        assert (found.moved, found.path.read_bytes()) == (40, place.data)
        assert place.asked == [URL] * 3

    asyncio.run(main())
