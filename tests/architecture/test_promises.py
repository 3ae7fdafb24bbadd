"""Every promise of the supervisor and of the farm has tests, and they are there: `tests/promises.md`, `tests/reliability.md` and
`tests/exactness.md` say which.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
ROW = re.compile(r"^\| ((?:\w[\w-]* )?I?\d+) \| (.+?) \| (`.+?`|none: .+?) \|", re.MULTILINE)
COUNTS: Mapping[str, Mapping[str, int]] = {
    "promises.md": {"": 30, "tini ": 10, "dumb-init ": 12, "row ": 11, "change ": 8, "stress ": 7},
    "reliability.md": {"I": 37, "fault ": 46, "attack ": 75, "word ": 28},
    "exactness.md": {"trap ": 18, "proof ": 10},
}
UNTESTED = {"fault 36", "fault 38", "attack 46", "attack 48"}
"""Those of which the page says why there is no test."""
ROWS = {page: ROW.findall((TESTS / page).read_text()) for page in COUNTS}


@cache
def functions(path: Path) -> set[str]:
    """The tests of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}


def wanted(counts: Mapping[str, int]) -> Iterable[str]:
    return (f"{kind}{number}" for kind, count in counts.items() for number in range(1, count + 1))


@pytest.mark.parametrize("page", COUNTS)
def test_no_promise_is_lost(page: str) -> None:
    assert [key for key, _, _ in ROWS[page]] == [*wanted(COUNTS[page])]


@pytest.mark.parametrize(
    ("key", "tests"), [(key, tests) for rows in ROWS.values() for key, _, tests in rows], ids=lambda text: text[:12]
)
def test_its_tests_are_there(key: str, tests: str) -> None:
    named = re.findall(r"`(\S+?)::(\w+)`", tests)
    assert bool(named) == (key not in UNTESTED), key
    missing = [
        f"{path}::{name}" for path, name in named if not (TESTS / path).exists() or name not in functions(TESTS / path)
    ]
    assert missing == []
