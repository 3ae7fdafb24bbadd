"""`millrace doctor`, beside a farm and beside none."""

import json
from pathlib import Path

from outside import Shell, running


def test_beside_a_farm_that_runs_nothing_is_wrong(shell: Shell, clips: Path) -> None:
    shell = shell.having(MILLRACE_MEDIA_ROOTS=str(clips), MILLRACE_DATA="farm", MILLRACE_STATE="farm/worker-1")
    with running(shell, "up", "--data", "farm", "--port", 0) as farm:
        told = shell.run("doctor", "--master", farm.url, "--output", "json")
        assert (told.code, told.err) == (0, "")
        findings = {one["check"]: one for one in told.json()["findings"]}
        assert [one for one in findings.values() if one["verdict"] == "failed"] == []
        assert findings["farm.nodes"]["found"] == "1 known, 1 slot ready for work"
        assert findings["database.integrity"]["verdict"] == "ok"
        assert len(findings) >= 40


def test_what_does_not_work_is_told_with_what_to_do(shell: Shell) -> None:
    told = shell.having(MILLRACE_API_KEY="short").run("doctor", "--data", "farm")
    assert told.code == 1
    assert "FAIL master.key                 cannot use the API key that was given: it must have at least 8" in told.out
    assert "farm.master                cannot reach the master" in told.out
    number, what = told.out.rstrip().splitlines()[-1].split(maxsplit=1)
    assert int(number) == len(json.loads(shell.run("doctor", "--data", "farm", "-o", "json").out)["findings"])
    assert what.startswith("checks: ")
    wrong = shell.run("doctor", "--store", "mysql://h/d")
    assert (wrong.code, "Traceback" in wrong.err) == (2, False)
    assert json.loads(shell.run("doctor", "--data", "farm", "-o", "json").out)["counts"]["ok"] > 20
