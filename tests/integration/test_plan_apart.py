"""A plan that is read by a process of its own says what it says when it is read here."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.process.mark import MARKER
from millrace.programs.plan_apart import PlanApart
from millrace.runtime.clock import SystemClock
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.amendments import text_of
from millrace.supervisor.plans.definition import entry_from
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.layers import Layers
from millrace.supervisor.plans.saved import keep

PATIENCE_S = 60.0
EVERYTHING = """
include: [more.yaml]
global: {log_format: json, readiness: {path: ready}}
processes:
  web:
    command: [web, "${WORD}"]
    env: {OUTER: "${MILLRACE_CHILD:-none}"}
    working_dir: /
    scale: 3
    depends_on: {db: started}
    limits: {memory: 512M, cpus: 1.5}
    forward_signals: {USR1: USR2}
    shutdown: {signal: INT, timeout: 5s}
    restart: {success_codes: [0, 3]}
    health_check: {type: http, url: "http://localhost/", expected_body_pattern: "a+"}
    logging: {multiline: {pattern: '^\\['}, redaction: {patterns: [{pattern: 'x=\\d+'}]}, labels: {a: b}}
    hooks: {pre-start: [{command: [make, it]}]}
    tune: {profile: generic}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(EVERYTHING)
    (tmp_path / "more.yaml").write_text("processes: {db: {command: [db], schedule_timezone: UTC}}")
    return path


def read_apart(path: Path, environ: dict[str, str]) -> Plan:
    return asyncio.run(PlanApart(path, environ, SystemClock()).read()).plan


def faults_here(path: Path, environ: dict[str, str]) -> tuple[Finding, ...]:
    try:
        PlanFile(path, environ).read()
    except PlanError as error:
        return error.findings
    return ()


@pytest.mark.parametrize("outer", [{}, {MARKER: "outer"}])
def test_it_is_the_same_plan_or_has_the_same_faults(plan: Path, outer: dict[str, str]) -> None:
    environ = {"WORD": "word", "PATH": os.environ["PATH"], **outer}
    faults = faults_here(plan, environ)
    assert {finding.source == "" for finding in faults} == {True, False}
    with pytest.raises(PlanError) as apart:
        read_apart(plan, environ)
    assert apart.value.findings == faults
    bad = {finding.line for finding in faults if not finding.source}
    plan.write_text("\n".join("" if at in bad else line for at, line in enumerate(EVERYTHING.split("\n"), 1)))
    (plan.parent / "more.yaml").write_text("processes: {db: {command: [db]}}")
    found = read_apart(plan, environ)
    assert found == PlanFile(plan, environ).read()
    assert found.processes["web"].command == ("web", "word")
    assert found.processes["web"].env == {"OUTER": outer.get(MARKER, "none")}


def test_what_was_saved_at_another_place_is_read_from_there(tmp_path: Path) -> None:
    plan, volume = tmp_path / "image" / "plan.yaml", tmp_path / "volume"
    plan.parent.mkdir()
    plan.write_text("processes: {web: {command: [web]}}")
    volume.mkdir()
    place = volume / "changes"
    keep(place, text_of({"extra": entry_from("command: [extra]")}))
    source = PlanApart(plan, {}, SystemClock(), changes=place)
    found = asyncio.run(source.read())
    assert sorted(found.plan.processes) == ["extra", "web"]
    assert found == PlanFile(plan, {}, changes=place).load()
    assert place in asyncio.run(source.files())
    assert asyncio.run(source.saving(found)).names == ("extra",)
    place.write_text("nonsense")
    with pytest.raises(PlanError, match=str(place)):
        asyncio.run(source.read())


def test_the_files_that_it_is_made_of(plan: Path) -> None:
    (plan.parent / "more.yaml").write_text("processes: {db: {command: [db]}}")
    assert asyncio.run(PlanApart(plan, {}, SystemClock()).files()) == PlanFile(plan, {}).files()
    plan.unlink()
    assert asyncio.run(PlanApart(plan, {}, SystemClock()).files()) == [plan]


def test_what_lies_in_the_working_directory_is_no_module(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.write_text("processes: {web: {command: [web]}}")
    (tmp_path / "yaml.py").write_text("raise SystemExit('taken for a module')")
    monkeypatch.chdir(tmp_path)
    assert list(read_apart(plan, {}).processes) == ["web"]


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    """A plan that is never read to its end."""
    path = tmp_path / "plan.yaml"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    yield path
    os.close(descriptor)


async def begun(path: Path) -> tuple[asyncio.Task[Layers], int]:
    """A reading, and the process that reads."""
    before = children()
    reading = asyncio.create_task(PlanApart(path, {}, SystemClock()).read())
    async with asyncio.timeout(PATIENCE_S):
        while not (found := children() - before):
            await asyncio.sleep(0)
    return reading, found.pop()


def test_a_reader_that_is_killed_is_a_finding(endless: Path) -> None:
    async def scene() -> None:
        reading, pid = await begun(endless)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PlanError, match="what reads it did not end well: was killed by SIGKILL"):
            await reading

    asyncio.run(scene())


def test_a_reading_that_is_given_up_leaves_no_process(endless: Path) -> None:
    async def scene() -> None:
        reading, pid = await begun(endless)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert pid not in children()

    asyncio.run(scene())
