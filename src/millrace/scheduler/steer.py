"""What a person does to a job: cancel, pause, resume, retry. Each is idempotent, and refused where it makes no sense."""

from collections.abc import Awaitable, Callable, Sequence

from millrace.domain.after import Verdict
from millrace.domain.parts import parts_of, resumed
from millrace.domain.records import Job, Move, Outcome, Task
from millrace.domain.states import FINAL, HELD, State
from millrace.scheduler.after import check_predecessors, move_of
from millrace.scheduler.errors import ConflictError
from millrace.scheduler.farm import Farm
from millrace.scheduler.read import find_job
from millrace.scheduler.tenants import check_retry

RETRIED = "retried on request"
_TRIES = 16
"""A decision made on what has changed meanwhile is made anew, this often at the most."""


async def _nothing(_: Job) -> None:
    pass


async def _steer(
    farm: Farm,
    ref: str,
    done: Callable[[State], bool],
    decide: Callable[[Sequence[Task]], Move | None],
    *,
    refused: Callable[[Job], Awaitable[None]] = _nothing,
) -> Job:
    """Make the move of the lead that `decide` gives, told all tasks; until nothing changed between reading and writing. Where the
    job was split, the others follow (:mod:`millrace.domain.parts`).

    `refused` is asked where a move did not happen, and may raise why.
    """
    for _ in range(_TRIES):
        job = await find_job(farm.store, ref)
        if done(job.state):
            return job
        move = decide(await farm.store.tasks(job.id))
        if move is None or all(await farm.store.move([move])):
            return await find_job(farm.store, job.id)
        await refused(job)
    raise ConflictError(f"cannot change job {ref}: it changes all the time; try again")


async def cancel(farm: Farm, ref: str, *, actor: str) -> Job:
    """End the job as canceled. The worker that runs it stops its engine at the next heartbeat.

    Raises:
        NotFoundError: there is no such job.
        ConflictError: it has ended in another way.
    """

    def decide(tasks: Sequence[Task]) -> Move | None:
        task = tasks[0]
        if task.state in FINAL:
            raise ConflictError(f"cannot cancel job {ref}: it is {task.state} already")
        return Move(
            task_id=task.id,
            sources=frozenset({task.state}),
            target=State.CANCELED,
            reason="canceled on request",
            actor=actor,
            attempt=task.attempt,
            outcome=Outcome.CANCELED if task.node_id else None,
            release=True,
        )

    return await _steer(farm, ref, lambda state: state is State.CANCELED, decide)


async def pause(farm: Farm, ref: str, *, actor: str) -> Job:
    """Hold the job. A running engine is stopped in place and keeps what it has done. Raises as :func:`cancel`."""

    def decide(tasks: Sequence[Task]) -> Move | None:
        task = tasks[0]
        if task.state in FINAL:
            raise ConflictError(f"cannot pause job {ref}: it is {task.state}, and only a job that has not ended can be")
        if task.state is State.PAUSED:
            return None  # by somebody else, since the job was read
        return Move(
            task_id=task.id,
            sources=frozenset({task.state}),
            target=State.PAUSED,
            reason="paused on request",
            actor=actor,
            attempt=task.attempt,
        )

    return await _steer(farm, ref, lambda state: state is State.PAUSED, decide)


async def resume(farm: Farm, ref: str, *, actor: str) -> Job:
    """Let a paused job go on, on the worker that holds it, in the queue, or waiting for others. Raises as :func:`cancel`."""
    waits = bool(await farm.store.awaited((await find_job(farm.store, ref)).id))

    def decide(tasks: Sequence[Task]) -> Move | None:
        task = tasks[0]
        if task.state is not State.PAUSED:
            raise ConflictError(f"cannot resume job {ref}: it is {task.state}, not paused")
        return Move(
            task_id=task.id,
            sources=frozenset({State.PAUSED}),
            target=resumed(task, parts_of(tasks), after_others=waits),
            reason="resumed on request",
            actor=actor,
            attempt=task.attempt,
            # Whether the worker still holds it is part of the guard: it may have been lost since it was read.
            node_id=task.node_id,
        )

    job = await _steer(farm, ref, lambda state: state in HELD - {State.PAUSED} | {State.QUEUED}, decide)
    if waits and job.state is State.PENDING and not await farm.store.awaited(job.id):
        # Others resumed it, it was let go, and they paused it again, all since it was read: nothing else would let it go once more.
        job = await _let_go(farm, job)
    return job


async def _let_go(farm: Farm, job: Job) -> Job:
    tasks = await farm.store.tasks(job.id)
    move = move_of(tasks[0], Verdict.RUNS)
    if move is not None and resumed(tasks[0], parts_of(tasks)) is State.QUEUED:
        await farm.store.move([move])
    return await find_job(farm.store, job.id)


async def retry(farm: Farm, ref: str, *, actor: str) -> Job:
    """Run a failed, canceled or rejected job again, with its history kept and its retries restored.

    Raises as :func:`cancel`, and:
        QuotaError: its tenant has as many jobs that have not ended as it may.
        ConflictError: also where a job that it runs after has not completed.
    """
    await check_predecessors(farm, await find_job(farm.store, ref))

    async def refused(job: Job) -> None:
        await check_retry(farm, job.tenant)

    def decide(tasks: Sequence[Task]) -> Move | None:
        task = tasks[0]
        if task.state is State.COMPLETED or task.state not in FINAL:
            raise ConflictError(
                f"cannot retry job {ref}: it is {task.state}; only a failed, canceled or rejected job can be"
            )
        return Move(
            task_id=task.id,
            sources=frozenset({task.state}),
            target=State.QUEUED,
            reason=RETRIED,
            actor=actor,
            attempt=task.attempt,
            restart=True,
        )

    return await _steer(farm, ref, lambda state: state is State.QUEUED, decide, refused=refused)
