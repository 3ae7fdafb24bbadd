"""How many cores a worker counts on."""

import os
from pathlib import Path

import pytest

from millrace.programs.cores import cores, usable_cores

HAVE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "found"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", HAVE), ("99900000 100000", HAVE), ("nonsense", HAVE)],
)
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, found: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores(tmp_path / "cpu.max") == found


def test_without_a_quota_the_scheduler_decides(tmp_path: Path) -> None:
    assert cores(tmp_path / "cpu.max") == HAVE


def test_what_is_given_holds() -> None:
    assert usable_cores(7) == 7
    assert 1 <= usable_cores(None) <= HAVE
