"""What tini's and dumb-init's own tests ask of PID 1, and trees that try to get away from it, drawn at random."""

import contextlib
import os
import pty
import secrets
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from outside import PATIENCE_S, Shell

HERE = Path(__file__).parent
NAMESPACE = ("unshare", *(["-r"] if os.getuid() else []), "--pid", "--fork", "--kill-child", "--mount-proc", "--")
FORWARDED = ("HUP", "USR1", "USR2", "WINCH", "ALRM", "TTIN", "TTOU", "CONT")


def namespace() -> tuple[str, ...]:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this system lets us make no PID namespace: {tried.stderr.strip()}")
    return NAMESPACE


class Supervised:
    """A supervisor over a plan; as PID 1 behind `unshare`, whose exit code is its own."""

    def __init__(self, shell: Shell, plan: str, *, first: bool, **more: object) -> None:
        path = shell.home / "plan.yaml"
        path.write_text(plan)
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        self.process = subprocess.Popen(
            [*(namespace() if first else ()), *shell.command("supervise", "-c", path, "--no-socket")],
            env=shell.environ(), cwd=shell.home, text=True, start_new_session="preexec_fn" not in more, **streams,
        )  # fmt: skip
        self.first = first

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: int) -> None:
        target = psutil.Process(self.process.pid)
        (target.children()[0] if self.first else target).send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def start(opened: contextlib.ExitStack, shell: Shell, plan: str, *, first: bool, **more: object) -> Supervised:
    it = Supervised(shell, plan, first=first, **more)
    opened.callback(it.close)
    return it


each_place = pytest.mark.parametrize("first", [False, True], ids=["anywhere", "as PID 1"])


@each_place
def test_every_signal_that_may_be_forwarded_is(shell: Shell, opened: contextlib.ExitStack, first: bool) -> None:
    traps = " ".join(f"trap 'echo {word}' {word};" for word in FORWARDED)
    command = f"{traps} echo up; while :; do sleep 0.01; done"
    it = start(
        opened, shell, f'processes: {{web: {{command: [sh, -c, "{command}"], forward_signals: [{", ".join(FORWARDED)}]}}}}',
        first=first,
    )  # fmt: skip
    assert it.line() == "web-0 | up"
    for word in FORWARDED:
        it.send(signal.Signals[f"SIG{word}"])
        assert it.line() == f"web-0 | {word}"
    it.send(signal.SIGTERM)
    assert it.process.wait(PATIENCE_S) == 0


DEADLY = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}
"""What a program gets for its own faults."""
ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
HOLDS = {signal.SIGTSTP, signal.SIGSTOP}


@each_place
def test_a_signal_that_nobody_asked_for_changes_nothing(
    shell: Shell, opened: contextlib.ExitStack, first: bool
) -> None:
    strays = sorted(signal.valid_signals() - DEADLY - ENDS - HOLDS - {signal.SIGKILL})
    assert len(strays) > 45  # with those of real time
    command = "trap 'echo ALRM' ALRM; echo up; while :; do sleep 0.01; done"
    it = start(
        opened, shell, f'processes: {{web: {{command: [sh, -c, "{command}"], forward_signals: [ALRM]}}}}', first=first
    )
    assert it.line() == "web-0 | up"
    for number in strays:
        it.send(number)
        if number != signal.SIGALRM:
            it.send(signal.SIGALRM)
        assert it.line() == "web-0 | ALRM", number
    it.send(signal.SIGTERM)
    assert it.process.wait(PATIENCE_S) == 0


def test_held_for_a_while_it_goes_on_where_it_was(shell: Shell, opened: contextlib.ExitStack) -> None:
    """As Ctrl-Z and `fg` do it, or a freezer: what ended meanwhile is heard of afterwards."""
    plan = "processes: {web: {command: [sh, -c, 'echo $$$$; exec sleep 1000']}}"
    it = start(opened, shell, plan, first=False)
    pid = int(it.line().split("| ")[1])
    it.send(signal.SIGSTOP)
    us = psutil.Process(it.process.pid)
    deadline = time.monotonic() + PATIENCE_S
    while us.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
    os.kill(pid, signal.SIGKILL)
    it.send(signal.SIGCONT)
    assert int(it.line().split("| ")[1]) != pid
    it.send(signal.SIGTERM)
    assert it.process.wait(PATIENCE_S) == 0


def test_a_terminal_that_goes_away_ends_it_in_order(shell: Shell, opened: contextlib.ExitStack) -> None:
    loop = "touch up; while :; do sleep 0.01; done"
    plan = (
        "processes: {web: {command: [sh, -c, \"trap 'echo HUP > said; exit 1' HUP; trap 'sleep 1; echo TERM > said; exit 0' TERM; "
        f'{loop}"]}}}}'
    )
    master, slave = pty.openpty()
    it = start(
        opened, shell, plan, first=False, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, preexec_fn=own_terminal
    )
    os.close(slave)
    deadline = time.monotonic() + PATIENCE_S
    while not (shell.home / "up").exists():
        assert time.monotonic() < deadline
    os.close(master)
    # The kernel tells the group in the foreground when its session ends, and so does a shell that has heard of it.
    for _ in range(3):
        it.send(signal.SIGHUP)
    assert it.process.wait(PATIENCE_S) == 0
    assert (shell.home / "said").read_text() == "TERM\n"


def test_a_process_has_no_terminal_and_reads_nothing(shell: Shell, opened: contextlib.ExitStack) -> None:
    plan = """processes: {web: {command: [sh, -c, "(: < /dev/tty) 2>/dev/null && echo terminal; tac; echo none"], type: oneshot}}"""
    master, slave = pty.openpty()
    opened.callback(os.close, master)
    it = start(
        opened, shell, plan, first=False, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, preexec_fn=own_terminal
    )
    os.close(slave)
    os.write(master, b"1\n2\n")
    assert it.process.wait(PATIENCE_S) == 0
    said = rest(master)
    assert [line.split(b"| ")[1].strip() for line in said.splitlines() if b"web-0 |" in line] == [b"none"]


@each_place
def test_every_exit_code_and_signal_is_exact_while_orphans_are_collected(first: bool) -> None:
    program = HERE.parent / "integration" / "many_exits.py"
    done = subprocess.run(
        [*(namespace() if first else ()), sys.executable, str(program), "256", "signals"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"wrong": []' in done.stdout


@each_place
def test_the_group_of_a_process_is_its_own_and_gets_the_signal_once(
    shell: Shell, opened: contextlib.ExitStack, first: bool
) -> None:
    inner = "trap 'echo inner; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    plan = (
        "processes: {web: {command: [sh, -c, \"trap 'echo outer; wait; exit 0' TERM; "
        f'sh -c \\"{inner}\\" & while :; do sleep 0.01; done"]}}}}'
    )
    it = start(opened, shell, plan, first=first)
    assert it.line() == "web-0 | up"
    it.send(signal.SIGTERM)
    said = [line for line in it.process.communicate(timeout=PATIENCE_S)[0].splitlines() if "Terminated" not in line]
    assert sorted(said) == ["web-0 | inner", "web-0 | outer"]
    assert it.process.returncode == 0


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"], ids=["Ctrl-C", "Ctrl-Backslash"])
def test_a_key_on_the_terminal_ends_it_and_processes_hear_of_it_once(
    shell: Shell, opened: contextlib.ExitStack, key: bytes
) -> None:
    loop = "echo up; while :; do sleep 0.01; done"
    plan = (
        "processes: {web: {command: [sh, -c, \"trap 'echo INT' INT; trap 'echo QUIT' QUIT; "
        f"trap 'echo TERM; exit 0' TERM; {loop}\"]}}}}"
    )
    master, slave = pty.openpty()
    opened.callback(os.close, master)
    it = start(
        opened, shell, plan, first=False, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, preexec_fn=own_terminal
    )
    os.close(slave)
    said = until(master, b"web-0 | up")
    os.write(master, key)
    assert it.process.wait(PATIENCE_S) == 0
    said += rest(master)
    assert [line.split(b"| ")[1].strip() for line in said.splitlines() if b"web-0 |" in line] == [b"up", b"TERM"]


def own_terminal() -> None:
    os.setsid()
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def background() -> None:
    """Behind a leader that has the terminal, in another group, on a terminal that stops such writers."""
    own_terminal()
    attributes = termios.tcgetattr(0)
    attributes[3] |= termios.TOSTOP
    termios.tcsetattr(0, termios.TCSANOW, attributes)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    os.setpgid(0, 0)


def test_in_the_background_of_a_terminal_it_goes_on_writing(shell: Shell, opened: contextlib.ExitStack) -> None:
    master, slave = pty.openpty()
    opened.callback(os.close, master)
    it = start(
        opened, shell, "processes: {job: {command: [echo, written], type: oneshot}}", first=False, stdin=slave,
        stdout=slave, stderr=subprocess.DEVNULL, preexec_fn=background,
    )  # fmt: skip
    os.close(slave)
    until(master, b"job-0 | written")
    assert it.process.wait(PATIENCE_S) == 0


def until(master: int, text: bytes) -> bytes:
    said = b""
    while text not in said:
        assert select.select([master], [], [], PATIENCE_S)[0], said
        said += os.read(master, 4096)
    return said


def rest(master: int) -> bytes:
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends that nobody has open any more
        while chunk := os.read(master, 4096):
            said += chunk
    return said


def test_a_stop_at_any_moment_of_the_start_leaves_nothing(shell: Shell, opened: contextlib.ExitStack) -> None:
    word = f"1000.{secrets.randbelow(10**9)}"
    plan = f"processes: {{a: {{command: [sleep, '{word}']}}, b: {{command: [sleep, '{word}'], depends_on: [a]}}}}"
    began = time.monotonic()
    it = start(opened, shell, plan + "\n", first=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not carrying(word):
        assert time.monotonic() < began + PATIENCE_S
    whole = time.monotonic() - began
    it.send(signal.SIGTERM)
    assert it.process.wait(PATIENCE_S) == 0
    for part in (0.2, 0.5, 0.8, 0.95, 1.0):
        it = start(opened, shell, plan, first=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            it.process.wait(whole * part)
        it.send(signal.SIGTERM)
        # Before Python itself has started, the signal does what it does to every program.
        assert it.process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
        assert carrying(word) == []


def carrying(word: str) -> list[psutil.Process]:
    """What lives with a word among its arguments, but for supervisors, which have it in their plans alone."""
    seen = psutil.process_iter(["cmdline", "status"])
    return [one for one in seen if word in (one.info["cmdline"] or []) and one.info["status"] != psutil.STATUS_ZOMBIE]


def held() -> bool:
    """Whether this machine lets us hold a tree by a control group."""
    from millrace.process.cgroup import Resources
    from millrace.process.grounds import Grounds

    ours = Grounds.here()
    place = ours.place(Resources())
    missing = place.record.missing
    ours.forget(place)
    ours.close()
    return not missing


SEEDS = range(1, 1 + int(os.environ.get("WILD_TREES", "3")))
"""WILD_TREES=100 tries a hundred, for a few minutes."""


@pytest.mark.parametrize("ending", ["stop", "kill -9"])
@pytest.mark.parametrize("seed", SEEDS)
@each_place
def test_nothing_is_left_of_any_tree(
    shell: Shell, opened: contextlib.ExitStack, first: bool, seed: int, ending: str
) -> None:
    word = f"tree{secrets.token_hex(8)}"
    hides = "hides" if os.getuid() == 0 and (first or held()) else "shows"
    command = f"[{sys.executable}, -I, -S, {HERE / 'wild_tree.py'}, {word}, '{seed}', {hides}]"
    plan = f"processes: {{wild: {{command: {command}, shutdown: {{timeout: 0.3s}}}}}}"
    it = start(opened, shell, plan, first=first, stderr=subprocess.DEVNULL)
    assert it.line().startswith("wild-0 | up ")
    assert len(carrying(word)) > 1
    if ending == "stop":
        it.send(signal.SIGTERM)
        assert it.process.wait(PATIENCE_S) in (0, 3)  # 3 where a deaf one was in the tree
        assert carrying(word) == []
        return
    it.process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while carrying(word):
        assert time.monotonic() < deadline, carrying(word)
