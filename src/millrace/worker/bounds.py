"""What one engine may take of this machine, and which of that is in force here."""

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.engines.engine import Command
from millrace.process.cgroup import Resources
from millrace.process.grounds import rehearsed
from millrace.process.values import Exit, Limits
from millrace.telemetry.logs import logger
from millrace.worker.failure import TaskFailedError

log = logger("worker")

OPEN_FILES = 1024
"""An engine opens its inputs and a few outputs for each rendition; more is a leak, or an attack."""
SLOWEST_BYTES_S = 2_000_000
"""A disk that gives less is broken."""
_MB = 10**6


class Bounds(Struct, frozen=True, kw_only=True):
    """The bounds of every engine, each with all that it starts.

    `memory_bytes` is what was asked for, None for no limit. It is held by a control group, or not at all, and `missing` says why:
    a limit on addresses (RLIMIT_AS) is none on memory, as an encoder reserves many times what it uses. A command that only
    describes may take `describe_s` seconds, and longer as its files are large.
    """

    memory_bytes: int | None = None
    missing: tuple[str, ...] = ()
    describe_s: float = 120.0

    def limits(self, command: Command) -> Limits:
        """Those of each process, setrlimit(2)."""
        return Limits(
            open_files=OPEN_FILES,
            core_bytes=0,
            data_bytes=command.memory_bytes,
            file_size_bytes=command.file_bytes,
        )

    def describing_s(self, size_bytes: int) -> float:
        """How long a command may take that reads so much and decodes nothing."""
        return self.describe_s + size_bytes / SLOWEST_BYTES_S

    @property
    def resources(self) -> Resources | None:
        """Those of the whole tree; None where there are none, or none can be."""
        return None if self.memory_bytes is None or self.missing else Resources(memory_bytes=self.memory_bytes)

    @property
    def in_force(self) -> tuple[str, ...]:
        """What holds, in words."""
        memory = () if self.resources is None else (f"memory: {self._memory}",)
        return (*memory, f"open files: {OPEN_FILES}", "no core files")

    def __str__(self) -> str:
        missing = f"; not in force: {'; '.join(self.missing)}" if self.missing else ""
        return ", ".join(self.in_force) + missing

    @property
    def _memory(self) -> str:
        return f"{(self.memory_bytes or 0) / _MB:,.0f} MB"

    def judge(self, label: str, ended: Exit) -> None:
        """Raises TaskFailedError, class `resource`, for an engine that the limit on memory has killed."""
        if ended.oom_kills and not ended.ok:
            raise TaskFailedError(
                FailureClass.RESOURCE,
                f"cannot {label}: the engine wanted more than its memory limit of {self._memory} and was killed; "
                "raise MILLRACE_ENGINE_MEMORY_MB on this worker, or use a smaller profile",
            )


def bounds(memory_bytes: int | None, *, describe_s: float) -> Bounds:
    """What can be held here, tried once. Says in the log what of it cannot."""
    if memory_bytes is None:
        return Bounds(describe_s=describe_s)
    missing = rehearsed(Resources(memory_bytes=memory_bytes)).missing
    found = Bounds(memory_bytes=memory_bytes, missing=missing, describe_s=describe_s)
    if found.missing:
        log.warning("worker.memory_limit_missing", why=list(found.missing))
    return found
