"""The launcher starts from bytecode that belongs to its source, and from the source where none can be kept."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.process.enclose import bytecode_of


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "program.py"
    path.write_text("print('first')\n")
    return path


def said_by(program: Path) -> str:
    return subprocess.run([sys.executable, "-I", "-S", program], capture_output=True, text=True, check=True).stdout


def test_bytecode_is_made_once_and_runs(source: Path) -> None:
    made = bytecode_of(source)
    assert made == Path(importlib.util.cache_from_source(str(source)))
    assert said_by(made) == "first\n"
    before = made.stat().st_mtime_ns
    bytecode_of.cache_clear()
    assert bytecode_of(source) == made
    assert made.stat().st_mtime_ns == before


def test_bytecode_of_an_older_source_is_made_anew(source: Path) -> None:
    bytecode_of(source)
    source.write_text("print('second, and longer')\n")
    bytecode_of.cache_clear()
    assert said_by(bytecode_of(source)) == "second, and longer\n"


def test_without_a_place_for_bytecode_the_source_runs(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.parent / "__pycache__").write_text("a file where the folder should be")
    assert bytecode_of(source) == source
    (source.parent / "__pycache__").unlink()
    bytecode_of.cache_clear()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert bytecode_of(source) == source
    assert not (source.parent / "__pycache__").exists()
