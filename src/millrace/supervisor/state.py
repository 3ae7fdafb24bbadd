"""What the machine knows of each instance, what may happen, and what it may want done. Frozen values."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field


class Phase(StrEnum):
    """Where an instance is in its life."""

    STOPPED = "stopped"  # at rest, as asked
    WAITING = "waiting"  # wanted, and something that it depends on is not there yet
    RUNNING = "running"
    BACKING_OFF = "backing-off"  # ended, and started again after a while
    STOPPING = "stopping"
    COMPLETED = "completed"  # ended well, and not started again
    FAILED = "failed"  # ended badly or never started, and given up


AT_REST = frozenset({Phase.STOPPED, Phase.COMPLETED, Phase.FAILED})
"""Phases in which no process is there and none will come by itself."""

ABSENT = AT_REST | {Phase.WAITING, Phase.BACKING_OFF}
"""Phases in which no process is there."""


class Id(Struct, frozen=True, order=True):
    """Names an instance: `web-0` is the first of `web`."""

    process: str
    index: int

    def __str__(self) -> str:
        return f"{self.process}-{self.index}"


class Instance(Struct, frozen=True, kw_only=True):
    """One instance. `run` counts its starts, so that news of an earlier run is known as old.

    `failures` counts ends in a row that were not asked for, since it last ran for long enough; `passes` and `misses` are
    answers of its health check in a row. `unwell` tells that it is stopped because its health check failed.
    """

    phase: Phase = Phase.STOPPED
    run: int = 0
    ready: bool = False
    failures: int = 0
    restarts: int = 0
    passes: int = 0
    misses: int = 0
    unwell: bool = False
    began_s: float = 0.0
    reason: str = ""


class State(Struct, frozen=True, kw_only=True):
    """Everything that the machine knows. `wanted` holds, for each process, how many instances there shall be."""

    instances: Mapping[Id, Instance] = field(default_factory=dict)
    wanted: Mapping[str, int] = field(default_factory=dict)
    ending: bool = False


# What may happen. `at_s` is the monotonic clock in seconds.


class Wanted(Struct, frozen=True):
    """Somebody wants so many instances of a process: 0 stops it, more starts it, also after it was given up."""

    process: str
    count: int


class Renewed(Struct, frozen=True):
    """Somebody wants every instance of a process stopped and started."""

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
    """The process has ended. `code` is None where a signal ended it; `draw` is a random number in [0, 1)."""

    id: Id
    run: int
    at_s: float
    code: int | None
    how: str
    draw: float


class Answered(Struct, frozen=True):
    """The health check was answered, well or not."""

    id: Id
    run: int
    well: bool
    why: str = ""


class Due(Struct, frozen=True):
    """The back-off is over."""

    id: Id
    run: int


class Ending(Struct, frozen=True):
    """Everything shall be stopped."""


Event = Wanted | Renewed | Spawned | NotSpawned | Ended | Answered | Due | Ending


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
    """Ask its health check until the process ends."""

    id: Id
    run: int


class Wake(Struct, frozen=True):
    """Say Due after a while."""

    id: Id
    run: int
    after_s: float


class Changed(Struct, frozen=True):
    """Tell whoever watches: the instance is in another phase, or its readiness changed."""

    id: Id
    instance: Instance


class Gone(Struct, frozen=True):
    """Tell whoever watches: the instance was scaled away."""

    id: Id


class Finish(Struct, frozen=True):
    """Nothing is left to keep: end with this exit code."""

    code: int


Effect = Spawn | Stop | Probe | Wake | Changed | Gone | Finish
