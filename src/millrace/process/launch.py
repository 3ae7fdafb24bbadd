"""From a Spec to a running child: find the program, compose the command line, fork.

A child must die with us, also when we are killed with -9. Where somebody sees to that (see `warden`), and nothing else has to be
set, the program is started as it is: its mark and its limit for core files are our own for the moment of the fork. Else
PR_SET_PDEATHSIG (prctl(2)) is set between fork and exec. Measured on a 2-core machine, spawn to exit of /bin/true:

    nothing 0.5 ms · setpriv 1.1 ms · setpriv, prlimit and nice 2.6 ms · our own `enter` in Python 16-18 ms
    preexec_fn 2.1 ms, and 14 ms once we hold 500 MB (it forks instead of vforks, and may deadlock beside threads)

So setpriv where it is there, `enter` where not. Two limits: the signal fires when the *thread* that forked ends, so
children are started from the main thread only; and with setpriv a parent that dies within the millisecond between fork
and prctl leaves the child behind (`enter` checks for that).

The kernel clears the death signal when a process changes its user, so it is set again after that; the change comes last,
because limits, niceness and score may need the privilege that it gives up.
"""

import errno
import functools
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct, structs

from millrace.process.enclose import enclose
from millrace.process.mark import MARKER, RLIMIT_LOCKS, Mark, joined
from millrace.process.rehearsal import rehearse
from millrace.process.sandbox import Mechanism
from millrace.process.values import CannotStart, Limits, Spec
from millrace.process.warden import guarded

_ENTER = Path(__file__).with_name("enter.py")
_OPTIONS = {
    "cpu_s": ("cpu", resource.RLIMIT_CPU),
    "address_space_bytes": ("as", resource.RLIMIT_AS),
    "file_size_bytes": ("fsize", resource.RLIMIT_FSIZE),
    "open_files": ("nofile", resource.RLIMIT_NOFILE),
    "core_bytes": ("core", resource.RLIMIT_CORE),
    "data_bytes": ("data", resource.RLIMIT_DATA),
    "stack_bytes": ("stack", resource.RLIMIT_STACK),
    "locked_memory_bytes": ("memlock", resource.RLIMIT_MEMLOCK),
    "processes": ("nproc", resource.RLIMIT_NPROC),
}
_SHELL = "/bin/sh"
_MARK_OPTION = ("locks", RLIMIT_LOCKS)
_HARMLESS = {"core_bytes"}  # limits that we can have ourselves for a moment


class Tools(Struct, frozen=True, kw_only=True):
    """Where the programs are that set up a child; None where missing or too old."""

    setpriv: str | None
    prlimit: str | None
    nice: str | None
    choom: str | None = None


@functools.cache
def find_tools() -> Tools:
    """The tools of this machine. Setpriv is tried once, because BusyBox has one without --pdeathsig."""
    setpriv = shutil.which("setpriv", path=os.defpath)
    if setpriv is not None:
        trial = [setpriv, "--pdeathsig", "KILL", "--", setpriv, "--version"]
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:  # noqa: S603  a constant command
            setpriv = None
    return Tools(
        setpriv=setpriv,
        prlimit=shutil.which("prlimit", path=os.defpath),
        nice=shutil.which("nice", path=os.defpath),
        choom=shutil.which("choom", path=os.defpath),
    )


@functools.cache
def _nothing() -> int:
    """What every child reads, opened once."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def spawn(
    spec: Spec, *, mark: Mark, stdout: int, stderr: int, report: int = -1, gate: int = -1, tools: Tools | None = None
) -> subprocess.Popen[bytes]:
    """Start the child in a session and group of its own. Blocks for well under a millisecond.

    `stdout` and `stderr` are the descriptors that it writes to. `report` is needed for a sandbox: where `confine` says
    what it could not do, and which closes when the program itself runs. With a `gate` nothing runs before a line can be
    read from it, and nothing at all where it closes before. Raises CannotStart with a sentence. Never wait on the
    result: `Child` collects the exit status itself.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("cannot start a child from this thread: it would be killed when the thread ends")
    program = find_program(spec)
    tools = tools or find_tools()
    if _needs_privilege(spec):

        def compose(other: str, arguments: Sequence[str]) -> list[str]:
            return command_line(other, structs.replace(spec, argv=("", *arguments)), tools, parent_pid=os.getpid())

        rehearse(spec, program, compose)
    inherited = spec.pass_fds
    enclosed = None
    if spec.sandbox is not None and spec.sandbox.able.mechanism is not Mechanism.NONE:
        enclosed = enclose(spec, spec.sandbox, program, report_fd=report)
        inherited = (*inherited, report, enclosed.filter_fd)
        program, spec = enclosed.argv[0], structs.replace(spec, argv=enclosed.argv)
    lent: dict[int, int] = {}
    if guarded() and _is_plain(spec):
        command = [program, *spec.argv[1:]]
        lent = {_OPTIONS[name][1]: value for name, value in _limits(spec.limits).items()}
        if mark.number is not None:
            lent[RLIMIT_LOCKS] = mark.number
    else:
        command = command_line(program, spec, tools, parent_pid=os.getpid(), mark=mark.number)
    if gate >= 0:
        command = _behind_a_gate(command, spec.env)
    try:
        with _lending(lent):
            environment = {**spec.env, MARKER: joined(mark)}
            popen = _start(
                command, spec, env=environment, stdin=gate, stdout=stdout, stderr=stderr, inherited=inherited
            )
        _take(popen.pid, lent)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in an argument or variable
        raise CannotStart(f"cannot start {program}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        if enclosed is not None:
            os.close(enclosed.filter_fd)
    return popen


def find_program(spec: Spec) -> str:
    """The absolute path of `argv[0]`. Checked here because behind setpriv a failed exec is only an exit code."""
    if not spec.argv:
        raise CannotStart("cannot start a child: the argument list is empty")
    name = spec.argv[0]
    if not spec.cwd.is_dir():
        raise CannotStart(f"cannot start {name}: its working directory {spec.cwd} does not exist or is no folder")
    if "/" not in name:
        found = shutil.which(name, path=spec.env.get("PATH", os.defpath))
        if found is None:
            raise CannotStart(f"cannot start {name}: no such program in PATH; install it or name it by its full path")
        return str((spec.cwd / found).absolute())
    path = (spec.cwd / name).absolute()
    try:
        if path.is_dir():
            raise CannotStart(f"cannot start {path}: it is a folder")
        if not path.exists():
            raise CannotStart(f"cannot start {path}: no such file; check the path")
    except PermissionError as error:
        raise CannotStart(f"cannot start {path}: no permission to look into its folder") from error
    if spec.run_as is None and not os.access(path, os.X_OK):  # whether another may is rehearsed
        raise CannotStart(f"cannot start {path}: no permission to execute it; try chmod +x")
    return str(path)


def command_line(program: str, spec: Spec, tools: Tools, *, parent_pid: int, mark: int | None = None) -> list[str]:
    """The argument list that makes `program` start with its death signal, mark, limits, niceness and identity."""
    limits = _limits(spec.limits)
    tail = [program, *spec.argv[1:]]
    score, who = spec.oom_score_adj, spec.run_as
    lacking = (limits and tools.prlimit is None) or (spec.nice and tools.nice is None)
    if tools.setpriv is None or lacking or (score is not None and tools.choom is None):
        numbers = {_OPTIONS[name][1]: value for name, value in limits.items()}
        if mark is not None:
            numbers[RLIMIT_LOCKS] = mark
        # -I and -S: no site packages and nothing of the environment, which belongs to the child.
        return [
            *(sys.executable, "-I", "-S", str(_ENTER), str(parent_pid), str(spec.nice)),
            ",".join(f"{number}={value}" for number, value in numbers.items()),
            "" if score is None else str(score),
            "" if who is None else f"{who.uid}:{who.gid}:{','.join(map(str, who.groups))}",
            *tail,
        ]
    command = [tools.setpriv, "--pdeathsig", "KILL", "--"]
    if score is not None and tools.choom is not None:
        command += [tools.choom, "-n", str(score), "--"]
    options = [f"--{_OPTIONS[name][0]}={value if value >= 0 else 'unlimited'}" for name, value in limits.items()]
    if mark is not None:
        options.append(f"--{_MARK_OPTION[0]}={mark}")
    if options and tools.prlimit is not None:
        command += [tools.prlimit, *options, "--"]
    if spec.nice and tools.nice is not None:
        command += [tools.nice, "-n", str(spec.nice), "--"]
    if who is not None:
        groups = f"--groups={','.join(map(str, who.groups))}" if who.groups else "--clear-groups"
        command += [tools.setpriv, f"--reuid={who.uid}", f"--regid={who.gid}", groups, "--pdeathsig", "KILL", "--"]
    return command + tail


def _is_plain(spec: Spec) -> bool:
    """Whether nothing has to be set between fork and exec."""
    rest = spec.limits.exact or not _limits(spec.limits).keys() <= _HARMLESS
    return not (rest or spec.nice or spec.run_as is not None or spec.oom_score_adj is not None)


def _behind_a_gate(command: list[str], env: Mapping[str, str]) -> list[str]:
    # The gate is its stdin, as some shells know no descriptors beyond 9.
    # Some shells export words of their own, which would be no part of the environment that was asked for.
    own = " ".join(name for name in ("SHLVL", "PWD", "OLDPWD") if name not in env)
    script = f'read -r _ || exit 125; unset {own}; exec "$@" </dev/null'
    return [_SHELL, "-c", script, _SHELL, *command]


def _start(
    command: list[str],
    spec: Spec,
    *,
    env: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    inherited: tuple[int, ...],
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603  running what it is given is the purpose; a list, never a shell
            command,
            cwd=spec.cwd,
            env=env,
            stdin=stdin if stdin >= 0 else _nothing(),
            stdout=stdout,
            stderr=stderr,
            pass_fds=inherited,
            start_new_session=True,
            umask=-1 if spec.umask is None else spec.umask,
        )
    except OSError as error:
        if error.errno != errno.ENOEXEC or command[0] == _SHELL:
            raise
        # A script that does not say what reads it, as execvp(3) does it.
        command = [_SHELL, *command]
        return _start(command, spec, env=env, stdin=stdin, stdout=stdout, stderr=stderr, inherited=inherited)


@contextmanager
def _lending(limits: Mapping[int, int]) -> Iterator[None]:
    """Have these soft limits (setrlimit(2)) ourselves, so that what is started now inherits them."""
    before = {number: resource.getrlimit(number) for number in limits}
    try:
        for number, value in limits.items():
            resource.setrlimit(number, (value, before[number][1]))
        yield
    finally:
        for number, both in before.items():
            resource.setrlimit(number, both)


def _take(pid: int, limits: Mapping[int, int]) -> None:
    """Take from a child the right to raise them again."""
    for number, value in limits.items():
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or become another user's
            resource.prlimit(pid, number, (value, value))


def _needs_privilege(spec: Spec) -> bool:
    return spec.run_as is not None or spec.nice < 0 or spec.oom_score_adj is not None or spec.limits.exact


def _limits(limits: Limits) -> dict[str, int]:
    """Those limits that change something; none above our own hard limit unless just these are wanted."""
    changed = {}
    for name, (_, number) in _OPTIONS.items():
        wanted: int | None = getattr(limits, name)
        if wanted is None:
            continue
        soft, hard = resource.getrlimit(number)
        value = wanted if limits.exact or hard == resource.RLIM_INFINITY else min(wanted, hard)
        if (soft, hard) != (value, value):
            changed[name] = value
    return changed
