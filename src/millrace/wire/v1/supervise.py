"""What a supervisor tells of its processes, and what it can be told."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from millrace.wire.v1.audit import AuditEntryView
from millrace.wire.v1.base import Document, Reply, Request

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
    `origin`: it is as the plan's files say, or was added or changed over this API, and that was `saved` beside the plan or not.
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
    origin: Literal["plan", "saved", "unsaved"] = "plan"


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
    level: Literal["debug", "info", "warn", "error"] = "info"


class LinesView(Reply):
    """The last lines of a process, oldest first; `next` as `after` gives those to come. `lost` are no longer kept.

    `run` names this run of the supervisor: with another one, the numbers have begun anew.
    """

    process: str
    lines: list[LineView]
    next: int
    lost: int
    run: str = ""


class StackLines(Reply):
    """The last lines of all processes, oldest first. A `number` counts the lines of the process."""

    lines: list[LineView]


class JobRunView(Reply):
    """A run of a scheduled process. `due` is when it was wanted, `began` when its process was there.

    `instance` is what it runs or ran as; runs that go on side by side have different ones.
    """

    number: int
    instance: str
    by: Literal["schedule", "hand"]
    due: datetime
    began: datetime | None
    ended: datetime | None
    seconds: float | None
    outcome: Literal["succeeded", "failed", "timed-out", "replaced", "stopped"] | None
    code: int | None
    how: str


class ScheduleView(Reply):
    """When a process runs, and how its runs went. `counts` are runs by outcome since the supervisor started.

    `current` are those that go on, oldest first: at most `max_concurrent`.
    """

    process: str
    expression: str
    timezone: str
    overlap: Literal["forbid", "allow", "queue", "replace"]
    max_concurrent: int
    timeout_s: float | None
    state: Literal["idle", "executing", "paused", "stopped"]
    paused: bool
    next_run: datetime | None
    current: list[JobRunView]
    queued: int
    skipped: int
    counts: dict[str, int]
    average_s: float | None
    last_run: JobRunView | None
    last_success: datetime | None


class JobHistory(Reply):
    """The last runs of a scheduled process, oldest first."""

    process: str
    runs: list[JobRunView]


class TriggerView(Reply):
    """A run that was asked for, or is to end. `settled`: it has ended."""

    settled: bool
    run: JobRunView


class SignalRequest(Request):
    """A signal by its name (`HUP`, `SIGHUP`) or number, for the main process of each instance."""

    signal: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]


class SignalView(Reply):
    """To how many processes the signal went."""

    process: str
    signal: str
    sent: int


class RunView(Reply):
    """A process of an instance that ended. `why`: asked, unhealthy, well, or crash."""

    process: str
    instance: str
    type: Literal["service", "oneshot", "scheduled"]
    began: datetime
    ended: datetime
    seconds: float
    code: int | None
    signal: str | None
    how: str
    why: Literal["asked", "unhealthy", "well", "crash"]


class RunList(Reply):
    """Processes that ended, oldest first."""

    runs: list[RunView]


class HookRunView(Reply):
    """One attempt of a hook. `process` and `instance` are empty for those of the whole; `fault` is why it failed."""

    process: str
    instance: str
    moment: Literal["pre-start", "post-start", "pre-stop", "post-stop"]
    hook: str
    attempt: int
    began: datetime
    seconds: float
    fault: str | None


class HookRunList(Reply):
    """Attempts of hooks, oldest first."""

    hooks: list[HookRunView]


class PlanView(Reply):
    """The plan in force, with every value of an environment and whatever looks like a secret replaced by `***`."""

    plan: dict[str, object]


class AuditList(Reply):
    """Entries of the audit trail, oldest first."""

    entries: list[AuditEntryView]


class UsageView(Reply):
    """What an instance uses with all that it started. Null where the supervisor may not see it of every process.

    `cpu_s` are seconds of CPU of all its runs; `cpu_percent` of one CPU since the sample before, null in the first. `pss_bytes`
    divides a page of memory between those that share it, `rss_bytes` counts it in each. Bytes are those read from and
    written to storage since the process started.
    """

    at: datetime
    cpu_s: float
    cpu_percent: float | None
    rss_bytes: int
    pss_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None
    processes: int
    threads: int
    descriptors: int | None


class InstanceUsage(Reply):
    """Samples of one instance, oldest first."""

    process: str
    instance: str
    samples: list[UsageView]


class ResourcesView(Reply):
    """Samples of every instance that runs. They are taken every `period_s` while somebody asks, and kept for `kept_s`."""

    period_s: float
    kept_s: float
    instances: list[InstanceUsage]


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
    went wrong. A reload from the files tells which changes over this API were not saved, and are kept on top of it (`unsaved`)
    or dropped (`dropped`). Of a process that is only looked at, `yaml` is what was sent, as it would be saved.
    """

    number: int | None
    outcome: Literal["dry-run", "pending", "applied", "rolled-back", "failed", "superseded", "abandoned"]
    reason: str
    added: list[str]
    removed: list[str]
    changed: list[ProcessChange]
    unchanged: list[str]
    whole: list[str]
    unsaved: list[str] = []
    dropped: list[str] = []
    yaml: str = ""


class ProcessDefinition(Request):
    """What a process is, as under its name in the plan: as JSON (`process`) or as a YAML text (`yaml`); one of the two.

    `${VARIABLE}` is filled in from the supervisor's environment, and kept as it stands. `***` in one that is changed stands for
    the secret that the process has at that place.
    """

    process: Document | None = None
    yaml: Annotated[str, msgspec.Meta(max_length=2**16)] | None = None


class NewProcess(ProcessDefinition, kw_only=True):
    """A process that the plan does not have yet."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class DefinitionView(Reply):
    """A process as it is written, its variables as they stand and its secrets as `***`; the same as YAML and as JSON."""

    name: str
    origin: Literal["plan", "saved", "unsaved"]
    yaml: str
    process: dict[str, object]


class PlanChangeView(Reply):
    """A process that was added, changed or removed over this API."""

    name: str
    change: Literal["added", "changed", "removed"]
    saved: bool


class ConfigView(Reply):
    """Where the plan comes from, and what was changed on top of it over this API.

    `changes` says who may do that, as in the plan; `may_change` whether whoever asks may. `saved_in` is the file beside the plan
    in which changes are saved.
    """

    plan: str
    saved_in: str
    changes: Literal["never", "owner", "admin"]
    may_change: bool
    changed: list[PlanChangeView]


class SavedView(Reply):
    """What was saved, and where: the names of all processes that stand there now, also of those that were removed."""

    saved_in: str
    processes: list[str]


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
    """That the supervisor answers. `ready`: every wanted instance is ready, or has completed. `run` names this run of it."""

    status: Literal["healthy", "ending"]
    ready: bool
    version: str
    run: str = ""


class CallerView(Reply):
    """Who asks, and what its key opens: `read`, `operate`."""

    name: str
    grants: list[str]


class EndingView(Reply):
    """Everything is being stopped."""

    ending: bool
