"""Commands that begin at once: a process has imported what they need, and each is a fork of it.

To start one takes a fifth of a second of a core, nearly all of it for imports, and the tests run hundreds. Programs that stay, and
what starts engines or keeps processes, are started as their users do; and so is each of these commands where a test follows it.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMANDS = frozenset({
    "audit", "batches", "ctl", "jobs", "keys", "masters", "nodes", "profiles", "schedules", "tenants", "webhooks",
})  # fmt: skip
"""Those that ask a master or a supervisor, say what it answered, and end."""
AS_STARTED = ("PYTHON", "LC_", "LANG")
"""Variables that a Python heeds when it starts, and never after."""


class StandingBy:
    """The process of one unpacked wheel; it ends with us."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            devnull = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, env=environ, pass_fds=[theirs.fileno()], stdin=devnull, stdout=devnull, stderr=devnull
            )

    def close(self) -> None:
        self._line.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], cwd: Path, typed: str, timeout_s: float
    ) -> tuple[int, str, str]:
        """Its exit code, and what it wrote to stdout and to stderr."""
        asked = {"arguments": arguments, "environ": environ, "cwd": str(cwd), "timeout_s": timeout_s}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            reads, writes = os.pipe()
            told, tells = os.pipe()
            os.write(writes, typed.encode())
            os.close(writes)
            socket.send_fds(self._line, [json.dumps(asked).encode()], [reads, out.fileno(), err.fileno(), tells])
            for one in (reads, tells):
                os.close(one)
            with os.fdopen(told) as ending:
                code = int(ending.read())
            if code == -signal.SIGKILL:
                raise subprocess.TimeoutExpired(arguments, timeout_s)
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()


# In that process -----------------------------------------------------------------------------------------------------------


def stand_by(line: socket.socket) -> None:
    """Fork for each command that is asked for, until nobody can ask any more."""
    import click
    import httpx2  # noqa: F401
    import rich.table  # noqa: F401

    import millrace.cli.session
    import millrace.cli.show
    import millrace.client.client  # noqa: F401
    from millrace.cli.app import app

    for name in COMMANDS:
        assert app.get_command(click.Context(app), name) is not None, name
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    while True:
        data, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 4)
        if not data:
            return
        if os.fork() == 0:
            line.close()
            *streams, tells = descriptors
            watch(json.loads(data), streams, tells)
        for one in descriptors:
            os.close(one)


def watch(asked: Mapping[str, object], streams: Sequence[int], tells: int) -> None:
    """Become the command in a child, and tell how that ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(tells)
        become(asked, streams)
    ended = os.pidfd_open(pid)
    if not select.select([ended], [], [], asked["timeout_s"])[0]:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(tells, str(code).encode())
    os._exit(0)


def become(asked: Mapping[str, object], streams: Sequence[int]) -> None:
    """Do what `python -m millrace` does; ends the process."""
    from millrace.cli.main import main

    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.environ.clear()
    os.environ.update(asked["environ"])
    time.tzset()
    os.chdir(str(asked["cwd"]))
    sys.argv = ["millrace", *asked["arguments"]]
    gc.enable()
    main()
    sys.exit()


if __name__ == "__main__":
    stand_by(socket.socket(fileno=int(sys.argv[1])))
