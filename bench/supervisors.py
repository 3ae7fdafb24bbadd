"""The supervisors that are measured, each as a way to start it with a number of equal children.

supervisord and circus live in a virtual environment of the bench's own, `build/bench-supervisors`, pinned in supervisors.txt.
"""

import json
import shlex
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
    """circusd, looking every 0.1 s; by default it looks once a second."""
    kept = f"stdout_stream.class = FileStream\nstdout_stream.filename = {output}\n" if output else ""
    (folder / "circus.ini").write_text(
        f"[circus]\ncheck_delay = 0.1\nendpoint = ipc://{folder}/endpoint\npubsub_endpoint = ipc://{folder}/pubsub\n"
        f"[watcher:child]\ncmd = {command[0]}\nargs = {shlex.join(command[1:])}\nnumprocesses = {count}\n"
        f"warmup_delay = 0\ncopy_env = True\n{kept}"
    )
    return [str(VENV / "bin" / "circusd"), str(folder / "circus.ini")]


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
}
PEERS = ("supervisord 4.3.0", "circus 0.19.0")
