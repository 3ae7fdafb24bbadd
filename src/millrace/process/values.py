"""What goes into a child and what comes out of it."""

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from millrace.process.cgroup import Resources
from millrace.process.sandbox import Sandbox

Stream = Literal["stdout", "stderr"]


class CannotStart(Exception):  # noqa: N818  the message begins with these words
    """The program could not be started; the message says which, why, and what to do."""


class CannotStop(Exception):  # noqa: N818  the message begins with these words
    """Processes are left that even SIGKILL does not end (a disk or driver holds them); the message names their pids."""


class Limits(Struct, frozen=True, kw_only=True):
    """Resource limits (setrlimit(2)) of the child and what it starts; None leaves ours.

    They are lowered as far as ours allow; with `exact` the child gets just these, -1 for none, or does not start.
    """

    cpu_s: int | None = None
    address_space_bytes: int | None = None
    file_size_bytes: int | None = None
    open_files: int | None = None
    core_bytes: int | None = 0
    data_bytes: int | None = None
    stack_bytes: int | None = None
    locked_memory_bytes: int | None = None
    processes: int | None = None
    exact: bool = False


class RunAs(Struct, frozen=True, kw_only=True):
    """Another identity: real, effective and saved user and group, and all groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class Spec(Struct, frozen=True, kw_only=True):
    """One child to run.

    `argv[0]` is a path, or a name that is looked up in PATH of `env`. `env` is the whole environment: nothing of ours is
    added but MILLRACE_CHILD, by which strays are found again. `pass_fds` are the only descriptors it inherits besides
    its output; stdin is empty. `nice` is added to ours (-20 to 19). None leaves the umask, the score (-1000 to 1000) and
    the identity as ours. What needs a privilege that we lack is refused at the start, and so is a sandbox that cannot be made
    as its `able` says. With `resources`, also empty ones, it gets a control group of its own where that is permitted;
    `Child.placed` tells what of it is not in force.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    nice: int = 0
    limits: Limits = field(default_factory=Limits)
    pass_fds: tuple[int, ...] = ()
    run_as: RunAs | None = None
    umask: int | None = None
    oom_score_adj: int | None = None
    sandbox: Sandbox | None = None
    resources: Resources | None = None


class Exit(Struct, frozen=True, kw_only=True):
    """How a child ended: `code` (0 to 255) or `signal`, never both.

    `cpu_s` and `max_rss_bytes` come from wait4(2): the CPU time of the child and of all that it waited for, and the
    largest memory that one of them had. `asked` tells whether `stop` was called before the end. `strays` is how many
    processes of its tree were still there when the child had ended, and were killed (0 in a sandbox, where the kernel does
    that uncounted). `forced`: the grace of `stop` was over before the tree had ended, and SIGKILL ended the rest. `oom_kills` is how many processes of it were killed because its control group had no memory left. Both code and signal None: someone
    else reaped the child, and how it ended is lost.
    """

    code: int | None
    signal: int | None
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    core_dumped: bool
    asked: bool
    strays: int
    oom_kills: int = 0
    forced: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with code 0."""
        return self.code == 0

    def __str__(self) -> str:
        if self.code is not None:
            return f"exited with code {self.code}"
        if self.signal is None:
            return "ended in an unknown way: another part of the system collected its exit status"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = "signal"
        why = ", because its memory limit was reached" if self.oom_kills and self.signal == signal.SIGKILL else ""
        return f"was killed by {name} ({self.signal})" + (", core dumped" if self.core_dumped else "") + why


class Line(Struct, frozen=True, gc=False):
    """One line of output without its end; invalid UTF-8 shows as U+FFFD.

    `partial`: the line was longer than the limit, and goes on in the next one of its stream. `transient`: it ended in a
    lone carriage return, so a terminal would overwrite it (progress displays).
    """

    stream: Stream
    text: str
    partial: bool = False
    transient: bool = False


class Batch(Struct, frozen=True):
    """Lines in the order of each stream; `dropped` lines before them were lost because the sink was too slow."""

    lines: Sequence[Line]
    dropped: int = 0


Sink = Callable[[Batch], Awaitable[None]]


class Usage(Struct, frozen=True, kw_only=True):
    """What the whole tree has used so far. `cpu_s` never falls; pages that processes share count once for each.
    `read_bytes` is what those that live have read by system calls, from files, pipes and sockets (proc_pid_io(5), rchar).
    """

    cpu_s: float
    rss_bytes: int
    processes: int
    read_bytes: int = 0
