"""Signals, as tini's and dumb-init's own tests have them: passed on as configured, and none of ours inherited."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from outside import PATIENCE_S, Shell

# Started as by `nohup`, by a shell's `&`, and by something that blocks signals.
ODDLY = (
    "import os, signal, sys\n"
    "for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
FORWARDED = ("HUP", "USR1", "USR2", "WINCH", "ALRM", "TTIN", "TTOU", "CONT")


class Supervised:
    def __init__(self, shell: Shell, plan: str, *before: str) -> None:
        path = shell.home / "plan.yaml"
        path.write_text(plan)
        self.process = subprocess.Popen(
            [*before, *shell.command("supervise", "-c", path)], env=shell.environ(), cwd=shell.home,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def running() -> Iterator[list[Supervised]]:
    found: list[Supervised] = []
    yield found
    for each in found:
        each.close()


_OF_GLIBC = 0b11 << 31
"""Signals 32 and 33 belong to glibc: its posix_spawn, by which make starts a test run, has them ignored for ever."""


@pytest.mark.parametrize("before", [(), (sys.executable, "-c", ODDLY)], ids=["plainly", "oddly"])
def test_a_child_inherits_no_mask_and_no_disposition(
    shell: Shell, running: list[Supervised], before: tuple[str, ...]
) -> None:
    # `cat` and no shell, which would change dispositions of its own.
    it = Supervised(shell, "processes: {web: {command: [grep, -E, '^Sig(Ign|Blk)', /proc/self/status]}}", *before)
    running.append(it)
    for name in ("SigBlk", "SigIgn"):
        said, _, mask = it.line().rpartition("\t")
        assert said == f"web-0 | {name}:"
        assert int(mask, 16) & ~_OF_GLIBC == 0, mask
    it.send(signal.SIGTERM)
    assert it.ended() == 0


def test_signals_are_passed_on_as_the_plan_says_and_to_nobody_else(shell: Shell, running: list[Supervised]) -> None:
    traps = " ".join(f"trap 'echo {word}' {word};" for word in FORWARDED)
    loop = "echo up; while :; do sleep 0.01; done"
    plan = f"""
processes:
  all: {{command: [sh, -c, "{traps} {loop}"], forward_signals: [{", ".join(FORWARDED)}]}}
  other: {{command: [sh, -c, "{traps} {loop}"], forward_signals: {{HUP: USR2}}}}
  deaf: {{command: [sh, -c, "{traps} {loop}"]}}
"""
    it = Supervised(shell, plan)
    running.append(it)
    assert sorted(it.line() for _ in range(3)) == ["all-0 | up", "deaf-0 | up", "other-0 | up"]
    it.send(signal.SIGHUP)
    assert sorted((it.line(), it.line())) == ["all-0 | HUP", "other-0 | USR2"]
    for word in FORWARDED[1:]:
        it.send(signal.Signals[f"SIG{word}"])
        assert it.line() == f"all-0 | {word}"
    it.send(signal.SIGTERM)
    assert it.ended() == 0
    assert it.process.stdout is not None
    assert it.process.stdout.read().replace("Terminated", "").count("|") == 0


@pytest.fixture
def pipe(shell: Shell) -> Path:
    """A plan that nobody has written yet: the supervisor waits for it, and has started nothing."""
    path = shell.home / "pipe"
    os.mkfifo(path)
    return path


def started_on(shell: Shell, pipe: Path, *before: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*before, *shell.command("supervise", "-c", pipe)], env=shell.environ(), cwd=shell.home, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("word", ["HUP", "USR1", "PWR"])
def test_a_stray_signal_before_it_is_up_ends_nothing(shell: Shell, pipe: Path, word: str) -> None:
    with started_on(shell, pipe) as process:
        try:
            with pipe.open("w") as plan:  # which is there once somebody reads it
                process.send_signal(signal.Signals[f"SIG{word}"])
                plan.write("processes: {web: {command: [sh, -c, 'echo up; exec sleep 1000']}}")
            assert process.stdout is not None
            assert process.stdout.readline() == "web-0 | up\n"
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def test_as_pid_1_it_ends_before_it_is_up_when_told_to(shell: Shell, pipe: Path) -> None:
    namespace = ["unshare", *(["-r"] if os.getuid() else []), "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets us make no PID namespace")
    with started_on(shell, pipe, *namespace) as process:
        try:
            with pipe.open("w"):
                (first,) = psutil.Process(process.pid).children()
                first.terminate()
                assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("word", ["TERM", "INT", "QUIT"])
def test_each_of_the_ends_ends_it(shell: Shell, running: list[Supervised], word: str) -> None:
    it = Supervised(shell, "processes: {web: {command: [sh, -c, 'echo up; exec sleep 1000']}}")
    running.append(it)
    assert it.line() == "web-0 | up"
    for stray in ("HUP", "USR1", "USR2", "ALRM", "PIPE", "WINCH"):
        it.send(signal.Signals[f"SIG{stray}"])
    it.send(signal.Signals[f"SIG{word}"])
    assert it.ended() == 0
