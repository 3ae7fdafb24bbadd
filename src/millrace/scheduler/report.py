"""What workers report of their tasks. Every write names node and attempt; a stale one changes nothing."""

from millrace.domain import ids
from millrace.domain.failures import Failure
from millrace.domain.records import Document, Move, Outcome, Output, Task
from millrace.domain.retry import Retry, after_failure
from millrace.domain.states import HELD, State
from millrace.scheduler.errors import NotFoundError, StaleAttemptError
from millrace.scheduler.farm import Farm


async def _task(farm: Farm, task_id: str) -> Task:
    task = await farm.store.task(task_id) if ids.is_task_id(task_id) else None
    if task is None:
        raise NotFoundError(f"there is no task {task_id[:64]!r}")
    return task


async def _settle(farm: Farm, move: Move, outcome: Outcome | None) -> State:
    """Make the move; where its guard does not hold, give the first answer again to a report that came twice."""
    (happened,) = await farm.store.move([move])
    if happened:
        return move.target
    task = await _task(farm, move.task_id)
    # A start that comes twice, or after a person has paused the task, is no news.
    if outcome is None and task.attempt == move.attempt and task.node_id == move.node_id:
        return task.state
    if outcome is not None:
        for attempt in await farm.store.attempts(task.job_id):
            same = (attempt.task_id, attempt.attempt, attempt.node_id) == (task.id, move.attempt, move.node_id)
            if same and attempt.outcome is outcome:
                return task.state
    raise StaleAttemptError(
        f"cannot take the report on attempt {move.attempt} of {move.task_id}: the task is {task.state} in attempt "
        f"{task.attempt}; stop the engine and drop the work"
    )


async def check_holder(farm: Farm, task_id: str, *, node_id: str, attempt: int) -> Task:
    """The task, if this attempt of it is the node's at present. Raises as :func:`start`."""
    task = await _task(farm, task_id)
    if task.node_id != node_id or task.attempt != attempt:
        raise StaleAttemptError(
            f"cannot take anything for attempt {attempt} of {task_id}: the task is {task.state} in attempt "
            f"{task.attempt}; stop the engine and drop the work"
        )
    return task


async def start(farm: Farm, task_id: str, *, node_id: str, attempt: int) -> State:
    """The engine runs.

    Raises:
        NotFoundError: there is no such task.
        StaleAttemptError: the attempt is no longer this node's.
    """
    move = Move(
        task_id=task_id,
        sources=frozenset({State.ASSIGNED}),
        target=State.PROCESSING,
        reason="the engine started",
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
    )
    return await _settle(farm, move, None)


async def complete(
    farm: Farm, task_id: str, *, node_id: str, attempt: int, outputs: tuple[Output, ...], facts: Document
) -> State:
    """The work is done, checked and published. Raises as :func:`start`."""
    move = Move(
        task_id=task_id,
        sources=HELD,
        target=State.COMPLETED,
        reason="every output was checked and published",
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
        outcome=Outcome.COMPLETED,
        release=True,
        outputs=outputs,
        facts=facts,
    )
    return await _settle(farm, move, Outcome.COMPLETED)


async def fail(farm: Farm, task_id: str, *, node_id: str, attempt: int, failure: Failure) -> State:
    """The attempt failed: the task is tried again, or fails. Raises as :func:`start`."""
    task = await _task(farm, task_id)
    decision = after_failure(
        failure.failure_class, spent=task.spent + 1, max_retries=task.max_retries, jitter=farm.chance.random()
    )
    retry = isinstance(decision, Retry)
    move = Move(
        task_id=task_id,
        sources=HELD,
        target=State.RETRYING if retry else State.FAILED,
        reason=failure.message,
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
        delay_s=decision.delay_s if isinstance(decision, Retry) else None,
        outcome=Outcome.FAILED,
        failure=failure,
        release=True,
        spends=True,
    )
    return await _settle(farm, move, Outcome.FAILED)


async def hand_back(
    farm: Farm, task_id: str, *, node_id: str, attempt: int, reason: str, delay_s: float = 0.0
) -> State:
    """The worker gives the task back unspent; a paused task stays paused. Raises as :func:`start`."""
    task = await _task(farm, task_id)
    paused = task.state is State.PAUSED
    target = State.PAUSED if paused else State.RETRYING if delay_s > 0 else State.QUEUED
    move = Move(
        task_id=task_id,
        sources=frozenset({State.PAUSED}) if paused else HELD - {State.PAUSED},
        target=target,
        reason=reason,
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
        delay_s=delay_s if target is State.RETRYING else None,
        outcome=Outcome.HANDED_BACK,
        release=True,
    )
    return await _settle(farm, move, Outcome.HANDED_BACK)
