"""Tasks that wait for bytes of an upload: queue them when these have arrived, and end them when they never will.

Who waits is decided by the worker that needs the bytes, and told with its report. A master that takes a piece of an upload queues whom
that serves; whatever is missed on the way (a master that died, a piece that came before the wait) is found by looking now and then.
"""

from collections.abc import Awaitable, Callable

from millrace.domain import ids
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Move, Task
from millrace.domain.states import State
from millrace.scheduler.farm import Farm

_BATCH = 500
HEAD_BYTES = 64 << 10
"""What of a film has to be there before anybody looks at it: its container, and mostly how long its index is."""
GONE = "cannot use the upload: it was deleted before all of it had arrived; send it anew and submit the job again"
Look = Callable[[str], Awaitable[int | None]]
"""From an upload to how many of its bytes have arrived; None where it is gone."""


async def arrived(farm: Farm, upload: str, count: int, size: int) -> None:
    """So many bytes of it are here now: queue the tasks that waited for no more."""
    if not await farm.store.note_arrival(upload, count):
        return
    is_all = count >= size
    while tasks := await farm.store.arrived_tasks(upload, arrived=count, is_all=is_all, limit=_BATCH):
        if not any(await farm.store.move([_queued(task, is_all=is_all) for task in tasks])):
            break
    if is_all:
        await farm.store.forget_arriving(upload)


async def gone(farm: Farm, upload: str) -> None:
    """It is deleted, or about to be: what still waits for it fails."""
    while tasks := await farm.store.arrived_tasks(upload, arrived=2**62, is_all=True, limit=_BATCH):
        # What is queued may not fail before it was tried; any node will find that there is nothing.
        moves = [_failed(task) if task.state is State.PENDING else _queued(task, is_all=True) for task in tasks]
        if not any(await farm.store.move(moves)):
            break
    await farm.store.forget_arriving(upload)


async def look_after(farm: Farm, look: Look) -> None:
    """Do what was missed. Idempotent: any master may run it at any time."""
    for one in await farm.store.arriving():
        count = one.arrived
        if one.is_awaited and count < one.size:
            found = await look(one.upload)
            if found is None:
                await gone(farm, one.upload)
                continue
            count = found
        if one.is_awaited or count >= one.size:
            await arrived(farm, one.upload, count, one.size)


def _queued(task: Task, *, is_all: bool) -> Move:
    return Move(
        task_id=task.id,
        sources=frozenset({task.state}),
        target=State.QUEUED,
        reason="nothing more of its upload is to come" if is_all else "what it needs of its upload has arrived",
        actor="master",
        attempt=task.attempt,
        # From now on it is a job like any other, which any node may have.
        restart=is_all and ids.is_lead(task.id) and task.split is None,
    )


def _failed(task: Task) -> Move:
    return Move(
        task_id=task.id,
        sources=frozenset({State.PENDING}),
        target=State.FAILED,
        reason=GONE,
        actor="master",
        attempt=task.attempt,
        failure=Failure(failure_class=FailureClass.INPUT, message=GONE),
    )
