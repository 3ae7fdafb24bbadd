"""What follows a failed attempt: pure decisions, from the class of the failure and what has been spent.

Failures of the request are final after one attempt. Failures of the platform are tried again with exponential
back-off and full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). The loss of a worker is no fault of the job and does not spend its retries, but a job that loses
worker after worker ends too.
"""

from msgspec import Struct

from millrace.domain.failures import FailureClass

BACKOFF_BASE_S = 5.0
BACKOFF_CAP_S = 300.0
DEFAULT_MAX_RETRIES = 3
MAX_LOSSES = 5
"""Workers that a task may lose before it is held to be the cause."""

TRANSIENT = frozenset(
    {
        FailureClass.NETWORK,
        FailureClass.RESOURCE,
        FailureClass.DISK,
        FailureClass.STALLED,
        FailureClass.ENGINE,
        FailureClass.LOST,
    }
)
"""Classes that another attempt, later or elsewhere, may mend."""


class Retry(Struct, frozen=True):
    """Try again after `delay_s` seconds."""

    delay_s: float


class GiveUp(Struct, frozen=True):
    """The failure is final; `reason` says why no further attempt is made."""

    reason: str


def backoff_s(spent: int, jitter: float) -> float:
    """Seconds to wait before the next attempt.

    Args:
        spent: attempts already spent, from 1.
        jitter: a random number from 0 to 1; full jitter spreads the herd best.
    """
    # The exponent is bounded so that a large number of attempts cannot overflow the power.
    ceiling = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(spent - 1, 16))
    return ceiling * jitter


def after_failure(failure_class: FailureClass, *, spent: int, max_retries: int, jitter: float) -> Retry | GiveUp:
    """What follows an attempt that failed.

    Args:
        failure_class: why it failed.
        spent: attempts spent, with this one.
        max_retries: attempts allowed beyond the first.
        jitter: a random number from 0 to 1.
    """
    if failure_class not in TRANSIENT:
        return GiveUp(f"a failure of class {failure_class} does not go away by trying again")
    if spent > max_retries:
        return GiveUp(f"all {max_retries + 1} attempts are spent")
    return Retry(backoff_s(spent, jitter))


def after_loss(losses: int) -> Retry | GiveUp:
    """What follows the loss of the worker that held the task; `losses` counts this one."""
    if losses >= MAX_LOSSES:
        return GiveUp(f"{losses} workers were lost while they ran it")
    return Retry(0.0)
