"""Ways to start a process, side by side: what a start costs us, and what it costs until the program has ended.

The section `spawn` of `make bench` runs this file as a program, once small and once holding memory, in turn:
spawn.py ROUNDS MEGABYTES prints what each start took.
"""

import asyncio
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 40
"""Starts of each way in one turn of one parent."""
BIG_MB = 500
_PROGRAM = "/bin/true"
_CWD = "/"
_ENV = {"PATH": os.defpath, "LANG": "C"}
_HERE = Path(__file__)

Way = Callable[[], tuple[int, int]]
"""Starts the program; its pid and a pidfd. -1 for the pid: it was waited for already."""


def _posix_spawn(*before: str) -> Way:
    command = [*before, _PROGRAM]
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in range(3)]

    def start() -> tuple[int, int]:
        pid = os.posix_spawn(command[0], command, _ENV, file_actions=actions, setsid=True, setsigmask=[])
        return pid, os.pidfd_open(pid)

    return start


def _subprocess(*, vfork: bool = True, preexec: Callable[[], Any] | None = None) -> Way:
    nothing = os.open(os.devnull, os.O_RDWR)

    def start() -> tuple[int, int]:
        subprocess._USE_VFORK = vfork  # type: ignore[attr-defined]  # noqa: SLF001  the documented way to turn it off
        popen = subprocess.Popen(
            [_PROGRAM], cwd=_CWD, env=_ENV, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True,
            preexec_fn=preexec,  # noqa: PLW1509  that it is unsafe is what this row is about
        )  # fmt: skip
        popen.returncode = 0  # it is waited for here
        return popen.pid, os.pidfd_open(popen.pid)

    return start


def _asyncio(loop: asyncio.AbstractEventLoop) -> Way:
    if sys.version_info < (3, 12):
        watcher = asyncio.PidfdChildWatcher()  # what later versions take by themselves
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)

    def start() -> tuple[int, int]:
        async def body() -> None:
            process = await asyncio.create_subprocess_exec(
                _PROGRAM, cwd=_CWD, env=_ENV, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            started.append(time.perf_counter())
            cpu.append(time.process_time())
            await process.wait()

        loop.run_until_complete(body())
        return -1, -1

    return start


started: list[float] = []
cpu: list[float] = []
"""When a way that also waits had started the program, on the clock and in CPU time."""


def _ours(*, as_it_is: bool) -> Way:
    from millrace.process import launch
    from millrace.process.mark import own_mark
    from millrace.process.values import Limits, Spec

    spec = Spec(argv=(_PROGRAM,), cwd=Path(_CWD), env=_ENV, limits=Limits())
    mark, nothing = own_mark(), os.open(os.devnull, os.O_RDWR)

    def start() -> tuple[int, int]:
        launch.guarded = lambda: as_it_is  # as where a warden lives, without one of the bench's own
        popen = launch.spawn(spec, mark=mark, stdout=nothing, stderr=nothing)
        popen.returncode = 0
        return popen.pid, os.pidfd_open(popen.pid)

    return start


def _ways() -> dict[str, Way]:
    import ctypes

    libc = ctypes.CDLL(None)
    return {
        "os.posix_spawn": _posix_spawn(),
        "os.posix_spawn of env -C": _posix_spawn("/usr/bin/env", "-C", _CWD),
        "subprocess, vfork": _subprocess(),
        "subprocess, fork": _subprocess(vfork=False),
        "subprocess, preexec_fn": _subprocess(preexec=lambda: libc.prctl(1, 9)),
        "asyncio": _asyncio(asyncio.new_event_loop()),
        "ours, as it is": _ours(as_it_is=True),
        "ours, through setpriv": _ours(as_it_is=False),
    }


def _once(way: Way) -> tuple[float, float, float, float]:
    """Microseconds: the call on the wall and in our CPU time, the child's CPU time, and all until its end on the wall."""
    started.clear()
    cpu.clear()
    before, began_cpu_s, began_s = _children_s(), time.process_time(), time.perf_counter()
    pid, descriptor = way()
    called_s, called_cpu_s = time.perf_counter(), time.process_time()
    if pid >= 0:
        select.select([descriptor], [], [])
        os.waitpid(pid, 0)
        ended_s = time.perf_counter()
        os.close(descriptor)
    else:
        ended_s, called_s, called_cpu_s = called_s, started[0], cpu[0]
    return (
        1e6 * (called_s - began_s), 1e6 * (called_cpu_s - began_cpu_s), 1e6 * (_children_s() - before), 1e6 * (ended_s - began_s),
    )  # fmt: skip


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def spawn(folder: Path, runs: int) -> str:
    """The section: every way in turn, in a small parent and in a big one in turn."""
    from bench.measure import median, table

    del folder
    found: dict[tuple[int, str], list[list[float]]] = {}
    for _ in range(runs):
        for megabytes in (0, BIG_MB):
            done = subprocess.run(
                [sys.executable, str(_HERE), str(ROUNDS), str(megabytes)], stdout=subprocess.PIPE, check=True
            )
            for name, rows in json.loads(done.stdout).items():
                found.setdefault((megabytes, name), []).extend(rows)

    def cells(name: str, column: int) -> str:
        return " / ".join(f"{median([row[column] for row in found[size, name]]):,.0f}" for size in (0, BIG_MB))

    names = [name for size, name in found if size == 0]
    return "\n\n".join(
        (
            "### Ways to start a process",
            f"`{_PROGRAM}` in a session of its own, with an exact environment, its working directory, no descriptor of ours, and "
            f"a pidfd. {runs * ROUNDS} starts of each way, all ways in turn; medians in µs, in a parent as small as Python is / in "
            f"one that holds {BIG_MB} MB.",
            table(
                ("way", "the call, wall", "the call, our CPU", "the child's CPU", "until its end, wall"),
                [(name, *(cells(name, column) for column in range(4))) for name in names],
            ),
            "",
        )
    )


def main() -> None:
    """Measure here, and print it."""
    rounds, megabytes = int(sys.argv[1]), int(sys.argv[2])
    held = bytearray(megabytes << 20)
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
    ways = _ways()
    for way in ways.values():
        _once(way)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(_once(way))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
