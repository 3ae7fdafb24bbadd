"""The shape of the house, checked on every run. The import contracts are import-linter's."""

import ast
from functools import cache
from pathlib import Path

import pytest

import millrace

SOURCE = Path(millrace.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(SOURCE.rglob("*.py"))
HARD_LIMIT = 600
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 50


@pytest.mark.parametrize(
    "path", [*MODULES, *sorted(SOURCE.rglob("*.sql"))], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_no_file_grows_out_of_hand(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= HARD_LIMIT


def test_files_are_named_by_what_they_are_responsible_for() -> None:
    assert [path for path in MODULES if FORBIDDEN_NAMES & set(path.with_suffix("").parts[len(SOURCE.parts) :])] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_functions_fit_a_screen(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 90
    ]
    assert long == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))


def test_unit_tests_never_sleep() -> None:
    sleepers = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / "unit").rglob("*.py")
        if "time.sleep(" in path.read_text() or "asyncio.sleep(0." in path.read_text()
    ]
    assert sleepers == []


def test_only_the_process_room_starts_processes() -> None:
    starters = []
    for path in MODULES:
        room = path.relative_to(SOURCE).parts[0]
        for node in ast.walk(tree_of(path)):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if "subprocess" in names and room != "process":
                starters.append(str(path.relative_to(SOURCE)))
    assert starters == []


def test_the_environment_is_read_at_the_edge_only() -> None:
    readers = {
        path.relative_to(SOURCE).parts[0]
        for path in MODULES
        if "os.environ" in path.read_text() or "os.getenv" in path.read_text()
    }
    # `process` hands the mark by which it knows its descendants from one generation to the next.
    assert readers <= {"cli", "programs", "process"}
