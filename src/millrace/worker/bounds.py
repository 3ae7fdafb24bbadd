"""What one engine may take of this machine, and which of that is in force here."""

from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass
from millrace.engines.engine import Command
from millrace.process.cgroup import Resources
from millrace.process.grounds import rehearsed
from millrace.process.values import Exit, Limits
from millrace.telemetry.logs import logger
from millrace.worker.failure import TaskFailedError

log = logger("worker")

OPEN_FILES = 1024
"""An engine opens its inputs and a few outputs for each rendition; more is a leak, or an attack."""
PROCESSES = 64
"""An engine is one process; whoever wraps it in scripts has a few more."""
FILES = 200_000
"""In the folder of an attempt. A day in six renditions with segments of four seconds has 130,000."""
LOOK_S = 5.0
"""Between two looks at these. What comes between them is bounded by how fast a disk and a kernel are."""
SLOWEST_BYTES_S = 2_000_000
"""A disk that gives less is broken."""
_MB = 10**6


class Bounds(Struct, frozen=True, kw_only=True):
    """The bounds of every engine, each with all that it starts.

    `resources` are held by a control group, None where there are none, and `missing` says which of those asked for are not and why:
    a limit on addresses (RLIMIT_AS) is none on memory, as an encoder reserves many times what it uses, and one on processes
    (RLIMIT_NPROC) counts those of a user everywhere. How many processes and files there are is looked at now and then, too. A
    command that only describes may take `describe_s` seconds, and longer as its files are large.
    """

    resources: Resources | None = None
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
    def in_force(self) -> tuple[str, ...]:
        """What holds, in words."""
        held = self.resources or Resources()
        memory = () if held.memory_bytes is None else (f"memory: {self._memory}",)
        pids = () if held.pids is None else (f"processes and threads: {held.pids}",)
        return (
            *memory, *pids, f"processes: {PROCESSES}", f"files: {FILES}", f"open files: {OPEN_FILES}", "no core files",
        )  # fmt: skip

    def __str__(self) -> str:
        missing = f"; not in force: {'; '.join(self.missing)}" if self.missing else ""
        return ", ".join(self.in_force) + missing

    @property
    def _memory(self) -> str:
        held = 0 if self.resources is None else self.resources.memory_bytes or 0
        return f"{held / _MB:,.0f} MB"

    def excess(self, label: str, *, processes: int, files: int) -> Failure | None:
        """Why an engine must not go on that has so many processes, or so many files in the folder of its attempt."""
        if processes > PROCESSES:
            text = f"cannot {label}: the engine started more than {PROCESSES} processes, and an encoder needs one"
            return Failure(failure_class=FailureClass.RESOURCE, message=text)
        if files > FILES:
            text = f"cannot {label}: the engine made more than {FILES} files, which no output has"
            return Failure(failure_class=FailureClass.OUTPUT, message=text)
        return None

    def judge(self, label: str, ended: Exit) -> None:
        """Raises TaskFailedError, class `resource`, for an engine that the limit on memory has killed."""
        if ended.oom_kills and not ended.ok:
            raise TaskFailedError(
                FailureClass.RESOURCE,
                f"cannot {label}: the engine wanted more than its memory limit of {self._memory} and was killed; "
                "raise MILLRACE_ENGINE_MEMORY_MB on this worker, or use a smaller profile",
            )


def bounds(memory_bytes: int | None, pids: int | None, *, describe_s: float) -> Bounds:
    """What can be held here, tried once. Says in the log what of it cannot."""
    wanted = Resources(memory_bytes=memory_bytes, pids=pids)
    if not wanted.wanted:
        return Bounds(describe_s=describe_s)
    found = rehearsed(wanted)
    if found.missing:
        log.warning("worker.limits_missing", why=list(found.missing))
    held = Resources(
        memory_bytes=memory_bytes if "memory" in found.applied else None, pids=pids if "pids" in found.applied else None
    )
    return Bounds(resources=held if held.wanted else None, missing=found.missing, describe_s=describe_s)
