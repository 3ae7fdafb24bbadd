"""`make transcode` hands names on as they are: neither make nor the shell reads what stands in them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STUB = """#!/bin/sh
printf '%s\\0' "$@" > "$SEEN"
"""
"""Stands where the installed program would, so that nothing is installed and nothing encoded."""


def handed_on(folder, **named):
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / ".installed").touch()
    stub = folder / "venv" / "bin" / "millrace"
    stub.write_text(STUB)
    stub.chmod(0o755)
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make here")
    ours = ("MAKE", "MFLAGS", "GNUMAKE", "INPUT", "OUT", "PROFILE", "OVERWRITE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(
        [make, "--silent", "-C", ROOT, "transcode", f"VENV={folder / 'venv'}", *(f"{k}={v}" for k, v in named.items())],
        env=kept | {"SEEN": str(folder / "seen")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return (folder / "seen").read_text().split("\0")[:-1]


@pytest.mark.parametrize(
    "name",
    [
        "a film.mp4",
        'it\'s a "film".mp4',
        "$HOME and $x and $$ and ${HOME}.mp4",
        "a$(shell touch x)b",
        "a$(b.mp4",
        "$(id) `id` ; id & id | id > id.mp4",
        "a#b\\c\\\\d*?[x]~.mp4",
        "two\nlines.mp4",
        "Größe.mp4",
        "-begins with a dash.mp4",
    ],
)
def test_names_come_through_untouched(tmp_path, name):
    seen = handed_on(tmp_path, INPUT=name, OUT=f"out of {name}", PROFILE=f"my {name}")
    assert seen == ["transcode", "--profile", f"my {name}", "--out", f"out of {name}", "--", name]


def test_what_is_not_named_has_its_default(tmp_path):
    seen = handed_on(tmp_path, INPUT="")
    assert seen == ["transcode", "--profile", "web-hls", "--out", "out", "--", "samples/bigbuckbunny.mp4"]
    assert handed_on(tmp_path / "again", OVERWRITE=1)[-3] == "--overwrite"
