"""The plug is pulled at every step: what was promised is there, nothing half done can be seen, and a master starts on what is left.

`power` has the means: a child that lives a short life of a farm and is killed at its nth step, and a file layer of SQLite that
knows what a power cut would leave.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from power.bugs import BUGS
from power.pull import FAULTS, SYNCS, every

STRIDE = 23
"""Of all steps, one in so many; `python -m power --steps` takes each."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a folder: nothing here waits for a disk."""
    shared = Path("/dev/shm")
    base = shared if shared.is_dir() else tmp_path
    found = base / f"millrace-power-{tmp_path.name}"
    yield found
    shutil.rmtree(found, ignore_errors=True)


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
    for steps, found in every(folder, only=SYNCS, stride=4, fault=fault):
        assert (found.after_kill, found.after_cut) == ([], []), f"at step {steps}"


@pytest.mark.parametrize("bug", ["synchronous-normal", "answer-before-commit"])
def test_what_would_lose_jobs_is_noticed(folder: Path, bug: str) -> None:
    cuts = every(folder, only=frozenset({"sync"}), planted=BUGS[bug])
    assert any("was accepted, and is lost" in one for _, found in cuts for one in found.after_cut)
