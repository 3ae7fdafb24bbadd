"""`millrace ctl tui` on a real terminal, as an operator has it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from outside import PATIENCE_S, Shell

PLAN = """
processes:
  web: {command: [sh, -c, "echo hello from $$MILLRACE_INSTANCE; exec sleep 1000"], scale: 2}
  bad: {command: [sh, -c, "exit 3"], restart: never}
"""
SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]|\x1b[=>78]")
ALTERNATE, BACK, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    """A terminal of 80 columns and 24 rows with a program on it."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  no thread of ours holds a lock
        )  # fmt: skip
        self.written = ""
        self._seen = 0

    def _read(self, deadline: float) -> bool:
        """Whether something came in time."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        self.written += os.read(self._master, 65536).decode(errors="replace")
        return True

    def until(self, *words: str) -> None:
        """Waits until all of these words were written since the last time."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(word in SEQUENCE.sub("", self.written[self._seen :]) for word in words):
            came = SEQUENCE.sub("", self.written[self._seen :])[-3000:]
            in_time = time.monotonic() < deadline and self._read(deadline)
            assert in_time, f"{words} never came; there is {came!r}"
        self._seen = len(self.written)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self._read(min(deadline, time.monotonic() + 0.05))
            assert time.monotonic() < deadline, "it did not end"
        while self._read(time.monotonic()):
            pass
        return self.process.returncode

    def is_clean(self) -> bool:
        """Whether the modes are as before, the screen is the usual one, and the cursor and the mouse are free."""
        last = {
            mode: self.written.rfind(f"\x1b[?{mode}h") < self.written.rfind(f"\x1b[?{mode}l") for mode in (1000, 1049)
        }
        cursor = self.written.rfind("\x1b[?25l") < self.written.rfind(CURSOR)
        return termios.tcgetattr(self._slave) == self.before and all(last.values()) and cursor

    def hang_up(self) -> None:
        os.close(self._slave)
        os.close(self._master)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self._slave, self._master):
            with suppress(OSError):  # hung up already
                os.close(descriptor)


@pytest.fixture
def socket(shell: Shell) -> Path:
    (shell.home / "plan.yaml").write_text(PLAN)
    return shell.home / "s.sock"


@contextmanager
def supervising(shell: Shell, socket: Path) -> Iterator["subprocess.Popen[str]"]:
    process = shell.start("supervise", "-c", shell.home / "plan.yaml", "--socket", socket)
    assert process.stderr is not None
    try:
        while "supervisor.control" not in process.stderr.readline():
            assert process.poll() is None
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


@contextmanager
def watching(shell: Shell, socket: Path, **more: str) -> Iterator[Terminal]:
    environ = {**shell.environ(), "TERM": "xterm-256color", "PYTHONWARNINGS": "default", **more}
    environ.pop("COLUMNS")
    terminal = Terminal(shell.command("ctl", "tui", "--socket", socket), environ, shell.home)
    try:
        yield terminal
    finally:
        terminal.close()


def test_it_shows_steers_survives_a_restart_and_leaves_the_terminal_clean(shell: Shell, socket: Path) -> None:
    with supervising(shell, socket) as first, watching(shell, socket) as terminal:
        terminal.until("web", "2/2", "exited with code 3", "q Quit")
        assert ALTERNATE in terminal.written
        terminal.type("jx")
        terminal.until("Stop web (2 instances)?")
        terminal.type("y")
        terminal.until("web is stopped")
        first.terminate()
        terminal.until("LOST for", "trying again")
        first.communicate()
        with supervising(shell, socket):
            terminal.until("the supervisor was started anew")
            terminal.type("l")
            terminal.until("hello from web-0")
            terminal.type("q")
            assert terminal.ended() == 0
        assert terminal.is_clean()
        assert "Traceback" not in terminal.written


@pytest.mark.parametrize("end", ["\x03", signal.SIGTERM, signal.SIGINT])
def test_however_it_ends_the_terminal_is_left_clean(shell: Shell, socket: Path, end: str | signal.Signals) -> None:
    with supervising(shell, socket) as supervisor, watching(shell, socket, NO_COLOR="1") as terminal:
        terminal.until("web", "2/2", "q Quit")
        if isinstance(end, str):
            terminal.type(end)
        else:
            terminal.process.send_signal(end)
        assert terminal.ended() == 0
        assert terminal.is_clean()
        assert "Traceback" not in terminal.written
        assert supervisor.poll() is None, "leaving stops nothing"


def test_a_terminal_that_closes_ends_it(shell: Shell, socket: Path) -> None:
    with supervising(shell, socket), watching(shell, socket) as terminal:
        terminal.until("web", "2/2", "q Quit")
        terminal.hang_up()
        assert terminal.process.wait(PATIENCE_S) is not None


def test_what_cannot_be_shown_is_refused_with_a_sentence(shell: Shell, socket: Path) -> None:
    with watching(shell, socket) as terminal:
        assert terminal.ended() == 1
        assert "cannot reach a supervisor: there is no socket at" in terminal.written
        assert terminal.is_clean() or ALTERNATE not in terminal.written
    done = shell.run("ctl", "tui", "--socket", socket)
    assert done.code == 2
    assert done.err.startswith("millrace: cannot show the processes: this is no terminal")


def test_a_process_is_written_on_a_real_terminal(shell: Shell, socket: Path) -> None:
    with supervising(shell, socket), watching(shell, socket) as terminal:
        terminal.until("web", "2/2", "q Quit")
        terminal.type("a")
        terminal.until("Environment", "name is missing")
        terminal.type("more\r")
        terminal.until("command is missing")
        terminal.type("sleep '1000'\x13")  # Ctrl-S, which stops no output here
        terminal.until("Ctrl-S sends it; + more")
        terminal.type("\x13")
        terminal.until("the plan is in force; 1 added")
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.is_clean()
    assert not (shell.home / "plan.yaml.changes").exists()
