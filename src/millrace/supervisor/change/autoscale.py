"""How many instances a metric asks for. Pure.

The rule is that of Kubernetes' HorizontalPodAutoscaler: the ratio of the metric to its target, a tolerance around 1, and the
highest recent recommendation before fewer are taken.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from millrace.supervisor.change.values import Autoscale, Measure


class Scaling(Struct, frozen=True, kw_only=True):
    """What is known of a process that follows a metric. Times are of the monotonic clock.

    `wishes` are the recommendations of the last `settle_s`, each with its time. `value` is the last number that was read,
    `why` what went wrong since, or what the last decision was. `pinned`: somebody scaled it by hand.
    """

    pinned: bool = False
    wishes: tuple[tuple[float, int], ...] = ()
    changed_s: float | None = None
    value: float | None = None
    failures: int = 0
    why: str = ""


def recommend(rule: Autoscale, value: float, count: int) -> int:
    """How many instances the number asks for while there are `count`, within the bounds; `count` where it is close enough."""
    if rule.measure is Measure.TOTAL:
        wish, ratio = value / rule.target, value / (rule.target * count)
    else:
        ratio = value / rule.target
        wish = count * ratio
    if abs(ratio - 1) <= rule.tolerance:
        wish = count
    # A number may be absurd, and still is no reason to overflow.
    return max(rule.least, min(rule.most, math.ceil(min(wish, rule.most))))


def decide(
    rule: Autoscale, scaling: Scaling, *, count: int, at_s: float, value: float | None, why: str = ""
) -> tuple[Scaling, int]:
    """What one reading changes, and how many instances there shall be.

    A number that could not be read, or is none, changes nothing: what is unknown is no reason to stop what works. So do
    readings while it is pinned or stopped, and during the cooldown.
    """
    if value is None or not math.isfinite(value) or value < 0:
        said = why or f"the metric is {value}, which is no number of work"
        return replace(scaling, failures=scaling.failures + 1, why=f"keeps {count}: {said}"), count
    if scaling.pinned or count == 0:
        held = "it is stopped" if count == 0 else "it was scaled by hand"
        return replace(scaling, value=value, failures=0, wishes=(), why=f"keeps {count}: {held}"), count
    wish = recommend(rule, value, count)
    # What runs when the watching begins counts as wished, or the first low number would take it away.
    known = scaling.wishes or ((at_s, count),)
    wishes = (*(one for one in known if at_s - one[0] < rule.settle_s), (at_s, wish))
    scaling = replace(scaling, value=value, failures=0, wishes=wishes)
    goal = wish if wish >= count else min(count, max(one for _, one in wishes))
    if goal == count:
        return replace(scaling, why=f"keeps {count}: {value:g} asks for {wish}"), count
    if scaling.changed_s is not None and at_s - scaling.changed_s < rule.cooldown_s:
        return replace(scaling, why=f"keeps {count} during the cooldown: {value:g} asks for {wish}"), count
    return replace(scaling, changed_s=at_s, why=f"{value:g} asks for {goal}"), goal
