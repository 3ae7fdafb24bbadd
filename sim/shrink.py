"""Make a failing plan smaller: drop what it does not need to fail in the same way."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from sim.plan import Plan
from sim.world import Verdict, simulate

T = TypeVar("T")


def shrunk(plan: Plan) -> Verdict:
    """The verdict on the smallest plan found. Faults go first, then what people do, then jobs (from the last on).

    How long the farm runs stays the same, so that what is left comes when it came. Raises ValueError for a plan that does
    not fail.
    """
    verdict = simulate(plan)
    if not verdict.violations:
        raise ValueError("cannot shrink a plan under which everything holds")
    broken = verdict.violations[0].invariant
    plan = replace(plan, ends_s=plan.healed_s)
    verdict = _smaller(simulate(plan), broken, lambda plan: plan.faults, lambda plan, left: replace(plan, faults=left))
    verdict = _smaller(verdict, broken, lambda plan: plan.steps, lambda plan, left: replace(plan, steps=left))
    while len(verdict.plan.jobs) > 1:
        jobs = verdict.plan.jobs[:-1]
        steps = tuple(
            step for step in verdict.plan.steps if step.index < len(jobs) or step.verb in ("drain", "undrain")
        )
        candidate = simulate(replace(verdict.plan, jobs=jobs, steps=steps))
        if not _same(candidate, broken):
            break
        verdict = candidate
    return verdict


def _same(verdict: Verdict, broken: str) -> bool:
    return bool(verdict.violations) and verdict.violations[0].invariant == broken


def _smaller(
    verdict: Verdict, broken: str, parts: Callable[[Plan], Sequence[T]], without: Callable[[Plan, tuple[T, ...]], Plan]
) -> Verdict:
    """Drop halves, then quarters, down to single parts, as long as the rest fails (delta debugging, A. Zeller 1999)."""
    size = max(1, len(parts(verdict.plan)) // 2)
    while size >= 1:
        at = 0
        while at < len(parts(verdict.plan)):
            have = tuple(parts(verdict.plan))
            candidate = simulate(without(verdict.plan, have[:at] + have[at + size :]))
            if _same(candidate, broken):
                verdict = candidate
            else:
                at += size
        size //= 2
    return verdict
