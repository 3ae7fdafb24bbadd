"""What the machine knows of each instance, what may happen, and what it may want done. Frozen values."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from millrace.supervisor.change.autoscale import Scaling
from millrace.supervisor.change.reloads import Reload
from millrace.supervisor.change.rolling import Roll
from millrace.supervisor.health.notices import Notice
from millrace.supervisor.health.rules import Patience, Told
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import Plan, ProcessPlan
from millrace.supervisor.schedule.jobs import Job, Run, Watch


class Phase(StrEnum):
    """Where an instance is in its life."""

    STOPPED = "stopped"  # at rest, as asked
    SCHEDULED = "scheduled"  # its next run comes at its time
    WAITING = "waiting"  # wanted, and something that it depends on is not there yet
    STARTING = "starting"  # its hooks before the start run
    RUNNING = "running"
    BACKING_OFF = "backing-off"  # ended, and started again after a while
    STOPPING = "stopping"
    CLEANING = "cleaning"  # it has ended, and its hooks after the stop run
    COMPLETED = "completed"  # ended well, and not started again
    FAILED = "failed"  # ended badly or never started, and given up


AT_REST = frozenset({Phase.STOPPED, Phase.COMPLETED, Phase.FAILED})
"""Phases in which no process is there and none will come by itself."""

ABSENT = AT_REST | {Phase.SCHEDULED, Phase.WAITING, Phase.BACKING_OFF}
"""Phases in which no process of it is there, and none of its hooks."""


class Stage(StrEnum):
    """Where the whole is in its life."""

    PREPARING = "preparing"  # the hooks before the start run, and nothing else
    STARTING = "starting"  # not everything that starts by itself has been started
    UP = "up"
    PARTING = "parting"  # the hooks before the stop run, and everything goes on
    STOPPING = "stopping"
    CLOSING = "closing"  # everything has ended, and the hooks after the stop run
    OVER = "over"


class Id(Struct, frozen=True, order=True):
    """Names an instance: `web-0` is the first of `web`."""

    process: str
    index: int

    def __str__(self) -> str:
        return f"{self.process}-{self.index}"


class Instance(Struct, frozen=True, kw_only=True):
    """One instance. `run` counts its starts, so that news of an earlier run is known as old.

    `failures` counts ends in a row that were not asked for, since it last ran for long enough; `passes` and `misses` are
    answers of its health check in a row. `told`, `status` and `watchdog_s` (how often a sign of life is due, 0 for never) are
    what it says of itself. `unwell` tells that it is stopped because its health check failed. `there` is True
    from the start of its process to its end, and `ran` ever after; `end` and `asked` keep how it ended, and whether it was to, while it cleans up.
    `plan` is what it was started with, and lives by until it is replaced; `stale` asks for that. `proven`: it has been ready
    for long enough; `spell` counts how often it got ready, and `ticket` numbers the try in which it has to, 0 for none.
    """

    phase: Phase = Phase.STOPPED
    run: int = 0
    ready: bool = False
    failures: int = 0
    restarts: int = 0
    passes: int = 0
    misses: int = 0
    told: Told = Told.NOTHING
    status: str = ""
    watchdog_s: float = 0.0
    unwell: bool = False
    began_s: float = 0.0
    reason: str = ""
    there: bool = False
    ran: bool = False
    end: "Ended | None" = None
    asked: bool = False
    plan: ProcessPlan | None = None
    stale: bool = False
    proven: bool = False
    proving: bool = False
    spell: int = 0
    ticket: int = 0


class State(Struct, frozen=True, kw_only=True):
    """Everything that the machine knows.

    `wanted` holds, for each process, how many instances there shall be; `jobs` what is known of each scheduled process;
    `watch` the last look at the clocks. `code` is the exit code once the hooks after the stop are all that is left, and
    `cut_short` tells that the end was: something had to be killed, or hooks passed over. `rolls`
    are the processes whose instances are being replaced, `reload` is the last change of the plan, `scalings` what is known
    of each process that follows a metric, and `ticket` the last number given to a try; `storm_s` is that of `restart.paced`.
    """

    plan: Plan = field(default_factory=lambda: Plan(processes={}))
    instances: Mapping[Id, Instance] = field(default_factory=dict)
    wanted: Mapping[str, int] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    watch: Watch | None = None
    stage: Stage = Stage.STARTING
    ending: bool = False
    code: int = 0
    cut_short: bool = False
    rolls: Mapping[str, Roll] = field(default_factory=dict)
    reload: Reload | None = None
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    ticket: int = 0
    storm_s: float = 0.0


# What may happen. `at_s` is the monotonic clock in seconds.


class Wanted(Struct, frozen=True):
    """Somebody wants so many instances of a process: 0 stops it, more starts it, also after it was given up.

    `pins` holds it there: no metric changes it until it is let go.
    """

    process: str
    count: int
    pins: bool = False


class Renewed(Struct, frozen=True):
    """Somebody wants every instance of a process stopped and started; `rolling`: so that others go on serving."""

    process: str
    rolling: bool = False


class Replanned(Struct, frozen=True):
    """Another plan takes the place of the one that is kept. `number` names this change."""

    plan: Plan
    number: int


class ReloadLate(Struct, frozen=True):
    """The time in which a plan has to be up is over."""

    number: int


class Proven(Struct, frozen=True):
    """The instance got ready so long ago that it counts as up, unless it was not ready in between."""

    id: Id
    run: int
    spell: int


class Late(Struct, frozen=True):
    """The time in which a new instance has to be up is over."""

    id: Id
    ticket: int


class Measured(Struct, frozen=True):
    """A metric was read, or (None) could not be, and why."""

    process: str
    at_s: float
    value: float | None
    why: str = ""


class Unpinned(Struct, frozen=True):
    """Somebody lets a process follow its metric again."""

    process: str


class Spawned(Struct, frozen=True):
    """The process runs."""

    id: Id
    run: int
    at_s: float


class NotSpawned(Struct, frozen=True):
    """The process could not be started."""

    id: Id
    run: int
    why: str


class Ended(Struct, frozen=True):
    """The process has ended. `code` is None where a signal ended it; `draw` is a random number in [0, 1).

    `forced`: it was told to end, and something of it had to be killed when its time was over.
    """

    id: Id
    run: int
    at_s: float
    code: int | None
    how: str
    draw: float
    forced: bool = False


class Answered(Struct, frozen=True):
    """The health check was answered, well or not."""

    id: Id
    run: int
    well: bool
    why: str = ""


class Notified(Struct, frozen=True):
    """The process said something of itself."""

    id: Id
    run: int
    notice: Notice


class Overdue(Struct, frozen=True):
    """Nothing was heard from the process for as long as the last Await said."""

    id: Id
    run: int


class Due(Struct, frozen=True):
    """The back-off is over."""

    id: Id
    run: int


class Ending(Struct, frozen=True):
    """Everything shall be stopped; `hurried`: at once, as there is no more time for anything."""

    hurried: bool = False


class Looked(Struct, frozen=True):
    """Somebody looked at the clocks."""

    watch: Watch


class Triggered(Struct, frozen=True):
    """Somebody wants a run of a scheduled process now, also of one that is paused."""

    process: str
    watch: Watch


class CalledOff(Struct, frozen=True):
    """Somebody wants one run of a scheduled process, by its number, stopped, or not to begin."""

    process: str
    number: int
    watch: Watch


class Paused(Struct, frozen=True):
    """Somebody wants the times of a scheduled process passed over, or heeded again. Runs go on."""

    process: str
    paused: bool


class Hooked(Struct, frozen=True):
    """The hooks of a moment have ended; `why` one of them failed, None where none did. `id` None are those of the whole.

    `draw` is a random number in [0, 1).
    """

    id: Id | None
    run: int
    moment: Moment
    why: str | None = None
    draw: float = 0.5


OfRun = Spawned | NotSpawned | Ended | Answered | Notified | Overdue | Due | Hooked
"""News of one run of an instance; a Hooked may also be of the whole."""

Changing = Replanned | ReloadLate | Proven | Late | Measured | Unpinned
"""Events of changes while everything runs."""

Event = OfRun | Changing | Wanted | Renewed | Ending | Looked | Triggered | CalledOff | Paused


# What the machine wants done.


class Spawn(Struct, frozen=True):
    """Start the process; answer with Spawned or NotSpawned, and with Ended when it has ended."""

    id: Id
    run: int


class Stop(Struct, frozen=True):
    """Stop the process; its end answers."""

    id: Id
    run: int


class Probe(Struct, frozen=True):
    """Ask its health check, or listen for it, until the process ends; Answered and Notified answer."""

    id: Id
    run: int


class Await(Struct, frozen=True):
    """Say Overdue when so long has gone by, unless another Await or the end of the process comes first."""

    id: Id
    run: int
    patience: Patience


class Wake(Struct, frozen=True):
    """Say Due after a while."""

    id: Id
    run: int
    after_s: float


class RunHooks(Struct, frozen=True):
    """Run the hooks of a moment; answer with Hooked. `id` None are those of the whole."""

    id: Id | None
    run: int
    moment: Moment


class HaltHooks(Struct, frozen=True):
    """Stop what runs of the hooks of an instance, or of the whole; Hooked answers as ever."""

    id: Id | None


class Signed(Struct, frozen=True):
    """Tell whoever watches: a run of a scheduled process has begun or ended; its heartbeat is due."""

    process: str
    run: Run


class Skipped(Struct, frozen=True):
    """Tell whoever watches: a time of a scheduled process came, and nothing runs for it."""

    process: str
    why: str


class Changed(Struct, frozen=True):
    """Tell whoever watches: the instance is in another phase, or its readiness changed."""

    id: Id
    instance: Instance


class Gone(Struct, frozen=True):
    """Tell whoever watches: the instance was scaled away."""

    id: Id


class Adopt(Struct, frozen=True):
    """This is the plan from now on: what is not the machine's, such as logs and signals, follows it."""

    plan: Plan


class LimitReload(Struct, frozen=True):
    """Say ReloadLate after a while."""

    number: int
    after_s: float


class Prove(Struct, frozen=True):
    """Say Proven after a while."""

    id: Id
    run: int
    spell: int
    after_s: float


class Limit(Struct, frozen=True):
    """Say Late after a while."""

    id: Id
    ticket: int
    after_s: float


class Reloaded(Struct, frozen=True):
    """Tell whoever watches: a change of the plan has begun, or what became of it."""

    reload: Reload


class Rolled(Struct, frozen=True):
    """Tell whoever watches: the instances of a process are replaced, or (`halted`) why no more are."""

    process: str
    halted: str = ""


class Rescaled(Struct, frozen=True):
    """Tell whoever watches: a process follows its metric to another number of instances."""

    process: str
    before: int
    now: int
    why: str


class Finish(Struct, frozen=True):
    """Nothing is left to keep: end with this exit code."""

    code: int


Effect = (
    Spawn | Stop | Probe | Await | Wake | RunHooks | HaltHooks | Signed | Skipped | Changed | Gone | Finish
    | Adopt | LimitReload | Prove | Limit | Reloaded | Rolled | Rescaled
)  # fmt: skip
