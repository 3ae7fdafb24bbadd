"""The supervisors that are measured, each as a way to start it with a number of equal children.

supervisord and circus live in a virtual environment of the bench's own, `build/bench-supervisors`, pinned in supervisors.txt.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.servers import runs

HERE = Path(__file__).parent
VENV = HERE.parent / "build" / "bench-supervisors"
_INSTALL_S = 180.0

Prepare = Callable[[Path, int, Sequence[str], Path | None], list[str]]
"""From a folder, how many children, their command, and the file that keeps what they write (None: nothing is kept), to the
command that supervises them."""


def installed() -> str:
    """Make the environment of the peers where it is missing; why that did not work, or an empty text."""
    if (VENV / "complete").exists():
        return ""
    VENV.parent.mkdir(exist_ok=True)
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(VENV / "bin" / "python")
    why = runs(
        [
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
            [uv, "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode", "--python", python,
             "-r", str(HERE / "supervisors.txt")],
        ],
        _INSTALL_S,
    )  # fmt: skip
    if not why:
        (VENV / "complete").touch()
    return why


def millrace(*options: str) -> Prepare:
    """`millrace supervise`; `options` say where it answers."""

    def prepare(folder: Path, count: int, command: Sequence[str], output: Path | None) -> list[str]:
        words = json.dumps([word.replace("$", "$$") for word in command])  # a dollar begins a variable in plans
        kept = f"\n    logging: {{file: {{path: {output}, max_bytes: 1073741824}}}}" if output else ""
        plan = folder / "plan.yaml"
        plan.write_text(f"processes:\n  child:\n    command: {words}\n    scale: {count}{kept}\n")
        where = [option.format(folder=folder) for option in options]
        return [str(Path(sys.executable).with_name("millrace")), "supervise", "-c", str(plan), *where]

    return prepare


def supervisord(folder: Path, count: int, command: Sequence[str], output: Path | None) -> list[str]:
    """supervisord in the foreground; startsecs 0, so that a child is running when it was started, as it is with the others."""
    (folder / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={folder}/pid\n"
        f"[unix_http_server]\nfile={folder}/sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:child]\ncommand={shlex.join(command)}\nnumprocs={count}\nprocess_name=child%(process_num)d\n"
        f"autorestart=true\nstartsecs=0\nstdout_logfile={output or 'NONE'}\nstdout_logfile_maxbytes=0\nstderr_logfile=NONE\n"
    )
    return [str(VENV / "bin" / "supervisord"), "-c", str(folder / "supervisord.conf")]


def circus(folder: Path, count: int, command: Sequence[str], output: Path | None) -> list[str]:
    """circusd, looking every 0.1 s; in a configuration file without `check_delay` it is every 5 s."""
    kept = f"stdout_stream.class = FileStream\nstdout_stream.filename = {output}\n" if output else ""
    (folder / "circus.ini").write_text(
        f"[circus]\ncheck_delay = 0.1\nendpoint = ipc://{folder}/endpoint\npubsub_endpoint = ipc://{folder}/pubsub\n"
        f"[watcher:child]\ncmd = {command[0]}\nargs = {shlex.join(command[1:])}\nnumprocesses = {count}\n"
        f"warmup_delay = 0\ncopy_env = True\n{kept}"
    )
    return [str(VENV / "bin" / "circusd"), str(folder / "circus.ini")]


def s6(folder: Path, count: int, command: Sequence[str], output: Path | None) -> list[str]:
    """s6-svscan over a scan directory with one service directory for each child, as its documentation has them.

    `run` is the child; where its output is kept, an s6-log keeps it in a folder of its own, in which a file is the newest
    part. s6-supervise waits a second between two starts of the same service.
    """
    scan = folder / "scan"
    for number in range(count):
        service = scan / f"child{number}"
        _script(service / "run", shlex.join(command))
        if output:
            kept = folder / "kept.d"
            _script(service / "log" / "run", f"s6-log -b n1 s268435455 {kept}")
            output.symlink_to(kept / "current")
    # It scans once at the start; -c is how many services it keeps, 500 unless it is given.
    return ["s6-svscan", "-c", str(max(500, count)), str(scan)]


def _script(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\nexec {command}\n")
    path.chmod(0o755)


def floor(script: str) -> Prepare:
    """One of the floors of this folder."""

    def prepare(_: Path, count: int, command: Sequence[str], output: Path | None) -> list[str]:
        return [sys.executable, str(HERE / script), str(count), str(output or "-"), *command]

    return prepare


PROGRAMS: Mapping[str, Prepare] = {
    "Python floor (epoll, pidfd, posix_spawn)": floor("floor_epoll.py"),
    "asyncio floor": floor("floor_asyncio.py"),
    "Millrace": millrace("--socket", "{folder}/s.sock"),
    "Millrace, API off": millrace("--no-socket"),
    "supervisord 4.3.0": supervisord,
    "circus 0.19.0": circus,
    "s6": s6,
}
PEERS = ("supervisord 4.3.0", "circus 0.19.0")
"""Those that need the environment of the bench's own."""
FORGETFUL = ("circus 0.19.0",)
"""Those that drop a SIGTERM that comes at a bad moment (circus: while it looks at its watchers, which is every 0.1 s here,
`quit` is refused with a ConflictError), so that they are told again every second."""


def missing(name: str) -> str:
    """Why a program that this machine has to have itself cannot be measured; empty where it can."""
    if name == "s6" and shutil.which("s6-svscan") is None:
        return "there is no s6-svscan in PATH (the package s6)"
    return ""
