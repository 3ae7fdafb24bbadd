"""Sessions of hardware encoders, by every store: no node is given more than it has, from however many masters, and all come back."""

import asyncio
import itertools
from typing import Any

import pytest
from msgspec.structs import replace
from store_samples import GPU_NEEDS, NEEDS, a_move, a_node, completes, queue_jobs

from millrace.domain.records import NodeState, Outcome
from millrace.domain.sessions import Allowance
from millrace.domain.states import State
from millrace.store.store import Store

MOST = 2


class Card:
    """A node whose card has two sessions, each job of the second class takes one."""

    def __init__(self, farm: Any) -> None:
        self.farm = farm
        self.store = farm.store
        self._requests = itertools.count(1)

    async def begin(self) -> "Card":
        self.plain, self.hard = await self.store.class_of(NEEDS), await self.store.class_of(GPU_NEEDS)
        self.new = a_node()
        self.node = await self.store.register(self.new)
        self.allowance = Allowance(sessions={"nvenc": MOST}, takes={self.hard: {"nvenc": 1}})
        return self

    async def claim(self, *, store: Store | None = None, request: str = "", limit: int = 9) -> list[str]:
        given = await (store or self.store).claim(
            node_id=self.node.id, epoch=self.node.epoch, request_id=request or f"r{next(self._requests)}",
            classes=[self.plain, self.hard], limit=limit, allowance=self.allowance,
        )  # fmt: skip
        return [one.task_id for one in given]

    async def fill(self) -> list[str]:
        """Both sessions are in use, and more jobs wait for one."""
        await queue_jobs(self.store, 5, class_id=self.hard)
        return [*await self.claim(), *await self.claim()]


def test_a_job_for_hardware_waits_for_a_session_and_hides_none_that_needs_none(farm: Any) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        hard = await queue_jobs(card.store, 3, class_id=card.hard)
        (plain,) = await queue_jobs(card.store, 1, class_id=card.plain)
        assert sorted([await card.claim() for _ in range(4)]) == sorted([[], [hard[0]], [hard[1]], [plain]])
        # A node that knows of no bound takes them as before.
        other = await card.store.register(a_node())
        given = await card.store.claim(
            node_id=other.id, epoch=other.epoch, request_id="other", classes=[card.hard], limit=9
        )
        assert [one.task_id for one in given] == hard[2:]

    farm.run(work())


def test_a_claim_that_is_repeated_gets_the_same_and_takes_no_further_session(farm: Any) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        hard = await queue_jobs(card.store, 3, class_id=card.hard)
        assert [await card.claim(request="again") for _ in range(4)] == [[hard[0]]] * 4
        assert await card.claim() == [hard[1]]
        assert await card.claim() == []
        assert await card.claim(request="again") == [hard[0]]

    farm.run(work())


_ENDS: dict[str, dict[str, Any]] = {
    "completed": {"target": State.COMPLETED, "outcome": Outcome.COMPLETED},
    "failed": {"target": State.FAILED, "outcome": Outcome.FAILED},
    "retried": {"target": State.RETRYING, "outcome": Outcome.FAILED, "delay_s": 60.0},
    "canceled": {"target": State.CANCELED, "outcome": Outcome.CANCELED},
    "handed back": {"target": State.QUEUED, "outcome": Outcome.HANDED_BACK, "release": True},
    "lost": {"target": State.QUEUED, "outcome": Outcome.LOST, "release": True, "loses": True},
    "paused and let go": {"target": State.PAUSED, "outcome": Outcome.HANDED_BACK, "release": True},
}


@pytest.mark.parametrize("end", _ENDS)
def test_a_session_is_given_back_at_the_end_whatever_that_is(farm: Any, end: str) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        first, _ = await card.fill()
        assert await card.claim() == []
        how = dict(_ENDS[end])
        assert await card.store.move([a_move(first, how.pop("target"), attempt=1, **how)]) == [True]
        assert len(await card.claim()) == 1
        assert await card.claim() == []

    farm.run(work())


def test_a_paused_job_keeps_its_session(farm: Any) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        first, _ = await card.fill()
        assert await card.store.move([a_move(first, State.PAUSED, attempt=1)]) == [True]
        assert await card.claim() == []

    farm.run(work())


def test_a_node_that_starts_anew_has_all_its_sessions(farm: Any) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        await card.fill()
        card.node = await card.store.register(replace(card.new, boot_id="boot-2"))
        assert [len(await card.claim()) for _ in range(3)] == [1, 1, 0]

    farm.run(work())


@pytest.mark.parametrize("ends", [True, False])
def test_a_report_with_a_claim_takes_the_session_that_it_leaves_and_no_other(farm: Any, ends: bool) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        first, second = await card.fill()
        target, more = (State.COMPLETED, {"outcome": Outcome.COMPLETED}) if ends else (State.PAUSED, {})
        move = a_move(first, target, attempt=1, node_id=card.node.id, **more)
        given = await card.store.move_and_claim(
            move,
            epoch=card.node.epoch,
            request_id="next",
            classes=[card.plain, card.hard],
            limit=9,
            allowance=card.allowance,
        )
        assert len(given) == ends
        # It comes again: it has happened, and its claim by its name gives the same.
        assert await card.claim(request="next") == [one.task_id for one in given]
        assert await card.claim() == []
        assert await card.store.move([completes(second, 1)]) == [True]
        assert len(await card.claim()) == 1

    farm.run(work())


def test_who_is_full_or_drains_is_given_nothing(farm: Any) -> None:
    async def work() -> None:
        card = await Card(farm).begin()
        await queue_jobs(card.store, 2, class_id=card.hard)
        await card.store.set_node_state(card.node.id, NodeState.DRAINING, sources=list(NodeState))
        args: dict[str, Any] = {
            "node_id": card.node.id, "epoch": card.node.epoch, "request_id": "r", "classes": [card.hard], "limit": 1,
            "allowance": card.allowance,
        }  # fmt: skip
        assert await card.store.claim(**args) is None
        await card.store.set_node_state(card.node.id, NodeState.READY, sources=list(NodeState))
        assert await card.store.claim(**{**args, "epoch": card.node.epoch + 1}) is None
        small = await card.store.register(a_node(slots=1))
        args |= {"node_id": small.id, "epoch": small.epoch}
        assert len(await card.store.claim(**args)) == 1
        assert await card.store.claim(**{**args, "request_id": "another"}) is None

    farm.run(work())


def test_claims_that_come_at_once_to_two_masters_share_the_sessions(farm: Any) -> None:
    async def work() -> None:
        stores = [farm.store]
        if farm.kind == "postgres":
            stores.append(farm.another())
            await stores[1].start()
        for _ in range(6):
            card = await Card(farm).begin()
            await queue_jobs(card.store, 6, class_id=card.hard)
            asked = [card.claim(store=store) for store in stores for _ in range(4)]
            given = [task for tasks in await asyncio.gather(*asked) for task in tasks]
            assert len(given) == len(set(given)) == MOST
            # And with reports at one master, claims at the other.
            reports = [
                stores[-1].move_and_claim(
                    completes(task, 1, node_id=card.node.id), epoch=card.node.epoch, request_id=f"n-{task}",
                    classes=[card.hard], limit=1, allowance=card.allowance,
                )
                for task in given
            ]  # fmt: skip
            await asyncio.gather(*reports, *(card.claim() for _ in range(3)))
            beat = await card.store.heartbeat(node_id=card.node.id, epoch=card.node.epoch, ttl_s=30.0, reports=[])
            assert len(beat.held) == MOST
            left = await card.store.queued(card.hard, limit=99)
            assert await card.store.move([a_move(one.id, State.CANCELED) for one in [*left, *beat.held]]) == [True] * 4
        for store in stores[1:]:
            await store.stop()

    farm.run(work())
