"""Other queues, driven directly on this machine: Procrastinate on the same PostgreSQL, Celery over Redis.

Both live in a virtual environment of the bench's own, `build/bench-peers`, never among Millrace's requirements. Redis is
the system's, or is unpacked from Debian's packages into `build/bench-redis` without being installed. What cannot be had
is skipped, and the reason is told.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.servers import database, end, runs, wait_until

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
VENV = BUILD / "bench-peers"
REDIS = BUILD / "bench-redis"
PACKAGES = ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9", "celery[redis]==5.7.0")
# What Debian's redis-server needs beside a basic system.
REDIS_PACKAGES = (
    "redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-bitop", "lua-cjson", "libatomic1", "libsystemd0",
)  # fmt: skip
_INSTALL_S = 180.0
_RUN_S = 180.0


def installed() -> str:
    """Make the environment where it is missing; why that did not work, or an empty text."""
    if (VENV / "complete").exists():
        return ""
    BUILD.mkdir(exist_ok=True)
    uv = Path(sys.executable).with_name("uv")
    python = VENV / "bin" / "python"
    why = runs(
        [
            [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
            [str(uv), "pip", "install", "--quiet", "--python", str(python), *PACKAGES],
        ],
        _INSTALL_S,
    )
    if not why:
        (VENV / "complete").touch()
    return why


def procrastinate(server: tuple[str, int], seconds: float, jobs: int) -> dict[str, Any] | str:
    """Its figures on a fresh database of the server, or why there are none."""
    if why := installed():
        return why
    with database(server[0]) as url:
        return _figures("peer_procrastinate.py", url, seconds, jobs)


def celery(folder: Path, seconds: float, jobs: int) -> dict[str, Any] | str:
    """Its figures over a fresh Redis that syncs its log every second, or why there are none."""
    if why := installed():
        return why
    found = redis_binary()
    if not isinstance(found, Path):
        return found
    with redis_server(found, folder) as port:
        return _figures("peer_celery.py", str(port), seconds, jobs, BENCH_REDIS_PORT=str(port))


def _figures(script: str, where: str, seconds: float, jobs: int, **environ: str) -> dict[str, Any] | str:
    command = [str(VENV / "bin" / "python"), str(HERE / script), where, str(seconds), str(jobs)]
    # A safe path: this folder must not stand before the standard library and the peers' packages.
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RUN_S, check=False, env={**os.environ, **environ}
        )
    except subprocess.TimeoutExpired:
        return f"{script} took longer than {_RUN_S:.0f} s"
    if done.returncode != 0:
        return f"{script} ended with {done.returncode}: {done.stderr.strip()[-300:]}"
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def redis_binary() -> Path | str:
    """The program, or why there is none."""
    here = shutil.which("redis-server")
    if here:
        return Path(here)
    unpacked = REDIS / "usr" / "bin" / "redis-check-rdb"  # redis-server is a link to it
    if unpacked.exists():
        return unpacked
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "there is no redis-server, and no apt-get to fetch one"
    REDIS.mkdir(parents=True, exist_ok=True)
    for package in REDIS_PACKAGES:
        done = subprocess.run(
            ["apt-get", "download", "-q", package], cwd=REDIS, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0 and package == "redis-tools":
            return f"apt-get download {package}: {done.stderr.strip()[-200:]}"
    for archive in sorted(REDIS.glob("*.deb")):
        if why := runs([["dpkg-deb", "-x", str(archive), str(REDIS)]], 60):
            return why
    return unpacked if unpacked.exists() else "Debian's redis-tools holds no redis-check-rdb"


@contextlib.contextmanager
def redis_server(binary: Path, folder: Path) -> Iterator[int]:
    """A Redis on a free port of the loopback: append-only file, synced every second."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    link = folder / "redis-server"
    link.symlink_to(binary)  # it goes by the name under which it is called
    libraries = ":".join(str(path) for path in (REDIS / "usr" / "lib").glob("*-linux-*"))
    options = ["--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "everysec"]
    process = subprocess.Popen(
        [str(link), *options, "--dir", str(folder)],
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stdout=(folder / "log").open("ab"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None, "redis-server", 10)
        if process.poll() is not None:
            raise SystemExit(f"cannot measure: redis-server ended: {(folder / 'log').read_text()[-300:]}")
        yield port
    finally:
        end(process)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
