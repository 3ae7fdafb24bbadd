"""How commands end: with which exit code, and with what on stdout for the program that reads it."""

import json
from pathlib import Path

import click
import pytest
from job_sample import job

from millrace.cli.app import app
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
