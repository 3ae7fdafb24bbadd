"""The documentation says what the code does: reference pages are fresh, names exist, links resolve, commands parse."""

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import millrace
from millrace.api.table import TABLE
from millrace.cli.app import app
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.domain.failures import FailureClass
from millrace.domain.states import State
from millrace.edge.keys import Key, Keys
from millrace.supervisor.control.table import TABLE as CONTROL
from millrace.telemetry.metrics import METRICS, SUPERVISOR_METRICS
from millrace.web import pages

SOURCE = Path(millrace.__file__).parent
ROOT = SOURCE.parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"), *ROOT.glob("samples/*.md")]
)
WRITTEN = [page for page in PAGES if page.parent != REFERENCE]
UNITS = sorted((ROOT / "deploy").rglob("*.service"))
ASSIGNED = re.compile(r"[A-Z_][A-Z0-9_]*=\S*")
VARIABLE = re.compile(r"\b(?:MILLRACE|AWS|XDG|MASTER|FFMPEG_RTMP)_[A-Z][A-Z_]*[A-Z]\b")
ENDS = {"|", "||", "&&", ";", ">", "<", "&", ">>", "2>"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_page_of_the_reference_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")


def commands(command: click.Command, path: str = "millrace") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}")


def test_every_command_and_option_is_documented_and_says_what_it_does() -> None:
    page = (REFERENCE / "commands.md").read_text()
    for path, command in commands(app):
        assert f"# {path}\n" in page
        assert command.help, path
        for option in command.params:
            assert isinstance(option, click.Argument) or getattr(option, "help", None), f"{path} {option.name}"


@cache
def variables_of_the_code() -> set[str]:
    return set().union(*(VARIABLE.findall(path.read_text()) for path in SOURCE.rglob("*.py")))


def test_every_setting_is_documented() -> None:
    page = (REFERENCE / "settings.md").read_text()
    names = {
        name
        for kind in (MasterSettings, WorkerSettings)
        for field in kind.__dataclass_fields__.values()
        for name in (field.metadata["env"], *field.metadata["aliases"])
    }
    assert [name for name in sorted(names | variables_of_the_code()) if f"`{name}`" not in page] == []


def test_every_metric_is_documented() -> None:
    page = (REFERENCE / "metrics.md").read_text()
    assert [one.name for one in (*METRICS, *SUPERVISOR_METRICS) if f"| `{one.name}` |" not in page] == []


PHPEEK = [
    "process_up",
    "process_restarts_total",
    "process_start_time_seconds",
    "process_last_exit_code",
    "health_check_status",
    "health_check_duration_seconds",
    "health_check_total",
    "health_check_consecutive_fails",
    "process_desired_scale",
    "process_current_scale",
    "supervisor_uptime_seconds",
    "hook_executions_total",
    "hook_duration_seconds",
    "manager_process_count",
    "manager_start_time_seconds",
    "shutdown_duration_seconds",
    "process_cpu_percent",
    "process_memory_percent",
    "process_threads",
    "process_file_descriptors",
    "process_memory_bytes",
    "resource_collection_duration_seconds",
    "resource_collection_errors_total",
    "build_info",
    "scheduled_task_last_run_timestamp",
    "scheduled_task_next_run_timestamp",
    "scheduled_task_last_exit_code",
    "scheduled_task_duration_seconds",
    "scheduled_task_total",
    "heartbeat_pings_total",
    "heartbeat_last_ping_timestamp",
]
"""What PHPeek PM serves, and what its pages promised."""


def test_every_metric_of_phpeek_pm_has_its_equivalent() -> None:
    page = (ROOT / "docs" / "how-to" / "migrate-from-phpeek-pm.md").read_text()
    rows = re.findall(r"^\| `phpeek_pm_(\w+)`[^|]*\|(.*)\|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == set(PHPEEK)
    known = {one.name for one in SUPERVISOR_METRICS}
    for name, ours in rows:
        named = set(re.findall(r"millrace_supervisor_\w+", ours))
        assert named, name
        assert named <= known, name


def test_every_failure_class_and_state_is_documented() -> None:
    page = (REFERENCE / "failures.md").read_text()
    assert [one for one in FailureClass if f"| `{one}` |" not in page] == []
    assert [one for one in State if f"| `{one}` |" not in (REFERENCE / "states.md").read_text()] == []


def test_every_route_is_documented() -> None:
    page = (REFERENCE / "api.md").read_text()
    routes = (*TABLE, *CONTROL, *pages.routes(Keys([Key(secret="of no server")], now_s=lambda: 0.0)))
    assert [one.path for one in routes if f"| `{one.method} {one.path.replace('*}', '}')}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make, as GitHub spells them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def shown_commands(text: str) -> Iterator[str]:
    """Every command line that begins with `millrace`: in code blocks, between backticks, in units."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (line for line in re.findall(r"`([^`\n]+)`", plain))


def words_of(line: str) -> list[str] | None:
    """The arguments of `millrace` in a line of a shell; None for a line that runs something else."""
    try:
        words = shlex.split(line.removeprefix("$ ").removeprefix("ExecStart="), comments=True)
    except ValueError:
        return None
    words = list(itertools.dropwhile(ASSIGNED.fullmatch, words))
    if not words or Path(words[0]).name != "millrace":
        return None
    return list(itertools.takewhile(lambda word: word not in ENDS, words[1:]))


def fault(words: list[str]) -> str:
    """Why the command line would be refused; nothing where it parses."""
    command: click.Command | None = app
    context = None
    while command is not None and (words or not isinstance(command, click.Group)):
        try:
            context = command.make_context(command.name, list(words), parent=context)
        except click.exceptions.Exit:
            return ""
        except click.ClickException as error:
            return error.format_message()
        if not isinstance(command, click.Group):
            return ""
        words = [*context._protected_args, *context.args]
        if words and (command := command.get_command(context, name := words.pop(0))) is None:
            return f"there is no command {name}"
    return ""


@pytest.mark.parametrize("page", [*WRITTEN, *UNITS], ids=name_of)
def test_every_command_line_that_is_shown_would_run(page: Path) -> None:
    lines = page.read_text().splitlines() if page.suffix == ".service" else list(shown_commands(page.read_text()))
    found = [(line, words) for line in lines if (words := words_of(line)) is not None]
    assert [(line, why) for line, words in found if (why := fault(words))] == []


def test_a_command_line_that_would_be_refused_is_noticed() -> None:
    assert fault(["jobs", "list", "--state", "queued"]) == ""
    assert "--stat" in fault(["jobs", "list", "--stat", "queued"])
    assert "nonsense" in fault(["jobs", "nonsense"])
    assert "sleeping" in fault(["jobs", "list", "--state", "sleeping"])
    assert words_of("$ A=b .venv/bin/millrace up --port 0 | cat") == ["up", "--port", "0"]


@pytest.mark.parametrize("page", [*WRITTEN, *UNITS], ids=name_of)
def test_what_the_pages_name_exists(page: Path) -> None:
    text = page.read_text()
    assert sorted(set(VARIABLE.findall(text)) - variables_of_the_code()) == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert sorted(set(re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.MULTILINE)) - targets) == []
    routes = [re.sub(r"\\\{\w+\*?\\\}", r"[^\\s]+", re.escape(one.path)) for one in (*TABLE, *CONTROL)]
    paths = re.findall(r"(?<![\w/])/v1/[\w./{}$-]+", text) + re.findall(r"\$?MILLRACE_MASTER(/v1/[\w./{}$-]+)", text)
    assert [path for path in paths if not any(re.fullmatch(route, path.rstrip(".")) for route in routes)] == []
