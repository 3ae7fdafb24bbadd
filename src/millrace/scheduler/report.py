"""What workers report of their tasks. Every write names node and attempt; a stale one changes nothing.

The end of an attempt frees a slot, so its report may carry the claim for it: one transaction, one answer.
"""

from collections.abc import Sequence

from msgspec import Struct

from millrace.domain import ids
from millrace.domain.failures import Failure
from millrace.domain.records import Claimed, Document, InputWait, Move, Outcome, Output, Task
from millrace.domain.retry import Retry, after_failure
from millrace.domain.states import HELD, State
from millrace.scheduler.claim import cascade, claim
from millrace.scheduler.elsewhere import to_avoid
from millrace.scheduler.errors import NotFoundError, StaleAttemptError, StaleEpochError
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers
from millrace.scheduler.quarantine import hold_to_account


class Next(Struct, frozen=True, kw_only=True):
    """The claim that comes with a report: up to `limit` tasks for the node that reports, without waiting for any."""

    offers: Offers
    epoch: int
    request_id: str
    limit: int


class Ended(Struct, frozen=True):
    """Where the task stands now, and what the report's claim was given."""

    state: State
    tasks: Sequence[Claimed] = ()


async def find_task(farm: Farm, task_id: str) -> Task:
    """A task, or :class:`NotFoundError`."""
    task = await farm.store.task(task_id) if ids.is_task_id(task_id) else None
    if task is None:
        raise NotFoundError(f"there is no task {task_id[:64]!r}")
    return task


async def _end(farm: Farm, move: Move, then: Next | None) -> Ended:
    """Make the move that ends an attempt, with the claim; give the first answer again to a report that came twice."""
    if then is None:
        (happened,) = await farm.store.move([move])
        if happened:
            return Ended(move.target)
    elif (given := await _move_and_claim(farm, move, then)) is not None:
        return Ended(move.target, given)
    task = await find_task(farm, move.task_id)
    if await ended_so(farm, task, move):
        return Ended(task.state, await _claim_again(farm, move.node_id or "", then))
    if then is not None and (task.attempt, task.node_id) == (move.attempt, move.node_id) and task.state in move.sources:
        raise StaleEpochError(
            f"cannot give work to node {move.node_id}: its epoch {then.epoch} is over; register again"
        )
    raise stale(move, task)


async def ended_so(farm: Farm, task: Task, move: Move) -> bool:
    """Whether the attempt that the move would end has ended this way: the report has come before."""
    return any(
        (one.task_id, one.attempt, one.node_id, one.outcome) == (task.id, move.attempt, move.node_id, move.outcome)
        for one in await farm.store.attempts(task.job_id)
    )


async def _move_and_claim(farm: Farm, move: Move, then: Next) -> Sequence[Claimed] | None:
    classes = await then.offers.classes_for(move.node_id or "", then.epoch)
    given = await farm.store.move_and_claim(
        move, epoch=then.epoch, request_id=then.request_id, classes=sorted(classes), limit=then.limit,
        allowance=then.offers.allowance_for(move.node_id or "", then.epoch),
    )  # fmt: skip
    cascade(farm, classes, full=given is not None and len(given) == then.limit)
    return given


async def _claim_again(farm: Farm, node_id: str, then: Next | None) -> Sequence[Claimed]:
    """The claim of a report that was taken before: its name gives the same tasks again."""
    if then is None:
        return ()
    return await claim(
        farm, then.offers, node_id=node_id, epoch=then.epoch, request_id=then.request_id, limit=then.limit, wait_s=0
    )


def stale(move: Move, task: Task) -> StaleAttemptError:
    """The refusal of a report on an attempt that is over."""
    return StaleAttemptError(
        f"cannot take the report on attempt {move.attempt} of {move.task_id}: the task is {task.state} in attempt "
        f"{task.attempt}; stop the engine and drop the work"
    )


async def check_holder(farm: Farm, task_id: str, *, node_id: str, attempt: int) -> Task:
    """The task, if this attempt of it is the node's at present. Raises as :func:`start`."""
    task = await find_task(farm, task_id)
    if task.node_id != node_id or task.attempt != attempt:
        raise StaleAttemptError(
            f"cannot take anything for attempt {attempt} of {task_id}: the task is {task.state} in attempt "
            f"{task.attempt}; stop the engine and drop the work"
        )
    return task


async def start(farm: Farm, task_id: str, *, node_id: str, attempt: int, facts: Document | None = None) -> State:
    """The engine runs; `facts` are what the worker found and planned.

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
        facts=(facts or None) if ids.is_lead(task_id) else None,
    )
    (happened,) = await farm.store.move([move])
    if happened:
        return move.target
    task = await find_task(farm, task_id)
    # A start that comes twice, or after a person has paused the task, is no news.
    if (task.attempt, task.node_id) == (attempt, node_id):
        return task.state
    raise stale(move, task)


async def complete(
    farm: Farm,
    task_id: str,
    *,
    node_id: str,
    attempt: int,
    outputs: tuple[Output, ...],
    facts: Document,
    kept_bytes: int = 0,
    then: Next | None = None,
) -> Ended:
    """The work is done, checked and published; `kept_bytes` of the outputs lie with the master. A part has no outputs of its own:
    what it made was handed on.

    Raises:
        NotFoundError, StaleAttemptError: as :func:`start`.
        StaleEpochError: the report carries a claim, and the node's epoch is over. Nothing was changed; the report alone
            is still taken as long as the attempt is the node's.
    """
    of_job = ids.is_lead(task_id)
    move = Move(
        task_id=task_id,
        sources=HELD,
        target=State.COMPLETED,
        reason="every output was checked and published" if of_job else "its pieces were handed on",
        actor=node_id,
        attempt=attempt,
        node_id=node_id,
        outcome=Outcome.COMPLETED,
        release=True,
        outputs=outputs if of_job else (),
        kept_bytes=kept_bytes if of_job else 0,
        facts=(facts or None) if of_job else None,
    )
    ended = await _end(farm, move, then)
    if attempt > 1:
        await hold_to_account(farm, task_id, ids.job_of(task_id), finisher=node_id)
    return ended


async def fail(
    farm: Farm,
    task_id: str,
    *,
    node_id: str,
    attempt: int,
    failure: Failure,
    facts: Document | None = None,
    then: Next | None = None,
) -> Ended:
    """The attempt failed: the task is tried again, or fails; `facts` are kept with the job. Raises as :func:`complete`."""
    task = await find_task(farm, task_id)
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
        avoid=await to_avoid(farm, task) if retry else None,
        facts=facts or None,
    )
    return await _end(farm, move, then)


async def hand_back(
    farm: Farm,
    task_id: str,
    *,
    node_id: str,
    attempt: int,
    reason: str,
    delay_s: float = 0.0,
    wait: InputWait | None = None,
    then: Next | None = None,
) -> Ended:
    """The worker gives the task back unspent, perhaps because it needs bytes that have not arrived; a paused task stays paused.
    Raises as :func:`complete`.
    """
    task = await find_task(farm, task_id)
    paused = task.state is State.PAUSED
    target = State.PAUSED if paused else State.RETRYING if delay_s > 0 else State.QUEUED
    if wait is not None:
        # First, so that nothing is left pending for which nobody looks; it means nothing before the move, nor without it.
        await farm.store.await_input(task_id, attempt, wait)
        target = State.PAUSED if paused else State.PENDING
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
    return await _end(farm, move, then)
