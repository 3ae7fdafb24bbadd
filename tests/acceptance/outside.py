"""Driving the built wheel from outside: a user's shell, and a farm that runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "samples" / "bigbuckbunny.mp4"
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """A user with an empty home and the wheel installed."""

    site: Path
    home: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    def environ(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE", "XDG_"))}
        return kept | {
            "HOME": str(self.home),
            "PYTHONPATH": str(self.site),
            "PYTHONWARNINGS": "error",
            "COLUMNS": "120",
            **self.extra,
        }

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-P", "-m", "millrace", *(str(argument) for argument in arguments)]

    def run(self, *arguments: object, timeout_s: float = PATIENCE_S) -> Done:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environ(),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environ(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


@dataclass
class Running:
    """A farm that runs: its address, its key, its process."""

    shell: Shell
    process: "subprocess.Popen[str]"
    url: str
    key: str

    def cli(self, *arguments: object, timeout_s: float = PATIENCE_S) -> Done:
        shell = Shell(self.shell.site, self.shell.home, {"MILLRACE_MASTER": self.url, "MILLRACE_API_KEY": self.key})
        return shell.run(*arguments, timeout_s=timeout_s)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextmanager
def running(shell: Shell, *arguments: object) -> Iterator[Running]:
    """A program that says with one JSON line that it is ready; nothing of it is left afterwards."""
    process = shell.start(*arguments, "--json")
    family: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, err = process.communicate(timeout=10)
            raise AssertionError(f"it did not start: {err}")
        ready = json.loads(line)
        yield Running(shell, process, ready["url"], ready["api_key"])
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
            assert "Traceback" not in err, err
            assert process.returncode == 0, err
        assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
