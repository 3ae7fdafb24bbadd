"""An input that is another one than it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.domain.failures import FailureClass
from millrace.worker.failure import TaskFailedError
from millrace.worker.source import check_unchanged, look

FILM = bytes(range(256)) * 400


def written(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    times = path.stat()
    path.write_bytes(data)
    # Within one tick of the file system's clock, or by somebody who sets it back: its bytes tell.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "longer": (lambda path: path.write_bytes(FILM + b"x"), "it had 102400 bytes and has 102401"),
    "written to": (written, "it was written to"),
    "replaced": (lambda path: (path.with_name("new").write_bytes(FILM), path.with_name("new").rename(path)), "another one lies"),
    "gone": (lambda path: path.unlink(), "it is gone (No such file or directory)"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_noticed_and_told(tmp_path: Path, change: str) -> None:
    path = tmp_path / "film"
    path.write_bytes(FILM)
    seen = look(path)
    check_unchanged(path, seen)
    how, words = CHANGES[change]
    how(path)
    with pytest.raises(TaskFailedError) as told:
        check_unchanged(path, seen)
    assert told.value.failure.failure_class is FailureClass.INPUT
    assert words in told.value.failure.message
