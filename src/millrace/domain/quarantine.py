"""When a node is taken out of work because it fails what others finish, and when it may prove itself. Pure.

A failure counts against a node only once another node has finished that same job: the film and the profile are then known
to be good. So a broken film, which nobody finishes, counts against nobody, however often it is submitted; and a failure of
the request, which ends a job at once, never does.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Attempt, Outcome
from millrace.domain.retry import TRANSIENT

BLAMED = TRANSIENT - {FailureClass.LOST}
"""Classes that count. A node that was lost has its lease for that: whoever kills it loses all that it held at one blow."""
JOBS = 3
"""Jobs, each failed here and finished elsewhere, that make a quarantine."""
SPAN_S = 3600.0
"""For so long a failure counts."""
DAY_S = 86_400.0
FIRST_PROOF_S = 60.0
LAST_PROOF_S = 3600.0


class Blame(Struct, frozen=True, kw_only=True):
    """A job that failed on a node and was finished by another."""

    number: int
    at: datetime  # when the other finished it
    failure: Failure


class NodeRecord(Struct, frozen=True, kw_only=True):
    """What counts for and against a node, of one stretch of time.

    `completed` are the jobs that it finished in the stretch, `quarantines` how often it was quarantined within a day.
    """

    blames: Sequence[Blame] = ()
    completed: int = 0
    quarantines: int = 0


class Verdict(Struct, frozen=True, kw_only=True):
    """A node is to be quarantined; its first proof comes after `proof_after_s` seconds."""

    reason: str
    proof_after_s: float
    times: int


def blamed(attempts: Iterable[Attempt], *, finisher: str) -> dict[str, Failure]:
    """The nodes that failed a task which `finisher` completed, each with its last failure."""
    found: dict[str, Failure] = {}
    for attempt in attempts:
        failure = attempt.failure
        if attempt.outcome is Outcome.FAILED and failure is not None and failure.failure_class in BLAMED:
            found[attempt.node_id] = failure
    found.pop(finisher, None)
    return found


def judge(record: NodeRecord, *, working: int, quarantined: int) -> Verdict | None:
    """Whether the node is to be quarantined.

    It failed enough jobs that others finished, and finished fewer than that itself. Never more than half of the nodes are
    taken out, nor the only one: what fails on all of them is not the fault of one.

    Args:
        record: of the last `SPAN_S` seconds at the most.
        working: nodes that are alive, with this one, the quarantined not among them.
        quarantined: nodes that are alive and quarantined.
    """
    count = len(record.blames)
    if count < JOBS or record.completed >= count or 2 * (quarantined + 1) > working + quarantined:
        return None
    last = max(record.blames, key=lambda blame: blame.at)
    times = record.quarantines + 1
    return Verdict(
        reason=f"it failed {count} jobs that other nodes then finished, the last of them job {last.number} "
        f"({last.failure.failure_class}): {last.failure.message}",
        proof_after_s=proof_after_s(times),
        times=times,
    )


def proof_after_s(times: int) -> float:
    """Seconds until the next proof; doubled each time, so that a node that proves well and works badly does not flap."""
    return min(LAST_PROOF_S, FIRST_PROOF_S * 2.0 ** min(times - 1, 16))


def disproved(expected: Iterable[str], proven: dict[str, str]) -> dict[str, str]:
    """Of the encoders that are said to work, those that a proof found not to, each with the reason."""
    reasons = {name: proven.get(name, "it was not tried") for name in expected}
    return {name: reason for name, reason in reasons.items() if reason}
