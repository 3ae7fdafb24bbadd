"""How commands end: with which exit code, and with what on stdout for the program that reads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from job_sample import job

from millrace.cli.app import app
from millrace.cli.failure import CommandError
from millrace.cli.transcode import run as transcode_run
from millrace.cli.transcode.summary import Summary


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_before_the_farm_hears_it_leaves_a_document_all_the_same(monkeypatch, capsys, as_json):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(transcode_run, "transcode_now", interrupted)
    with pytest.raises(click.Abort):  # what the command line ends with 130 for
        app.main(["transcode", "film.mp4", "--out", "there", *(["--json"] * as_json)], standalone_mode=False)
    out = capsys.readouterr().out
    if not as_json:
        assert out == ""
        return
    document = json.loads(out)
    assert (document["state"], document["out"]) == ("canceled", str(Path("there").absolute()))
    assert document.keys() == Summary.of(job(), Path("/out"), None).document().keys()


def test_a_number_out_of_range_is_told_by_its_field():
    with pytest.raises(CommandError, match=r"^cannot submit: parameters\.crf: expected `float` <= 63\.0$"):
        app.main(["jobs", "submit", "--scenario", "144p10-h264", "--set", "crf=1000"], standalone_mode=False)


def test_a_key_that_would_be_a_header_of_its_own_is_not_sent():
    with pytest.raises(CommandError, match=r"^cannot submit: the idempotency key holds a line break"):
        app.main(
            ["jobs", "submit", "--scenario", "144p10-h264", "--idempotency-key", "a\r\nx-role: admin"],
            standalone_mode=False,
        )


@pytest.mark.parametrize(
    ("arguments", "full", "code"),
    [
        (["--version"], "stdout", 1),
        (["profiles", "list"], "stdout", 1),
        (["profiles", "show", "no such profile"], "stderr", 1),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence_and_an_exit_code_of_ours(arguments, full, code):
    buffering = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as nowhere:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: nowhere}
        done = subprocess.run(
            [sys.executable, "-m", "millrace", *arguments], env=buffering, text=True, check=False, **streams
        )
    assert done.returncode == code
    if full == "stdout":
        assert done.stderr == "millrace: cannot write what was found: No space left on device\n"


ENDING = """
import atexit, sys, threading
from millrace.cli import ending
atexit.register(lambda: print("the last words"))
print("no newline yet", end=" ")
{left}
ending._end(3)
"""
LEFT = "threading.Thread(target=lambda: (threading.Event().wait(0.1), print('the work of a thread'))).start()"


@pytest.mark.parametrize(("left", "said"), [("", ""), (LEFT, "the work of a thread\n")])
def test_a_program_that_ends_at_once_leaves_nothing_undone(left, said):
    done = subprocess.run([sys.executable, "-c", ENDING.format(left=left)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"no newline yet {said}the last words\n"
