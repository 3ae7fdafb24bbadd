"""`millrace ctl` against a real `millrace supervise`, as an operator has them."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from outside import PATIENCE_S, Shell, assert_gone

PLAN = """
processes:
  db:
    command: [sh, -c, "trap 'echo db stops; exit 0' TERM; touch up; echo db up; while :; do sleep 0.05; done"]
    health_check: {type: exec, command: [test, -e, up], period: 0.05}
    env: {PASSWORD: hunter2}
  web: {command: [sh, -c, "echo $$MILLRACE_INSTANCE says $${MILLRACE_SUPERVISE_KEY:-nothing}; exec sleep 1000"], depends_on: [db]}
  job: {command: [sh, -c, "exit 3"], restart: never}
  nightly: {command: [sh, -c, "exit 5"], schedule: "0 3 * * *"}
  spare: {command: [nonesuch-program], initial_state: stopped}
"""


@pytest.fixture
def plan(shell: Shell) -> Path:
    path = shell.home / "plan.yaml"
    path.write_text(PLAN)
    return path


def serving(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Waits until everything is up and the supervisor can be spoken to; what it said of that."""
    assert process.stderr is not None
    up, control = 0, None
    while up < 1 or control is None:
        entry = json.loads(process.stderr.readline())
        up += entry.get("instance") == "web-0" and entry.get("ready") is True
        control = entry if entry["event"] == "supervisor.control" else control
    return control


def control_url(process: "subprocess.Popen[str]") -> str:
    """Where it answers on TCP."""
    assert process.stderr is not None
    while True:
        entry = json.loads(process.stderr.readline())
        if entry["event"] == "supervisor.control" and "url" in entry:
            return str(entry["url"])


def ended(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.fixture
def running(shell: Shell, plan: Path) -> Iterator["subprocess.Popen[str]"]:
    process = shell.start("supervise", "-c", plan)
    serving(process)
    yield process
    ended(process)


def one(shell: Shell, name: str) -> Any:
    return shell.run("ctl", "status", name, "-o", "json").json()["processes"][0]


def test_the_status_is_a_table_that_fits(shell: Shell, running: "subprocess.Popen[str]") -> None:
    done = shell.having(COLUMNS="80").run("ctl", "status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "READY", "PID", "UPTIME", "RESTARTS", "REASON"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["db-0", "running", "yes"], ["job-0", "failed", "no"], ["nightly-0", "scheduled", "no"], ["spare", "stopped", "-"], ["web-0", "running", "yes"],
    ]  # fmt: skip
    assert lines[2].endswith("exited with code 3")
    assert max(map(len, lines)) <= 80
    assert "hunter2" not in shell.run("ctl", "status", "-o", "json").out
    assert psutil.Process(one(shell, "web")["instances"][0]["pid"]).name() == "sleep"


def test_processes_are_steered_and_the_answer_comes_when_it_is_done(
    shell: Shell, running: "subprocess.Popen[str]"
) -> None:
    before = one(shell, "web")["instances"][0]["pid"]
    done = shell.run("ctl", "restart", "web")
    assert (done.code, done.out) == (0, "web is running (1 of 1 ready)\n")
    assert one(shell, "web")["instances"][0]["pid"] != before
    assert shell.run("ctl", "scale", "web=3").out == "web is running (3 of 3 ready)\n"
    assert shell.run("ctl", "scale", "web=-2").out == "web is running (1 of 1 ready)\n"
    assert shell.run("ctl", "stop", "web", "db").out == (
        "web is stopped: was killed by SIGTERM (15)\ndb is stopped: exited with code 0\n"
    )
    assert shell.run("ctl", "start", "db", "web").code == 0
    done = shell.run("ctl", "start", "spare")
    assert done.code == 1
    assert done.out.startswith("spare is failed (0 of 1 ready): cannot start nonesuch-program: no such program")


def test_the_plan_is_reloaded_by_a_command_and_by_a_signal(
    shell: Shell, plan: Path, running: "subprocess.Popen[str]"
) -> None:
    def pid(name: str) -> int:
        return int(one(shell, name)["instances"][0]["pid"])

    web, db = pid("web"), pid("db")
    plan.write_text(
        PLAN.replace("hunter2", "hunter3").replace("  spare:", "  extra:").replace("nonesuch-program", "cat")
    )
    done = shell.run("ctl", "reload", "--dry-run")
    assert (done.code, done.out.splitlines()[1:]) == (0, ["  + extra", "  - spare", "  ~ db: env.PASSWORD (replaced)"])
    assert "hunter" not in done.out
    assert pid("db") == db
    done = shell.run("ctl", "reload")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "the plan is in force; 1 added, 1 removed, 1 changed, 3 unchanged",
    )
    assert pid("db") != db
    assert pid("web") == web

    plan.write_text("processes: {web: {command: [sleep, '1'], scale: many}}")
    done = shell.run("ctl", "reload")
    assert (done.code, done.out) == (1, "")
    assert "cannot reload, and nothing was changed: line 1: processes.web.scale must be a number" in done.err
    plan.write_text(PLAN + "  bad: {command: [sh, -c, 'exit 3'], restart: never}\n")
    done = shell.run("ctl", "reload")
    assert done.code == 1
    assert done.out.startswith(
        "the plan was taken back, and the one before is in force: bad-0 has failed: exited with code 3\n"
    )

    def told(outcome: str) -> dict[str, Any]:
        assert running.stderr is not None
        for line in running.stderr:
            if not line.startswith("{"):
                continue  # a process printed it
            entry: dict[str, Any] = json.loads(line)
            if (
                entry["event"] in ("supervisor.reload", "supervisor.reload_refused")
                and entry.get("outcome", "refused") == outcome
            ):
                return entry
        raise AssertionError("the supervisor has ended")

    assert told("rolled-back")["reload"] == 2
    plan.write_text(PLAN)
    running.send_signal(signal.SIGHUP)
    assert told("applied")["reload"] == 3
    assert [one["name"] for one in shell.run("ctl", "status", "-o", "json").json()["processes"]][-2:] == [
        "spare",
        "web",
    ]
    plan.write_text("processes: {}")
    running.send_signal(signal.SIGHUP)
    assert told("refused")["faults"]
    assert pid("web") == web
    done = shell.run("ctl", "restart", "--rolling", "web")
    assert (done.code, done.out) == (0, "web is running (1 of 1 ready)\n")
    assert pid("web") != web
    done = shell.run("ctl", "scale", "web=auto")
    assert done.code == 1
    assert "is for a process with autoscale in its plan" in done.err


def test_what_cannot_be_done_is_a_sentence(shell: Shell, running: "subprocess.Popen[str]") -> None:
    for words, code, said in (
        (("start", "web"), 1, "millrace: cannot start web: it is running already\n"),
        (("stop", "spare"), 1, "millrace: cannot stop spare: it is stopped, and nothing of it runs\n"),
        (("restart", "nix"), 1, "millrace: there is no process nix; the plan has db, job, nightly, spare, web\n"),
        (("scale", "web=1001"), 1, "makes 1001 of web; allowed: 0 to 1000"),
        (("scale", "web"), 2, "is no NAME=N, such as web=3"),
        (("status", "--url", "nonsense"), 2, "as a supervisor: write http://HOST:PORT"),
        (("status", "--socket", "nowhere.sock"), 1, "there is no socket at nowhere.sock. Start one with"),
        (("status", "--url", "http://127.0.0.1:1"), 1, "cannot reach the supervisor at http://127.0.0.1:1: connection"),
    ):
        done = shell.run("ctl", *words)
        assert done.code == code, done.err
        assert said in done.err, done.err
        assert done.out == ""


def test_scheduled_processes_are_paused_and_triggered(
    shell: Shell, plan: Path, running: "subprocess.Popen[str]"
) -> None:
    done = shell.run("ctl", "schedule", "show")
    assert done.out.splitlines()[0].split() == [
        "name",
        "schedule",
        "state",
        "going",
        "on",
        "next",
        "run",
        "last",
        "run",
        "runs",
        "succeeded",
    ]
    assert " idle " in done.out.splitlines()[1]
    assert " paused " in shell.run("ctl", "schedule", "pause", "nightly").out
    done = shell.run("ctl", "trigger", "nightly", "--wait", "60")
    assert (done.code, done.out) == (1, "run 1 of nightly failed: exited with code 5\n")
    assert shell.run("ctl", "trigger", "nightly").out == "run 2 of nightly was asked for\n"
    assert shell.run("ctl", "schedule", "resume", "nightly", "-o", "json").json()["schedules"][0]["paused"] is False
    assert shell.run("ctl", "history", "nightly", "-o", "json").json()["runs"][0]["by"] == "hand"
    assert shell.run("ctl", "history", "--type", "scheduled").out.splitlines()[1].split()[0] == "nightly-0"
    for words, said in (
        (("trigger", "web"), "there is no schedule of web: it is a service"),
        (("schedule", "resume", "nightly"), "cannot resume nightly: it is not paused"),
        (("schedule", "stop", "nightly", "2"), "there is no run 2 of nightly that goes on or waits; these do: none"),
        (("signal", "web", "NOPE"), "is no signal of this system"),
        (("signal", "spare", "HUP"), "cannot signal spare: it is stopped"),
    ):
        done = shell.run("ctl", *words)
        assert (done.code, done.out) == (1, "")
        assert said in done.err


def test_one_of_several_runs_is_stopped_by_its_number(shell: Shell, running: "subprocess.Popen[str]") -> None:
    entry = shell.home / "long.yaml"
    entry.write_text("{command: [sleep, '1000'], schedule: '@yearly', schedule_max_concurrent: 2}")
    assert shell.run("ctl", "add", "long", entry).code == 0
    assert [shell.run("ctl", "trigger", "long").code for _ in range(3)] == [0, 0, 1]
    done = shell.run("ctl", "schedule", "stop", "long", "1")
    assert (done.code, done.out) == (0, "run 1 of long stopped: asked to stop; was killed by SIGTERM (15)\n")
    assert "2 (long-1)" in shell.run("ctl", "schedule", "show", "long").out


def test_what_is_there_and_who_did_what(shell: Shell, running: "subprocess.Popen[str]") -> None:
    assert shell.run("ctl", "signal", "web", "CONT").out == "sent SIGCONT to 1 process of web\n"
    plan = shell.run("ctl", "plan")
    assert "PASSWORD: '***'" in plan.out
    assert "hunter2" not in plan.out + shell.run("ctl", "plan", "-o", "json").out
    assert shell.run("ctl", "hooks").out == "no hook has run yet\n"
    assert [line for line in shell.run("ctl", "logs").out.splitlines() if line == "web-0 | web-0 says nothing"]
    entries = shell.run("ctl", "audit", "web", "-o", "json").json()["entries"]
    assert [(one["role"], one["request"], one["status"]) for one in entries] == [("admin", {"signal": "CONT"}, 200)]
    assert "/v1/processes/web/signal" in shell.run("ctl", "audit").out
    done = shell.having(_MILLRACE_COMPLETE="bash_complete", COMP_WORDS="millrace ctl restart w", COMP_CWORD="3").run()
    assert done.out == "plain,web\n"


def test_a_key_of_an_access_file_opens_what_its_role_does(shell: Shell, plan: Path) -> None:
    made = shell.run("supervise", "key", "ci", "--role", "viewer", "--expires", "2099-12-31", "-o", "json").json()
    (shell.home / "access.yaml").write_text(
        f"keys: [{json.dumps(made['entry'])}]\nrate: {{per_second: 50, burst: 100}}\n"
    )
    process = shell.start(
        "supervise", "-c", plan, "--listen", "127.0.0.1:0", "--access", shell.home / "access.yaml",
        "--audit-log", shell.home / "audit.jsonl",
    )  # fmt: skip
    try:
        url = control_url(process)
        viewer = shell.having(MILLRACE_SUPERVISE_KEY=made["key"])
        assert viewer.run("ctl", "status", "web", "--url", url).code == 0
        done = viewer.run("ctl", "stop", "web", "--url", url)
        assert (done.code, done.err) == (1, "millrace: cannot answer: you may not `operate` here with role viewer\n")
        assert shell.run("ctl", "shutdown").code == 0  # who runs it may do everything
        process.communicate(timeout=PATIENCE_S)
        (refused, ended_it) = map(json.loads, (shell.home / "audit.jsonl").read_text().splitlines())
        assert (refused["caller"], refused["role"], refused["status"]) == ("ci", "viewer", 403)
        assert (ended_it["path"], ended_it["role"], ended_it["status"]) == ("/v1/shutdown", "admin", 202)
        assert made["key"] not in (shell.home / "audit.jsonl").read_text()
    finally:
        ended(process)
    (shell.home / "access.yaml").write_text("keys: [{name: ci}]")
    done = shell.run("supervise", "-c", plan, "--access", shell.home / "access.yaml")
    assert done.code == 2
    assert "access.yaml: keys[0].role: is missing" in done.err or "keys[0]" in done.err


def test_a_supervisor_traces_itself_where_it_is_asked_to(shell: Shell, plan: Path) -> None:
    process = shell.having(OTEL_TRACES_EXPORTER="console").start("supervise", "-c", plan)
    serving(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    if "install millrace[otel]" not in err:
        for name in ("supervisor.start", "process.start", "health_check", "process.stop", "supervisor.shutdown"):
            assert f'"name": "{name}"' in err


def test_logs_and_changes_are_followed(shell: Shell, running: "subprocess.Popen[str]") -> None:
    assert shell.run("ctl", "logs", "web").out == "web-0 | web-0 says nothing\n"
    assert shell.run("ctl", "logs", "-n", "1", "db", "-o", "json").json()["lines"][0]["text"] == "db up"
    log, changes = shell.start("ctl", "logs", "-f", "web"), shell.start("ctl", "events", "-o", "json")
    try:
        assert log.stdout is not None
        assert changes.stdout is not None
        assert log.stdout.readline() == "web-0 | web-0 says nothing\n"
        shell.run("ctl", "restart", "web")
        assert log.stdout.readline() == "web-0 | web-0 says nothing\n"
        while True:  # the reader may have come after the first changes
            shell.run("ctl", "restart", "web")
            change = json.loads(changes.stdout.readline())
            if change["now"]["state"] == "stopping":
                break
        assert shell.run("ctl", "shutdown").out == "the supervisor has ended\n"
        running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0
        changes.communicate(timeout=PATIENCE_S)
        assert changes.returncode == 0
    finally:
        ended(log)
        ended(changes)


def test_a_second_supervisor_is_refused_and_a_dead_one_replaced(
    shell: Shell, plan: Path, running: "subprocess.Popen[str]"
) -> None:
    children = [psutil.Process(each["pid"]) for name in ("db", "web") for each in one(shell, name)["instances"]]
    done = shell.run("supervise", "-c", plan)
    assert done.code == 2
    assert "another supervisor that runs holds it; stop that one, or name another place with --socket" in done.err
    assert shell.run("ctl", "status").code == 0  # it was left alone
    running.kill()
    running.communicate()
    assert_gone(children)
    assert "supervise.sock: connection refused. Start one with" in shell.run("ctl", "status").err
    again = shell.start("supervise", "-c", plan)
    try:
        serving(again)
        assert shell.run("ctl", "status").code == 0
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=PATIENCE_S)
        assert again.returncode == 0
        assert "there is no socket at" in shell.run("ctl", "status").err
    finally:
        ended(again)


def test_tcp_needs_a_key_that_no_process_inherits(shell: Shell, plan: Path) -> None:
    done = shell.run("supervise", "-c", plan, "--no-socket", "--listen", "127.0.0.1:0")
    assert done.code == 2
    assert "set MILLRACE_SUPERVISE_KEY" in done.err
    with_key = shell.having(MILLRACE_SUPERVISE_KEY="key-of-the-test")
    done = with_key.run("supervise", "-c", plan, "--listen", "0.0.0.0:0")
    assert done.code == 2
    assert "cross the network in the clear" in done.err
    process = with_key.start("supervise", "-c", plan, "--no-socket", "--listen", "127.0.0.1:0")
    try:
        url = serving(process)["url"]
        assert with_key.run("ctl", "logs", "web", "--url", url).out == "web-0 | web-0 says nothing\n"
        done = shell.run("ctl", "status", "--url", url)
        assert done.code == 1
        assert "without a valid API key" in done.err
        assert with_key.run("ctl", "shutdown", "--url", url).code == 0
        assert "key-of-the-test" not in process.communicate(timeout=PATIENCE_S)[1]
    finally:
        ended(process)


def test_changes_of_a_plan_that_cannot_be_written_to_are_kept_elsewhere(shell: Shell) -> None:
    image, volume = shell.home / "image", shell.home / "volume"
    for folder in (image, volume):
        folder.mkdir()
    plan, place, entry = image / "plan.yaml", volume / "changes", shell.home / "extra.yaml"
    plan.write_text("processes: {web: {command: [sleep, '1000']}}")
    entry.write_text("command: [sleep, '1001']")
    done = shell.run("supervise", "-c", plan, "--changes", shell.home / "nix" / "changes")
    assert (done.code, "there is no folder" in done.err) == (2, True)
    for names in (["web"], ["extra", "web"]):  # and with the next start
        process = shell.start("supervise", "-c", plan, "--changes", place)
        try:
            serving(process)
            assert sorted(one["name"] for one in shell.run("ctl", "status", "-o", "json").json()["processes"]) == names
            if names == ["web"]:
                assert shell.run("ctl", "add", "extra", entry).code == 0
                assert shell.run("ctl", "save").out == f"saved in {place}: extra\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            ended(process)
    assert list(image.iterdir()) == [plan]
    assert shell.run("supervise", "check", plan, "--changes", place).out.endswith("it keeps 2 processes\n")


def test_processes_are_added_changed_removed_and_saved(
    shell: Shell, plan: Path, running: "subprocess.Popen[str]"
) -> None:
    web = one(shell, "web")["instances"][0]["pid"]
    entry = shell.home / "worker.yaml"
    entry.write_text(
        "# mine\ncommand: [sh, -c, 'echo got ${HOME} $$PASSWORD; exec sleep 1000']\nenv: {PASSWORD: hunter3}\n"
    )
    done = shell.run("ctl", "add", "worker", "worker.yaml", "--dry-run")
    assert (done.code, done.out.splitlines()[1:]) == (0, ["  + worker"])
    done = shell.run("ctl", "add", "worker", "worker.yaml")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "the plan is in force; 1 added, 5 unchanged; it is not saved; `millrace ctl save` keeps it for the next start",
    )
    assert shell.run("ctl", "add", "worker", "worker.yaml").code == 1
    written = shell.run("ctl", "plan", "worker").out
    assert "${HOME}" in written
    assert "hunter" not in written
    done = shell.run("ctl", "set", "worker", "-", typed=written + "nice: 1\n")
    assert (done.code, done.out.splitlines()[1]) == (0, "  ~ worker: nice (replaced)")
    done = shell.run("ctl", "set", "worker", "-", typed="command: []\nscale: many\n")
    assert (done.code, done.err.splitlines()) == (
        1,
        [
            "millrace: cannot change worker, and nothing was changed:",
            "  processes.worker.command is missing; give a list: the program and its arguments",
            "  processes.worker.scale must be a number from 1 to 1000, not 'many'",
        ],
    )
    assert shell.run("ctl", "add", "more", "nix.yaml").code == 2
    done = shell.run("ctl", "remove", "db")
    assert (done.code, done.err) == (1, "millrace: cannot remove db: web depends on it\n")
    assert shell.run("ctl", "remove", "spare").code == 0
    found = json.loads(shell.run("ctl", "changes", "-o", "json").out)["changed"]
    assert [(each["name"], each["change"], each["saved"]) for each in found] == [
        ("spare", "removed", False),
        ("worker", "added", False),
    ]
    done = shell.run("ctl", "save")
    assert (done.code, done.out) == (0, f"saved in {plan}.changes: spare, worker\n")
    assert plan.read_text() == PLAN
    assert "${HOME}" in Path(f"{plan}.changes").read_text()
    done = shell.run("ctl", "reload", "--dry-run")
    assert (done.code, done.out) == (0, "the plan is valid; nothing changes\n")
    assert "keeps 5 processes" in shell.run("supervise", "check", str(plan)).out
    assert one(shell, "web")["instances"][0]["pid"] == web
    assert "hunter" not in shell.run("ctl", "audit", "worker", "-o", "json").out
