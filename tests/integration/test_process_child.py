import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from millrace.process.capture import capture
from millrace.process.child import Child
from millrace.process.launch import Tools, find_tools, spawn
from millrace.process.look import read_process
from millrace.process.mark import Mark
from millrace.process.tree import open_pidfd
from millrace.process.values import Batch, CannotStart, Limits, Spec
from millrace.runtime.clock import SystemClock, VirtualClock

PATIENCE_S = 60  # only a broken test waits this long
BARE = Tools(setpriv=None, prlimit=None, nice=None)


def spec(code: str, tmp_path: Path, *arguments: str, **more) -> Spec:
    return Spec(argv=(sys.executable, "-I", "-S", "-c", code, *arguments), cwd=tmp_path, **more)


class Heard:
    """A sink that keeps everything and lets a test wait for a line."""

    def __init__(self):
        self.lines: list[str] = []
        self.dropped = 0
        self.changed = asyncio.Condition()

    async def __call__(self, batch: Batch):
        async with self.changed:
            self.lines += [line.text for line in batch.lines]
            self.dropped += batch.dropped
            self.changed.notify_all()

    async def until(self, text: str) -> str:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: any(line.startswith(text) for line in self.lines))
        return next(line for line in self.lines if line.startswith(text))


async def start(what: Spec, heard=None, clock=None, **more) -> Child:
    return await Child.start(what, clock=clock or SystemClock(), sink=heard, **more)


def gone(pid: int) -> bool:
    process = read_process(pid)
    return process is None or not process.alive


async def until_gone(pid: int) -> None:
    """Wait for the end of a process that is not our child, by its pidfd."""
    descriptor = open_pidfd(pid)
    if descriptor is None:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 255])
def test_exit_codes_are_exact(tmp_path, code):
    async def scene():
        child = await start(spec(f"raise SystemExit({code})", tmp_path))
        return await child.wait()

    end = asyncio.run(scene())
    assert (end.code, end.signal, end.ok, end.asked, end.strays) == (code, None, code == 0, False, 0)
    assert str(end) == f"exited with code {code}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGXFSZ])
def test_signals_are_exact(tmp_path, number):
    async def scene():
        child = await start(
            spec(
                f"import os, signal; signal.signal({number}, 0) if {number} != 9 else 0; os.kill(os.getpid(), {number})",
                tmp_path,
            )
        )
        return await child.wait()

    end = asyncio.run(scene())
    assert (end.code, end.signal, end.ok) == (None, number, False)
    assert signal.Signals(number).name in str(end)


def test_a_term_handler_runs_to_its_end(tmp_path):
    async def scene():
        heard = Heard()
        code = (
            # The wake-up descriptor closes the gap in which Python could miss a signal before it begins to wait.
            "import os, signal, sys\n"
            "read, write = os.pipe(); os.set_blocking(write, False); signal.set_wakeup_fd(write)\n"
            "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'asked\\n'))\n"
            "print('ready', flush=True)\n"
            "os.read(read, 1)\n"
            "print('cleaning', flush=True); open('cleaned', 'w').close()\n"
            "print('bye', end=''); sys.exit(3)\n"
        )
        child = await start(spec(code, tmp_path), heard)
        await heard.until("ready")
        end = await child.stop(PATIENCE_S)
        assert (tmp_path / "cleaned").exists(), (end, child.tail())
        assert heard.lines == ["ready", "asked", "cleaning", "bye"]
        assert [line.text for line in child.tail()] == heard.lines
        assert (end.code, end.asked) == (3, True)
        assert await child.stop() == end

    asyncio.run(scene())


IGNORES_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\nwhile True: signal.pause()"


@pytest.mark.parametrize("whole_tree", [True, False])
def test_the_whole_tree_is_told_or_the_child_alone_and_what_it_leaves_is_killed_at_once(tmp_path, whole_tree):
    code = """if True:
        import os, signal, sys
        def tell(who, code):
            def told(*_):
                os.write(1, f"{who} was told\\n".encode())  # print may be what the signal interrupts
                os._exit(code)
            signal.signal(signal.SIGTERM, told)
        tell("parent", 3)
        if not os.fork():
            tell("child", 0)
            print("ready", flush=True)
        while True:
            signal.pause()
    """

    async def scenario():
        heard = Heard()
        child = await start(spec(code, tmp_path), heard)
        await heard.until("ready")
        end = await child.stop(PATIENCE_S, whole_tree=whole_tree)
        assert end.code == 3
        assert end.strays == (0 if whole_tree else 1)
        assert sorted(heard.lines) == [*(["child was told"] if whole_tree else []), "parent was told", "ready"]
        assert end.wall_s < PATIENCE_S

    asyncio.run(scenario())


def test_ignoring_term_ends_in_kill_after_the_grace_and_not_before(tmp_path):
    async def scene():
        heard, clock = Heard(), VirtualClock()
        child = await start(spec(IGNORES_TERM, tmp_path), heard, clock)
        await heard.until("ready")
        stopping = asyncio.create_task(child.stop(5))
        await clock.settle()
        await clock.advance(4.9)
        assert not gone(child.pid)
        assert not stopping.done()
        await clock.advance(0.2)
        async with asyncio.timeout(PATIENCE_S):
            end = await stopping
        assert (end.signal, end.asked) == (signal.SIGKILL, True)
        assert gone(child.pid)

    asyncio.run(scene())


def test_a_second_stop_shortens_the_grace(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec(IGNORES_TERM, tmp_path), heard)
        await heard.until("ready")
        patient = asyncio.create_task(child.stop(3600))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            end = await child.stop(0)
        assert await patient == end
        assert end.signal == signal.SIGKILL

    asyncio.run(scene())


# A child whose grandchild forked twice, left the session, and closed every descriptor.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        os.closerange(0, 256)
        while True: signal.pause()
    os._exit(0)
os.wait()
print("daemon", os.read(read, 20).decode(), flush=True)
if sys.argv[1] == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True: signal.pause()
"""


@pytest.mark.parametrize("way", ["stay", "leave"])
def test_a_double_forked_session_leader_is_gone_after_stop_and_after_the_end(tmp_path, way):
    async def scene():
        heard = Heard()
        child = await start(spec(DAEMON, tmp_path, way), heard)
        daemon = int((await heard.until("daemon")).split()[1])
        async with asyncio.timeout(PATIENCE_S):
            end = await (child.stop(0.2) if way == "stay" else child.wait())
        assert gone(daemon)
        assert end.strays >= 1

    asyncio.run(scene())


TREE = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
if os.fork() == 0:
    os.setsid()
print("pid", os.getpid(), flush=True)
print("ready", os.getpid(), flush=True)
while signal.sigwait({signal.SIGUSR1}): print("tick", os.getpid(), flush=True)
"""


def test_pause_really_stops_the_tree_and_resume_continues_it(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec(TREE, tmp_path), heard)
        await heard.until(f"ready {child.pid}")
        async with asyncio.timeout(PATIENCE_S), heard.changed:
            await heard.changed.wait_for(lambda: sum(line.startswith("ready") for line in heard.lines) == 2)
        pids = [int(line.split()[1]) for line in heard.lines if line.startswith("pid")]
        assert len(pids) == 2
        await child.resume()
        await child.pause()
        await child.pause()
        assert child.paused
        assert [read_process(pid).state for pid in pids] == ["T", "T"]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        assert not any(line.startswith("tick") for line in heard.lines)
        await child.resume()
        await child.resume()
        for pid in pids:
            await heard.until(f"tick {pid}")
        await child.pause()
        async with asyncio.timeout(PATIENCE_S):
            end = await child.stop(PATIENCE_S)
        assert end.signal == signal.SIGTERM
        assert all(gone(pid) for pid in pids)
        await child.pause()
        await child.resume()

    asyncio.run(scene())


PARENT = """
import asyncio, sys
from pathlib import Path
from millrace.process import child, launch
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

async def main():
    if sys.argv[1] == "bare":
        launch.find_tools = lambda: launch.Tools(setpriv=None, prlimit=None, nice=None)
    async def sink(batch):
        for line in batch.lines:
            print(line.text, running.pid, flush=True)
    code = "import signal; print('child', flush=True)\\nwhile True: signal.pause()"
    running = await child.Child.start(Spec(argv=(sys.executable, "-I", "-S", "-c", code), cwd=Path("/")), clock=SystemClock(), sink=sink)
    await running.wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("tools", ["found", "bare"])
def test_kill_9_of_the_parent_leaves_no_child(tools):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tools], stdout=subprocess.PIPE, text=True)
    try:
        word, pid = parent.stdout.readline().split()
        assert word == "child"
        assert not gone(int(pid))
        parent.kill()
        asyncio.run(until_gone(int(pid)))
        assert gone(int(pid))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


LINES = 200_000
FLOOD = f"import sys\nfor n in range({LINES}): sys.stdout.write(f'line {{n}}\\n')"


def test_a_flood_loses_no_line_when_the_sink_keeps_up(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec(FLOOD, tmp_path), heard)
        assert (await child.wait()).ok
        assert heard.dropped == 0
        assert len(heard.lines) == LINES
        assert (heard.lines[0], heard.lines[-1]) == ("line 0", f"line {LINES - 1}")
        assert len(child.tail()) == 200

    asyncio.run(scene())


def test_a_flood_is_not_held_up_by_a_stuck_sink(tmp_path):
    async def scene():
        never, clock = asyncio.Event(), VirtualClock()
        seen = []

        async def sink(batch):
            seen.append(batch)
            await never.wait()

        child = await start(spec(FLOOD, tmp_path), sink, clock, buffer_chars=100_000)
        async with asyncio.timeout(PATIENCE_S):
            await child._readers[0].wait()  # the child has written everything, although the sink took one batch
            assert len(seen) == 1
            assert child.tail()[-1].text == f"line {LINES - 1}"
            while not child.ended:
                await clock.advance(1)
                await asyncio.sleep(0.001)
        assert (await child.wait()).ok

    asyncio.run(scene())


def test_the_environment_descriptors_and_session_are_the_childs_own(tmp_path):
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)

    async def scene():
        heard = Heard()
        code = (
            "import os, sys\n"
            "print(sorted(k for k in os.environ if k not in ('MILLRACE_CHILD', 'LC_CTYPE')))\n"
            "print(sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)))\n"
            "print(os.getsid(0) == os.getpgid(0) == os.getpid())\n"
            "print(os.getcwd(), os.nice(0), len(sys.stdin.read()))\n"
        )
        child = await start(spec(code, tmp_path, env={"A": "1"}, nice=3), heard)
        assert (await child.wait()).ok
        return heard.lines

    try:
        lines = asyncio.run(scene())
    finally:
        os.close(leak)
    assert lines == ["['A']", "[0, 1, 2]", "True", f"{tmp_path} {os.nice(0) + 3} 0"]


@pytest.mark.parametrize("tools", [find_tools(), BARE], ids=["found", "bare"])
def test_limits_and_niceness_hold_from_the_first_instruction(tmp_path, tools):
    code = "import os, resource as r; print(r.getrlimit(r.RLIMIT_NOFILE)[0], r.getrlimit(r.RLIMIT_CORE)[1], os.nice(0), flush=True)"
    read, write = os.pipe()
    what = spec(code, tmp_path, limits=Limits(open_files=77), nice=2)
    child = spawn(what, mark=Mark(word="x", number=None), stdout=write, stderr=2, tools=tools)
    os.close(write)
    with os.fdopen(read) as output:
        assert output.read() == f"77 0 {os.nice(0) + 2}\n"
    assert child.wait() == 0


def test_a_limit_that_is_reached_ends_the_child_by_its_signal(tmp_path):
    async def scene():
        code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('big', 'wb', 0).write(bytes(5000)); open('big', 'ab', 0).write(b'x')"
        child = await start(spec(code, tmp_path, limits=Limits(file_size_bytes=4096)))
        return await child.wait()

    assert asyncio.run(scene()).signal == signal.SIGXFSZ


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_cannot_start_leaves_no_descriptor_behind(tmp_path):
    async def scene():
        before = descriptors()
        with pytest.raises(CannotStart, match="no such program"):
            await start(Spec(argv=("no-such-program",), cwd=tmp_path))
        with pytest.raises(CannotStart, match="null byte"):
            await start(Spec(argv=("/bin/echo", "a\0b"), cwd=tmp_path))
        assert descriptors() == before

    asyncio.run(scene())


def test_children_come_from_the_main_thread_only(tmp_path):
    errors = []

    def elsewhere():
        try:
            spawn(Spec(argv=("/bin/true",), cwd=tmp_path), mark=Mark(word="x", number=None), stdout=1, stderr=2)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert re.match("cannot start a child from this thread", errors[0])


def test_a_sample_sees_the_work_of_the_whole_tree(tmp_path):
    async def scene():
        heard = Heard()
        code = (
            "import os, signal, time\n"
            "pid = os.fork()\n"
            "while time.process_time() < 0.1: pass\n"
            "print('worked', os.getpid(), flush=True)\n"
            "while True: signal.pause()\n"
        )
        child = await start(spec(code, tmp_path), heard)
        async with asyncio.timeout(PATIENCE_S), heard.changed:
            await heard.changed.wait_for(lambda: len(heard.lines) == 2)
        usage = child.sample()
        assert usage.processes == 2
        assert usage.cpu_s >= 0.15
        assert usage.rss_bytes > 1_000_000
        assert child.sample().cpu_s >= usage.cpu_s
        end = await child.stop(PATIENCE_S)
        assert end.cpu_s >= 0.08
        assert end.max_rss_bytes > 1_000_000
        assert child.sample().processes == 0

    asyncio.run(scene())


def test_a_status_that_somebody_else_collected_is_never_called_success(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec("print('ready', flush=True); raise SystemExit(0)", tmp_path), heard)
        os.waitpid(child.pid, 0)  # noqa: ASYNC222  it blocks the loop, so that the thief comes first
        return await child.wait()

    end = asyncio.run(scene())
    assert (end.code, end.signal, end.ok) == (None, None, False)
    assert "unknown way" in str(end)


def test_cancelling_a_wait_does_not_touch_the_child(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec(IGNORES_TERM, tmp_path), heard)
        await heard.until("ready")
        waiting = asyncio.create_task(child.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not gone(child.pid)
        await child.stop(0)

    asyncio.run(scene())


def test_a_program_that_ends_takes_its_child_along(tmp_path):
    async def scene():
        heard = Heard()
        child = await start(spec(IGNORES_TERM, tmp_path), heard)
        await heard.until("ready")
        return child.pid

    pid = asyncio.run(scene())  # the end of the loop cancels every task
    os.waitpid(pid, 0)
    assert gone(pid)


def test_capture_keeps_both_streams(tmp_path):
    code = "import sys; print('out\\nmore'); print('err', file=sys.stderr); sys.exit(4)"
    got = asyncio.run(capture(spec(code, tmp_path), clock=SystemClock(), timeout_s=PATIENCE_S))
    assert (got.stdout, got.stderr, got.exit.code) == ("out\nmore\n", "err\n", 4)
    assert not got.timed_out
    assert not got.cut


def test_capture_stops_what_takes_too_long_and_bounds_what_says_too_much(tmp_path):
    got = asyncio.run(capture(spec(IGNORES_TERM, tmp_path), clock=SystemClock(), timeout_s=0.05, grace_s=0))
    assert got.timed_out
    assert got.exit.asked
    assert not got.exit.ok
    flood = "print('x' * 1000)\n" * 10
    got = asyncio.run(capture(spec(flood, tmp_path), clock=SystemClock(), timeout_s=PATIENCE_S, max_chars=5000))
    assert got.cut
    assert len(got.stdout) == 4 * 1001


def test_a_cancelled_capture_leaves_no_child(tmp_path):
    async def scene():
        code = "import os, signal; open('pid', 'w').write(str(os.getpid())); os.kill(os.getppid(), signal.SIGUSR1)\nwhile True: signal.pause()"
        started = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, started.set)
        task = asyncio.create_task(capture(spec(code, tmp_path), clock=SystemClock(), timeout_s=PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        assert gone(int((tmp_path / "pid").read_text()))

    asyncio.run(scene())


@pytest.mark.parametrize("tools", [find_tools(), BARE], ids=["tools", "bare"])
def test_a_child_ignores_no_signal_whoever_set_it_up(tmp_path, tools):
    read, write = os.pipe()
    what = Spec(argv=("grep", "SigIgn", "/proc/self/status"), cwd=tmp_path, env={"PATH": os.defpath})
    with os.fdopen(read) as said:
        process = spawn(what, mark=Mark(word="x", number=None), stdout=write, stderr=2, tools=tools)
        os.close(write)
        ignored = int(said.read().split()[1], 16)
    process.wait()
    of_glibc = 0b11 << 31  # signals 32 and 33, which make's posix_spawn has ignored for ever
    assert ignored & ~of_glibc == 0
