"""Jobs that run after others: the verbs and the duty of a master, on a real SQLite store under virtual time."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from test_scheduler import FINAL, Rig, farm_test

from millrace.domain.after import Verdict, judge
from millrace.domain.failures import FailureClass
from millrace.domain.records import Node
from millrace.domain.states import State
from millrace.scheduler import report, steer
from millrace.scheduler.after import RUNS, release_waiting
from millrace.scheduler.errors import ConflictError, InvalidError
from millrace.scheduler.promote import promote_due


async def complete(rig: Rig, node: Node, job_id: str) -> None:
    task = await rig.one(node)
    assert task.job_id == job_id
    await report.complete(rig.farm, task.task_id, node_id=node.id, attempt=task.attempt, outputs=(), facts={})


async def fail(rig: Rig, node: Node, job_id: str) -> None:
    task = await rig.one(node)
    assert task.job_id == job_id
    await report.fail(rig.farm, task.task_id, node_id=node.id, attempt=task.attempt, failure=FINAL)


async def states(rig: Rig, *jobs: str) -> list[str]:
    return [(await rig.job(job)).state.value for job in jobs]


@farm_test
async def test_a_chain_runs_one_after_the_other(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    second = await rig.submit(after=[first], queue="live")
    third = await rig.submit(after=[first, str((await rig.job(second)).number)], queue="live")
    assert await states(rig, first, second, third) == ["queued", "pending", "pending"]
    assert await release_waiting(rig.farm) == 0
    for done, then in ((first, ["completed", "queued", "pending"]), (second, ["completed", "completed", "queued"])):
        await complete(rig, node, done)
        assert await release_waiting(rig.farm) == 1
        assert await states(rig, first, second, third) == then
    assert (await rig.farm.store.transitions(third))[-1].reason == RUNS
    assert await release_waiting(rig.farm) == 0


@farm_test
async def test_a_failure_rejects_what_runs_after_it_and_all_that_runs_after_that(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    second = await rig.submit(after=[first])
    third = await rig.submit(after=[second])
    anyhow = await rig.submit(after=[first, third], after_any_end=True)
    await fail(rig, node, first)
    await release_waiting(rig.farm)
    assert await states(rig, first, second, third, anyhow) == ["failed", "rejected", "rejected", "queued"]
    failure = (await rig.job(second)).failure
    assert failure is not None
    assert (failure.failure_class, failure.message) == (
        FailureClass.REQUEST,
        "cannot run: it runs after job 1, which failed",
    )
    assert (await rig.job(third)).failure.message == "cannot run: it runs after job 2, which was rejected"  # type: ignore[union-attr]


@farm_test
async def test_a_canceled_job_rejects_what_runs_after_it_though_others_still_run(rig: Rig) -> None:
    first, other = await rig.submit(), await rig.submit()
    waits = await rig.submit(after=[other, first])
    await steer.cancel(rig.farm, first, actor="me")
    await release_waiting(rig.farm)
    assert await states(rig, other, waits) == ["queued", "rejected"]


@farm_test
async def test_only_jobs_that_are_there_and_of_the_same_tenant_can_be_named(rig: Rig) -> None:
    own, other = await rig.submit(), await rig.submit(tenant="other")
    with pytest.raises(InvalidError) as caught:
        await rig.submit(after=[own, "j" + "0" * 32, other, "77"])
    assert [one.field for one in caught.value.findings] == ["after[1]", "after[2]", "after[3]"]
    assert "there is no job '77'" in caught.value.findings[2].message
    assert caught.value.findings[1].message == "job 2 is of another tenant than this one"
    # One that is named twice, by number and by id, is one.
    twice = await rig.submit(after=[own, "1"])
    assert (await rig.job(twice)).spec["after"] == [own]


@farm_test
async def test_what_a_job_runs_after_may_have_ended_before_it_was_submitted(rig: Rig) -> None:
    node = await rig.node()
    good, bad = await rig.submit(), await rig.submit()
    await complete(rig, node, good)
    await fail(rig, node, bad)
    runs, never = await rig.submit(after=[good]), await rig.submit(after=[bad])
    await release_waiting(rig.farm)
    assert await states(rig, runs, never) == ["queued", "rejected"]


@farm_test
async def test_a_job_runs_neither_before_its_time_nor_before_others(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    now = await rig.farm.store.now()
    early = await rig.submit(after=[first], run_after=now + timedelta(seconds=10))
    late = await rig.submit(after=[first], run_after=now + timedelta(seconds=90))
    await rig.pass_time(20)
    assert await states(rig, early, late) == ["pending", "pending"]
    await complete(rig, node, first)
    await release_waiting(rig.farm)
    assert await states(rig, early, late) == ["queued", "pending"]
    assert await release_waiting(rig.farm) == 0
    await rig.pass_time(80)
    assert await states(rig, early, late) == ["queued", "queued"]


@farm_test
async def test_a_job_that_is_let_go_while_it_is_resumed_does_not_wait_for_ever(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    waits = await rig.submit(after=[first])
    await steer.pause(rig.farm, waits, actor="me")
    store = rig.farm.store

    class Overtaken:
        """Whoever asks what a job waits for is answered, and overtaken by others before it does anything."""

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def awaited(self, job_id: str) -> Any:
            found = await store.awaited(job_id)
            if found:
                await steer.resume(rig.farm, waits, actor="another")
                await complete(rig, node, first)
                await release_waiting(rig.farm)
                assert await states(rig, waits) == ["queued"]
                await steer.pause(rig.farm, waits, actor="another")
            return found

    overtaken: Any = Overtaken()
    assert (await steer.resume(replace(rig.farm, store=overtaken), waits, actor="me")).state is State.QUEUED
    await complete(rig, node, waits)


@farm_test
async def test_a_paused_job_is_left_alone_and_waits_on_when_it_is_resumed(rig: Rig) -> None:
    node = await rig.node()
    first, second = await rig.submit(), await rig.submit()
    waits = await rig.submit(after=[first, second])
    await steer.pause(rig.farm, waits, actor="me")
    await complete(rig, node, first)
    await release_waiting(rig.farm)
    assert (await steer.resume(rig.farm, waits, actor="me")).state is State.PENDING
    await release_waiting(rig.farm)
    assert await states(rig, waits) == ["pending"]
    await steer.pause(rig.farm, waits, actor="me")
    await complete(rig, node, second)
    await release_waiting(rig.farm)
    assert await states(rig, waits) == ["paused"]
    await steer.resume(rig.farm, waits, actor="me")
    await release_waiting(rig.farm)
    assert await states(rig, waits) == ["queued"]


@farm_test
async def test_a_retry_does_not_overtake_what_the_job_runs_after(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    second = await rig.submit(after=[first])
    await fail(rig, node, first)
    await release_waiting(rig.farm)
    with pytest.raises(ConflictError, match="it runs after job 1, which is failed; retry that one first"):
        await steer.retry(rig.farm, second, actor="me")
    await steer.retry(rig.farm, first, actor="me")
    with pytest.raises(ConflictError, match="which is queued"):
        await steer.retry(rig.farm, second, actor="me")
    await complete(rig, node, first)
    assert (await steer.retry(rig.farm, second, actor="me")).state is State.QUEUED


@farm_test
async def test_a_retry_of_what_runs_after_any_end_waits_for_one(rig: Rig) -> None:
    first = await rig.submit()
    waits = await rig.submit(after=[first], after_any_end=True)
    await steer.cancel(rig.farm, waits, actor="me")
    with pytest.raises(ConflictError, match="which is queued; this one once it has ended"):
        await steer.retry(rig.farm, waits, actor="me")
    await steer.cancel(rig.farm, first, actor="me")
    assert (await steer.retry(rig.farm, waits, actor="me")).state is State.QUEUED


@farm_test
async def test_a_task_that_a_worker_had_waits_for_no_other_job(rig: Rig) -> None:
    first = await rig.submit()
    await rig.submit(after=[first])
    await steer.cancel(rig.farm, first, actor="me")
    (waiting,) = await rig.farm.store.decidable(limit=9)
    now = await rig.farm.store.now()
    assert judge(waiting, now) == "cannot run: it runs after job 1, which was canceled"
    assert judge(replace(waiting, task=replace(waiting.task, attempt=1)), now) is Verdict.MOOT


@farm_test
async def test_a_master_that_dies_between_the_two_steps_leaves_nothing_behind(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    waits = await rig.submit(after=[first])
    await complete(rig, node, first)
    forget = rig.farm.store.forget_waits

    async def dies(_: object) -> None:
        raise ConnectionError("it was killed here")

    rig.farm.store.forget_waits = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionError):
        await release_waiting(rig.farm)
    rig.farm.store.forget_waits = forget  # type: ignore[method-assign]
    assert await states(rig, waits) == ["queued"]
    # The next look, with the job under way already, takes the rest away and moves nothing.
    await rig.one(node)
    assert await release_waiting(rig.farm) == 1
    assert await states(rig, waits) == ["assigned"]
    assert list(await rig.farm.store.awaited(waits)) == []
    assert await rig.history(waits) == ["pending", "queued", "assigned"]


@farm_test
async def test_one_that_is_paused_at_that_very_moment_still_waits(rig: Rig) -> None:
    first = await rig.submit()
    waits = await rig.submit(after=[first])
    await steer.cancel(rig.farm, first, actor="me")
    store, move = rig.farm.store, rig.farm.store.move

    async def too_late(moves: object) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "move", move)
            await steer.pause(rig.farm, waits, actor="quicker")
        return await move(moves)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "move", too_late)
        assert await release_waiting(rig.farm) == 0
    assert await states(rig, waits) == ["paused"]
    await steer.resume(rig.farm, waits, actor="me")
    await release_waiting(rig.farm)
    assert await states(rig, waits) == ["rejected"]


@farm_test
async def test_a_canceled_job_that_waited_waits_no_more(rig: Rig) -> None:
    node = await rig.node()
    first = await rig.submit()
    waits = await rig.submit(after=[first])
    await steer.cancel(rig.farm, waits, actor="me")
    await complete(rig, node, first)
    await release_waiting(rig.farm)
    await promote_due(rig.farm)
    assert await states(rig, waits) == ["canceled"]
    assert list(await rig.farm.store.awaited(waits)) == []
