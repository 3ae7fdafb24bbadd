"""`millrace supervise` as a user of a container has it: a plan, processes, signals, exit codes."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from outside import PATIENCE_S, Shell, assert_gone

PLAN = """
processes:
  db:
    command: [sh, -c, "trap 'echo db stops; exit 0' TERM; touch up; echo db $$$$; while :; do sleep 0.05; done"]
    health_check: {type: exec, command: [test, -e, up], period: 0.05}
  web:
    command: [sh, -c, "trap 'sleep 0.3; echo web stops; exit 0' TERM; echo web $$$$; while :; do sleep 0.05; done"]
    depends_on: [db]
"""


@pytest.fixture
def plan(shell: Shell) -> Path:
    path = shell.home / "plan.yaml"
    path.write_text(PLAN)
    return path


@pytest.fixture
def running(shell: Shell, plan: Path) -> Iterator["subprocess.Popen[str]"]:
    process = shell.start("supervise", "-c", plan)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    while (line := process.stdout.readline().strip()).endswith("Terminated"):
        pass
    return line


def _up(process: "subprocess.Popen[str]") -> list[int]:
    """Waits until both are there; their pids."""
    pids = []
    for name in ("db", "web"):
        said = _line(process)
        assert said.startswith(f"{name}-0 | {name} "), said
        pids.append(int(said.split()[-1]))
    return pids


def test_sigterm_lets_every_process_finish_in_order(running: "subprocess.Popen[str]") -> None:
    children = [psutil.Process(pid) for pid in _up(running)]
    running.send_signal(signal.SIGTERM)
    assert [_line(running), _line(running)] == ["web-0 | web stops", "db-0 | db stops"]
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0
    assert "Traceback" not in err
    assert_gone(children)


def test_nothing_is_left_when_the_supervisor_itself_is_killed(running: "subprocess.Popen[str]") -> None:
    children = [psutil.Process(pid) for pid in _up(running)]
    running.kill()
    running.communicate()
    assert_gone(children)


def test_the_exit_code_tells_that_something_failed(shell: Shell, plan: Path) -> None:
    plan.write_text("processes: {job: {command: [sh, -c, 'echo hello; exit 3'], restart: never}}")
    done = shell.run("supervise", "-c", plan)
    assert done.code == 1
    assert done.out == "job-0 | hello\n"
    assert '"reason":"exited with code 3"' in done.err
    plan.write_text("processes: {job: {command: ['true'], type: oneshot}}")
    assert shell.run("supervise", "-c", plan).code == 0


DEAF = "echo up; trap '' TERM; while :; do sleep 0.05; done"
OBEYS = "echo up; trap 'sleep 0.2; exit 7' TERM; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("command", "whole", "own", "signals", "code"),
    [
        (OBEYS, "30s", "20s", [signal.SIGTERM], 0),  # how it ends when it is told to is its own affair
        (DEAF, "30s", "0.3s", [signal.SIGTERM], 3),
        (DEAF, "0.3s", "20s", [signal.SIGINT], 3),
        (DEAF, "30s", "20s", [signal.SIGTERM, signal.SIGINT], 3),
    ],
    ids=["in its time", "its own time is over", "the deadline of the whole", "a second signal"],
)
def test_the_exit_code_tells_that_the_end_was_cut_short(
    shell: Shell, plan: Path, command: str, whole: str, own: str, signals: list[signal.Signals], code: int
) -> None:
    plan.write_text(f"""
global: {{shutdown_timeout: {whole}}}
processes: {{web: {{command: [sh, -c, "{command}"], shutdown: {{timeout: {own}}}}}}}
""")
    process = shell.start("supervise", "-c", plan)
    try:
        assert _line(process) == "web-0 | up"
        for number in signals:
            process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == code
    assert ('"event":"supervisor.killed"' in err) == (code == 3)
    (ended,) = [line for line in err.splitlines() if '"event":"supervisor.ended"' in line]
    assert json.loads(ended)["code"] == code


def test_what_is_printed_is_whole_masked_and_kept_though_the_process_dies(shell: Shell, plan: Path) -> None:
    plan.write_text("""
global: {log_format: json}
processes:
  job:
    command: [sh, -c, "printf 'user=bob pass'; sleep 0.2; echo word=hunter2; echo 1 FATAL: oops; printf '  at a'; kill -9 $$$$"]
    type: oneshot
    logging: {multiline: {pattern: '^\\S', timeout: 1h}, file: {path: job.log}}
  bad: {command: [touch, started], type: oneshot, logging: {file: {path: nowhere/bad.log}}}
""")
    done = shell.run("supervise", "-c", plan)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["instance"], row["level"], row["message"]) for row in rows] == [
        ("job-0", "info", "user=bob password=***"), ("job-0", "error", "1 FATAL: oops\n  at a"),
    ]  # fmt: skip
    assert (shell.home / "job.log").read_text() == done.out
    assert '"reason":"cannot write the log file nowhere/bad.log: No such file or directory' in done.err
    assert not (shell.home / "started").exists()


def test_a_stdout_and_stderr_that_nobody_reads_hold_nothing_up(shell: Shell, plan: Path) -> None:
    work = f"yes {'x' * 99} | head -n 200000 | tee /dev/stderr; echo done > done"
    plan.write_text(f"""processes: {{job: {{command: [sh, -c, "{work}"], type: oneshot}}}}""")
    process = shell.start("supervise", "-c", plan)
    try:
        assert process.wait(PATIENCE_S) == 0
        assert (shell.home / "done").read_text() == "done\n"
    finally:
        process.kill()
        process.communicate()


def test_a_plan_that_cannot_work_starts_nothing(shell: Shell, plan: Path) -> None:
    plan.write_text("processes:\n  web: {command: [touch, started], depends_on: [nix]}\n  db: {comand: [x]}\n")
    for words in (("supervise", "-c", plan), ("supervise", "check", plan)):
        done = shell.run(*words)
        assert done.code == 2
        assert "line 2: processes.web.depends_on names nix" in done.err
        assert "line 3: processes.db.comand is unknown" in done.err
    assert not (shell.home / "started").exists()
    assert shell.run("supervise").code == 2
    assert "cannot read the plan" in shell.run("supervise", "-c", "nowhere.yaml").err


def test_a_good_plan_is_told_so(shell: Shell, plan: Path) -> None:
    valid = f"{plan}: the plan is valid; it keeps 2 processes\n"
    for words in (("check", plan), ("check", "-c", plan), ("-c", plan, "check")):
        assert shell.run("supervise", *words).out == valid
    for words in (("check",), ("check", plan, "-c", shell.home / "other.yaml")):
        done = shell.run("supervise", *words)
        assert (done.code, "name " in done.err, "plan: FILE, or -c FILE" in done.err) == (2, True, True)
