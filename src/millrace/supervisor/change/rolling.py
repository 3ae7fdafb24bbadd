"""Which instances may be replaced now, so that the others go on serving. Pure.

The bounds are those of Kubernetes' rolling updates: at most `max_unavailable` of the wanted instances are down, while at most
`max_surge` more than wanted are there.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct

from millrace.supervisor.change.values import Rolling

Key = TypeVar("Key")

TRIES = 3
"""Starts without getting up after which an instance counts as one that never will."""


class Standing(StrEnum):
    """Where an instance stands, as far as replacing matters."""

    SERVING = "serving"  # outdated, and ready
    IDLE = "idle"  # outdated, and not ready
    MOVING = "moving"  # on its way: it stops, or the new one is not up yet
    UP = "up"  # the new one is up


class Roll(Struct, frozen=True):
    """Instances are being replaced; `halted` says why that has stopped."""

    halted: str = ""


def is_gradual(rule: Rolling, wanted: int) -> bool:
    """Whether some go on serving while others are replaced."""
    return rule.max_surge > 0 or rule.max_unavailable < wanted


def replaceable(standings: Mapping[Key, Standing], *, wanted: int, rule: Rolling) -> Sequence[Key]:
    """Those that may be stopped now, in their order. Those that do not serve go first: they cost nothing."""
    allowed = rule.max_unavailable if is_gradual(rule, wanted) else wanted
    moving = sum(one is Standing.MOVING for one in standings.values())
    serving = sum(one in (Standing.SERVING, Standing.UP) for one in standings.values())
    idle = [key for key, one in standings.items() if one is Standing.IDLE]
    # Without anybody allowed to be down, one that does not serve may still be replaced, or nothing ever could.
    found = idle[: max(0, max(allowed, 1) - moving)]
    spare = serving - (wanted - allowed)
    found += [key for key, one in standings.items() if one is Standing.SERVING][: max(0, spare - len(found))]
    return found
