"""The clock by which a farm measures is set while workers work: nobody is lost for it, and who is lost is noticed."""

from test_scheduler import TRANSIENT, Rig, farm_test

from millrace.domain.records import Node, NodeState
from millrace.domain.states import State
from millrace.scheduler import nodes, report
from millrace.scheduler.expire import Expiry
from millrace.scheduler.promote import promote_due

HOUR_S, DAY_S = 3600.0, 86400.0


async def passes(rig: Rig, expiry: Expiry, seconds: int, *alive: Node) -> None:
    """So long in which these nodes beat once a second, as the leader looks once a second."""
    for _ in range(seconds):
        await rig.clock.advance(1)
        for node in alive:
            await nodes.heartbeat(rig.farm, node_id=node.id, epoch=node.epoch, reports=None)
        await expiry.run()


@farm_test
async def test_set_forward_it_loses_nobody_and_who_falls_silent_then_is_lost_in_time(rig: Rig) -> None:
    job = await rig.submit()
    node, silent = await rig.node(), await rig.node("two")
    await rig.one(node)
    expiry = Expiry(rig.farm)
    await passes(rig, expiry, 20, node, silent)
    rig.clock.step_wall(HOUR_S)
    await expiry.run()  # the first look is before the first heartbeat
    await passes(rig, expiry, 14, node)
    assert [one.state for one in await rig.farm.store.nodes()] == [NodeState.READY] * 2
    assert (await rig.job(job)).state is State.ASSIGNED
    await passes(rig, expiry, 2, node)
    assert [one.state for one in await rig.farm.store.nodes()] == [NodeState.READY, NodeState.LOST]


@farm_test
async def test_set_back_it_keeps_no_lease_and_no_retry_waiting_for_a_day(rig: Rig) -> None:
    lost, failed = await rig.submit(), await rig.submit()
    node, other = await rig.node(), await rig.node("two")
    await rig.one(node)
    task = await rig.one(other)
    await report.fail(rig.farm, task.task_id, node_id=other.id, attempt=1, failure=TRANSIENT)
    expiry = Expiry(rig.farm)
    await passes(rig, expiry, 1, node, other)
    rig.clock.step_wall(-DAY_S)
    await passes(rig, expiry, 17, other)
    assert (await rig.job(lost)).state is State.QUEUED
    assert (await rig.farm.store.node(node.id)).state is NodeState.LOST
    await promote_due(rig.farm)
    assert (await rig.job(failed)).state is State.QUEUED
