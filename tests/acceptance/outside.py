"""Driving the built wheel from outside: a user's shell, programs that run, and a farm spoken to over HTTP."""

import atexit
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import imageio_ffmpeg
import psutil
from standing_by import AS_STARTED, COMMANDS, StandingBy

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "samples" / "bigbuckbunny.mp4"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
PATIENCE_S = 120
FINAL = {"completed", "failed", "canceled", "rejected"}

LONG = {"scenario": "360p24-h264", "parameters": {"duration_s": 16}}
"""A job that encodes for some seconds, long enough to be caught at it."""
LONG_FRAMES = 16 * 24
SHORT = {"scenario": "144p10-h264", "parameters": {"duration_s": 1, "preset": "ultrafast"}}


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@cache
def standing_by(site: Path) -> StandingBy:
    """Where the commands of an unpacked wheel come from."""
    found = StandingBy(Shell(site, Path("/")).environ())
    atexit.register(found.close)
    return found


@dataclass
class Shell:
    """A user with an empty home and the wheel installed."""

    site: Path
    home: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    proofs: Path | None = None
    """What an earlier run found of this machine's encoders; None for a user who has never run anything."""

    def __post_init__(self) -> None:
        self.remember(self.home / ".cache" / "millrace")

    def remember(self, folder: Path) -> None:
        """Let a program that keeps its state in this folder know what it found when it ran here before."""
        if self.proofs is not None and not (folder / self.proofs.name).exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy(self.proofs, folder)

    def having(self, **environ: str) -> "Shell":
        """The same user with more in the environment."""
        return replace(self, extra={**self.extra, **environ})

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

    def run(self, *arguments: object, timeout_s: float = PATIENCE_S, typed: str = "") -> Done:
        """Run a command to its end; `typed` is what it reads from standard input."""
        words = [str(argument) for argument in arguments]
        if words[:1] and words[0] in COMMANDS and not any(name.startswith(AS_STARTED) for name in self.extra):
            ready = standing_by(self.site)
            ended = ready.run(words, environ=self.environ(), cwd=self.home, typed=typed, timeout_s=timeout_s)
            assert "Traceback" not in ended[2], ended[2]
            return Done(*ended)
        done = subprocess.run(
            self.command(*arguments),
            env=self.environ(),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=typed,
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


class Program:
    """A program that runs until it is told to end: what it says, what it started, how it ends."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Waits for the one line that says it is ready."""
        self.process = process
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self._finish()
            raise AssertionError(f"it did not start: {self.err}")
        self.ready: dict[str, Any] = json.loads(line)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    @property
    def err(self) -> str:
        with self._news:
            return "".join(self._lines)

    def says(self, event: str, *, times: int = 1) -> list[dict[str, Any]]:
        """Wait until it has logged an event that often; all of them."""
        found: list[dict[str, Any]] = []

        def heard() -> bool:
            found[:] = [entry for entry in map(_entry, self._lines) if entry.get("event") == event]
            return len(found) >= times or self._closed

        with self._news:
            assert self._news.wait_for(heard, PATIENCE_S), f"it never said {event}"
        assert len(found) >= times, f"it ended without saying {event}: {self.err}"
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine(self) -> psutil.Process:
        """The engine that encodes at this moment; waits for one."""

        def encodes() -> psutil.Process | None:
            for child in self.family():
                try:
                    if "-progress" in (line := child.cmdline()) and "ffmpeg" in line[0]:
                        return child
                except psutil.Error:
                    continue
            return None

        return eventually(encodes, "an engine runs")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As the kernel or a power cut would: without a word."""
        self.process.kill()
        self._finish()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(timeout=60)
        self._finish()
        return code

    def stop(self) -> None:
        """End it as init systems do; it must leave no child and no traceback."""
        if self.process.poll() is None:
            family = self.family()
            self.signal(signal.SIGTERM)
            try:
                code = self.process.wait(timeout=60)
            finally:
                self._finish()
            assert code == 0, self.err
            assert_gone(family)
        assert "Traceback" not in self.err, self.err

    def _finish(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def _entry(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass
class Farm:
    """A farm as a user sees it: an address and a key."""

    shell: Shell
    url: str
    key: str

    def cli(self, *arguments: object, timeout_s: float = PATIENCE_S) -> Done:
        return self.client_shell().run(*arguments, timeout_s=timeout_s)

    def client_shell(self) -> Shell:
        return self.shell.having(MILLRACE_MASTER=self.url, MILLRACE_API_KEY=self.key)

    def http(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        with httpx2.Client(base_url=self.url, verify=False, timeout=60) as client:
            return client.request(method, path, headers=headers, **more)

    def submit(self, *, key: str | None = None, **body: Any) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.http("POST", "/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def job(self, ref: object) -> dict[str, Any]:
        answer = self.http("GET", f"/v1/jobs/{ref}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def do(self, verb: str, ref: object) -> dict[str, Any]:
        answer = self.http("POST", f"/v1/jobs/{ref}/{verb}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self, ref: object) -> str:
        return self.http("GET", f"/v1/jobs/{ref}/logs").text

    def transitions(self, **query: str) -> Iterator[dict[str, Any]]:
        """The stream of events, as it comes."""
        headers = {"Authorization": f"Bearer {self.key}"}
        with (
            httpx2.Client(base_url=self.url, verify=False, timeout=PATIENCE_S) as client,
            client.stream("GET", "/v1/events", params=query, headers=headers) as stream,
        ):
            assert stream.status_code == 200
            for line in stream.iter_lines():
                if line.startswith("data: ") and line != "data: {}":
                    yield json.loads(line.removeprefix("data: "))

    def reaches(self, ref: object, state: str, *, times: int = 1) -> dict[str, Any]:
        """Follow a job's events until it has come to a state that often; the job as it stands then."""
        seen = 0
        for event in self.transitions(job=str(ref)):
            if not event["task"].endswith(".1"):
                continue  # a part of it
            seen += event["to"] == state
            if seen == times:
                break
            if event["to"] in FINAL:
                job = self.job(ref)
                over = job["transitions"][-1]["cursor"] == event["cursor"]  # and was not retried since
                assert not over, f"{job['state']} instead of {state}: {_told(job)}\n{self.log(ref)}"
        return self.job(ref)

    def ends(self, ref: object, state: str = "completed", *, times: int = 1) -> dict[str, Any]:
        job = self.reaches(ref, state, times=times)
        assert job["state"] == state, _told(job)
        return job


def _told(job: Mapping[str, Any]) -> str:
    return json.dumps({name: job[name] for name in ("state", "failure", "attempts", "transitions")}, indent=1)


@dataclass
class Running(Farm):
    """A farm that runs, or its master, with its process."""

    program: Program


@contextmanager
def program(shell: Shell, *arguments: object) -> Iterator[Program]:
    """A program that says with one JSON line that it is ready; nothing of it is left afterwards."""
    for option, value in itertools.pairwise(arguments):
        if option in ("--state", "--data"):
            shell.remember(shell.home / str(value))
    process = shell.start(*arguments, "--json")
    try:
        started = Program(process)
        yield started
        started.stop()
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


@contextmanager
def running(shell: Shell, *arguments: object) -> Iterator[Running]:
    """A program that serves the API: `up` or `master`."""
    with program(shell, *arguments) as started:
        yield Running(shell, started.ready["url"], started.ready["api_key"], started)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """Look until there is something to see. For what the kernel tells nobody of: the birth of a stranger's child."""
    turn = threading.Event()
    for _ in range(PATIENCE_S * 50):
        if found := look():
            return found
        turn.wait(0.02)
    raise AssertionError(f"it never came to pass that {what}")


def is_emptied(folder: Path, pattern: str = "*") -> bool:
    """Wait until nothing is left in a folder. A worker reports first and tidies up after that."""
    return bool(eventually(lambda: not [*folder.glob(pattern)], f"{folder} was emptied"))


def assert_gone(processes: list[psutil.Process], *, within_s: float = 10) -> None:
    """Each has ended, or ends in that time. A zombie has ended."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def outcomes(job: Mapping[str, Any]) -> list[str | None]:
    """How each attempt ended, in order."""
    return [attempt["outcome"] for attempt in job["attempts"]]


def states(job: Mapping[str, Any]) -> list[str]:
    """Every state that it came to, in order."""
    return [transition["to"] for transition in job["transitions"]]


# Media ---------------------------------------------------------------------------------------------------------------


def ffmpeg(*arguments: object) -> str:
    """Run FFmpeg by hand; its stderr."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-y", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def cut(target: Path, *, seconds: float = 1.0) -> Path:
    """The first seconds of the sample, at its own size."""
    ffmpeg("-i", SAMPLE, "-t", seconds, "-c", "copy", target)
    return target


def small(target: Path, *options: object, seconds: float = 1.0) -> Path:
    """The first seconds of the sample as a small file, quick to work on."""
    ffmpeg("-i", SAMPLE, "-t", seconds, "-vf", "scale=128:72", "-preset", "ultrafast", "-ac", 2, *options, target)
    return target


@dataclass(frozen=True, slots=True)
class Decoded:
    """What FFmpeg finds in a file that it decodes from start to end without an error."""

    streams: tuple[str, ...]  # "video h264 128x72", "audio aac"
    frames: int
    seconds: float


def decoded(path: Path) -> Decoded:
    """Decode all of a file; any error in it fails the test."""
    log = ffmpeg("-xerror", "-err_detect", "explode", "-i", path, "-map", "0", "-f", "null", "-")
    inputs = log.partition("Stream mapping")[0]
    found = []
    for kind, rest in re.findall(r"Stream #0:\d+\S* (Video|Audio): (.*)", inputs):
        size = re.search(r", (\d+x\d+)[ ,]", rest)
        codec = re.split(r"[ ,]", rest)[0]
        found.append(" ".join(filter(None, [kind.lower(), codec, size[1] if size and kind == "Video" else ""])))
    frames = re.findall(r"frame=\s*(\d+)", log)
    hours, minutes, rest = re.findall(r"time=(\d+):(\d+):([\d.]+)", log)[-1]
    return Decoded(tuple(found), int(frames[-1]) if frames else 0, int(hours) * 3600 + int(minutes) * 60 + float(rest))
