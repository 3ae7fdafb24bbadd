"""The plug is pulled at every step: what was promised is there, nothing half done can be seen, and a master starts on what is left.

`power` has the means: a child that lives a short life of a farm and is killed at its nth step, and a file layer of SQLite that
knows what a power cut would leave.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import httpx2
import pytest
from outside import ROOT, Program, eventually

from millrace.store.open import open_store
from millrace.store.postgres import connect
from millrace.store.postgres.connection import Database
from power.__main__ import UNABLE
from power.bugs import BUGS
from power.pull import FAULTS, SYNCS, every
from power.script import Life

STRIDE = 23
"""Of all steps, one in so many; `python -m power --steps` takes each."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a folder: nothing here waits for a disk."""
    shared = Path("/dev/shm")
    base = shared if shared.is_dir() else tmp_path
    with tempfile.TemporaryDirectory(prefix="millrace-power-", dir=base, ignore_cleanup_errors=True) as found:
        yield Path(found) / "life"


def test_killed_or_cut_at_any_sync_nothing_is_lost(folder: Path) -> None:
    steps = 0
    for steps, found in every(folder, only=SYNCS):
        assert (found.after_kill, found.after_cut) == ([], []), f"at step {steps}"
    assert steps > 60


def test_killed_or_cut_between_any_writes_nothing_is_lost(folder: Path) -> None:
    steps = 0
    for steps, found in every(folder, stride=STRIDE):
        assert (found.after_kill, found.after_cut) == ([], []), f"at step {steps}"
    assert steps > 400


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails_once_or_is_full_loses_nothing(folder: Path, fault: str) -> None:
    for steps, found in every(folder, only=SYNCS, stride=8, fault=fault):
        assert (found.after_kill, found.after_cut) == ([], []), f"at step {steps}"


@pytest.mark.parametrize("bug", ["synchronous-normal", "answer-before-commit"])
def test_what_would_lose_jobs_is_noticed(folder: Path, bug: str) -> None:
    cuts = every(folder, only=frozenset({"sync"}), planted=BUGS[bug])
    assert any("was accepted, and is lost" in one for _, found in cuts for one in found.after_cut)


# Real disks, and PostgreSQL ---------------------------------------------------------------------------------------------


def _cut(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "power", *words], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode == UNABLE:
        pytest.skip(f"{done.stderr.strip()}; the simulation and the tests above cut a power of their own")
    return done


def test_the_power_of_real_disks_is_cut_right_after_an_answer() -> None:
    done = _cut("--cuts", "1")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 cuts, " in done.stdout
    assert " 0 lost or damaged" in done.stdout


def test_a_database_that_syncs_at_checkpoints_only_is_noticed_on_a_real_disk() -> None:
    done = _cut("--cuts", "1", "--bug", "synchronous-normal")
    assert (done.returncode, done.stderr) == (1, ""), done.stdout
    assert "was accepted as" in done.stdout


async def _accept(url: str, numbers: range) -> list[str]:
    store = open_store(url)
    await store.start()
    life = Life(store, Path(), lambda *_, **__: None)
    accepted = [await life.submit(number) for number in numbers]
    await store.stop()
    return accepted


async def _missing(url: str, accepted: list[str]) -> list[str]:
    store = open_store(url)
    await store.start()
    found = [job for job in accepted if await store.job(job) is None]
    await store.stop()
    return found


def test_postgresql_that_ends_at_once_has_what_was_accepted_and_would_not_without_synchronous_commit(
    lone_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = lone_postgres, lone_postgres.get_uri()

    def lost(numbers: range) -> int:
        accepted = asyncio.run(_accept(url, numbers))
        os.kill(server.get_pid(), signal.SIGQUIT)  # as `pg_ctl stop -m immediate`
        eventually(lambda: not (server.pgdata / "postmaster.pid").exists(), "PostgreSQL ended")
        server.ensure_postgres_running()
        return len(asyncio.run(_missing(url, accepted)))

    assert lost(range(20)) == 0

    async def unchecked(_: Database) -> None:
        """A master would refuse such a server."""

    for settings in (connect.SETTINGS, connect.HOT_SETTINGS):
        monkeypatch.setitem(settings, "synchronous_commit", "off")
    monkeypatch.setattr(Database, "open", unchecked)
    assert lost(range(20, 40)) > 0


_OWES = "import millrace.scheduler.journal as journal, millrace.cli.main as cli; journal.GATHER_S = 3600.0; cli.main()"
"""A master that writes the entries of new jobs in an hour."""


def _served(tmp_path: Path, *how: str) -> Program:
    return Program(
        subprocess.Popen(
            [sys.executable, *how, "master", "--data", tmp_path / "farm", "--port", "0", "--json"],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "MILLRACE_LOG": "json"}, start_new_session=True,
        )
    )  # fmt: skip


def _ask(program: Program, method: str, path: str, **more: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {program.ready['api_key']}"}
    with httpx2.Client(base_url=program.ready["url"], headers=headers, timeout=60, trust_env=False) as client:
        return client.request(method, path, **more)


@pytest.mark.parametrize("kind", ["sync", "write"])
def test_a_master_whose_disk_fails_ends_with_a_sentence_and_the_next_one_has_every_job(
    tmp_path: Path, kind: str
) -> None:
    trouble = tmp_path / "trouble"
    job = {"scenario": "144p10-h264"}
    program = _served(tmp_path, "-m", "power.failing", str(trouble), kind, "eio")
    try:
        accepted = [_ask(program, "POST", "/v1/jobs", json=job).json()["id"] for _ in range(3)]
        trouble.touch()
        with suppress(httpx2.TransportError):  # it may have ended by itself already
            assert _ask(program, "POST", "/v1/jobs", json=job).status_code == 503
        assert program.wait() == 1
        # What stands before it are lines of the log, and what apsw tells of a step that failed.
        assert program.err.splitlines()[-1].startswith(
            f"millrace: cannot use the database {tmp_path}/farm/millrace.db: "
        )
        assert program.err.splitlines()[-1].endswith("; look at the disk, then start again")
        assert [one["reason"] for one in program.says("master.database_broken")] != []
    finally:
        if program.process.poll() is None:
            program.kill()
    trouble.unlink()
    program = _served(tmp_path, "-m", "power.failing", str(trouble), kind, "eio")
    try:
        assert [_ask(program, "GET", f"/v1/jobs/{one}").status_code for one in accepted] == [200] * 3
        assert _ask(program, "POST", "/v1/jobs", json=job).status_code == 201
    finally:
        program.kill()


def test_a_master_without_space_says_507_and_goes_on(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    program = _served(tmp_path, "-m", "power.failing", str(trouble), "write", "full")
    try:
        trouble.touch()
        assert _ask(program, "POST", "/v1/jobs", json={"scenario": "144p10-h264"}).status_code == 507
        trouble.unlink()
        assert _ask(program, "POST", "/v1/jobs", json={"scenario": "144p10-h264"}).status_code == 201
    finally:
        program.kill()


def test_a_killed_master_owes_the_audit_trail_nothing(tmp_path: Path) -> None:
    """A job's entry is written after its answer, and the master is killed in between."""
    program = _served(tmp_path, "-c", _OWES)
    job = _ask(program, "POST", "/v1/jobs", json={"scenario": "144p10-h264"}).json()
    program.kill()
    assert _audited(tmp_path) == []
    for _ in range(2):
        program = _served(tmp_path, "-m", "millrace")
        try:
            entries = _ask(program, "GET", "/v1/audit").json()["entries"]
            assert [(one["caller"], one["path"], one["status"], one["after"]["job"]) for one in entries] == [
                ("api", "/v1/jobs", 201, job["id"])
            ]
            assert entries[0]["detail"].startswith("written from the job")
        finally:
            program.kill()


def _audited(tmp_path: Path) -> list[bytes]:
    database = apsw.Connection(str(tmp_path / "farm" / "millrace.db"))
    blocks = [body for (body,) in database.execute("SELECT body FROM audit_blocks")]
    database.close()
    return blocks
