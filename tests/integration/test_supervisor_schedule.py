"""Scheduled processes, hooks and the readiness file with real processes, files and a monitor that listens."""

import asyncio
import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace.process.look import read_process
from millrace.process.values import Batch
from millrace.runtime.clock import SystemClock
from millrace.supervisor.keeper import Keeper
from millrace.supervisor.machine import CUT_SHORT
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.schedule.jobs import Run
from millrace.supervisor.state import Id, Instance, Phase, Wanted

PATIENCE_S = 30.0


class Hands(SystemClock):
    """The machine's clock, with hands that a test can set; nobody is told, so the keeper's sleep is cut short."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def move(self, **by: float) -> None:
        self.ahead += timedelta(**by)
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        # The longest sleeps are those of who waits for the wall clock.
        if seconds < 5:
            await super().sleep(seconds)
            return
        moved = self._moved
        sleeper = asyncio.create_task(super().sleep(seconds))
        mover = asyncio.create_task(moved.wait())
        try:
            await asyncio.wait((sleeper, mover), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            mover.cancel()


class Stage:
    """A keeper that runs, and what was seen of it."""

    def __init__(self, text: str, cwd: Path) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()
        self.clock = Hands()
        self.keeper = Keeper(
            plan_from(text, {}), clock=self.clock, chance=random.Random(1), environ=dict(os.environ), cwd=cwd,
            output=self._output, changed=self._changed,
        )  # fmt: skip
        self.run = asyncio.create_task(self.keeper.run())
        self.run.add_done_callback(lambda _: self._news.set())

    async def _output(self, each: Id, batch: Batch) -> None:
        self.lines += [f"{each} {line.text}" for line in batch.lines if line.text != "Terminated"]
        self._news.set()

    def _changed(self, each: Id, instance: Instance | None) -> None:
        self._news.set()

    async def until(self, seen: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not seen():
                self._news.clear()
                await self._news.wait()

    def history(self, name: str) -> tuple[Run, ...]:
        return self.keeper.state.jobs[name].history

    def phase(self, name: str) -> Phase:
        return self.keeper.state.instances[Id(name, 0)].phase

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.run


def lives(pid: str) -> bool:
    found = read_process(int(pid))
    return found is not None and found.alive


def stage(text: str, cwd: Path, play: Callable[[Stage], Awaitable[None]]) -> None:
    async def whole() -> None:
        it = Stage(text, cwd)
        try:
            await play(it)
        finally:
            it.run.cancel()
            await asyncio.gather(it.run, return_exceptions=True)

    asyncio.run(whole())


def test_a_scheduled_process_runs_when_the_clock_says_so(tmp_path: Path) -> None:
    text = """
processes:
  job: {command: [sh, -c, "echo ran; exit 3"], schedule: "0 3 * * *", schedule_timezone: Europe/Berlin}
"""

    async def play(it: Stage) -> None:
        while it.keeper.state.watch is None:
            await asyncio.sleep(0)
        due = it.keeper.state.jobs["job"].due
        assert due is not None
        it.clock.move(seconds=(due - it.clock.now()).total_seconds() - 0.2)
        await it.until(lambda: it.history("job"))
        assert it.lines == ["job-0 ran"]
        (run,) = it.history("job")
        assert (run.code, run.how, run.due) == (3, "exited with code 3", due)
        assert run.began is not None
        assert run.began >= due
        it.keeper.end()
        assert await it.ended() == 0

    stage(text, tmp_path, play)


def test_a_run_that_takes_too_long_is_gone_with_all_that_it_started(tmp_path: Path) -> None:
    text = """
processes:
  job:
    command: [sh, -c, "trap '' TERM; setsid sh -c 'trap \\"\\" TERM; echo $$$$; while :; do sleep 1; done' & while :; do sleep 1; done"]
    schedule: "@daily"
    schedule_timeout: 0.5
    shutdown: {timeout: 0.1}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: it.keeper.state.instances)
        it.keeper.trigger("job")
        await it.until(lambda: it.history("job"))
        (run,) = it.history("job")
        assert run.outcome == "timed-out"
        assert run.how.startswith("took longer than 0.5 s; ")
        assert not lives(it.lines[0].split()[1])
        it.keeper.end()
        assert await it.ended() == 0

    stage(text, tmp_path, play)


class Monitor(ThreadingHTTPServer):
    """Listens for signs of life; answers 503 as often as a test wants."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.refusals = 0
        self.news = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Ear)

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.heard) >= count, PATIENCE_S)
            return list(self.heard)


class _Ear(BaseHTTPRequestHandler):
    server: Monitor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        with self.server.news:
            self.server.heard.append((self.path, body.splitlines()[0] if body else ""))
            self.server.refusals -= 1
            refused = self.server.refusals >= 0
            self.server.news.notify_all()
        self.send_response(503 if refused else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    server = Monitor()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_monitor_hears_of_the_start_and_of_the_end_of_each_run_in_this_order(
    tmp_path: Path, monitor: Monitor
) -> None:
    url = f"http://127.0.0.1:{monitor.server_port}"
    text = f"""
processes:
  job:
    command: [sh, -c, "test -e good || exit 7"]
    schedule: "@daily"
    heartbeat: {{start_url: "{url}/start", success_url: "{url}/ok", failure_url: "{url}/bad", retries: 2, retry_delay: 10ms}}
"""
    monitor.refusals = 2

    async def play(it: Stage) -> None:
        await it.until(lambda: it.keeper.state.instances)
        it.keeper.trigger("job")
        heard = await asyncio.to_thread(monitor.wait_for, 4)
        assert heard == [("/start", ""), ("/start", ""), ("/start", ""), ("/bad", "exit_code=7")]
        (tmp_path / "good").touch()
        await it.until(lambda: it.phase("job") is Phase.SCHEDULED)
        it.keeper.trigger("job")
        await it.until(lambda: len(it.history("job")) == 2)
        it.keeper.end()
        assert await it.ended() == 0
        assert monitor.heard[4:] == [("/start", ""), ("/ok", "exit_code=0")]  # also what was on its way at the end

    stage(text, tmp_path, play)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_monitor_is_told_just_as_often_as_the_plan_says(tmp_path: Path, monitor: Monitor, retries: int) -> None:
    url = f"http://127.0.0.1:{monitor.server_port}"
    text = f"""
processes:
  job:
    command: ["true"]
    schedule: "@daily"
    heartbeat: {{start_url: "{url}/start", success_url: "{url}/ok", retries: {retries}, retry_delay: 10ms}}
"""
    monitor.refusals = retries + 1  # the start is lost, and no more of it is told

    async def play(it: Stage) -> None:
        await it.until(lambda: it.keeper.state.instances)
        it.keeper.trigger("job")
        heard = await asyncio.to_thread(monitor.wait_for, retries + 2)
        assert heard == [*[("/start", "")] * (retries + 1), ("/ok", "exit_code=0")]

    stage(text, tmp_path, play)


def test_hooks_run_in_order_with_what_they_are_given_and_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    text = f"""
hooks:
  pre-start:
    - {{name: flaky, command: [sh, -c, "echo flaky >> {tmp_path}/log; test $$(wc -l < {tmp_path}/log) -ge 3"], retry: 5, retry_delay: 1ms}}
    - {{command: ["false"], continue_on_error: true}}
    - {{command: [sh, -c, "echo $$WORD $$MILLRACE_HOOK $$PWD >> {tmp_path}/log"], env: {{WORD: hello}}, working_dir: {tmp_path}/inner}}
  post-stop:
    - {{command: [sh, -c, "echo over >> {tmp_path}/log"]}}
processes:
  web:
    command: [sh, -c, "echo web >> {tmp_path}/log; trap 'echo stopped >> {tmp_path}/log; exit' TERM; echo up; while :; do sleep 0.02; done"]
    env: {{COLOUR: red}}
    hooks:
      pre-stop: [{{command: [sh, -c, "echo $$COLOUR $$MILLRACE_INSTANCE"]}}, {{command: [sleep, "100"], timeout: 50ms}}]
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: "web-0 up" in it.lines)
        it.keeper.end()
        assert await it.ended() == 0
        assert it.lines == ["web-0 up", "web-0 red web-0"]
        assert (tmp_path / "log").read_text().splitlines() == [
            "flaky", "flaky", "flaky", f"hello pre-start[2] {tmp_path}/inner", "web", "stopped", "over",
        ]  # fmt: skip

    stage(text, tmp_path, play)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_hook_is_tried_just_as_often_as_it_may_be(tmp_path: Path, retries: int) -> None:
    text = f"""
processes:
  web:
    command: [touch, ran]
    hooks: {{pre-start: [{{command: [sh, -c, "echo tried >> tries; exit 1"], retry: {retries}, retry_delay: 10ms}}]}}
"""

    async def play(it: Stage) -> None:
        assert await it.ended() == 1
        assert (tmp_path / "tries").read_text() == "tried\n" * (retries + 1)
        assert not (tmp_path / "ran").exists()

    stage(text, tmp_path, play)


def test_a_failure_before_the_start_ends_the_whole_with_1(tmp_path: Path) -> None:
    text = """
hooks: {pre-start: [{command: [sh, -c, "echo no; exit 4"]}, {command: [touch, second]}]}
processes: {web: {command: [touch, web]}}
"""

    async def play(it: Stage) -> None:
        assert await it.ended() == 1

    stage(text, tmp_path, play)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["of the whole", "of a process"])
def test_the_end_during_a_hook_is_prompt_and_leaves_nothing(tmp_path: Path, where: str) -> None:
    hooks = """{pre-start: [{command: [sh, -c, "trap '' HUP; setsid sleep 100 & echo $$! > pid.new; mv pid.new pid; wait"], timeout: 1h}]}"""
    text = f"""
{f"hooks: {hooks}" if where == "of the whole" else ""}
processes:
  web: {{command: [touch, web] {f", hooks: {hooks}" if where == "of a process" else ""}}}
  watcher: {{command: [sh, -c, "until test -e pid; do sleep 0.01; done; echo seen; sleep 100"]}}
"""

    async def play(it: Stage) -> None:
        if where == "of a process":
            await it.until(lambda: "watcher-0 seen" in it.lines)
        else:
            async with asyncio.timeout(PATIENCE_S):
                while not (tmp_path / "pid").exists():
                    await asyncio.sleep(0.01)
        pid = (tmp_path / "pid").read_text()
        assert lives(pid)
        it.keeper.end()
        assert await it.ended() == 0
        assert not lives(pid)
        assert not (tmp_path / "web").exists()

    stage(text, tmp_path, play)


def test_slow_hooks_never_take_the_end_past_its_deadline(tmp_path: Path) -> None:
    slow = "[{command: [sleep, '1000'], timeout: 1h}]"
    text = f"""
global: {{shutdown_timeout: 0.3}}
hooks: {{pre-stop: {slow}, post-stop: {slow}}}
processes: {{web: {{command: [sh, -c, "echo up; exec sleep 1000"], hooks: {{pre-stop: {slow}, post-stop: {slow}}}}}}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: "web-0 up" in it.lines)
        it.keeper.end()
        assert await it.ended() == CUT_SHORT

    stage(text, tmp_path, play)


def test_the_readiness_file_is_there_while_everything_is_ready(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "ready"
    file.parent.mkdir()
    file.write_text("stale")
    text = f"""
global: {{readiness: {{path: {file}, content: "yes, ready"}}}}
hooks: {{pre-stop: [{{command: [sh, -c, "test -e {file} && touch {tmp_path}/too-late; true"]}}]}}
processes:
  web:
    command: [sh, -c, "while :; do sleep 0.02; done"]
    health_check: {{type: exec, command: [test, -e, well], period: 0.02, failure_threshold: 1, mode: readiness}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: it.phase("web") is Phase.RUNNING if it.keeper.state.instances else False)
        assert not file.exists()
        (tmp_path / "well").touch()
        await it.until(lambda: it.keeper.state.instances[Id("web", 0)].ready)
        assert file.read_text() == "yes, ready"
        assert file.stat().st_mode & 0o777 == 0o644
        assert list(file.parent.iterdir()) == [file]
        (tmp_path / "well").unlink()
        await it.until(lambda: not it.keeper.state.instances[Id("web", 0)].ready)
        assert not file.exists()
        (tmp_path / "well").touch()
        await it.until(lambda: it.keeper.state.instances[Id("web", 0)].ready)
        assert file.exists()
        it.keeper.end()
        assert not file.exists()
        assert await it.ended() == 0
        assert not (tmp_path / "too-late").exists()

    stage(text, tmp_path, play)


def test_a_readiness_file_that_cannot_be_written_keeps_nobody_from_running(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = f"""
global: {{readiness: {{path: {tmp_path}/file/ready}}}}
processes: {{web: {{command: [sh, -c, "echo up; exec sleep 100"]}}}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: "web-0 up" in it.lines)
        it.keeper.post(Wanted("web", 0))
        await it.until(lambda: it.phase("web") is Phase.STOPPED)
        it.keeper.end()
        assert await it.ended() == 0

    stage(text, tmp_path, play)


def test_a_stop_that_comes_before_the_process_is_there_stops_it(tmp_path: Path) -> None:
    text = "processes: {web: {command: [sh, -c, 'echo up; exec sleep 100']}}"

    async def play(it: Stage) -> None:
        await asyncio.sleep(0)  # the keeper has begun, and nothing is spawned yet
        it.keeper.post(Wanted("web", 0))
        await it.until(lambda: it.keeper.state.instances and it.phase("web") is Phase.STOPPED)
        it.keeper.post(Wanted("web", 1))
        await it.until(lambda: "web-0 up" in it.lines)

    stage(text, tmp_path, play)
