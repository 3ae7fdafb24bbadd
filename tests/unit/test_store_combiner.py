"""How requests of one verb come together in batches."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.store.postgres.combiner import MAX_BATCH, Combiner, turns
from millrace.store.store import StoreUnavailableError

_NEVER_S = 3600.0


class Batches:
    """A verb whose batches end when the test says so."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.begun = asyncio.Queue[None]()
        self.may_end = asyncio.Semaphore(0)

    async def run(self, batch: Sequence[int]) -> Sequence[int]:
        self.seen.append(list(batch))
        self.begun.put_nowait(None)
        await self.may_end.acquire()
        return [10 * request for request in batch]


async def _turns() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_comes_during_a_batch_makes_up_the_next() -> None:
    async def work() -> None:
        verb = Batches()
        combiner = Combiner[int, int](verb.run, gather_s=_NEVER_S)
        first = asyncio.create_task(combiner.submit(1))
        await verb.begun.get()
        others = [asyncio.create_task(combiner.submit(number)) for number in (2, 3, 4)]
        await _turns()
        assert verb.seen == [[1]]
        verb.may_end.release()
        verb.may_end.release()
        assert [await one for one in (first, *others)] == [10, 20, 30, 40]
        assert verb.seen == [[1], [2, 3, 4]]
        assert combiner.idle or await combiner.drain() is None

    asyncio.run(work())


def test_a_batch_waits_for_as_many_as_came_before() -> None:
    async def work() -> None:
        verb = Batches()
        combiner = Combiner[int, int](verb.run, gather_s=_NEVER_S)
        for _ in range(3):
            verb.may_end.release()
        # All three are there before the first batch begins, though it would not have waited for them.
        await asyncio.gather(*(combiner.submit(number) for number in (1, 2, 3)))
        two = [asyncio.create_task(combiner.submit(number)) for number in (4, 5)]
        await _turns()
        assert verb.seen == [[1, 2, 3]]
        assert await combiner.submit(6) == 60
        assert [await one for one in two] == [40, 50]
        assert verb.seen == [[1, 2, 3], [4, 5, 6]]

    asyncio.run(work())


def test_a_batch_waits_no_longer_than_it_was_told_and_then_expects_fewer() -> None:
    async def work() -> None:
        verb = Batches()
        combiner = Combiner[int, int](verb.run, gather_s=0.0)
        for _ in range(3):
            verb.may_end.release()
        await asyncio.gather(*(combiner.submit(number) for number in (1, 2, 3)))
        assert await combiner.submit(4) == 40
        assert verb.seen == [[1, 2, 3], [4]]
        # Now that one came alone, the next one is not kept waiting at all.
        combiner._gather_s = _NEVER_S
        assert await asyncio.wait_for(combiner.submit(5), 60) == 50

    asyncio.run(work())


def test_a_batch_has_a_limit() -> None:
    async def work() -> None:
        verb = Batches()
        combiner = Combiner[int, int](verb.run, gather_s=0.0)
        for _ in range(2):
            verb.may_end.release()
        await asyncio.gather(*(combiner.submit(number) for number in range(MAX_BATCH + 1)))
        assert [len(batch) for batch in verb.seen] == [MAX_BATCH, 1]

    asyncio.run(work())


def test_an_error_is_that_of_its_request_alone() -> None:
    async def run(batch: Sequence[int]) -> Sequence[int | Exception]:
        if 0 in batch:
            raise ZeroDivisionError
        return [ValueError("odd") if request % 2 else request for request in batch]

    async def work() -> None:
        combiner = Combiner[int, int](run, gather_s=0.0)
        answers = await asyncio.gather(*(combiner.submit(number) for number in range(4)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ZeroDivisionError, ValueError, int, ValueError]

    asyncio.run(work())


def test_where_nothing_can_succeed_nothing_is_tried_again() -> None:
    calls = []

    async def run(batch: Sequence[int]) -> Sequence[int]:
        calls.append(len(batch))
        raise StoreUnavailableError("gone")

    async def work() -> None:
        combiner = Combiner[int, int](run, gather_s=0.0)
        answers = await asyncio.gather(*(combiner.submit(number) for number in range(4)), return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)

    asyncio.run(work())
    assert calls == [4]


@pytest.mark.parametrize("always", [False, True])
def test_a_verb_may_always_wait_for_others(always: bool) -> None:
    async def work() -> None:
        verb = Batches()
        verb.may_end.release()
        combiner = Combiner[int, int](verb.run, gather_s=_NEVER_S, always=always)
        one = asyncio.create_task(combiner.submit(1))
        await _turns()
        assert one.done() is not always
        one.cancel()

    asyncio.run(work())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3))))
def test_nobody_asks_for_two_things_in_one_turn(asked: list[tuple[str, int]]) -> None:
    found = turns(asked)
    assert sorted(place for turn in found for place in turn) == list(range(len(asked)))
    for turn in found:
        assert turn  # none is for nothing
        assert len({asked[place] for place in turn}) == len({asked[place][0] for place in turn})
    whats: dict[str, set[int]] = {}
    for who, what in asked:
        whats.setdefault(who, set()).add(what)
    assert len(found) == max(map(len, whats.values()), default=0)  # and there are no more than it takes
