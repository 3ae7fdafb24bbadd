"""A supervisor whose plan is read by another process: it stays small, and everything is said as if it had read for itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

PATIENCE_S = 60.0
SELDOM = ("ssl", "yaml", "httptools", "uvloop", "obstore", "apsw")
"""Parts of the names of files that a small supervisor maps none of."""


@contextmanager
def supervising(plan: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "millrace", "supervise", "-c", str(plan), *options]
    program = subprocess.Popen(
        command, cwd=plan.parent, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield program
    finally:
        program.kill()
        program.communicate(timeout=PATIENCE_S)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A plan that is never read to its end, and what holds it open."""
    plan = tmp_path / "plan.yaml"
    os.mkfifo(plan)
    descriptor = os.open(plan, os.O_RDWR)
    yield plan, descriptor
    os.close(descriptor)


def reader_of(program: subprocess.Popen[str]) -> int:
    while not (found := children(program.pid)):
        assert program.poll() is None
    return found[0]


def test_what_it_does_not_use_it_does_not_have(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "processes: {web: {command: [sh, -c, 'echo I am here; exec sleep 1000'], env: {WORD: '${HOME}'}}}\n"
        "global: {log_format: plain}\n"
    )
    with supervising(plan, "--no-socket") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "I am here\n"
        mapped = Path(f"/proc/{program.pid}/maps").read_text()
        assert "libpython" in mapped or "python3" in mapped
        assert [word for word in SELDOM if word in mapped.replace(str(tmp_path), "")] == []
        program.terminate()
        assert program.wait(PATIENCE_S) == 0


def test_with_an_api_it_reads_no_yaml_until_somebody_changes_a_process(tmp_path: Path) -> None:
    plan, place = tmp_path / "plan.yaml", tmp_path / "s.sock"
    plan.write_text("processes: {web: {command: [sleep, '1000'], rolling: {min_ready: 0}}}\n")

    def reads_yaml() -> bool:
        return "yaml" in Path(f"/proc/{program.pid}/maps").read_text().replace(str(tmp_path), "")

    with (
        supervising(plan, "--socket", str(place)) as program,
        httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(place)), base_url="http://it", timeout=PATIENCE_S
        ) as client,
    ):
        assert program.stderr is not None
        while 'supervisor.control"' not in program.stderr.readline():
            assert program.poll() is None
        for path in ("/v1/processes", "/v1/config", "/v1/plan", "/v1/health"):
            assert client.get(path).status_code == 200
        assert client.post("/v1/reload").status_code == 200
        assert client.post("/v1/config/save").status_code == 200
        assert not reads_yaml()
        body = {"name": "more", "process": {"command": ["sleep", "1000"], "rolling": {"min_ready": 0}}}
        made = client.post("/v1/processes", json=body)
        assert made.status_code == 201, made.text
        assert reads_yaml()


def test_what_reads_is_killed(endless: tuple[Path, int]) -> None:
    with supervising(endless[0], "--no-socket") as program:
        os.kill(reader_of(program), signal.SIGKILL)
        _, said = program.communicate(timeout=PATIENCE_S)
    assert (program.returncode, said) == (1, "millrace: cannot read the plan: what reads it was ended by SIGKILL\n")


def until_it_reads(plan: Path, reader: int, program: subprocess.Popen[str]) -> None:
    def opened() -> set[str]:
        found = set()
        for one in Path(f"/proc/{reader}/fd").iterdir():
            with suppress(FileNotFoundError):  # a module that was being imported, and is
                found.add(str(one.readlink()))
        return found

    while str(plan) not in opened():
        assert program.poll() is None
    # And waits for more: a signal between the two would be heard by the other one alone.
    while Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        assert program.poll() is None


def test_ctrl_c_while_it_is_read(endless: tuple[Path, int]) -> None:
    with supervising(endless[0], "--no-socket") as program:
        reader = reader_of(program)
        # Both are in the foreground of the terminal, so both get it; the one that keeps may be in the middle of an import.
        until_it_reads(endless[0], reader, program)
        for pid in (reader, program.pid):
            os.kill(pid, signal.SIGINT)
        _, said = program.communicate(timeout=PATIENCE_S)
    assert (program.returncode, said.strip()) == (130, "")


def test_what_reads_ends_with_what_waits_for_it(endless: tuple[Path, int]) -> None:
    with supervising(endless[0], "--no-socket") as program:
        until_it_reads(endless[0], reader_of(program), program)
        program.kill()
        program.communicate(timeout=PATIENCE_S)  # whoever lived on would hold its output open


def test_ctrl_c_before_anything_else_is_heard_ends_it_like_any_program(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("processes: {web: {command: [sh, -c, 'echo I am here; exec sleep 1000']}}\n")
    with supervising(plan, "--no-socket") as program:
        assert program.stdout is not None
        assert "I am here" in program.stdout.readline()
        program.send_signal(signal.SIGINT)
        assert program.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("text", "options", "code", "said"),
    [
        ("processes: {web: {comand: [x]}}", (), 2, "  line 1: processes.web.comand is unknown; did you mean command?"),
        ("processes: {web: {command: [x]}}", ("--bogus",), 2, "No such option '--bogus'"),
        (
            "processes: {web: {command: [x]}}",
            ("--no-socket", "--tls-cert", "x"),
            2,
            "give both a certificate and its key",
        ),
        (
            "processes: {web: {command: [no-such-program], restart: never}}",
            ("--no-socket",),
            1,
            "no such program in PATH",
        ),
    ],
)
def test_faults_are_told_as_ever(tmp_path: Path, text: str, options: tuple[str, ...], code: int, said: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    with supervising(plan, *options) as program:
        _, told = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == code
    assert said in told
    assert "Traceback" not in told


def test_where_nothing_can_be_forked_it_reads_for_itself(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("processes: {web: {command: ['true'], type: oneshot}}\n")
    script = (
        "import os, sys\n"
        "def fork(): raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "os.fork = fork\n"
        f"sys.argv = ['millrace', 'supervise', '-c', {str(plan)!r}, '--no-socket']\n"
        "from millrace.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"completed"' in done.stderr
