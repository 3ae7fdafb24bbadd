"""A lock that names its holder."""

import os
from pathlib import Path

import pytest

from millrace.runtime.hold import HeldError, Hold


def test_one_holds_and_the_next_is_told_who(tmp_path: Path) -> None:
    first = Hold.take(tmp_path / "lock")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(HeldError, match=f"the process with pid {os.getpid()} holds it") as caught:
        Hold.take(tmp_path / "lock")
    assert caught.value.holder == str(os.getpid())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    first.release()
    first.release()
    Hold.take(tmp_path / "lock").release()


def test_where_no_file_can_be_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Hold.take(tmp_path / "no" / "lock")
