"""Nothing is left behind: trees that try to get away, stopped, and with their supervisor killed; and PID 1's duties."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from outside import PATIENCE_S, Shell

ROWS = {
    "a child in the same group": "sleep {n} &",
    "double fork and setsid": "setsid sh -c 'sleep {n} &'",
    "and an empty environment": "setsid env -i sh -c '/bin/sleep {n} >/dev/null 2>&1 &'",
    "and a mark taken off on purpose": "setsid env -i prlimit --locks=7 -- sh -c '/bin/sleep {n} >/dev/null 2>&1 &'",
}
ON_PURPOSE = "and a mark taken off on purpose"
NAMESPACE = ["unshare", *(["-r"] if os.getuid() else []), "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


class Field:
    """A supervisor over one tree that holds every row, and a count of what lives of it."""

    def __init__(
        self, shell: Shell, *, before: tuple[str, ...] = (), leave_out: str = "", ends: bool = False, more: str = ""
    ) -> None:
        self.word = f"1000.{secrets.randbelow(10**9)}"
        rows = [row.format(n=self.word) for name, row in ROWS.items() if name != leave_out]
        command = "; ".join([*rows, "echo up", "exit 0" if ends else f"exec sleep {self.word}"]).replace("&;", "&")
        plan = shell.home / "plan.yaml"
        quoted = command.replace('"', '\\"')
        plan.write_text(
            f'processes: {{tree: {{command: [sh, -c, "{quoted}"]{more}}}, other: {{command: [sleep, "1000"]}}}}'
        )
        self.socket = shell.home / "s.sock"
        self.count = len(rows) + (not ends)
        self.process = subprocess.Popen(
            [*before, *shell.command("supervise", "-c", plan, "--socket", self.socket)], env=shell.environ(), cwd=shell.home,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "tree-0 | up\n"
        self.until(self.count)

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if line[-1:] == [self.word] and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def until(self, count: int) -> None:
        """Wait until so many live."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.alive()) != count:
            assert time.monotonic() < deadline, f"{len(self.alive())} live, not {count}"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for process in self.alive():
            process.kill()


@pytest.fixture
def fields() -> Iterator[list[Field]]:
    found: list[Field] = []
    yield found
    for field in found:
        field.close()


def _namespace() -> tuple[str, ...]:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this system lets us make no PID namespace: {tried.stderr.strip()}")
    return tuple(NAMESPACE)


def test_stopped_nothing_is_left_of_any_row(shell: Shell, fields: list[Field]) -> None:
    field = Field(shell)
    fields.append(field)
    field.process.send_signal(signal.SIGTERM)
    assert field.process.wait(PATIENCE_S) == 0
    assert field.alive() == []


def test_stopped_alone_nothing_is_left_of_it_and_the_others_go_on(shell: Shell, fields: list[Field]) -> None:
    field = Field(shell, leave_out=ON_PURPOSE)
    fields.append(field)
    done = shell.run("ctl", "stop", "tree", "--socket", field.socket)
    assert done.code == 0, done.err
    assert field.alive() == []
    assert field.process.poll() is None
    field.process.send_signal(signal.SIGTERM)
    assert field.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("how", ["stopped", "ends by itself"])
def test_with_a_control_group_of_its_own_nothing_is_left_of_it_whatever_it_did_to_hide(
    shell: Shell, fields: list[Field], how: str
) -> None:
    field = Field(shell, more=", restart: never, limits: {pids: 1000}")
    fields.append(field)
    (leader,) = [one for one in field.alive() if os.getpgid(one.pid) == one.pid == os.getsid(one.pid)]
    groups = [Path(f"/proc/{pid}/cgroup").read_text() for pid in (leader.pid, field.process.pid)]
    if groups[0] == groups[1]:
        pytest.skip("this system lets us make no control group")
    if how == "stopped":
        done = shell.run("ctl", "stop", "tree", "--socket", field.socket)
        assert done.code == 0, done.err
        assert field.alive() == []
    else:
        leader.kill()
        field.until(0)
    assert field.process.poll() is None


def test_killed_as_a_group_from_outside_nothing_is_left_of_it(shell: Shell, fields: list[Field]) -> None:
    """What left the group is not hit by that, and does not outlive it."""
    field = Field(shell, leave_out=ON_PURPOSE, more=", restart: never")
    fields.append(field)
    (leader,) = [one for one in field.alive() if os.getpgid(one.pid) == one.pid == os.getsid(one.pid)]
    os.killpg(leader.pid, signal.SIGKILL)
    field.until(0)
    assert field.process.poll() is None


def test_killed_with_9_nothing_is_left_of_any_row_but_the_one_that_hides_on_purpose(
    shell: Shell, fields: list[Field]
) -> None:
    field = Field(shell, leave_out=ON_PURPOSE)
    fields.append(field)
    field.process.kill()
    field.process.wait()
    field.until(0)


def test_killed_with_9_in_a_pid_namespace_nothing_is_left_of_any_row(shell: Shell, fields: list[Field]) -> None:
    field = Field(shell, before=_namespace())
    fields.append(field)
    field.process.kill()
    field.process.wait()
    field.until(0)


def test_as_pid_1_it_stops_everything_and_gives_the_exit_code(shell: Shell, fields: list[Field]) -> None:
    field = Field(shell, before=_namespace())
    fields.append(field)
    (first,) = psutil.Process(field.process.pid).children()
    first.send_signal(signal.SIGTERM)
    assert field.process.wait(PATIENCE_S) == 0
    assert field.alive() == []


@pytest.mark.parametrize("first", [False, True], ids=["as a subreaper", "as PID 1"])
def test_every_orphan_is_collected(shell: Shell, first: bool) -> None:
    plan = shell.home / "plan.yaml"
    # Each `sh` leaves two that end when their parent has gone.
    maker = "for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'sleep 0.01 & sleep 0.02 &'; done; echo made; exec sleep 1000"
    plan.write_text(f'processes: {{maker: {{command: [sh, -c, "{maker}"]}}}}')
    before = _namespace() if first else ()
    process = subprocess.Popen(
        [*before, *shell.command("supervise", "-c", plan)], env=shell.environ(), cwd=shell.home,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "maker-0 | made\n"
        us = psutil.Process(process.pid)
        if first:
            (us,) = us.children()
        deadline = time.monotonic() + PATIENCE_S
        # What stays is the maker, and the warden where there is one.
        while len(us.children()) != (1 if first else 2):
            assert time.monotonic() < deadline, us.children()
        ((first and us) or process).send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_tools_of_these_tests_are_there() -> None:
    missing = [tool for tool in ("setsid", "prlimit", "unshare", "env") if shutil.which(tool) is None]
    assert not missing, "install util-linux and coreutils"
    assert Path("/proc/self/limits").exists()
