"""Whether and when a process that ended comes back."""

from msgspec import Struct

from millrace.runtime.backoff import Backoff
from millrace.supervisor.plan import Kind, Policy, ProcessPlan, Restart

STORM_BURST = 25
"""So many may come back early without waiting for each other."""
STORM_EACH_S = 0.4
"""Then one of them each so many seconds. A start that fails costs 1.5 to 2.5 ms of CPU, so a storm costs less than 1 %."""


class Again(Struct, frozen=True):
    """It comes back after a while, in seconds."""

    after_s: float


class Over(Struct, frozen=True):
    """It does not come back."""

    well: bool
    why: str


def after_end(plan: ProcessPlan, *, code: int | None, how: str, failures: int, draw: float) -> Again | Over:
    """What becomes of a process that ended by itself.

    Args:
        plan: how it is kept.
        code: its exit code; None where a signal ended it, which is a failure always.
        how: the end in words.
        failures: ends in a row since it last ran for `stable_s`, this one included.
        draw: a random number in [0, 1).
    """
    rule = plan.restart
    well = code is not None and code in rule.success_codes
    once = plan.kind is Kind.ONESHOT
    back = rule.policy is Policy.ALWAYS and not once
    if not back and (well or rule.policy is Policy.NEVER or (once and rule.policy is Policy.ALWAYS)):
        return Over(well, how)
    if rule.max_attempts and failures > rule.max_attempts:
        return Over(
            False, f"{how}; given up after {rule.max_attempts} restarts within {rule.stable_s:g} s of each other"
        )
    return Again(wait_s(plan, failures, draw))


def paced(rule: Restart, wait_s: float, *, now_s: float, storm_s: float) -> tuple[float, float]:
    """Where many keep ending, they come back one after the other: the wait, and the next `storm_s`.

    The generic cell rate algorithm (ITU-T I.371) over all that ran too shortly. Nobody waits longer for it than its own
    longest back-off, and whoever wants no back-off has none of this either.

    Args:
        rule: how this one is started again.
        wait_s: what it would wait anyhow.
        now_s: the monotonic clock.
        storm_s: until when the starts that were granted so far are paid for, on the same clock.
    """
    if rule.backoff_initial_s == 0:
        return wait_s, storm_s
    turn_s = storm_s - STORM_BURST * STORM_EACH_S - now_s
    return max(wait_s, min(turn_s, rule.backoff_max_s)), max(storm_s, now_s) + STORM_EACH_S


def wait_s(plan: ProcessPlan, failures: int, draw: float) -> float:
    """Seconds before the next start: none after a run that was long enough, then exponential with full jitter."""
    rule = plan.restart
    if failures <= 1 or rule.backoff_initial_s == 0:
        return 0.0
    backoff = Backoff(base_s=rule.backoff_initial_s, cap_s=max(rule.backoff_max_s, rule.backoff_initial_s))
    return backoff.wait_s(failures - 1, lambda: draw)
