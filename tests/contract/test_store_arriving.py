"""Tasks that wait for bytes of an upload, by every store."""

from typing import Any

from msgspec.structs import replace
from store_samples import GPU_NEEDS, NEEDS, PARTS, Scene, a_job, a_move, completes

from millrace.domain.ids import job_of
from millrace.domain.records import InputWait, Outcome
from millrace.domain.states import State

UPLOAD = "u0192f5b7c8d94e2a8f6b1c3d5e7f9a0d"
WAIT = InputWait(upload=UPLOAD, size=1000, bytes=100)


async def tasks_at(store: Any, arrived: int) -> list[str]:
    return [task.id for task in await store.arrived_tasks(UPLOAD, arrived=arrived, is_all=False, limit=100)]


async def a_waiting_job(store: Any) -> str:
    own, early = await store.class_of(NEEDS), await store.class_of(GPU_NEEDS)
    (added,) = await store.add_jobs(
        [a_job(early, state=State.PENDING, awaits=WAIT, own_class_id=own, spec={"input": f"upload://{UPLOAD}"})]
    )
    return f"{added.id}.1"


def test_a_job_waits_for_its_first_bytes_and_no_longer(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        lead = await a_waiting_job(store)
        assert (await store.job(job_of(lead))).state is State.PENDING
        (one,) = await store.arriving()
        assert (one.upload, one.size, one.arrived, one.is_awaited) == (UPLOAD, 1000, 0, True)
        assert await tasks_at(store, 99) == []
        assert await store.note_arrival(UPLOAD, 100)
        assert not await store.note_arrival("u0192f5b7c8d94e2a8f6b1c3d5e7f9a0e", 100)
        assert await tasks_at(store, 100) == [lead]
        (task,) = await store.arrived_tasks(UPLOAD, arrived=100, is_all=False, limit=9)
        assert task.class_id == await store.class_of(GPU_NEEDS)
        assert await store.move([a_move(lead, State.QUEUED, attempt=0)]) == [True]
        assert await tasks_at(store, 1000) == []
        (one,) = await store.arriving()
        assert (one.arrived, one.is_awaited) == (100, True)
        # Whoever could have begun it has not; now anybody may.
        (task,) = await store.arrived_tasks(UPLOAD, arrived=1000, is_all=True, limit=9)
        assert task.state is State.QUEUED
        assert await store.move([a_move(lead, State.QUEUED, attempt=0, restart=True)]) == [True]
        (task,) = await store.tasks(job_of(lead))
        assert task.class_id == await store.class_of(NEEDS)
        assert await store.arrived_tasks(UPLOAD, arrived=1000, is_all=True, limit=9) == []
        await store.note_arrival(UPLOAD, 50)  # what was told late
        assert (await store.input_awaited(job_of(lead), UPLOAD)).arrived == 100
        await store.forget_arriving(UPLOAD)
        assert await store.arriving() == []
        assert await store.input_awaited(job_of(lead), UPLOAD) is None

    farm.run(work())


def test_a_task_that_is_handed_back_waits_in_that_attempt_alone(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        store = scene.store
        await store.await_input(scene.lead, 1, replace(WAIT, bytes=1000, reason="all of it"))
        assert await tasks_at(store, 1000) == []  # it is not pending yet
        await store.forget_arriving(UPLOAD)
        back = a_move(scene.lead, State.PENDING, attempt=1, outcome=Outcome.HANDED_BACK, release=True)
        assert await store.move([back]) == [True]
        assert await tasks_at(store, 999) == []
        assert await tasks_at(store, 1000) == [scene.lead]
        awaited = await store.input_awaited(job_of(scene.lead), UPLOAD)
        assert (awaited.size, awaited.reason) == (1000, "all of it")
        assert await store.move([a_move(scene.lead, State.QUEUED, attempt=1)]) == [True]
        await scene.claim(scene.node)
        back = a_move(scene.lead, State.PENDING, attempt=2, outcome=Outcome.HANDED_BACK, release=True)
        assert await store.move([back]) == [True]
        assert await tasks_at(store, 1000) == []  # what it waits for now is something else
        await store.forget_arriving(UPLOAD)
        assert await store.arriving() == []

    farm.run(work())


def test_parts_wait_for_their_bytes_and_the_join_for_the_parts(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        store = scene.store
        parts = (PARTS[2], replace(PARTS[1], awaits=400), replace(PARTS[0], awaits=1000))
        asked = replace(scene.asked(), parts=parts, upload=(UPLOAD, 1000))
        assert await store.split(asked)
        assert await scene.states() == [State.PENDING, State.QUEUED, State.PENDING, State.PENDING]
        moves = [(one.task_id, one.target) for one in await store.transitions(job_of(scene.lead))][-3:]
        assert moves == [
            (scene.part(2), State.QUEUED), (scene.part(3), State.PENDING), (scene.part(4), State.PENDING),
        ]  # fmt: skip
        given = await scene.claim(scene.other, limit=9)
        assert [one.task_id for one in given] == [scene.part(2)]
        await store.move([completes(scene.part(2), 1)])
        assert (await scene.states())[0] is State.PENDING
        assert await tasks_at(store, 999) == [scene.part(3)]
        assert await tasks_at(store, 1000) == [scene.part(3), scene.part(4)]
        moves = [a_move(scene.part(number), State.QUEUED, attempt=0) for number in (3, 4)]
        assert await store.move(moves) == [True, True]
        await scene.claim(scene.other, limit=9)
        await store.move([completes(scene.part(3), 1), completes(scene.part(4), 1)])
        assert (await scene.states())[0] is State.QUEUED

    farm.run(work())


def test_a_lead_that_fails_or_is_canceled_takes_waiting_parts_along(farm: Any) -> None:
    async def work() -> None:
        scene = await Scene(farm).begin()
        store = scene.store
        parts = tuple(replace(one, awaits=1000) for one in PARTS)
        assert await store.split(replace(scene.asked(), parts=parts, upload=(UPLOAD, 1000)))
        assert await store.move([a_move(scene.lead, State.CANCELED, attempt=1)]) == [True]
        assert await scene.states() == [State.CANCELED] * 4
        assert await tasks_at(store, 1000) == []
        await store.forget_arriving(UPLOAD)
        assert await store.arriving() == []

    farm.run(work())
