"""A farm is upgraded machine by machine while it works: two versions side by side on one database, in either order."""

import asyncio
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from outside import LONG, SHORT, Farm, Program, Running, Shell, eventually, outcomes, program, running

KEY = "mr_one-key-for-all-masters"
TERMS = {"MILLRACE_HEARTBEAT": "0.4", "MILLRACE_LEASE_TTL": "3", "MILLRACE_API_KEY": KEY}


@pytest.fixture
def next_shell(shell: Shell, tmp_path: Path) -> Shell:
    """The same user with the next version: it makes a table, drops it for good later, and says more in each reply."""
    site = tmp_path / "next"
    shutil.copytree(shell.site, site, ignore=shutil.ignore_patterns("__pycache__"))
    package = site / "millrace"
    folder = package / "store" / "postgres" / "migrations"
    newest = int(max(folder.glob("*.sql")).name[:4])
    (folder / f"{newest + 1:04}_next.sql").write_text("CREATE TABLE next (one integer);\n")
    (folder / f"{newest + 2:04}_post_next.sql").write_text("DROP TABLE next;\n")
    _edit(package / "__init__.py", r'__version__ = "[^"]+"', '__version__ = "99.0"')
    _edit(package / "wire" / "v1" / "base.py", r"(class Reply\(.*\n.*\n)", r'\1\n    moreover: str = "and more"\n')
    return replace(shell, site=site)


def _edit(path: Path, pattern: str, text: str) -> None:
    before = path.read_text(encoding="utf-8")
    after = re.sub(pattern, text, before)
    assert after != before
    path.write_text(after, encoding="utf-8")


class Rolled:
    """Two masters and two workers, each of which is replaced."""

    def __init__(self, stack: ExitStack, shell: Shell) -> None:
        self.stack = stack
        self.masters = [self.master(shell, name, 0) for name in ("one", "two")]
        self.urls = ",".join(one.url for one in self.masters)
        self.workers = {name: self.worker(shell, name) for name in ("w1", "w2")}
        self.jobs: list[int] = []

    def master(self, shell: Shell, name: str, port: object) -> Running:
        return self.stack.enter_context(running(shell, "master", "--data", name, "--port", port))

    def worker(self, shell: Shell, name: str) -> Program:
        return self.stack.enter_context(
            program(shell, "worker", "--master", self.urls, "--name", name, "--state", name, "--slots", 1)
        )

    def submit(
        self,
        shell: Shell,
    ) -> None:
        """By whichever master is there."""
        done = Farm(shell, self.urls, KEY).cli(
            "jobs", "submit", "--scenario", SHORT["scenario"], "--duration", 1, "-o", "json"
        )
        assert done.code == 0, done.err
        self.jobs.append(done.json()["number"])


def test_machine_by_machine_while_jobs_run(
    shell: Shell, next_shell: Shell, new_database: Callable[[], str], tmp_path: Path
) -> None:
    database = new_database()
    more = {**TERMS, "MILLRACE_STORE": database, "MILLRACE_BLOBS": str(tmp_path / "blobs")}
    old, new = shell.having(**more), next_shell.having(**more)
    with ExitStack() as stack:
        farm = Rolled(stack, old)
        first = farm.masters[0].submit(**LONG)["number"]
        farm.masters[0].reaches(first, "processing")
        for at, leaving in enumerate(list(farm.masters)):
            farm.submit(old)
            leaving.program.stop()
            farm.submit(old)
            farm.masters[at] = farm.master(new, f"new-{at}", leaving.url.rpartition(":")[2])
            farm.submit(new)
            assert steps(database) == ["next", "post_next"][: at + 1], "what an old master needs goes with the last"
        for name, leaving in farm.workers.items():
            farm.submit(new)
            leaving.stop()
            farm.worker(new, f"new-{name}")
        here = farm.masters[1]
        assert outcomes(here.ends(first)) == ["completed"], "no end of a master costs an attempt"
        for number in farm.jobs:
            here.ends(number)
        assert {one["version"] for one in here.cli("masters", "list", "-o", "json").json()["masters"]} == {"99.0"}


def test_a_master_that_stood_still_while_the_last_of_its_version_went_ends(
    shell: Shell, next_shell: Shell, new_database: Callable[[], str]
) -> None:
    more = {**TERMS, "MILLRACE_STORE": new_database()}
    old, new = shell.having(**more), next_shell.having(**more)
    with running(old, "master", "--data", "stands", "--port", 0) as stands:
        stands.program.signal(signal.SIGSTOP)
        with running(old, "master", "--data", "last", "--port", 0) as last:
            eventually(lambda: len(last.cli("masters", "list", "-o", "json").json()["masters"]) == 1, "it is alone")
        with running(new, "master", "--data", "new", "--port", 0):
            stands.program.signal(signal.SIGCONT)
            assert stands.program.wait() == 1
            assert "upgrade Millrace" in stands.program.err


def test_a_worker_of_the_next_version_works_for_a_master_of_this_one(shell: Shell, next_shell: Shell) -> None:
    with (
        running(shell.having(**TERMS), "master", "--data", "farm", "--port", 0) as farm,
        program(next_shell.having(**TERMS), "worker", "--master", farm.url, "--state", "w"),
    ):
        assert outcomes(farm.ends(farm.submit(**SHORT)["number"])) == ["completed"]


def steps(url: str) -> list[str]:
    """The migrations of the next version that have run."""

    async def ask() -> list[str]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch("SELECT name FROM schema_migrations WHERE name LIKE '%next' ORDER BY version")
        await connection.close()
        return [row["name"] for row in rows]

    return asyncio.run(ask())
