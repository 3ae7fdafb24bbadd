"""Every promise of the supervisor has tests, and they are there: `tests/promises.md` says which."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
ROW = re.compile(r"^\| ((?:\w[\w-]* )?\d+) \| (.+?) \| (`.+?`) \|", re.MULTILINE)
ROWS = ROW.findall((TESTS / "promises.md").read_text())
COUNTS = {"": 30, "tini": 10, "dumb-init": 12, "row": 11, "change": 8, "stress": 7}


@cache
def functions(path: Path) -> set[str]:
    """The tests of a file."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_no_promise_is_lost() -> None:
    wanted = [f"{kind} {number}".strip() for kind, count in COUNTS.items() for number in range(1, count + 1)]
    assert [key for key, _, _ in ROWS] == wanted


@pytest.mark.parametrize(("key", "tests"), [(key, tests) for key, _, tests in ROWS], ids=[row[0] for row in ROWS])
def test_its_tests_are_there(key: str, tests: str) -> None:
    named = re.findall(r"`(\S+?)::(\w+)`", tests)
    assert named, key
    missing = [
        f"{path}::{name}" for path, name in named if not (TESTS / path).exists() or name not in functions(TESTS / path)
    ]
    assert missing == []
