"""The built wheel, and a user with an empty home."""

import fcntl
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from outside import ROOT, Shell, cut, small


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel; built once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    # One test process alone has the run's own folder; its parent is shared with every other run on the machine.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    site = shared / "site"
    with (shared / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not site.exists():
            built = shared / "wheel"
            subprocess.run(
                [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            (path,) = built.glob("*.whl")
            with zipfile.ZipFile(path) as archive:
                archive.extractall(site)
    return site


@pytest.fixture(scope="session")
def proofs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first run finds of this machine's encoders. To find it again in every test takes a third of their time."""
    home = tmp_path_factory.mktemp("first")
    done = Shell(wheel, home).run("transcode", small(home / "small.mp4"), "--profile", "audio", "--out", "out")
    assert done.code == 0, done.err
    return home / ".cache" / "millrace" / "proofs.json"


@pytest.fixture
def shell(wheel: Path, tmp_path: Path, proofs: Path) -> Shell:
    """A user who has run Millrace on this machine before, and has nothing at home but what it remembers of that."""
    home = tmp_path / "home"
    home.mkdir()
    return Shell(wheel, home, proofs=proofs)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clip.mp4` (1 s of the sample at its own size) and `small.mp4` (128x72, one second)."""
    folder = tmp_path_factory.mktemp("clips")
    cut(folder / "clip.mp4")
    small(folder / "small.mp4")
    return folder
