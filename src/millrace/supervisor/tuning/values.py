"""Limits, profiles and sizes of pools. Frozen values; memory is in MiB, CPUs may be fractions."""

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field


class CannotTune(Exception):  # noqa: N818  the message begins with these words
    """No size fits; the message says what is short and what to do."""


class Resources(Struct, frozen=True, kw_only=True):
    """What there is, and what says so: the path of a limit, or `host`."""

    memory_mb: int
    cpus: Fraction
    memory_from: str = "host"
    cpus_from: str = "host"


class Spare(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a dynamic pool runs at the start and waits idle, as fractions of its most workers."""

    start: float
    min: float
    max: float


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a kind of pool is sized.

    A worker takes `worker_mb`; all share `shared_mb` (a cache, code loaded once); `reserved_mb` is for what else runs there.
    The pool may use `memory_share` of the memory. The CPUs carry `workers_per_cpu` each, and `extra_workers` beside.
    `variables` maps a variable to the quantity that it gets: `workers`, `threads`, `recycle_after` and so on.
    """

    about: str
    worker_mb: int
    shared_mb: int = 0
    reserved_mb: int = 0
    memory_share: float = 0.75
    workers_per_cpu: float
    extra_workers: int = 0
    min_workers: int = 1
    max_workers: int | None = None
    threads: int = 1
    recycle_after: int = 0
    spare: Spare | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


class Tune(Struct, frozen=True, kw_only=True):
    """What a plan says: a profile by name, such as `php-fpm/medium`, what of it is otherwise, and the `share` of the machine."""

    profile: str
    share: float = 1.0
    changes: Mapping[str, int | float] = field(default_factory=dict)


class Bound(StrEnum):
    """What kept the number of workers from growing."""

    MEMORY = "memory"
    CPU = "cpu"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"  # there are more than memory or CPUs alone would have


class Sizing(Struct, frozen=True, kw_only=True):
    """The size of a pool. `candidates` holds what each bound alone would allow, `used_mb` what the full pool takes."""

    profile: str
    workers: int
    bound: Bound
    candidates: Mapping[Bound, int]
    used_mb: int
    resources: Resources
    quantities: Mapping[str, str]
    variables: Mapping[str, str]
    warnings: tuple[str, ...] = ()
