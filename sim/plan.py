"""What a seed stands for: the farm, its jobs, what people do, and which faults come when. Data, drawn once, before it runs."""

from msgspec import Struct

from millrace.domain.order import Priority, Queue
from millrace.domain.schedules import Overlap
from millrace.domain.tenants import NONE, Quotas
from sim.engine import Behaviour


class Rules(Struct, frozen=True, kw_only=True):
    """The numbers of the farm."""

    ttl_s: float = 15.0
    heartbeat_s: float = 3.0
    stall_s: float = 20.0
    claim_wait_s: float = 20.0
    reject_after_s: float = 600.0
    rates: tuple[float, float] = (0.97, 1.03)
    hedge: bool = False  # whether slow parts are made twice


class WorkerPlan(Struct, frozen=True, kw_only=True):
    """One worker."""

    slots: int = 1
    labels: dict[str, str] = {}


class JobPlan(Struct, frozen=True, kw_only=True):
    """One job. `after` are indexes of jobs that it runs after, `later_s` how long it waits at least, `batch` with which others it
    is submitted.
    """

    index: int
    at_s: float
    queue: Queue
    priority: Priority
    requires: dict[str, str]
    to_folder: bool
    asks_twice: bool
    max_retries: int
    behaviour: Behaviour
    overwrite: bool = False
    chunks: int = 0  # into which it can be divided
    after: tuple[int, ...] = ()
    any_end: bool = False
    later_s: float = 0.0
    batch: int | None = None


class SchedulePlan(Struct, frozen=True, kw_only=True):
    """A job that comes again every so many seconds."""

    index: int
    at_s: float
    every_s: int
    overlap: Overlap
    job: JobPlan

    @property
    def name(self) -> str:
        """What people call it."""
        return f"schedule{self.index}"

    @property
    def cron(self) -> str:
        """When it comes due; a minute of cron takes a second here (`sim.many.hasty`)."""
        return f"*/{self.every_s} * * * *"


class Step(Struct, frozen=True, kw_only=True):
    """What a person does to a job (or, with drain, to a node)."""

    at_s: float
    verb: str
    index: int


class Fault(Struct, frozen=True, kw_only=True):
    """Something goes wrong on a target for a while. `number` is what kinds make of it."""

    at_s: float
    lasts_s: float
    kind: str
    target: str
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s: {self.kind} on {self.target} for {self.lasts_s:.1f} s ({self.number:.3g})"


class Plan(Struct, frozen=True, kw_only=True):
    """All of one simulation."""

    seed: int
    embedded: bool
    masters: int
    workers: tuple[WorkerPlan, ...]
    jobs: tuple[JobPlan, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    rules: Rules
    ends_s: float = 0.0
    quotas: Quotas = NONE
    schedules: tuple[SchedulePlan, ...] = ()

    @property
    def healed_s(self) -> float:
        """From when on nothing goes wrong any more."""
        return max([self.ends_s, *(fault.at_s + fault.lasts_s for fault in self.faults)])
