"""What a supervisor tells of its processes, and what it can be told."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from millrace.wire.v1.base import Reply, Request

InstanceState = Literal[
    "stopped", "scheduled", "waiting", "starting", "running", "backing-off", "stopping", "cleaning", "completed", "failed"
]  # fmt: skip
Scale = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)]


class EndView(Reply):
    """How an instance ended the last time. `code` is null where a signal ended it, `signal` (its name) where none did."""

    at: datetime
    how: str
    code: int | None
    signal: str | None


class InstanceView(Reply):
    """One instance. `pid`, `started` and `uptime_s` are null where no process runs.

    `restarts` counts its starts after the first; `failures` its unasked ends in a row since it last ran for long enough.
    `status` is what the process last said of itself, sd_notify(3).
    """

    id: str
    state: InstanceState
    ready: bool
    pid: int | None
    started: datetime | None
    uptime_s: float | None
    restarts: int
    failures: int
    reason: str
    last_end: EndView | None
    status: str = ""


class AutoscaleView(Reply):
    """How a process follows its metric. `value` is null until it was read; `pinned`: it was scaled by hand, and follows nothing.

    `failures` counts readings in a row that failed; `reason` is what the last one led to.
    """

    min: int
    max: int
    target: float
    value: float | None
    pinned: bool
    failures: int
    reason: str


class ProcessView(Reply):
    """One process of the plan. `state` is that of the instance that needs attention most; `desired` how many there shall be.

    `replacing`: instances are being replaced one after the other; `halted` says why that has stopped, empty where it has not.
    """

    name: str
    type: Literal["service", "oneshot", "scheduled"]
    state: InstanceState
    desired: int
    ready: int
    max_scale: int
    depends_on: dict[str, str]
    instances: list[InstanceView]
    replacing: bool = False
    halted: str = ""
    autoscale: AutoscaleView | None = None


class ProcessList(Reply):
    """Every process of the plan, in the order of their names. `ending`: everything is being stopped."""

    processes: list[ProcessView]
    ending: bool


class ScaleRequest(Request):
    """How many instances there shall be: `desired`, or `delta` more (or fewer) than now. 0 stops the process.

    A process that follows a metric stays at that number until `auto` lets it follow again.
    """

    desired: Scale | None = None
    delta: Scale | None = None
    auto: bool = False


class SteerView(Reply):
    """What became of a request. `settled` is false where it was not waited for, or did not come to rest in that time."""

    settled: bool
    process: ProcessView


class LineView(Reply):
    """One line that an instance printed. `number` grows by one with each line of the process."""

    number: int
    at: datetime
    instance: str
    stream: Literal["stdout", "stderr"]
    text: str


class LinesView(Reply):
    """The last lines of a process, oldest first; `next` as `after` gives those to come. `lost` are no longer kept."""

    process: str
    lines: list[LineView]
    next: int
    lost: int


class ChangeView(Reply):
    """An instance is in another state, or its readiness changed. `now` is null where it was scaled away."""

    at: datetime
    process: str
    instance: str
    now: InstanceView | None


class ProcessChange(Reply):
    """A process that the plan still has. `keys` are those that differ; `restarts`: what runs of it is replaced."""

    name: str
    keys: list[str]
    restarts: bool


class ReloadView(Reply):
    """A change of the plan. `number` counts them from 1; it is null for one that was only looked at.

    `added`, `removed` and `unchanged` are names of processes; `whole` are keys that hold for everything. `reason` says what
    went wrong.
    """

    number: int | None
    outcome: Literal["dry-run", "pending", "applied", "rolled-back", "failed", "superseded", "abandoned"]
    reason: str
    added: list[str]
    removed: list[str]
    changed: list[ProcessChange]
    unchanged: list[str]
    whole: list[str]


class RollView(Reply):
    """The instances of a process were replaced; `halted` says why no more are, empty where all were."""

    at: datetime
    process: str
    halted: str


class RescaleView(Reply):
    """A process has followed its metric to another number of instances."""

    at: datetime
    process: str
    before: int
    now: int
    reason: str


class SupervisorHealth(Reply):
    """That the supervisor answers. `ready`: every wanted instance is ready, or has completed."""

    status: Literal["healthy", "ending"]
    ready: bool
    version: str


class EndingView(Reply):
    """Everything is being stopped."""

    ending: bool
