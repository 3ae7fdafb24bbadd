"""Parts that two workers make, by every store: who may get the second, and that one of the two counts."""

import asyncio
from typing import Any

import asyncpg
import pytest
from store_samples import Scene, a_move, a_node, completes, until_blocked

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.ids import job_of
from millrace.domain.records import Hedge, Kind, Outcome
from millrace.domain.states import State
from millrace.domain.tenants import Quotas, Rules
from millrace.store.postgres.connection import QUERIES
from millrace.store.store import Arrival


async def raced(farm: Any) -> Scene:
    """A divided job: task 2 and 3 are made, task 4 runs on the second node and has a hedge, task 5."""
    scene = await slow(farm)
    assert await scene.store.hedge(asked(scene))
    return scene


async def slow(farm: Any) -> Scene:
    scene = await Scene(farm).begin()
    assert await scene.store.split(scene.asked())
    for one in await scene.claim(scene.other, limit=3):
        if one.task_id != scene.part(4):
            assert await scene.store.move([completes(one.task_id, 1)]) == [True]
    assert await scene.store.move([a_move(scene.part(4), State.PROCESSING, attempt=1)]) == [True]
    return scene


def asked(scene: Scene, **changes: Any) -> Hedge:
    hedge = {"task_id": scene.part(4), "attempt": 1, "node_id": scene.other.id, "reason": "slow", "actor": "master"}
    return Hedge(**{**hedge, **changes})


def test_a_hedge_is_a_task_for_the_same_part_that_another_node_is_given(farm: Any) -> None:
    async def work() -> None:
        scene = await slow(farm)
        assert list(await scene.store.under_way_in_parts(limit=9)) == [job_of(scene.lead)]
        assert await scene.store.hedge(asked(scene))
        assert list(await scene.store.under_way_in_parts(limit=9)) == []
        tasks = await scene.store.tasks(job_of(scene.lead))
        assert [task.hedges for task in tasks] == [None] * 4 + [4]
        assert (tasks[4].state, tasks[4].split, tasks[4].class_id, tasks[4].max_retries) == (
            State.QUEUED,
            1,
            scene.sharing,
            3,
        )
        standing = (await scene.store.standings(job_of(scene.lead)))[4]
        assert (standing.kind, standing.frames, standing.hedges) == (Kind.CHUNK, 100, 4)
        accepted = (await scene.store.transitions(job_of(scene.lead)))[-1]
        assert (accepted.source, accepted.target, accepted.reason, accepted.actor) == (
            None,
            State.QUEUED,
            "slow",
            "master",
        )
        (given,) = await scene.claim(scene.node, limit=9)
        assert (given.task_id, given.part.kind, given.part.number) == (scene.part(5), Kind.CHUNK, 0)

    farm.run(work())


def test_the_node_that_makes_the_part_is_never_given_its_hedge(farm: Any) -> None:
    async def work() -> None:
        scene = await raced(farm)
        assert list(await scene.claim(scene.other, limit=9)) == []
        await farm.advance(AVOID_S + 1)
        assert list(await scene.claim(scene.other, limit=9)) == []
        # Not even beside a node that may have it, in one statement; whose seat may stay empty by that.
        third = await scene.store.register(a_node())
        answers = await asyncio.gather(*(scene.claim(node, limit=9) for node in (scene.other, third, scene.other)))
        assert (list(answers[0]), list(answers[2])) == ([], [])
        (given,) = answers[1] or await scene.claim(third, limit=9)
        assert given.task_id == scene.part(5)

    farm.run(work())


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"node_id": "n2"}, {"task_id": "j.4"}])
def test_a_hedge_for_another_attempt_or_node_changes_nothing(farm: Any, wrong: dict[str, Any]) -> None:
    async def work() -> None:
        scene = await slow(farm)
        before = await scene.store.transitions(job_of(scene.lead))
        assert not await scene.store.hedge(asked(scene, **wrong))
        assert await scene.store.transitions(job_of(scene.lead)) == before
        assert len(await scene.states()) == 4

    farm.run(work())


def test_a_part_gets_one_hedge_whoever_asks(farm: Any) -> None:
    async def work() -> None:
        scene = await slow(farm)
        assert sorted(await asyncio.gather(*(scene.store.hedge(asked(scene)) for _ in range(4)))) == [False] * 3 + [
            True
        ]
        assert len(await scene.states()) == 5

    farm.run(work())


@pytest.mark.parametrize(("first", "second"), [(4, 5), (5, 4)])
def test_the_first_that_completes_counts_and_the_other_changes_nothing_more(farm: Any, first: int, second: int) -> None:
    async def work() -> None:
        scene = await raced(farm)
        await scene.claim(scene.node)
        assert await scene.store.move([completes(scene.part(first), 1)]) == [True]
        states = await scene.states()
        assert (states[0], states[first - 1], states[second - 1]) == (State.QUEUED, State.COMPLETED, State.CANCELED)
        loser = (await scene.store.tasks(job_of(scene.lead)))[second - 1]
        assert (loser.node_id, loser.spent, loser.losses) == (None, 0, 0)
        assert await scene.store.move([completes(scene.part(second), 1)]) == [False]
        outcomes = {one.task_id: one.outcome for one in await scene.store.attempts(job_of(scene.lead))}
        assert (outcomes[scene.part(first)], outcomes[scene.part(second)]) == (Outcome.COMPLETED, Outcome.CANCELED)
        (join,) = await scene.claim(scene.node)
        assert (join.task_id, join.part.kind) == (scene.lead, Kind.JOIN)

    farm.run(work())


def test_of_two_that_complete_at_once_one_has_made_the_part(farm: Any) -> None:
    async def work() -> None:
        for _ in range(8):
            scene = await raced(farm)
            await scene.claim(scene.node)
            stores = [scene.store, scene.store]
            if farm.kind == "postgres":
                stores[1] = farm.another()
                await stores[1].start()
            moves = [completes(scene.part(4), 1), completes(scene.part(5), 1)]
            done = await asyncio.gather(*(store.move([move]) for store, move in zip(stores, moves, strict=True)))
            assert sorted(done) == [[False], [True]]
            states = await scene.states()
            assert states[0] is State.QUEUED
            assert sorted(states[3:]) == [State.CANCELED, State.COMPLETED]
            assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
            if stores[1] is not scene.store:
                await stores[1].stop()

    farm.run(work())


@pytest.mark.parametrize(("gone", "stays"), [(4, 5), (5, 4)])
def test_whoever_stops_leaves_the_part_to_the_other_and_costs_it_nothing(farm: Any, gone: int, stays: int) -> None:
    async def work() -> None:
        scene = await raced(farm)
        await scene.claim(scene.node)
        lost = a_move(scene.part(gone), State.QUEUED, attempt=1, outcome=Outcome.LOST, release=True, loses=True)
        assert await scene.store.move([lost]) == [True]
        tasks = await scene.store.tasks(job_of(scene.lead))
        assert (tasks[gone - 1].state, tasks[gone - 1].node_id) == (State.CANCELED, None)
        assert (tasks[stays - 1].node_id is None, tasks[stays - 1].spent, tasks[stays - 1].losses) == (False, 0, 0)
        assert tasks[0].state is State.PENDING
        # Alone it may go to any node again, also to the one that made it first.
        assert await scene.store.move([a_move(scene.part(stays), State.QUEUED, attempt=1, release=True)]) == [True]
        await farm.advance(AVOID_S + 1)
        (again,) = await scene.claim(scene.other)
        assert (again.task_id, again.attempt) == (scene.part(stays), 2)

    farm.run(work())


def test_a_hedge_that_is_claimed_while_its_part_ends_is_ended_too(farm: Any) -> None:
    """It came after the move had locked the tasks that there were, and is claimed after the move has read it."""
    if farm.kind != "postgres":
        pytest.skip("an embedded database has one master")

    async def work() -> None:
        await farm.store.set_tenant("acme", Rules(quotas=Quotas(concurrent=9)))
        scene = await slow(farm)
        hedger, counter, claimer = [await asyncpg.connect(farm.url) for _ in range(3)]
        of_job = "job = (SELECT number FROM jobs WHERE id = $1)"
        adding, counting, claiming = hedger.transaction(), counter.transaction(), claimer.transaction()
        await adding.start()
        await hedger.execute(f"SELECT FROM tasks WHERE {of_job} FOR UPDATE", job_of(scene.lead))
        completing = asyncio.create_task(scene.store.move([completes(scene.part(4), 1)]))
        await until_blocked(hedger)
        for statement in ("add_hedge_part", "add_hedge"):
            await hedger.execute(
                QUERIES[statement],
                await hedger.fetchval("SELECT number FROM jobs WHERE id = $1", job_of(scene.lead)),
                5,
                4,
            )
        await counting.start()
        await counter.execute("SELECT FROM tenants FOR UPDATE")
        await adding.commit()
        await until_blocked(counter)  # the move has its tasks, and wants to count them
        await claiming.start()
        await claimer.execute(
            f"UPDATE tasks SET state = 'assigned', attempt = 1, node_id = $2, node_epoch = 1, claim_request = 'r', seat = 1, "
            f"claimed_at = now_ms() WHERE {of_job} AND position = 5", job_of(scene.lead), scene.node.id,
        )  # fmt: skip
        await counting.commit()
        await until_blocked(claimer)  # it has read the hedge as nobody's, and wants to end it
        await claiming.commit()
        assert await completing == [True]
        assert await scene.states() == [State.QUEUED, *[State.COMPLETED] * 3, State.CANCELED]
        for connection in (hedger, counter, claimer):
            await connection.close()

    farm.run(work())


def test_what_a_hedge_handed_on_goes_with_the_rest(farm: Any) -> None:
    async def work() -> None:
        scene = await raced(farm)
        await scene.claim(scene.node)
        await scene.store.keep_arrival(scene.part(5), 1, "pieces/a", Arrival(sha256="0" * 64, size=3))
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        assert list(await scene.store.ended_splits(limit=9)) == [(job_of(scene.lead), 5)]
        await scene.store.forget_pieces(job_of(scene.lead), 5)
        assert await scene.store.arrivals(scene.part(5), 1) == {}

    farm.run(work())


def test_a_held_job_begins_no_hedge_and_gets_none(farm: Any) -> None:
    async def work() -> None:
        scene = await raced(farm)
        assert await scene.store.move([a_move(scene.lead, State.PAUSED)]) == [True]
        assert (await scene.states())[3:] == [State.PAUSED, State.CANCELED]
        assert list(await scene.store.under_way_in_parts(limit=9)) == []
        assert not await scene.store.hedge(asked(scene))

    farm.run(work())
