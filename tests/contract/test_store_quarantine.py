"""Another node first, what counts against a node, and quarantine, by every store."""

import asyncio
from typing import Any

from store_samples import NEEDS, a_move, a_node, completes, queue_jobs

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.quarantine import SPAN_S
from millrace.domain.records import NodeState, Outcome
from millrace.domain.states import State

BROKE = Failure(failure_class=FailureClass.ENGINE, message="the encoder broke")


async def _claim(farm: Any, node: Any, request: str, limit: int = 1) -> Any:
    classes = [await farm.store.class_of(NEEDS)]
    return await farm.store.claim(node_id=node.id, epoch=node.epoch, request_id=request, classes=classes, limit=limit)


async def _fail(farm: Any, given: Any, *avoid: str) -> None:
    """The attempt failed, and the task is queued again at once."""
    move = a_move(
        given.task_id,
        State.QUEUED,
        attempt=given.attempt,
        outcome=Outcome.FAILED,
        failure=BROKE,
        release=True,
        avoid=avoid,
    )
    assert await farm.store.move([move]) == [True]


def test_a_task_goes_to_a_node_that_it_does_not_avoid_and_after_a_while_to_any(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        one, two = [await farm.store.register(a_node(ttl_s=1e6)) for _ in range(2)]
        (given,) = await _claim(farm, one, "r1")
        await _fail(farm, given, one.id)
        assert list(await _claim(farm, one, "r2")) == []
        (given,) = await _claim(farm, two, "r3")
        assert (given.task_id, given.attempt) == (task, 2)
        await _fail(farm, given, one.id, two.id)
        assert list(await _claim(farm, one, "r4")) == list(await _claim(farm, two, "r5")) == []
        await farm.advance(AVOID_S + 1)
        assert [given.attempt for given in await _claim(farm, one, "r6")] == [3]

    farm.run(work())


def test_claims_that_come_together_keep_to_it_too(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 6)
        nodes = [await farm.store.register(a_node()) for _ in range(3)]
        bad = nodes[0]
        for given in await _claim(farm, bad, "r", limit=6):
            await _fail(farm, given, bad.id)
        found = await asyncio.gather(
            *(_claim(farm, node, f"{node.id[-8:]}-{turn}") for turn in range(4) for node in nodes)
        )
        owners = [(await farm.store.task(one.task_id)).node_id for given in found for one in given]
        for node in nodes[1:]:  # whatever seats stayed empty
            owners += [node.id for _ in await _claim(farm, node, f"rest-{node.id[-8:]}", limit=6)]
        assert len(owners) == 6
        assert bad.id not in owners

    farm.run(work())


def test_what_avoids_a_node_never_hides_the_next(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 40)
        bad = await farm.store.register(a_node())
        for given in await _claim(farm, bad, "r", limit=40):
            await _fail(farm, given, bad.id)
        (fresh,) = await queue_jobs(farm.store, 1)
        assert [given.task_id for given in await _claim(farm, bad, "again", limit=3)] == [fresh]

    farm.run(work())


def test_a_retry_by_hand_avoids_nobody(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        one = await farm.store.register(a_node())
        (given,) = await _claim(farm, one, "r1")
        failed = a_move(
            task, State.FAILED, attempt=given.attempt, outcome=Outcome.FAILED, failure=BROKE, avoid=(one.id,)
        )
        again = a_move(task, State.QUEUED, restart=True)
        assert await farm.store.move([failed, again]) == [True, True]
        assert len(await _claim(farm, one, "r2")) == 1

    farm.run(work())


def test_a_node_in_quarantine_gets_no_work_however_it_comes_back(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1)
        new = a_node(ttl_s=10)
        node = await farm.store.register(new)
        assert node.quarantine is None
        assert await farm.store.quarantine(node.id, reason="it breaks", proof_after_s=60, times=2)
        assert not await farm.store.quarantine("nobody", reason="", proof_after_s=60, times=1)
        node = await farm.store.node(node.id)
        found = node.quarantine
        assert (node.state, found.reason, found.times) == (NodeState.QUARANTINED, "it breaks", 2)
        assert (found.proof_due - found.since).total_seconds() == 60
        assert await _claim(farm, node, "r1") is None
        await farm.advance(11)
        (lost,) = await farm.store.expire_leases(limit=9)
        assert lost.state is NodeState.LOST
        back = await farm.store.register(a_node(fingerprint=new.fingerprint, boot_id="another", ttl_s=1e6))
        assert back.state is NodeState.QUARANTINED
        assert await _claim(farm, back, "r2") is None
        assert await farm.store.quarantine(node.id, reason="its proof failed", proof_after_s=120, times=3)
        again = (await farm.store.node(node.id)).quarantine
        assert (again.since, again.reason, again.times) == (found.since, "its proof failed", 3)
        assert again.proof_due > found.proof_due
        assert await farm.store.release(node.id)
        assert not await farm.store.release(node.id)
        free = await farm.store.node(node.id)
        assert (free.state, free.quarantine) == (NodeState.READY, None)
        assert len(await _claim(farm, free, "r3")) == 1
        beat = await farm.store.heartbeat(node_id=node.id, epoch=free.epoch, ttl_s=9, reports=())
        assert beat.node.state is NodeState.READY

    farm.run(work())


def test_the_record_of_a_node_counts_each_job_once_and_for_a_while(farm: Any) -> None:
    async def work() -> None:
        tasks = await queue_jobs(farm.store, 5)
        one = await farm.store.register(a_node(ttl_s=1e9))
        other = await farm.store.register(a_node(ttl_s=1e9))
        assert (await farm.store.node_record(one.id)).blames == ()
        given = await _claim(farm, one, "r1", limit=2)
        await farm.store.move([completes(each.task_id, 1) for each in given])
        given = await _claim(farm, other, "r2", limit=3)
        await farm.store.move([completes(each.task_id, 1) for each in given])
        for task in (tasks[3], tasks[3], tasks[4]):
            await farm.store.add_blame(one.id, task.partition(".")[0], BROKE)
        await farm.store.add_blame("nobody", tasks[3].partition(".")[0], BROKE)
        record = await farm.store.node_record(one.id)
        assert [(blame.number, blame.failure) for blame in record.blames] == [(4, BROKE), (5, BROKE)]
        assert (record.completed, record.quarantines) == (2, 0)
        await farm.store.quarantine(one.id, reason="", proof_after_s=1, times=4)
        await farm.advance(1)
        await farm.store.release(one.id)
        await farm.advance(1)
        record = await farm.store.node_record(one.id)
        assert (record.blames, record.completed, record.quarantines) == ((), 0, 4)
        await farm.store.add_blame(one.id, tasks[2].partition(".")[0], BROKE)
        assert len((await farm.store.node_record(one.id)).blames) == 1
        await farm.advance(SPAN_S + 1)
        assert (await farm.store.node_record(one.id)).blames == ()
        await farm.advance(86_400)
        assert (await farm.store.node_record(one.id)).quarantines == 0
        assert await farm.store.remove_node(one.id)

    farm.run(work())
