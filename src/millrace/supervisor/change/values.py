"""What a plan says of changes while it runs. Frozen values; times are seconds."""

from enum import StrEnum

from msgspec import Struct


class Rolling(Struct, frozen=True, kw_only=True):
    """How instances are replaced, so that the others go on serving.

    At most `max_unavailable` of the wanted instances are down by our hand, while up to `max_surge` more than wanted run.
    One that has been ready for `min_ready_s` counts as up; one that is not within `timeout_s` halts the replacing.
    """

    max_unavailable: int = 1
    max_surge: int = 0
    min_ready_s: float = 1.0
    timeout_s: float = 60.0


class Reloading(Struct, frozen=True, kw_only=True):
    """How a plan takes the place of another. What it changes is up within `timeout_s`, or the plan before comes back."""

    timeout_s: float = 60.0
    rollback: bool = True
    watch: bool = False
    debounce_s: float = 0.5


class Changing(StrEnum):
    """Who may add, change and remove processes over the control API, beside the plan's own text."""

    NEVER = "never"
    OWNER = "owner"  # the supervisor's own user, and root, on the unix socket
    ADMIN = "admin"  # and whoever has the role admin, over TCP, too


class Measure(StrEnum):
    """What the number of a metric stands for."""

    TOTAL = "total"  # all the work, such as the length of a queue: divided by the target
    AVERAGE = "average"  # what each instance has of it, such as its load: compared with the target


class Metric(Struct, frozen=True, kw_only=True):
    """Where a number comes from: what `command` prints, or what `url` answers. `field` is a path in a JSON document."""

    command: tuple[str, ...] = ()
    url: str = ""
    field: str = ""
    timeout_s: float = 5.0


class Autoscale(Struct, frozen=True, kw_only=True):
    """How many instances follow a metric.

    Within `tolerance` (a part of the target) nothing changes. After a change nothing changes for `cooldown_s`; fewer run
    only once fewer would have been enough for `settle_s`.
    """

    least: int
    most: int
    metric: Metric
    target: float
    measure: Measure = Measure.TOTAL
    tolerance: float = 0.1
    interval_s: float = 15.0
    cooldown_s: float = 30.0
    settle_s: float = 300.0
