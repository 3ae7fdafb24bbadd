"""Claims, moves, leases, nodes and logs by every store."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from store_samples import GPU_NEEDS, NEEDS, a_job, a_move, a_node, completes, queue_jobs

from millrace.domain.records import NodeState, Outcome, Progress, Report
from millrace.domain.states import TRANSITIONS, IllegalTransitionError, State


async def _claim(farm: Any, node: Any, request_id: str, *, limit: int = 1, classes: list[int] | None = None) -> Any:
    if classes is None:
        classes = [await farm.store.class_of(NEEDS)]
    return await farm.store.claim(
        node_id=node.id, epoch=node.epoch, request_id=request_id, classes=classes, limit=limit
    )


def test_a_claim_gives_the_lowest_rank_first_over_all_its_classes(farm: Any) -> None:
    async def work() -> None:
        cpu, gpu = await farm.store.class_of(NEEDS), await farm.store.class_of(GPU_NEEDS)
        other = await farm.store.class_of(GPU_NEEDS.__class__(engine="gstreamer"))
        jobs = [a_job(c, head_start_ms=h) for c, h in ((cpu, 0), (gpu, 9000), (cpu, 8000), (other, 99000), (gpu, 0))]
        await farm.store.add_jobs(jobs)
        node = await farm.store.register(a_node())
        given = await _claim(farm, node, "one", limit=3, classes=[cpu, gpu])
        assert [one.job_id for one in given] == [jobs[1].id, jobs[2].id, jobs[0].id]
        assert [one.attempt for one in given] == [1, 1, 1]
        assert (given[0].profile, msgspec.json.decode(given[0].spec), given[0].timeout_s) == (
            "web-hls", jobs[1].spec, 12.5,
        )  # fmt: skip
        task = await farm.store.task(given[0].task_id)
        assert (task.state, task.node_id, task.node_epoch) == (State.ASSIGNED, node.id, node.epoch)
        job = await farm.store.job(jobs[1].id)
        assert job.state is State.ASSIGNED
        assert job.started_at == task.claimed_at is not None
        (attempt,) = await farm.store.attempts(jobs[1].id)
        assert (attempt.node_id, attempt.node_name, attempt.outcome) == (node.id, node.name, None)
        last = (await farm.store.transitions(jobs[1].id))[-1]
        assert (last.source, last.target, last.attempt) == (State.QUEUED, State.ASSIGNED, 1)
        rest = await _claim(farm, node, "two", limit=9, classes=[cpu, gpu, gpu])
        assert [one.job_id for one in rest] == [jobs[4].id]
        assert list(await _claim(farm, node, "three", classes=[cpu, gpu])) == []
        assert list(await _claim(farm, node, "four", classes=[])) == []

    farm.run(work())


def test_a_repeated_claim_returns_what_the_node_still_holds(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 4)
        node = await farm.store.register(a_node())
        first = await _claim(farm, node, "same", limit=2)
        assert await _claim(farm, node, "same", limit=2) == first
        assert await farm.store.move([completes(first[0].task_id, 1)]) == [True]
        assert await _claim(farm, node, "same", limit=2) == first[1:]
        other = await farm.store.register(a_node())
        assert len(await _claim(farm, other, "same", limit=2)) == 2

    farm.run(work())


def test_concurrent_claims_never_give_one_task_twice(farm: Any) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 60)
        nodes = [await farm.store.register(a_node()) for _ in range(8)]
        claims = [_claim(farm, nodes[n % 8], f"r{n}", limit=1 + n % 3) for n in range(40)]
        given = [one.task_id for found in await asyncio.gather(*claims) for one in found]
        assert len(given) == len(set(given)) == 60
        assert set(given) == set(tasks)

    farm.run(work())


def test_one_request_repeated_at_once_is_served_once(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 10)
        node = await farm.store.register(a_node())
        answers = await asyncio.gather(*(_claim(farm, node, "same", limit=2) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        assert (await farm.store.count_jobs())[State.ASSIGNED] == 2

    farm.run(work())


def test_only_a_ready_node_of_the_right_epoch_is_given_work(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1)
        new = a_node()
        node = await farm.store.register(new)
        classes = [await farm.store.class_of(NEEDS)]
        claim = {"request_id": "r", "classes": classes, "limit": 1}
        assert await farm.store.claim(node_id=node.id, epoch=node.epoch + 1, **claim) is None
        assert await farm.store.claim(node_id="unknown", epoch=1, **claim) is None
        assert await farm.store.set_node_state(node.id, NodeState.DRAINING, sources=[NodeState.READY])
        assert not await farm.store.set_node_state(node.id, NodeState.DRAINING, sources=[NodeState.READY])
        assert await farm.store.claim(node_id=node.id, epoch=node.epoch, **claim) is None
        assert await farm.store.set_node_state(node.id, NodeState.READY, sources=[NodeState.DRAINING])
        assert len(await farm.store.claim(node_id=node.id, epoch=node.epoch, **claim)) == 1

    farm.run(work())


def test_a_move_needs_its_source_attempt_and_node(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "r")
        for wrong in ({"attempt": 2}, {"node_id": "other"}, {"sources": frozenset({State.PROCESSING})}):
            move = a_move(task, State.COMPLETED, **{"attempt": 1, "node_id": node.id, **wrong})
            assert await farm.store.move([move]) == [False], wrong
        assert await farm.store.move([a_move(task, State.PROCESSING, attempt=1, node_id=node.id)]) == [True]
        started = await farm.store.task(task)
        assert started.started
        assert (await farm.store.attempts(started.job_id))[0].started_at is not None
        assert await farm.store.move([a_move(task, State.PROCESSING, attempt=1)]) == [False]
        assert await farm.store.move([completes(task, 1, node_id=node.id)]) == [True]
        assert await farm.store.move([completes(task, 1, node_id=node.id)]) == [False]
        done = await farm.store.task(task)
        assert (done.state, done.node_id, done.claimed_at) == (State.COMPLETED, None, None)
        (attempt,) = await farm.store.attempts(done.job_id)
        assert attempt.outcome is Outcome.COMPLETED
        assert attempt.ended_at is not None
        states = [one.target for one in await farm.store.transitions(done.job_id)]
        assert states == [State.QUEUED, State.ASSIGNED, State.PROCESSING, State.COMPLETED]

    farm.run(work())


def test_an_illegal_move_changes_nothing_in_its_call(farm: Any) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 2)
        bad = a_move(tasks[1], State.COMPLETED, sources=frozenset({State.QUEUED}))
        with pytest.raises(IllegalTransitionError):
            await farm.store.move([a_move(tasks[0], State.CANCELED), bad])
        assert await farm.store.count_jobs() == {State.QUEUED: 2}

    farm.run(work())


def test_moves_of_one_task_in_one_call_follow_each_other(farm: Any) -> None:
    async def work() -> None:
        (task, other) = await queue_jobs(farm.store, 2)
        moves = [
            a_move(task, State.PAUSED),
            a_move(other, State.CANCELED),
            a_move(task, State.QUEUED, sources=frozenset({State.PAUSED})),
            a_move(task, State.QUEUED, sources=frozenset({State.PAUSED})),
            a_move(task, State.CANCELED),
        ]
        assert list(await farm.store.move(moves)) == [True, True, True, False, True]
        history = [one.target for one in await farm.store.transitions(task.partition(".")[0])]
        assert history == [State.QUEUED, State.PAUSED, State.QUEUED, State.CANCELED]

    farm.run(work())


def test_of_rival_moves_one_happens(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "r")
        rivals = [farm.store.move([completes(task, 1)]), farm.store.move([a_move(task, State.CANCELED, attempt=1)])]
        answers = await asyncio.gather(*rivals, *(farm.store.move([completes(task, 1)]) for _ in range(10)))
        assert sum(answer == [True] for answer in answers) == 1
        assert len(await farm.store.transitions(task.partition(".")[0])) == 3

    farm.run(work())


def test_a_task_does_not_run_without_a_node(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        assert await farm.store.move([a_move(task, State.PAUSED)]) == [True]
        assert await farm.store.move([a_move(task, State.PROCESSING)]) == [False]
        assert await farm.store.move([a_move(task, State.ASSIGNED, sources=frozenset({State.PAUSED}))]) == [False]

    farm.run(work())


def test_a_paused_task_stays_with_its_node_or_is_let_go(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        (given,) = await _claim(farm, node, "r")
        await farm.store.move([a_move(given.task_id, State.PROCESSING), a_move(given.task_id, State.PAUSED)])
        task = await farm.store.task(given.task_id)
        assert (task.state, task.node_id, task.started) == (State.PAUSED, node.id, True)
        assert (await farm.store.node(node.id)).holding == 1
        back = a_move(task.id, State.QUEUED, release=True, outcome=Outcome.HANDED_BACK)
        assert await farm.store.move([back]) == [True]
        task = await farm.store.task(given.task_id)
        assert (task.node_id, task.started, task.attempt) == (None, False, 1)
        assert (await farm.store.node(node.id)).holding == 0

    farm.run(work())


def test_every_transition_of_the_table_can_be_stored(farm: Any) -> None:
    """The path to each source, then each target: the database's CHECK knows the whole table."""
    claimed = [State.ASSIGNED, State.PROCESSING]
    paths = {
        State.QUEUED: [],
        State.ASSIGNED: [State.ASSIGNED],
        State.PROCESSING: claimed,
        State.PAUSED: [*claimed, State.PAUSED],
        State.RETRYING: [*claimed, State.RETRYING],
        State.FAILED: [*claimed, State.FAILED],
        State.CANCELED: [State.CANCELED],
        State.REJECTED: [State.REJECTED],
        State.PENDING: [],
    }

    async def work() -> None:
        node = await farm.store.register(a_node())
        class_id = await farm.store.class_of(NEEDS)
        for source, path in paths.items():
            for target in TRANSITIONS[source]:
                first = State.PENDING if source is State.PENDING else State.QUEUED
                (added,) = await farm.store.add_jobs([a_job(class_id, state=first, head_start_ms=10**9)])
                task = f"{added.id}.1"
                for step in [*path, target]:
                    if step is State.ASSIGNED and (await farm.store.task(task)).state is State.QUEUED:
                        (given,) = await _claim(farm, node, f"{source}-{target}")
                        assert given.task_id == task
                    else:
                        assert await farm.store.move([a_move(task, step)]) == [True], (source, target, step)
                job = await farm.store.job(added.id)
                assert job.state is target is (await farm.store.task(task)).state
                if target is State.QUEUED:
                    await farm.store.move([a_move(task, State.CANCELED)])

    farm.run(work())


def test_delayed_tasks_are_due_when_their_time_has_come(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        at = await farm.store.now() + timedelta(seconds=100)
        later = a_job(class_id, state=State.PENDING, due_at=at)
        waits = a_job(class_id, state=State.PENDING)
        await farm.store.add_jobs([later, waits])
        assert await farm.store.next_due() == at.replace(microsecond=at.microsecond // 1000 * 1000)
        assert list(await farm.store.due(limit=10)) == []
        (task,) = await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node(ttl_s=9999.0))
        await _claim(farm, node, "r")
        await farm.store.move([a_move(task, State.RETRYING, delay_s=20.0)])
        assert (await farm.store.task(task)).due_at == await farm.store.next_due()
        await farm.advance(50)
        assert [one.id for one in await farm.store.due(limit=10)] == [task]
        await farm.advance(60)
        assert [one.id for one in await farm.store.due(limit=10)] == [task, f"{later.id}.1"]
        assert [one.id for one in await farm.store.due(limit=1)] == [task]
        await farm.store.move([a_move(task, State.QUEUED)])
        assert [one.job_id for one in await farm.store.due(limit=10)] == [later.id]

    farm.run(work())


def test_queued_classes_say_since_when_the_oldest_waits(farm: Any) -> None:
    async def work() -> None:
        cpu, gpu = await farm.store.class_of(NEEDS), await farm.store.class_of(GPU_NEEDS)
        assert await farm.store.queued_classes() == {}
        (first,) = await farm.store.add_jobs([a_job(gpu)])
        await farm.advance(5)
        (second,) = await farm.store.add_jobs([a_job(gpu, head_start_ms=10**8)])
        assert await farm.store.queued_classes() == {gpu: first.created_at}
        assert [one.job_id for one in await farm.store.queued(gpu, limit=9)] == [second.id, first.id]
        assert [one.job_id for one in await farm.store.queued(gpu, limit=1)] == [second.id]
        assert list(await farm.store.queued(cpu, limit=9)) == []

    farm.run(work())


def test_registering_keeps_the_node_of_a_fingerprint(farm: Any) -> None:
    async def work() -> None:
        new = a_node()
        node = await farm.store.register(new)
        assert (node.id, node.epoch, node.state, node.holding) == (new.id, 1, NodeState.READY, 0)
        assert (node.labels, node.facts) == (new.labels, new.facts)
        assert node.lease_until - node.seen_at == timedelta(seconds=30)
        again = a_node(fingerprint=new.fingerprint, name="renamed", slots=9, facts={"more": 1}, labels={})
        same = await farm.store.register(again)
        assert (same.id, same.epoch, same.name, same.slots, same.facts) == (node.id, 1, "renamed", 9, {"more": 1})
        reboot = a_node(fingerprint=new.fingerprint, boot_id="boot-2")
        assert (await farm.store.register(reboot)).epoch == 2
        await farm.store.set_node_state(node.id, NodeState.DRAINING, sources=[NodeState.READY])
        assert (await farm.store.register(reboot)).state is NodeState.DRAINING
        fresh = await farm.store.register(a_node(fingerprint=new.fingerprint, boot_id="boot-3", name="fresh"))
        assert (fresh.state, fresh.epoch) == (NodeState.READY, 3)
        assert await farm.store.node("fresh") == await farm.store.node(node.id) == fresh
        assert await farm.store.node("unknown") is None
        second = await farm.store.register(a_node())
        assert [one.id for one in await farm.store.nodes()] == [node.id, second.id]

    farm.run(work())


def test_where_the_clock_was_set_back_leases_and_waits_are_as_long_as_they_were(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 2)
        node = await farm.store.register(a_node(ttl_s=5000.0))
        young = await farm.store.register(a_node(ttl_s=10.0))
        first, second = [one.task_id for one in await _claim(farm, node, "r", limit=2)]
        waits = a_move(
            first, State.RETRYING, attempt=1, outcome=Outcome.FAILED, release=True, spends=True, delay_s=4000.0
        )
        assert await farm.store.move([waits]) == [True]
        before = await farm.store.task(first)
        await farm.store.clock_was_set_back(by_s=3999.0, ttl_s=30.0)
        now = await farm.store.now()
        assert (await farm.store.node(node.id)).lease_until - now <= timedelta(seconds=30)
        assert (await farm.store.node(young.id)).lease_until == young.lease_until  # it was no longer than that
        assert before.due_at - (await farm.store.task(first)).due_at == timedelta(seconds=3999)
        assert (await farm.store.task(second)).due_at is None

    farm.run(work())


def test_a_silent_node_is_lost_and_its_tasks_are_orphans(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        new = a_node(ttl_s=30.0)
        node = await farm.store.register(new)
        await _claim(farm, node, "r")
        await farm.advance(20)
        assert list(await farm.store.expire_leases(limit=10)) == []
        beat = await farm.store.heartbeat(node_id=node.id, epoch=1, ttl_s=30.0, reports=[])
        assert [one.id for one in beat.held] == [task]
        assert (beat.node.holding, beat.node.state) == (1, NodeState.READY)
        await farm.advance(20)
        assert list(await farm.store.expire_leases(limit=10)) == []
        assert list(await farm.store.orphans(limit=10)) == []
        await farm.advance(11)
        (lost,) = await farm.store.expire_leases(limit=10)
        assert (lost.id, lost.state, lost.epoch) == (node.id, NodeState.LOST, 2)
        assert list(await farm.store.expire_leases(limit=10)) == []
        assert [one.id for one in await farm.store.orphans(limit=10)] == [task]
        assert await farm.store.heartbeat(node_id=node.id, epoch=1, ttl_s=30.0, reports=[]) is None
        assert await farm.store.heartbeat(node_id=node.id, epoch=2, ttl_s=30.0, reports=[]) is None
        returned = await farm.store.register(new)
        assert (returned.state, returned.epoch, returned.holding) == (NodeState.READY, 3, 1)
        assert [one.id for one in await farm.store.orphans(limit=10)] == [task]
        assert [one.id for one in await farm.store.left_by(node.id, epoch=3, limit=10)] == [task]
        assert list(await farm.store.left_by(node.id, epoch=1, limit=10)) == []  # held under that one, not before it
        assert list(await farm.store.left_by("another", epoch=3, limit=10)) == []
        back = a_move(task, State.QUEUED, attempt=1, outcome=Outcome.LOST, loses=True)
        assert await farm.store.move([back]) == [True]
        assert list(await farm.store.orphans(limit=10)) == []
        assert (await farm.store.task(task)).losses == 1
        (given,) = await _claim(farm, returned, "next")
        assert given.attempt == 2

    farm.run(work())


def test_a_heartbeat_keeps_the_progress_of_the_nodes_own_attempts(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 2)
        mine, other = await farm.store.register(a_node()), await farm.store.register(a_node())
        (given,) = await _claim(farm, mine, "a")
        (foreign,) = await _claim(farm, other, "b")
        progress = Progress(fraction=0.5, phase="encode", frame=12, fps=25.0, speed=1.5, eta_s=2.5)

        def report(task_id: str, attempt: int) -> Report:
            return Report(task_id=task_id, attempt=attempt, paused=False, progress=progress)

        reports = [
            report(given.task_id, 1),
            report(foreign.task_id, 1),
            report("nonsense", 1),
            report(given.task_id, 7),
        ]
        await farm.store.heartbeat(node_id=mine.id, epoch=1, ttl_s=30.0, reports=reports)
        kept = (await farm.store.job(given.job_id)).progress
        assert (kept.fraction, kept.phase, kept.frame, kept.fps, kept.speed, kept.eta_s) == (
            (0.5, "encode", 12, 25.0, 1.5, 2.5)
        )
        assert kept.updated_at is not None
        assert (await farm.store.job(foreign.job_id)).progress == Progress()
        await farm.store.move([a_move(given.task_id, State.QUEUED)])
        await _claim(farm, mine, "c")
        assert (await farm.store.job(given.job_id)).progress == Progress()

    farm.run(work())


def test_a_node_that_holds_a_task_is_not_removed(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "r")
        assert not await farm.store.remove_node(node.id)
        assert not await farm.store.remove_node("unknown")
        await farm.store.move([completes(task, 1)])
        assert await farm.store.remove_node(node.id)
        assert await farm.store.node(node.id) is None
        (attempt,) = await farm.store.attempts(task.partition(".")[0])
        assert attempt.node_name == node.name

    farm.run(work())


def test_a_log_grows_at_its_end_only(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        (given,) = await _claim(farm, node, "r")
        log = (given.task_id, 1)
        assert await farm.store.append_log(given.task_id, 2, offset=0, data=b"x") is None
        assert await farm.store.append_log("nonsense", 1, offset=0, data=b"x") is None
        assert await farm.store.read_log(given.task_id, 2, offset=0, limit=9) is None
        assert await farm.store.read_log(*log, offset=0, limit=9) == b""
        assert await farm.store.append_log(*log, offset=0, data=b"hello") == 5
        assert await farm.store.append_log(*log, offset=0, data=b"hello") == 5
        assert await farm.store.append_log(*log, offset=3, data=b"lo wor") == 9
        assert await farm.store.append_log(*log, offset=12, data=b"gap") == 9
        assert await farm.store.append_log(*log, offset=9, data=b"ld\x00\xff") == 13
        assert await farm.store.append_log(*log, offset=2, data=b"") == 13
        whole = b"hello world\x00\xff"
        for offset in range(15):
            for limit in (0, 1, 4, 99):
                wanted = whole[offset : offset + limit]
                assert await farm.store.read_log(*log, offset=offset, limit=limit) == wanted, (offset, limit)

    farm.run(work())


async def _end_and_claim(farm: Any, node: Any, move: Any, request_id: str, *, limit: int = 1, epoch: int = 1) -> Any:
    classes = [await farm.store.class_of(NEEDS)]
    return await farm.store.move_and_claim(move, epoch=epoch, request_id=request_id, classes=classes, limit=limit)


def test_a_report_and_a_claim_are_one_step(farm: Any) -> None:
    async def work() -> None:
        first, second, third, fourth = await queue_jobs(farm.store, 4)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "a")
        given = await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "b")
        assert [(one.task_id, one.attempt) for one in given] == [(second, 1)]
        # The claim's name gives the same again, and the move does not happen twice.
        assert await _claim(farm, node, "b") == given
        assert await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "c") is None
        done, running = await farm.store.task(first), await farm.store.task(second)
        assert (done.state, done.node_id) == (State.COMPLETED, None)
        assert (running.state, running.node_id, running.node_epoch) == (State.ASSIGNED, node.id, node.epoch)
        assert [one.outcome for one in await farm.store.attempts(done.job_id)] == [Outcome.COMPLETED]
        assert [one.outcome for one in await farm.store.attempts(running.job_id)] == [None]
        for job, last in ((done.job_id, State.COMPLETED), (running.job_id, State.ASSIGNED)):
            assert (await farm.store.transitions(job))[-1].target is last
        rest = await _end_and_claim(farm, node, completes(second, 1, node_id=node.id), "d", limit=5)
        assert [one.task_id for one in rest] == [third, fourth]
        assert await _end_and_claim(farm, node, completes(third, 1, node_id=node.id), "e") == []

    farm.run(work())


def test_a_report_under_the_name_of_an_earlier_claim_gives_what_is_still_held(farm: Any) -> None:
    async def work() -> None:
        first, second, third = await queue_jobs(farm.store, 3)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "a", limit=2)
        ends = [completes(task, 1, node_id=node.id) for task in (first, second)]
        given = await _end_and_claim(farm, node, ends[0], "a")
        assert [one.task_id for one in given] == [second]
        given = await _end_and_claim(farm, node, ends[1], "a")
        assert [one.task_id for one in given] == [third]

    farm.run(work())


def test_a_report_that_is_not_taken_claims_nothing(farm: Any) -> None:
    async def work() -> None:
        first, _ = await queue_jobs(farm.store, 2)
        node = await farm.store.register(a_node())
        other = await farm.store.register(a_node())
        await _claim(farm, node, "a")
        for wrong in ({"attempt": 2}, {"node_id": other.id}, {"sources": frozenset({State.PROCESSING})}):
            move = completes(first, **{"attempt": 1, "node_id": node.id, **wrong})
            assert await _end_and_claim(farm, node, move, "b") is None, wrong
        assert await _end_and_claim(farm, node, completes("nonsense", 1, node_id=node.id), "b") is None
        assert await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "b", epoch=2) is None
        with pytest.raises(IllegalTransitionError):
            await _end_and_claim(farm, node, completes(first, 1, node_id=node.id, sources=frozenset(State)), "b")
        assert await farm.store.count_jobs() == {State.ASSIGNED: 1, State.QUEUED: 1}
        assert len(await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "b")) == 1

    farm.run(work())


def test_a_node_that_drains_may_report_but_is_given_nothing(farm: Any) -> None:
    async def work() -> None:
        first, _ = await queue_jobs(farm.store, 2)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "a")
        await farm.store.set_node_state(node.id, NodeState.DRAINING, sources=[NodeState.READY])
        assert await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "b") == []
        assert await farm.store.count_jobs() == {State.COMPLETED: 1, State.QUEUED: 1}

    farm.run(work())


def test_a_lost_node_may_not_report_and_claim(farm: Any) -> None:
    async def work() -> None:
        first, _ = await queue_jobs(farm.store, 2)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "a")
        await farm.advance(31)
        (lost,) = await farm.store.expire_leases(limit=9)
        for epoch in (node.epoch, lost.epoch):
            assert await _end_and_claim(farm, node, completes(first, 1, node_id=node.id), "b", epoch=epoch) is None
        assert await farm.store.count_jobs() == {State.ASSIGNED: 1, State.QUEUED: 1}

    farm.run(work())


def test_what_is_handed_back_does_not_come_straight_back(farm: Any) -> None:
    async def work() -> None:
        first, second = await queue_jobs(farm.store, 2)
        node = await farm.store.register(a_node())
        await _claim(farm, node, "a")
        back = a_move(first, State.QUEUED, attempt=1, node_id=node.id, outcome=Outcome.HANDED_BACK, release=True)
        # Even under the name of the claim that gave it.
        given = await _end_and_claim(farm, node, back, "a")
        assert [one.task_id for one in given] == [second]
        assert [(one.task_id, one.attempt) for one in await _claim(farm, node, "b")] == [(first, 2)]

    farm.run(work())


def test_many_reports_with_claims_at_once_give_each_task_once(farm: Any) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 200)
        nodes = [await farm.store.register(a_node()) for _ in range(40)]
        held = [(await _claim(farm, node, "first"))[0] for node in nodes]
        given = [one.task_id for one in held]
        for turn in range(4):
            moves = [completes(one.task_id, 1, node_id=node.id) for one, node in zip(held, nodes, strict=True)]
            answers = await asyncio.gather(
                *(
                    _end_and_claim(farm, node, move, f"turn-{turn}")
                    for node, move in zip(nodes, moves, strict=True)
                    for _ in range(2)  # each comes twice; the second is not taken and claims nothing
                )
            )
            assert all((a is None) != (b is None) for a, b in zip(answers[::2], answers[1::2], strict=True))
            held = [(a or b)[0] for a, b in zip(answers[::2], answers[1::2], strict=True)]
            given += [one.task_id for one in held]
        assert sorted(given) == sorted(tasks)
        assert await farm.store.count_jobs() == {State.COMPLETED: 160, State.ASSIGNED: 40}

    farm.run(work())
