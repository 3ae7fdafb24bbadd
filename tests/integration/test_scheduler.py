"""The verbs of a master on a real SQLite store, under virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from ready_made import put_sqlite

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.keys import NewKey
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Claimed, Job, Node, Outcome, Progress, Report
from millrace.domain.retry import MAX_LOSSES
from millrace.domain.roles import Role
from millrace.domain.states import State
from millrace.runtime.clock import VirtualClock
from millrace.scheduler import claim as claims
from millrace.scheduler import nodes, report, steer
from millrace.scheduler.clean import clean
from millrace.scheduler.duties import Duties
from millrace.scheduler.errors import ConflictError, InvalidError, KeyReusedError, StaleAttemptError, StaleEpochError
from millrace.scheduler.expire import expire_leases
from millrace.scheduler.farm import Farm, Rules
from millrace.scheduler.offers import Offers
from millrace.scheduler.promote import promote_due
from millrace.scheduler.read import find_job
from millrace.scheduler.reject import reject_impossible
from millrace.scheduler.submit import Caller, submit
from millrace.scheduler.wake import listener
from millrace.store.open import open_store
from millrace.store.store import StoreFullError
from millrace.wire.v1.jobs import JobRequest

ENCODERS = {"libx264": "", "aac": "", "libx265": "", "libsvtav1": "no such encoder"}
TRANSIENT = Failure(failure_class=FailureClass.NETWORK, message="the peer closed the connection")
FINAL = Failure(failure_class=FailureClass.INPUT, message="the input is no video")


class Rig:
    """A farm with a clock that tests move, and shorthands for what workers and people do."""

    def __init__(self, farm: Farm, clock: VirtualClock) -> None:
        self.farm = farm
        self.clock = clock
        self.offers = Offers(farm.store)
        self.farm.store.listen(listener(farm, self.offers))

    async def node(self, name: str = "one", *, boot: str = "boot-0001", encoders: dict[str, str] = ENCODERS) -> Node:
        return await nodes.register(
            self.farm,
            self.offers,
            fingerprint=f"print-{name}",
            boot_id=boot,
            name=name,
            slots=64,
            labels={},
            facts={"engines": ["ffmpeg"], "encoders": encoders, "memory_mb": 1000},
        )

    async def submit(self, **fields: object) -> str:
        request = JobRequest(**({"scenario": "720p30-h264"} | fields))
        return (await submit(self.farm, request, caller=Caller())).id

    async def job(self, job_id: str) -> Job:
        return await find_job(self.farm.store, job_id)

    async def claim(self, node: Node, *, request: str = "", limit: int = 1, wait_s: float = 0) -> list[Claimed]:
        found = await claims.claim(
            self.farm,
            self.offers,
            node_id=node.id,
            epoch=node.epoch,
            request_id=request or f"r-{random.randrange(10**12):012}",
            limit=limit,
            wait_s=wait_s,
        )
        return list(found)

    async def one(self, node: Node) -> Claimed:
        (task,) = await self.claim(node)
        return task

    async def history(self, job_id: str) -> list[str]:
        return [transition.target for transition in await self.farm.store.transitions(job_id)]

    async def until_somebody_waits(self) -> None:
        while not len(self.farm.waiting):
            await asyncio.sleep(0)
        await self.clock.settle()

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await promote_due(self.farm)


@asynccontextmanager
async def rig_in(folder: Path) -> AsyncIterator[Rig]:
    clock = VirtualClock()
    store = open_store(put_sqlite(folder / "farm.db"), clock=clock)
    await store.start()
    try:
        yield Rig(Farm(store=store, clock=clock, chance=random.Random(1)), clock)
    finally:
        await store.stop()


def farm_test(body):
    """Run the test's coroutine with a fresh rig."""

    def run(tmp_path: Path) -> None:
        async def inside() -> None:
            async with rig_in(tmp_path) as rig:
                await body(rig)

        asyncio.run(inside())

    run.__name__ = body.__name__
    run.__doc__ = body.__doc__
    return run


@farm_test
async def test_a_job_goes_from_acceptance_to_completion(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    assert (task.job_id, task.attempt) == (job_id, 1)
    assert await report.start(rig.farm, task.task_id, node_id=node.id, attempt=1) is State.PROCESSING
    done = await report.complete(rig.farm, task.task_id, node_id=node.id, attempt=1, outputs=(), facts={"frames": 300})
    assert done.state is State.COMPLETED
    job = await rig.job(job_id)
    assert (job.state, job.number) == (State.COMPLETED, 1)
    assert await rig.history(job_id) == ["queued", "assigned", "processing", "completed"]
    assert await rig.farm.store.facts(job_id) == {"frames": 300}


@farm_test
async def test_the_heavier_goes_first_and_equals_in_order(rig: Rig) -> None:
    kinds = [(Queue.BATCH, Priority.LOW), (Queue.DEFAULT, Priority.MEDIUM), (Queue.LIVE, Priority.HIGH)]
    ids = [await rig.submit(queue=queue, priority=priority) for queue, priority in (*kinds, *kinds)]
    node = await rig.node()
    order = [task.job_id for task in await rig.claim(node, limit=6)]
    assert order == [ids[2], ids[5], ids[1], ids[4], ids[0], ids[3]]


@farm_test
async def test_what_has_waited_long_enough_is_overtaken_by_nobody(rig: Rig) -> None:
    old = await rig.submit(queue=Queue.BATCH, priority=Priority.LOW)
    await rig.clock.advance(29 * 240 + 1)
    await rig.submit(queue=Queue.LIVE, priority=Priority.HIGH)
    assert (await rig.one(await rig.node())).job_id == old


@farm_test
async def test_a_job_that_this_worker_cannot_run_hides_no_other(rig: Rig) -> None:
    await rig.submit(scenario="720p30-av1", queue=Queue.LIVE)
    mine = await rig.submit(queue=Queue.BATCH)
    node = await rig.node()
    assert [task.job_id for task in await rig.claim(node, limit=4)] == [mine]


@farm_test
async def test_a_platform_failure_is_tried_again_later_and_then_gives_up(rig: Rig) -> None:
    job_id = await rig.submit(max_retries=1)
    node = await rig.node()
    for attempt, state in ((1, State.RETRYING), (2, State.FAILED)):
        task = await rig.one(node)
        assert task.attempt == attempt
        answer = await report.fail(rig.farm, task.task_id, node_id=node.id, attempt=attempt, failure=TRANSIENT)
        assert answer.state is state
        assert await rig.claim(node) == []
        await rig.pass_time(300)
    job = await rig.job(job_id)
    assert job.state is State.FAILED
    assert job.failure == TRANSIENT
    assert [attempt.outcome for attempt in await rig.farm.store.attempts(job_id)] == [Outcome.FAILED, Outcome.FAILED]


@farm_test
async def test_a_fault_of_the_request_is_final_after_one_attempt(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    await report.fail(rig.farm, task.task_id, node_id=node.id, attempt=1, failure=FINAL)
    job = await rig.job(job_id)
    assert (job.state, job.failure) == (State.FAILED, FINAL)


@farm_test
async def test_a_report_that_comes_twice_gets_the_first_answer(rig: Rig) -> None:
    await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    for _ in range(2):
        assert await report.start(rig.farm, task.task_id, node_id=node.id, attempt=1) is State.PROCESSING
    for _ in range(2):
        answer = await report.complete(rig.farm, task.task_id, node_id=node.id, attempt=1, outputs=(), facts={})
        assert answer.state is State.COMPLETED
    with pytest.raises(StaleAttemptError):
        await report.fail(rig.farm, task.task_id, node_id=node.id, attempt=1, failure=TRANSIENT)


@farm_test
async def test_a_claim_whose_reply_was_lost_gives_the_same_tasks_again(rig: Rig) -> None:
    for _ in range(3):
        await rig.submit()
    node = await rig.node()
    first = await rig.claim(node, request="the-same-1", limit=2)
    assert len(first) == 2
    assert await rig.claim(node, request="the-same-1", limit=2) == first


@farm_test
async def test_a_report_whose_claim_is_filled_wakes_the_next_in_line(rig: Rig) -> None:
    for _ in range(4):
        await rig.submit()
    node, other = await rig.node("one"), await rig.node("two")
    held = await rig.one(node)
    waiter = rig.farm.waiting.enter(await rig.offers.classes_for(other.id, other.epoch))
    for limit, woken in ((1, True), (5, False)):
        waiter.woken.clear()
        then = report.Next(offers=rig.offers, epoch=node.epoch, request_id=f"the-next-{limit}", limit=limit)
        ended = await report.complete(
            rig.farm, held.task_id, node_id=node.id, attempt=1, outputs=(), facts={}, then=then
        )
        held = ended.tasks[0]
        assert waiter.woken.is_set() is woken
    assert len(ended.tasks) == 2


@farm_test
async def test_a_lost_workers_task_runs_elsewhere_and_its_late_reports_change_nothing(rig: Rig) -> None:
    job_id = await rig.submit()
    first, second = await rig.node("one"), await rig.node("two")
    task = await rig.one(first)
    await rig.clock.advance(10)
    await nodes.heartbeat(rig.farm, node_id=second.id, epoch=second.epoch, reports=[])
    await rig.clock.advance(10)
    assert [node.name for node in await expire_leases(rig.farm)] == ["one"]
    again = await rig.one(second)
    assert (again.task_id, again.attempt) == (task.task_id, 2)
    for late in (
        report.start(rig.farm, task.task_id, node_id=first.id, attempt=1),
        report.complete(rig.farm, task.task_id, node_id=first.id, attempt=1, outputs=(), facts={}),
        report.fail(rig.farm, task.task_id, node_id=first.id, attempt=1, failure=FINAL),
        report.hand_back(rig.farm, task.task_id, node_id=first.id, attempt=1, reason="late"),
    ):
        with pytest.raises(StaleAttemptError):
            await late
    with pytest.raises(StaleEpochError):
        await nodes.heartbeat(rig.farm, node_id=first.id, epoch=first.epoch, reports=[])
    job = await rig.job(job_id)
    assert job.state is State.ASSIGNED
    attempts = await rig.farm.store.attempts(job_id)
    assert [attempt.outcome for attempt in attempts] == [Outcome.LOST, None]


@farm_test
async def test_a_worker_that_restarts_gets_its_tasks_requeued_at_once(rig: Rig) -> None:
    jobs = [await rig.submit() for _ in range(3)]
    node, other = await rig.node(), await rig.node("two")
    task, _ = await rig.claim(node, limit=2)
    await rig.one(other)
    reborn = await rig.node(boot="boot-0002")  # while nobody leads, so nobody else takes anything back
    assert (reborn.id, reborn.epoch) == (node.id, node.epoch + 1)
    states = [(await rig.job(job)).state for job in jobs]
    assert states == [State.QUEUED, State.QUEUED, State.ASSIGNED]
    again = await rig.one(reborn)
    assert (again.task_id, again.attempt) == (task.task_id, 2)
    # Its registration comes twice: what it holds by now stays its own.
    await rig.node(boot="boot-0002")
    assert (await rig.job(jobs[0])).state is State.ASSIGNED
    with pytest.raises(StaleEpochError):
        await rig.claim(node)


@farm_test
async def test_losses_cost_no_retry_but_a_job_that_kills_its_workers_ends(rig: Rig) -> None:
    job_id = await rig.submit(max_retries=0)
    for life in range(MAX_LOSSES):
        node = await rig.node(boot=f"boot-{life:04}")
        await rig.one(node)
    await rig.node(boot="boot-9999")
    job = await rig.job(job_id)
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.failure_class is FailureClass.LOST


@farm_test
async def test_a_task_handed_back_is_unspent(rig: Rig) -> None:
    job_id = await rig.submit(max_retries=0)
    node = await rig.node()
    task = await rig.one(node)
    await report.hand_back(rig.farm, task.task_id, node_id=node.id, attempt=1, reason="the disk is nearly full")
    again = await rig.one(node)
    assert again.attempt == 2
    await report.complete(rig.farm, again.task_id, node_id=node.id, attempt=2, outputs=(), facts={})
    assert (await rig.job(job_id)).state is State.COMPLETED


@farm_test
async def test_pause_and_resume_in_the_queue(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    for _ in range(2):
        assert (await steer.pause(rig.farm, job_id, actor="p")).state is State.PAUSED
    assert await rig.claim(node) == []
    for _ in range(2):
        assert (await steer.resume(rig.farm, "1", actor="p")).state is State.QUEUED
    assert (await rig.one(node)).job_id == job_id


@farm_test
async def test_of_two_that_pause_at_the_same_moment_one_does(rig: Rig) -> None:
    job_id = await rig.submit()
    store, read = rig.farm.store, rig.farm.store.tasks

    async def too_late(job: str) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "tasks", read)
            await steer.pause(rig.farm, job_id, actor="quicker")
        return await read(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "tasks", too_late)
        assert (await steer.pause(rig.farm, job_id, actor="p")).state is State.PAUSED
    assert await rig.history(job_id) == ["queued", "paused"]


def beat_of(task: Claimed, *, paused: bool = False) -> Report:
    return Report(task_id=task.task_id, attempt=task.attempt, paused=paused, progress=Progress(fraction=0.5, frame=7))


@farm_test
async def test_pause_and_resume_on_the_worker_that_runs_it(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    await report.start(rig.farm, task.task_id, node_id=node.id, attempt=1)
    await steer.pause(rig.farm, job_id, actor="p")

    async def told(*, paused: bool) -> list[str]:
        _, found = await nodes.heartbeat(
            rig.farm, node_id=node.id, epoch=node.epoch, reports=[beat_of(task, paused=paused)]
        )
        return [directive.action for directive in found]

    assert await told(paused=False) == ["pause"]
    assert await told(paused=True) == []
    assert (await steer.resume(rig.farm, job_id, actor="p")).state is State.PROCESSING
    assert await told(paused=True) == ["resume"]
    assert (await rig.job(job_id)).progress.frame == 7


@farm_test
async def test_a_paused_task_stays_paused_when_its_worker_is_lost(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    await rig.one(node)
    await steer.pause(rig.farm, job_id, actor="p")
    reborn = await rig.node(boot="boot-0002")
    assert (await rig.job(job_id)).state is State.PAUSED
    assert await rig.claim(reborn) == []
    assert (await steer.resume(rig.farm, job_id, actor="p")).state is State.QUEUED
    assert (await rig.one(reborn)).attempt == 2


@farm_test
async def test_cancel_wins_over_a_later_completion(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    assert (await steer.cancel(rig.farm, job_id, actor="p")).state is State.CANCELED
    with pytest.raises(StaleAttemptError):
        await report.complete(rig.farm, task.task_id, node_id=node.id, attempt=1, outputs=(), facts={})
    _, found = await nodes.heartbeat(rig.farm, node_id=node.id, epoch=node.epoch, reports=[beat_of(task)])
    assert [directive.action for directive in found] == ["cancel"]
    assert (await steer.cancel(rig.farm, job_id, actor="p")).state is State.CANCELED
    with pytest.raises(ConflictError, match="it is canceled"):
        await steer.pause(rig.farm, job_id, actor="p")


@farm_test
async def test_retry_by_hand_keeps_the_history(rig: Rig) -> None:
    job_id = await rig.submit()
    node = await rig.node()
    task = await rig.one(node)
    await report.fail(rig.farm, task.task_id, node_id=node.id, attempt=1, failure=FINAL)
    job = await steer.retry(rig.farm, job_id, actor="p")
    assert (job.state, job.failure, job.finished_at) == (State.QUEUED, None, None)
    again = await rig.one(node)
    assert again.attempt == 2
    await report.complete(rig.farm, again.task_id, node_id=node.id, attempt=2, outputs=(), facts={})
    assert await rig.history(job_id) == ["queued", "assigned", "failed", "queued", "assigned", "completed"]
    with pytest.raises(ConflictError, match="completed"):
        await steer.retry(rig.farm, job_id, actor="p")


@farm_test
async def test_what_nobody_could_ever_run_is_rejected_after_a_grace(rig: Rig) -> None:
    job_id = await rig.submit(scenario="720p30-av1")
    await rig.clock.advance(3600)
    assert await reject_impossible(rig.farm) == 0  # a farm without nodes has only just been started
    await rig.node()
    assert await reject_impossible(rig.farm) == 1
    job = await rig.job(job_id)
    assert job.state is State.REJECTED
    assert job.failure is not None
    assert "libsvtav1" in job.failure.message
    fresh = await rig.submit(scenario="720p30-av1")
    assert await reject_impossible(rig.farm) == 0  # within its grace
    assert (await rig.job(fresh)).state is State.QUEUED


@farm_test
async def test_nodes_are_read_only_where_something_has_waited_for_long(rig: Rig) -> None:
    node = await rig.node()
    reads: list[str] = []
    real = rig.farm.store.nodes

    async def nodes_read() -> Sequence[Node]:
        reads.append(node.name)
        return await real()

    rig.farm.store.nodes = nodes_read  # type: ignore[method-assign]
    assert await reject_impossible(rig.farm) == 0
    await rig.submit(scenario="720p30-av1")
    assert await reject_impossible(rig.farm) == 0
    assert reads == []
    await rig.clock.advance(3600)
    assert await reject_impossible(rig.farm) == 1
    assert reads == ["one"]


@farm_test
async def test_a_job_for_gstreamer_is_rejected_with_the_reason(rig: Rig) -> None:
    job = await rig.job(await rig.submit(engine="gstreamer"))
    assert job.state is State.REJECTED
    assert job.failure is not None
    assert "GStreamer" in job.failure.message


@farm_test
async def test_a_job_for_later_waits_for_its_time(rig: Rig) -> None:
    job_id = await rig.submit(run_after=rig.clock.now() + timedelta(seconds=60))
    node = await rig.node()
    assert (await rig.job(job_id)).state is State.PENDING
    await rig.pass_time(59)
    assert await rig.claim(node) == []
    await rig.pass_time(1)
    assert (await rig.one(node)).job_id == job_id


@farm_test
async def test_a_waiting_worker_is_woken_by_a_job_that_it_can_run(rig: Rig) -> None:
    node = await rig.node()
    waiting = asyncio.create_task(rig.claim(node, wait_s=30))
    await rig.until_somebody_waits()
    job_id = await rig.submit()
    (task,) = await asyncio.wait_for(waiting, 30)
    assert task.job_id == job_id


@farm_test
async def test_a_waiting_worker_goes_home_when_the_time_is_up(rig: Rig) -> None:
    node = await rig.node()
    waiting = asyncio.create_task(rig.claim(node, wait_s=30))
    await rig.until_somebody_waits()
    await rig.clock.advance(31)
    assert await asyncio.wait_for(waiting, 30) == []


@farm_test
async def test_a_draining_node_gets_nothing_and_is_not_called_lost(rig: Rig) -> None:
    await rig.submit()
    node = await rig.node()
    await nodes.drain(rig.farm, "one")
    assert await rig.claim(node) == []
    await nodes.resume(rig.farm, "one")
    assert len(await rig.claim(node)) == 1
    with pytest.raises(ConflictError, match="holds 1 task"):
        await nodes.remove(rig.farm, "one")


@pytest.mark.parametrize(("keep_days", "lasts_days"), [(2, 2), (None, 30)])
def test_finished_jobs_and_ended_keys_go_together(tmp_path: Path, keep_days: int | None, lasts_days: int) -> None:
    async def inside() -> None:
        async with rig_in(tmp_path) as rig:
            keep = None if keep_days is None else timedelta(days=keep_days)
            farm = Farm(store=rig.farm.store, clock=rig.clock, rules=Rules(keep_finished=keep))
            node = await rig.node()
            job_id = await rig.submit()
            done = await rig.one(node)
            await report.complete(farm, done.task_id, node_id=node.id, attempt=1, outputs=(), facts={})
            key = NewKey(
                id="k1", name="ci", role=Role.VIEWER, tenant="", digest=b"1" * 32, hint="mr_1234", lasts_s=10.0
            )
            await farm.store.add_key(key)
            await rig.clock.advance(lasts_days * 86400)
            assert list(await clean(farm)) == []
            assert [one.id for one in await farm.store.keys(ended=True)] == ["k1"]
            await rig.clock.advance(11)
            assert list(await clean(farm)) == ([] if keep_days is None else [job_id])
            assert await farm.store.keys(ended=True) == []
            assert (await farm.store.job(job_id) is None) == (keep_days is not None)

    asyncio.run(inside())


@farm_test
async def test_duties_that_find_no_space_say_so_and_see_when_there_is_some(rig: Rig) -> None:
    complaints: list[str] = []

    async def forget(_: object) -> None: ...

    duties = Duties(rig.farm, rig.offers, complain=lambda name, _: complaints.append(name), forget=forget)
    real = rig.farm.store.expire_leases

    async def no_space(*, limit: int) -> list[Node]:
        raise StoreFullError(f"cannot write {limit}: no space is left")

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():
            await rig.clock.advance(1)

    async with duties:
        rig.farm.store.expire_leases = no_space  # type: ignore[method-assign]
        await asyncio.wait_for(until(lambda: rig.farm.space.full), 30)
        rig.farm.store.expire_leases = real  # type: ignore[method-assign]
        await asyncio.wait_for(until(lambda: not rig.farm.space.full), 30)
    assert complaints == []


@farm_test
async def test_a_task_that_never_reached_the_node_is_given_away_again(rig: Rig) -> None:
    await rig.submit()
    node = await rig.node()
    await rig.one(node)
    await rig.clock.advance(11)
    await nodes.heartbeat(rig.farm, node_id=node.id, epoch=node.epoch, reports=[])
    assert (await rig.one(node)).attempt == 2


@farm_test
async def test_nodes_that_come_together_at_a_start_all_see_the_classes(rig: Rig) -> None:
    await rig.submit()
    several = [await rig.node(f"n{number}") for number in range(3)]
    fresh = Offers(rig.farm.store)  # a master that has just started and has read no class yet
    found = await asyncio.gather(*(fresh.classes_for(node.id, node.epoch) for node in several))
    assert found[0]
    assert found[0] == found[1] == found[2]


@farm_test
async def test_a_node_that_registers_anew_while_its_classes_are_read_satisfies_none_under_its_old_epoch(
    rig: Rig,
) -> None:
    await rig.submit()
    node = await rig.node()
    fresh = Offers(rig.farm.store)
    fresh.register(node)
    asking = asyncio.create_task(fresh.classes_for(node.id, node.epoch))
    while not fresh._reading.locked():
        await asyncio.sleep(0)
    later = replace(node, epoch=node.epoch + 1)
    fresh.register(later)
    assert await asking == frozenset()
    assert await fresh.classes_for(later.id, later.epoch) != frozenset()


@farm_test
async def test_an_idempotency_key_makes_one_job(rig: Rig) -> None:
    request = JobRequest(scenario="720p30-h264")
    first = await submit(rig.farm, request, caller=Caller(), idempotency_key="k1")
    second = await submit(rig.farm, request, caller=Caller(), idempotency_key="k1")
    assert (second.id, second.repeated) == (first.id, True)
    with pytest.raises(KeyReusedError):
        await submit(rig.farm, JobRequest(scenario="1080p30-h264"), caller=Caller(), idempotency_key="k1")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scenario": "no-such"}, "scenario"),
        ({"scenario": None, "profile": "web-hsl"}, "profile"),
        ({"profile": "web-hls"}, "scenario"),
        ({"scenario": None, "profile": {"name": "x", "renditions": [{"video": {"crf": -3}}]}}, "profile."),
        ({"input": "relative.mp4"}, "input"),
        ({"input": "-i"}, "input"),
        ({"input": "file:///etc/passwd"}, "input"),
        ({"input": "concat:/a|/b"}, "input"),
        ({"input": "/media/../etc/passwd"}, "input"),
        ({"input": "http:///nohost"}, "input"),
        ({"input": "/a\nb"}, "input"),
        ({"output": "http://host/x"}, "output"),
        ({"output": "out"}, "output"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(tmp_path: Path, fields: dict[str, object], field: str) -> None:
    async def inside() -> None:
        async with rig_in(tmp_path) as rig:
            with pytest.raises(InvalidError) as raised:
                await rig.submit(**fields)
            assert all(finding.field.startswith(field) for finding in raised.value.findings)
            assert await rig.farm.store.count_jobs() == {}

    asyncio.run(inside())
