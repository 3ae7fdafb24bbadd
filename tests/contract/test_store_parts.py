"""Jobs that are split over several workers, by every store: what is one transaction, and what is fenced."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from store_samples import (
    GPU_NEEDS,
    NEEDS,
    PARTS,
    PLAN,
    Scene,
    a_job,
    a_move,
    a_node,
    completes,
    queue_jobs,
    until_blocked,
)

from millrace.domain.batches import NewBatch
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.ids import job_of
from millrace.domain.parts import planned_anew
from millrace.domain.records import Kind, Outcome, Progress, Report, Split
from millrace.domain.states import State
from millrace.store.store import Arrival, JobFilter

BROKEN = Failure(failure_class=FailureClass.INPUT, message="cannot decode frame 7")


def test_a_split_ends_the_attempt_and_queues_the_parts_in_one(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        tasks = await scene.store.tasks(job_of(scene.lead))
        assert [task.state for task in tasks] == [State.PENDING, *[State.QUEUED] * 3]
        assert [task.split for task in tasks] == [1, 1, 1, 1]
        assert {task.class_id for task in tasks} == {scene.sharing}
        assert {task.max_retries for task in tasks} == {3}
        assert tasks[0].node_id is None
        assert (await scene.job()).state is State.PROCESSING
        (attempt,) = await scene.store.attempts(job_of(scene.lead))
        assert attempt.outcome is Outcome.SPLIT
        standings = await scene.store.standings(job_of(scene.lead))
        assert [(one.kind, one.number, one.frames) for one in standings] == [
            (Kind.JOIN, 0, 0), (Kind.SIDES, 0, 0), (Kind.CHUNK, 1, 300), (Kind.CHUNK, 0, 100),
        ]  # fmt: skip
        moves = [(one.task_id, one.source, one.target) for one in await scene.store.transitions(job_of(scene.lead))]
        assert moves[2:] == [
            (scene.lead, State.ASSIGNED, State.PENDING), *((scene.part(n), None, State.QUEUED) for n in (2, 3, 4)),
        ]  # fmt: skip
        # Nobody is given a part who cannot make one, and whoever can gets them in their order, with all they need.
        assert list(await scene.claim(scene.other, limit=9, classes=[scene.plain])) == []
        given = await scene.claim(scene.other, limit=9)
        assert [one.task_id for one in given] == [scene.part(2), scene.part(3), scene.part(4)]
        assert [(one.part.kind, one.part.number) for one in given] == [
            (Kind.SIDES, 0),
            (Kind.CHUNK, 1),
            (Kind.CHUNK, 0),
        ]
        assert all(msgspec.json.decode(one.part.plan) == PLAN for one in given)
        assert (await scene.job()).state is State.PROCESSING

    farm.run(work())


def test_a_split_keeps_what_was_planned_with_the_job(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked(facts={"plan": {"chunks": 2}}))
        assert await scene.store.facts(job_of(scene.lead)) == {"plan": {"chunks": 2}}
        (given,) = await scene.claim(scene.node)
        await scene.store.move([completes(given.task_id, 1)])
        assert await scene.store.facts(job_of(scene.lead)) == {"plan": {"chunks": 2}}

    farm.run(work())


def test_a_batch_counts_the_parts_of_a_job_that_was_split(farm: Any) -> None:
    async def work() -> None:
        scene = Scene(farm)
        scene.plain, scene.sharing = await scene.store.class_of(NEEDS), await scene.store.class_of(GPU_NEEDS)
        scene.node = await scene.store.register(a_node())
        jobs = [a_job(scene.plain) for _ in range(2)]
        await scene.store.add_batch(NewBatch(id="b-one", tenant="acme", name="one", actor="key:test"), jobs)
        (lead,) = await scene.claim(scene.node, classes=[scene.plain])
        scene.lead = lead.task_id
        assert await scene.store.split(scene.asked())
        _, longest = await scene.claim(scene.node, limit=2)
        report = Report(task_id=longest.task_id, attempt=1, paused=False, progress=Progress(fraction=0.5))
        await scene.store.move([a_move(longest.task_id, State.PROCESSING, sources=frozenset({State.ASSIGNED}))])
        await scene.store.heartbeat(node_id=scene.node.id, epoch=scene.node.epoch, ttl_s=99.0, reports=[report])
        job, found = await scene.job(), await scene.store.batch("b-one")
        assert job.progress.fraction == pytest.approx(0.95 * 150 / 400)
        assert found.fraction == pytest.approx(job.progress.fraction / 2)
        (listed,) = await scene.store.batches(tenant=None, below=None, limit=5)
        assert listed.fraction == found.fraction
        await scene.store.move([a_move(scene.lead, State.CANCELED, sources=frozenset({State.PENDING}))])
        assert (await scene.store.batch("b-one")).fraction == 0.5

    farm.run(work())


@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"node_id": "n2"}, {"sources": frozenset({State.PAUSED})}])
def test_a_split_of_another_attempt_or_node_changes_nothing(farm: Any, wrong: dict[str, Any]) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        before = await scene.store.transitions(job_of(scene.lead))
        assert not await scene.store.split(scene.asked(**wrong))
        assert await scene.store.transitions(job_of(scene.lead)) == before
        assert await scene.states() == [State.ASSIGNED]

    farm.run(work())


def test_a_job_is_split_once_and_no_part_is(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        asked = [scene.asked() for _ in range(3)]
        assert sorted(await asyncio.gather(*map(scene.store.split, asked))) == [False, False, True]
        (given,) = await scene.claim(scene.node)
        of_part = a_move(given.task_id, State.PENDING, attempt=1, node_id=scene.node.id, release=True)
        assert not await scene.store.split(Split(move=of_part, parts=PARTS, plan={}, class_id=scene.sharing))
        assert len(await scene.states()) == 4
        await _complete_all(scene, [given, *await scene.claim(scene.node, limit=9)])
        await scene.claim(scene.node)
        assert not await scene.store.split(scene.asked(attempt=2))  # whoever joins it
        assert await scene.states() == [State.ASSIGNED, *[State.COMPLETED] * 3]

    farm.run(work())


def test_a_move_of_a_part_waits_for_whoever_moves_another_task_of_its_job(farm: Any) -> None:
    if farm.kind != "postgres":
        pytest.skip("an embedded database has one master")

    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        (given,) = await scene.claim(scene.other)
        rival = await asyncpg.connect(farm.url)
        async with rival.transaction():
            await rival.execute("SELECT FROM tasks WHERE position = 1 FOR UPDATE")
            moving = asyncio.create_task(scene.store.move([completes(given.task_id, 1)]))
            await until_blocked(rival)
        assert await moving == [True]
        await rival.close()

    farm.run(work())


async def _complete_all(scene: Scene, given: Any) -> None:
    await asyncio.gather(*(scene.store.move([completes(one.task_id, one.attempt)]) for one in given))


def test_whoever_completes_last_queues_the_join_though_all_do_at_once(farm: Any) -> None:
    async def work() -> None:
        for _ in range(5):
            scene = await Scene(farm).begin()
            assert await scene.store.split(scene.asked())
            given = await scene.claim(scene.other, limit=9)
            assert (await scene.states())[0] is State.PENDING
            await _complete_all(scene, given)
            assert await scene.states() == [State.QUEUED, *[State.COMPLETED] * 3]
            queued = [one for one in await scene.store.transitions(job_of(scene.lead)) if one.target is State.QUEUED]
            assert [one.task_id for one in queued].count(scene.lead) == 2
            (join,) = await scene.claim(scene.node)
            assert (join.task_id, join.attempt, join.part.kind) == (scene.lead, 2, Kind.JOIN)
            assert await scene.store.move([completes(scene.lead, 2, facts={"made": "it"})]) == [True]
            assert (await scene.job()).state is State.COMPLETED
            assert await scene.store.facts(job_of(scene.lead)) == {"made": "it"}

    farm.run(work())


def test_two_masters_that_complete_the_last_two_queue_the_join(farm: Any) -> None:
    if farm.kind != "postgres":
        pytest.skip("an embedded database has one master")

    async def work() -> None:
        second = farm.another()
        await second.start()
        for _ in range(10):
            scene = await Scene(farm).begin()
            assert await scene.store.split(scene.asked())
            given = await scene.claim(scene.other, limit=9)
            stores = (scene.store, second, scene.store)
            await asyncio.gather(
                *(store.move([completes(one.task_id, 1)]) for store, one in zip(stores, given, strict=True))
            )
            assert (await scene.states())[0] is State.QUEUED
            assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        await second.stop()

    farm.run(work())


def test_a_report_with_a_claim_ends_a_part_and_gives_the_next(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        (given,) = await scene.claim(scene.other)
        for number in range(3):
            move = completes(given.task_id, given.attempt, node_id=scene.other.id)
            found = await scene.store.move_and_claim(
                move, epoch=scene.other.epoch, request_id=f"next-{number}", classes=[scene.sharing], limit=1
            )
            assert len(found) == (number < 2)
            given = found[0] if found else given
        assert await scene.states() == [State.QUEUED, *[State.COMPLETED] * 3]

    farm.run(work())


def test_a_part_that_fails_for_good_fails_the_job_in_the_same_move(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        one, two = await scene.claim(scene.other, limit=2)
        assert await scene.store.move([completes(one.task_id, 1)]) == [True]
        failed = a_move(two.task_id, State.FAILED, attempt=1, outcome=Outcome.FAILED, failure=BROKEN, release=True)
        assert await scene.store.move([failed]) == [True]
        assert await scene.states() == [State.FAILED, State.COMPLETED, State.FAILED, State.CANCELED]
        job = await scene.job()
        assert (job.state, job.failure) == (State.FAILED, BROKEN)
        assert job.finished_at is not None
        dead = await scene.store.jobs(JobFilter(failures=frozenset({FailureClass.INPUT})), cursor=None, limit=9)
        assert [found.id for found in dead.jobs] == [job.id]

    farm.run(work())


def test_the_lead_takes_its_parts_along(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        (given,) = await scene.claim(scene.other)
        assert await scene.store.move([a_move(scene.lead, State.PAUSED)]) == [True]
        assert await scene.states() == [State.PAUSED] * 4
        assert list(await scene.claim(scene.node, limit=9)) == []
        assert await scene.store.move([a_move(scene.lead, State.PENDING)]) == [True]
        assert await scene.states() == [State.PENDING, State.ASSIGNED, State.QUEUED, State.QUEUED]
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        assert await scene.states() == [State.CANCELED] * 4
        beat = await scene.store.heartbeat(
            node_id=scene.other.id, epoch=scene.other.epoch, ttl_s=30.0,
            reports=[Report(task_id=given.task_id, attempt=1, paused=False, progress=Progress())],
        )  # fmt: skip
        assert beat.held == ()

    farm.run(work())


def test_a_retried_job_is_whole_again_and_may_be_split_anew(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        assert await scene.store.move([a_move(scene.lead, State.QUEUED, restart=True)]) == [True]
        assert await scene.states() == [State.QUEUED, *[State.CANCELED] * 3]
        assert (await scene.job()).state is State.QUEUED
        assert (await scene.store.standings(job_of(scene.lead)))[0].kind is Kind.WHOLE
        (given,) = await scene.claim(scene.node, classes=[scene.plain])
        assert (given.task_id, given.attempt, given.part) == (scene.lead, 2, None)
        assert await scene.store.split(scene.asked(attempt=2))
        assert await scene.states() == [State.PENDING, *[State.CANCELED] * 3, *[State.QUEUED] * 3]
        given = await scene.claim(scene.other, limit=9)
        assert [one.task_id for one in given] == [scene.part(n) for n in (5, 6, 7)]
        await _complete_all(scene, given)
        assert (await scene.states())[0] is State.QUEUED

    farm.run(work())


@pytest.mark.parametrize("all_made", [False, True])
def test_a_job_that_is_planned_anew_is_whole_again_and_no_part_goes_on(farm: Any, all_made: bool) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        given = await scene.claim(scene.other, limit=9 if all_made else 2)
        await _complete_all(scene, given if all_made else given[:1])
        lead = await scene.store.task(scene.lead)
        move = planned_anew(lead, "nobody can")
        assert await scene.store.move([move]) == [True]
        ended = State.COMPLETED if all_made else State.CANCELED
        tasks = await scene.store.tasks(job_of(scene.lead))
        assert [task.state for task in tasks] == [State.QUEUED, State.COMPLETED, ended, ended]
        assert (tasks[0].split, tasks[0].class_id) == (None, scene.plain)
        assert all(task.node_id is None for task in tasks)
        assert (await scene.job()).state is State.QUEUED
        (again,) = await scene.claim(scene.node, classes=[scene.plain], limit=9)
        assert (again.task_id, again.part, again.attempt) == (scene.lead, None, 2)
        assert await scene.store.split(scene.asked(attempt=2))
        assert (await scene.states())[4:] == [State.QUEUED] * 3

    farm.run(work())


def test_a_split_job_counts_once_and_stands_among_those_that_run(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        await queue_jobs(scene.store, 2)
        assert await scene.store.split(scene.asked())
        assert await scene.store.count_jobs() == {State.PROCESSING: 1, State.QUEUED: 2}
        for state, count in ((State.PROCESSING, 1), (State.PENDING, 0), (State.QUEUED, 2)):
            page = await scene.store.jobs(JobFilter(states=frozenset({state})), cursor=None, limit=9)
            assert [job.state for job in page.jobs] == [state] * count
        given = await scene.claim(scene.other, limit=9, classes=[scene.sharing])
        reports = [
            Report(task_id=one.task_id, attempt=1, paused=False, progress=Progress(fraction=0.5, phase="encode"))
            for one in given
        ]
        await scene.store.heartbeat(node_id=scene.other.id, epoch=scene.other.epoch, ttl_s=30.0, reports=reports)
        await scene.store.move([a_move(one.task_id, State.PROCESSING, attempt=1) for one in given])
        assert 0.4 < (await scene.job()).progress.fraction < 0.5
        await _complete_all(scene, given)
        assert await scene.store.count_jobs() == {State.PROCESSING: 1, State.QUEUED: 2}
        await scene.claim(scene.node, classes=[scene.sharing])
        await scene.store.move([completes(scene.lead, 2)])
        assert await scene.store.count_jobs() == {State.COMPLETED: 1, State.QUEUED: 2}

    farm.run(work())


def test_what_was_handed_on_is_told_once_the_job_has_ended_and_forgotten_with_its_plan(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        await scene.store.keep_arrival(scene.part(2), 1, "pieces/a", Arrival(sha256="0" * 64, size=3))
        assert list(await scene.store.ended_splits(limit=9)) == []
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        assert list(await scene.store.ended_splits(limit=9)) == [(job_of(scene.lead), 4)]
        # Split anew before anybody has looked again: what the new parts hand on stays.
        await scene.store.move([a_move(scene.lead, State.QUEUED, restart=True)])
        await scene.claim(scene.node, classes=[scene.plain])
        assert await scene.store.split(scene.asked(attempt=2))
        await scene.store.keep_arrival(scene.part(5), 1, "pieces/b", Arrival(sha256="1" * 64, size=3))
        await scene.store.forget_pieces(job_of(scene.lead), 4)
        assert await scene.store.arrivals(scene.part(2), 1) == {}
        assert list(await scene.store.arrivals(scene.part(5), 1)) == ["pieces/b"]
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        assert list(await scene.store.ended_splits(limit=9)) == [(job_of(scene.lead), 7)]
        await scene.store.forget_pieces(job_of(scene.lead), 7)
        assert list(await scene.store.ended_splits(limit=9)) == []

    farm.run(work())


def test_a_job_that_waits_for_its_parts_is_not_cleaned_though_some_ended_long_ago(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        assert await scene.store.split(scene.asked())
        given = await scene.claim(scene.other, limit=2)
        await _complete_all(scene, given)
        await farm.advance(3600.0)
        later = await scene.store.now() - timedelta(seconds=60)
        assert list(await scene.store.delete_finished(before=later, limit=9)) == []
        assert await scene.store.move([a_move(scene.lead, State.CANCELED)]) == [True]
        await farm.advance(3600.0)
        later = await scene.store.now() - timedelta(seconds=60)
        assert list(await scene.store.delete_finished(before=later, limit=9)) == [job_of(scene.lead)]
        assert list(await scene.store.tasks(job_of(scene.lead))) == []

    farm.run(work())
