"""Writing the audit trail: nothing is told before it is written, nothing is written twice, and a store that fails holds up nobody."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, cast

import pytest

from millrace.domain.chain import pack, unpack
from millrace.runtime.clock import VirtualClock
from millrace.scheduler import journal
from millrace.scheduler.journal import Journal
from millrace.store.store import Store, StoreUnavailableError


class Paper:
    """A store of blocks that takes a write when it is told to, or refuses it."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, list[bytes]] = {}
        self.tries: list[bytes] = []
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.refuses = False
        self.forgets_to_answer = False

    async def add_audit(self, block_id: bytes, body: bytes) -> None:
        self.tries.append(block_id)
        self.asked.set()
        await self.go.wait()
        if self.refuses:
            raise StoreUnavailableError("gone")
        self.blocks.setdefault(block_id, unpack(body))
        if self.forgets_to_answer:
            self.forgets_to_answer = False
            raise StoreUnavailableError("the answer was lost")


class Desk:
    def __init__(self) -> None:
        self.paper = Paper()
        self.clock = VirtualClock()
        self.journal = Journal(cast("Store", self.paper), clock=self.clock, chance=Random(1))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)  # turns of the loop, no waiting


def test_an_entry_is_told_when_it_is_written_and_what_comes_meanwhile_makes_the_next_block() -> None:
    async def work() -> None:
        desk = Desk()
        first = asyncio.ensure_future(desk.journal.note(b"1"))
        await desk.paper.asked.wait()
        others = [asyncio.ensure_future(desk.journal.note(entry)) for entry in (b"2", b"3")]
        await turn()
        assert not first.done()
        desk.paper.go.set()
        await asyncio.gather(first, *others)
        assert list(desk.paper.blocks.values()) == [[b"1"], [b"2", b"3"]]

    run(work())


def test_entries_that_nobody_waits_for_are_gathered() -> None:
    async def work() -> None:
        desk = Desk()
        desk.paper.go.set()
        desk.journal.add(b"1")
        desk.journal.add(b"2")
        await turn()
        assert desk.paper.tries == []
        await desk.clock.advance(journal.GATHER_S)
        assert list(desk.paper.blocks.values()) == [[b"1", b"2"]]
        desk.journal.add(b"3")
        await desk.journal.note(b"4")  # whoever waits takes them along
        assert list(desk.paper.blocks.values()) == [[b"1", b"2"], [b"3", b"4"]]
        await desk.journal.written()
        desk.journal.add(b"5")
        await desk.journal.stop()
        assert list(desk.paper.blocks.values())[2:] == [[b"5"]]

    run(work())


def test_one_who_goes_away_takes_nobody_along() -> None:
    async def work() -> None:
        desk = Desk()

        async def ask(entry: bytes) -> None:
            await desk.journal.note(entry)

        gone, stays = asyncio.create_task(ask(b"1")), asyncio.create_task(ask(b"2"))
        await turn()
        gone.cancel()
        desk.paper.go.set()
        await stays
        assert list(desk.paper.blocks.values()) == [[b"1", b"2"]]

    run(work())


def test_a_store_that_refuses_holds_up_nobody_and_gets_the_entries_later_in_their_order() -> None:
    async def work() -> None:
        desk = Desk()
        desk.paper.go.set()
        desk.paper.refuses = True
        await desk.journal.note(b"1")
        for entry in (b"2", b"3"):
            await desk.journal.note(entry)
        assert desk.paper.blocks == {}
        desk.paper.refuses = False
        while len(desk.paper.blocks) < 2:
            await desk.clock.advance(5)
        assert list(desk.paper.blocks.values()) == [[b"1"], [b"2", b"3"]]
        await desk.journal.note(b"4")
        assert list(desk.paper.blocks.values())[2:] == [[b"4"]]

    run(work())


def test_a_block_whose_answer_was_lost_is_sent_again_under_its_id() -> None:
    async def work() -> None:
        desk = Desk()
        desk.paper.go.set()
        desk.paper.forgets_to_answer = True
        await desk.journal.note(b"1")
        while len(desk.paper.tries) < 2:
            await desk.clock.advance(5)
        assert desk.paper.tries[0] == desk.paper.tries[1]
        assert list(desk.paper.blocks.values()) == [[b"1"]]

    run(work())


def test_the_end_waits_for_what_was_noted() -> None:
    async def work() -> None:
        desk = Desk()
        desk.journal.note(b"1")
        await desk.paper.asked.wait()
        desk.journal.note(b"2")
        ending = asyncio.create_task(desk.journal.stop())
        await turn()
        assert not ending.done()
        desk.paper.go.set()
        await ending
        assert list(desk.paper.blocks.values()) == [[b"1"], [b"2"]]
        assert desk.journal.lost == 0

    run(work())


def test_what_the_store_never_takes_goes_to_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "MOST_WAITING", 2)

    async def work() -> None:
        desk = Desk()
        desk.paper.go.set()
        desk.paper.refuses = True
        for entry in (b"1", b"2", b"3"):
            await desk.journal.note(entry)
        assert desk.journal.lost == 1
        ending = asyncio.create_task(desk.journal.stop())
        while not ending.done():
            await desk.clock.advance(1)
        assert desk.journal.lost == 3

    run(work())
    lost = [record.fields["entry"] for record in caplog.records if record.args == ("audit.unwritten",)]  # type: ignore[attr-defined]
    assert lost == ["3", "1", "2"]


def test_a_block_is_read_as_it_was_written() -> None:
    assert unpack(pack([b"{}", b'{"a":1}'])) == [b"{}", b'{"a":1}']
    with pytest.raises(ValueError, match="damaged"):
        unpack(b"nothing")
