"""A plan: which processes there are and how each is kept. Frozen values; times are seconds."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from signal import Signals

from msgspec import Struct, field

from millrace.supervisor.change.values import Autoscale, Changing, Reloading, Rolling
from millrace.supervisor.execution import Execution
from millrace.supervisor.health.values import HealthCheck
from millrace.supervisor.hooks import Hooks
from millrace.supervisor.logs.settings import LogForm, Logging
from millrace.supervisor.readiness import Readiness
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.tuning.values import Tune


class Kind(StrEnum):
    """What a process is for."""

    SERVICE = "service"  # kept running
    ONESHOT = "oneshot"  # runs once, at the start
    SCHEDULED = "scheduled"  # runs at its times


class Policy(StrEnum):
    """When a process that ended is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Condition(StrEnum):
    """What a dependent waits for."""

    STARTED = "started"
    READY = "ready"
    COMPLETED = "completed"


class Restart(Struct, frozen=True, kw_only=True):
    """How a process that ended comes back. `max_attempts` 0 is no limit; an attempt is forgotten after `stable_s`."""

    policy: Policy = Policy.ALWAYS
    backoff_initial_s: float = 1.0
    backoff_max_s: float = 60.0
    max_attempts: int = 0
    stable_s: float = 10.0
    success_codes: frozenset[int] = frozenset({0})


class Recipient(StrEnum):
    """Who is told to stop."""

    ALL = "all"  # the whole tree
    MAIN = "main"  # the process that was started, which sees to what it has started


class Shutdown(Struct, frozen=True, kw_only=True):
    """How a process is stopped: a signal, and SIGKILL for what is left of its tree after `timeout_s`."""

    signal: Signals = Signals.SIGTERM
    timeout_s: float = 10.0
    to: Recipient = Recipient.ALL


MAX_SCALE = 1000
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
"""Of a process."""
"""Instances that one process may have at most."""


class ProcessPlan(Struct, frozen=True, kw_only=True):
    """One process, `scale` times; never more than `max_scale`. Instance i of `web` is called `web-i`, from 0."""

    name: str
    command: tuple[str, ...]
    kind: Kind = Kind.SERVICE
    scale: int = 1
    max_scale: int = MAX_SCALE
    autostart: bool = True
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: Path | None = None
    restart: Restart = field(default_factory=Restart)
    shutdown: Shutdown = field(default_factory=Shutdown)
    health_check: HealthCheck | None = None
    execution: Execution = field(default_factory=Execution)
    logging: Logging = field(default_factory=Logging)
    schedule: Schedule | None = None
    hooks: Hooks = field(default_factory=dict)
    rolling: Rolling = field(default_factory=Rolling)
    autoscale: Autoscale | None = None
    tune: Tune | None = None

    @property
    def is_service(self) -> bool:
        """Whether it is kept running."""
        return self.kind is Kind.SERVICE


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that is to be kept. `shutdown_timeout_s` bounds the end of the whole."""

    processes: Mapping[str, ProcessPlan]
    shutdown_timeout_s: float = 30.0
    log_format: LogForm = LogForm.TEXT
    hooks: Hooks = field(default_factory=dict)
    readiness: Readiness | None = None
    reloading: Reloading = field(default_factory=Reloading)
    changes: Changing = Changing.OWNER
