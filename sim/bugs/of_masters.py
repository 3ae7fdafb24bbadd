"""Bugs in the verbs and the duties of a master."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

import millrace.api.audit_recovery
import millrace.api.outputs
import millrace.scheduler.expire
import millrace.scheduler.nodes
import millrace.scheduler.steer
import sim.farm
from millrace.domain import retry
from millrace.domain.directives import Action
from millrace.domain.records import Move, Outcome, Task
from millrace.domain.retry import Retry
from millrace.domain.states import TRANSITIONS, State
from millrace.scheduler import report
from millrace.scheduler.farm import Farm
from millrace.scheduler.report import Ended
from sim.bugs.bug import Bug, Patches, nothing, without_duty


def _taking_back(change: Any) -> Any:
    """What takes a task from a lost node makes another move."""

    def plant() -> Patches:
        take_back = millrace.scheduler.expire._take_back

        async def changed(farm: Farm, task: Task) -> Move:
            move: Move = change(await take_back(farm, task))
            return move

        return [(millrace.scheduler.expire, "_take_back", changed)]

    return plant


def _without_pause(move: Move) -> Move:
    return replace(move, target=State.QUEUED) if move.target is State.PAUSED else move


def _ending(change: Any) -> Any:
    """What ends an attempt makes another move."""

    def plant() -> Patches:
        end = report._end

        async def ending(farm: Any, move: Move, then: Any) -> Ended:
            return await end(farm, change(move), then)

        return [(report, "_end", ending)]

    return plant


def _queued_when_handed_back(move: Move) -> Move:
    paused = move.outcome is Outcome.HANDED_BACK and move.target is State.PAUSED
    return replace(move, target=State.QUEUED) if paused else move


def _without_end(move: Move) -> Move:
    return replace(move, outcome=None) if move.target is State.RETRYING else move


def _pause_lets_go() -> Patches:
    steer = millrace.scheduler.steer._steer

    async def steering(farm: Any, ref: str, done: Any, decide: Any, **more: Any) -> Any:
        def deciding(tasks: Sequence[Task]) -> Move | None:
            move: Move | None = decide(tasks)
            return replace(move, release=True) if move is not None and move.target is State.PAUSED else move

        return await steer(farm, ref, done, deciding, **more)

    return [(millrace.scheduler.steer, "_steer", steering)]


def _retry_in_any_state() -> Patches:
    """`retry` takes a job back to the queue wherever it stands, as long as the table lets it."""

    async def retrying(farm: Any, ref: str, *, actor: str) -> Any:
        def decide(tasks: Sequence[Task]) -> Move | None:
            task = tasks[0]
            if State.QUEUED not in TRANSITIONS[task.state]:
                raise millrace.scheduler.steer.ConflictError("cannot retry")
            return Move(
                task_id=task.id, sources=frozenset({task.state}), target=State.QUEUED, reason="retried on request",
                actor=actor, restart=True,
            )  # fmt: skip

        return await millrace.scheduler.steer._steer(farm, ref, lambda state: state is State.QUEUED, decide)

    return [(millrace.scheduler.steer, "retry", retrying)]


def _second_refused() -> Patches:
    async def ending(farm: Any, move: Move, then: Any) -> Ended:
        if then is None:
            (happened,) = await farm.store.move([move])
            if happened:
                return Ended(move.target)
        elif (given := await report._move_and_claim(farm, move, then)) is not None:
            return Ended(move.target, given)
        raise report.stale(move, await report.find_task(farm, move.task_id))

    return [(report, "_end", ending)]


def _stale_taken() -> Patches:
    """A report that changes nothing is answered as if it had."""
    end = report._end

    async def ending(farm: Any, move: Move, then: Any) -> Ended:
        try:
            return await end(farm, move, then)
        except report.StaleAttemptError:
            return Ended(move.target)

    return [(report, "_end", ending)]


def _uploads_unfenced() -> Patches:
    async def anybody(farm: Any, task_id: str, **_: Any) -> Any:
        return await report.find_task(farm, task_id)

    return [(millrace.api.outputs, "check_holder", anybody)]


def _cancel_not_told() -> Patches:
    tell = millrace.scheduler.nodes.directives

    def quiet(held: Any, reports: Any) -> Any:
        return tuple(one for one in tell(held, reports) if one.action is not Action.CANCEL)

    return [(millrace.scheduler.nodes, "directives", quiet)]


def _retries_without_end() -> Patches:
    def after_failure(_: Any, *, spent: int, jitter: float, **__: Any) -> Retry:
        return Retry(retry.backoff_s(min(spent, 2), jitter))

    return [(report, "after_failure", after_failure)]


def _bad_input_again() -> Patches:
    after = report.after_failure

    def after_failure(_: Any, **facts: Any) -> Any:
        return after(retry.FailureClass.ENGINE, **facts)

    return [(report, "after_failure", after_failure)]


def _nothing_recovered() -> Patches:
    """What a killed master owed to the audit trail stays owed."""
    return [(module, "recover", nothing) for module in (millrace.api.audit_recovery, sim.farm)]


BUGS = (
    Bug(name="expiry-spends-a-retry", breaks=("I24",), plant=_taking_back(lambda move: replace(move, spends=True))),
    Bug(name="losses-not-counted", breaks=("I24", "I19"), plant=_taking_back(lambda move: replace(move, loses=False))),
    Bug(name="loss-without-end", breaks=("I4",), plant=_taking_back(lambda move: replace(move, outcome=None))),
    Bug(name="pause-lost-at-expiry", breaks=("I25",), plant=_taking_back(_without_pause)),
    Bug(name="pause-lost-at-hand-back", breaks=("I25",), plant=_ending(_queued_when_handed_back)),
    Bug(name="failure-without-end", breaks=("I4", "I3"), plant=_ending(_without_end)),
    Bug(name="pause-lets-go", breaks=("I7", "I4", "I25"), plant=_pause_lets_go),
    Bug(name="retry-in-any-state", breaks=("I3", "I4", "I7"), plant=_retry_in_any_state),
    Bug(name="no-expiry", breaks=("I1", "I10"), plant=lambda: [
        (millrace.scheduler.expire, "expire_leases", nothing), (millrace.scheduler.nodes, "reclaim", nothing),
    ]),
    Bug(name="nothing-promoted", breaks=("I1",), plant=without_duty("promote_due")),
    Bug(name="no-net-under-hints", breaks=("I22", "I1"), plant=without_duty("wake_for_queued")),
    Bug(name="second-report-refused", breaks=("I3",), plant=_second_refused),
    Bug(name="stale-report-answered-200", breaks=("I3",), plant=_stale_taken),
    Bug(name="uploads-without-fence", breaks=("I13",), plant=_uploads_unfenced),
    Bug(name="cancel-not-told", breaks=("I21", "I1"), plant=_cancel_not_told),
    Bug(name="retries-without-end", breaks=("I19", "I1"), plant=_retries_without_end),
    Bug(name="poison-without-end", breaks=("I19",), plant=lambda: [(retry, "MAX_LOSSES", 1000)]),
    Bug(name="audit-entries-owed", breaks=("I30",), plant=_nothing_recovered),
    Bug(name="bad-input-tried-again", breaks=("I24",), plant=_bad_input_again),
)  # fmt: skip
