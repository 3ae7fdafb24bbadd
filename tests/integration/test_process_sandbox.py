"""The sandbox against programs that try to get out; each attempt is shown to succeed without it."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shut_in import PATIENCE_S, WAYS, alive, python, run, shell, way

from millrace.process import entry
from millrace.process.able import able
from millrace.process.child import Child
from millrace.process.look import processes
from millrace.process.sandbox import Able, Mechanism, Sandbox
from millrace.process.values import Batch, CannotStart, Spec
from millrace.runtime.clock import SystemClock

each_way = pytest.mark.parametrize("name", WAYS)


@each_way
def test_files_outside_are_not_there(tmp_path: Path, name: str) -> None:
    canary, film = tmp_path / "canary", tmp_path / "film"
    canary.write_text("secret")
    film.write_text("pictures")
    line = f"cat {film}; echo; cat {canary} /etc/shadow; ls -a {tmp_path}; exit 0"
    assert "secret" in run(shell(line, None)).stdout
    seen = run(shell(line, Sandbox(able=way(name), reads=(film,)))).stdout.split()
    assert seen == ["pictures", ".", "..", "film"]


@each_way
def test_nothing_can_be_written_but_the_one_folder(tmp_path: Path, name: str) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "job"
    inside.mkdir()
    film, inner = tmp_path / "film", inside / "input"
    film.write_text("film")
    inner.write_text("film")
    names = [outside, film, inner, inside / "out", Path("/usr/canary"), Path("/etc/canary"), Path("/canary")]
    line = "; ".join(f"(echo spoilt > {path}) 2>/dev/null" for path in names[:4])
    line += "".join(f"; (echo x > {path}) 2>/dev/null && echo wrote {path}" for path in names[4:])
    line += "; echo t > /tmp/t && cat /tmp/t"
    sandbox = Sandbox(able=way(name), reads=(film, inner), writes=(inside,))
    assert run(shell(line, sandbox, inside)).stdout == "t\n"
    assert (film.read_text(), inner.read_text(), outside.exists()) == ("film", "film", False)
    assert (inside / "out").read_text() == "spoilt\n"
    assert not Path("/tmp/t").exists()
    assert not run(shell("; ".join(line.split("; ")[:4]), None, inside)).stderr
    assert (film.read_text(), inner.read_text(), outside.read_text()) == ("spoilt\n",) * 3


CONNECT = """
import socket, sys
for family, where in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_UNIX, sys.argv[2].replace("@", chr(0)))):
    try:
        with socket.socket(family) as one:
            one.connect(where)
        print("connected")
    except OSError as error:
        print(error.errno)
"""


@each_way
def test_no_server_of_this_machine_is_reached(name: str) -> None:
    found = way(name)
    abstract = f"@millrace-canary-{secrets.token_hex(4)}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(abstract.replace("@", "\0"))
        unix.listen()
        where = (str(tcp.getsockname()[1]), abstract)
        assert run(python(CONNECT, None, *where)).stdout.split() == ["connected", "connected"]
        for server in (tcp, unix):
            server.accept()[0].close()
            server.setblocking(False)
        said = run(python(CONNECT, found, *where))
        assert said.exit.ok, said.stderr
        assert "connected" not in said.stdout
        for server in (tcp, unix):
            with pytest.raises(BlockingIOError):
                server.accept()


@each_way
def test_who_asks_for_the_network_has_it(name: str) -> None:
    code = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print('connected')"
    with socket.create_server(("127.0.0.1", 0)) as server:
        spec = python(code, way(name), str(server.getsockname()[1]))
        assert spec.sandbox is not None
        open_ = Sandbox(able=spec.sandbox.able, reads=spec.sandbox.reads, network=True)
        assert run(Spec(argv=spec.argv, cwd=spec.cwd, sandbox=open_)).stdout == "connected\n"


ESCAPE = "setsid env -i prlimit --locks=77:77 sh -c '/bin/sleep {word} & /bin/sleep {word} &'"


@each_way
def test_whoever_hides_dies_with_the_program(name: str) -> None:
    word = f"{1000 + secrets.randbelow(1000)}.{secrets.randbelow(10**6):06}"
    line = f"{ESCAPE.format(word=word)}; sleep 0; exit 3"
    if os.getuid() == 0:  # who may raise the limit that marks it gets away without a sandbox
        assert run(shell(line, None)).exit.code == 3
        escaped = alive(word)
        for pid in escaped:
            os.kill(pid, signal.SIGKILL)
        assert len(escaped) == 2
    ended = run(shell(line, Sandbox(able=way(name)))).exit
    assert (ended.code, ended.asked) == (3, False)
    assert alive(word) == []


@pytest.mark.parametrize("ending", ["stop", "kill -9"])
@each_way
def test_a_fork_loop_ends_at_once(name: str, ending: str) -> None:
    word = f"loop{secrets.token_hex(6)}"
    code = (
        "import os, sys, time\nprint('up', flush=True)\nborn = time.monotonic()\n"
        "while time.monotonic() < born + 600:\n  try:\n"
        "    if not os.fork():\n      os.setsid()\n      os.fork() and os._exit(0)\n      born = time.monotonic()\n"
        "    time.sleep(0.02)\n  except OSError: time.sleep(0.01)\n"
    )
    found = way(name)

    async def scene() -> None:
        async with running(python(code, found, word)) as (child, heard):
            await heard("up")
            if ending == "stop":
                end = await child.stop(0.1)
                assert end.asked
            else:
                os.kill(child.pid, signal.SIGKILL)
                end = await child.wait()
            assert end.signal is not None
            await until(lambda: not alive(word))

    asyncio.run(scene())


class running:  # noqa: N801  it reads like a function
    """A child with a way to wait for a line of its output; stopped at the end."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._lines: list[str] = []
        self._changed = asyncio.Condition()

    async def _sink(self, batch: Batch) -> None:
        async with self._changed:
            self._lines += [line.text for line in batch.lines]
            self._changed.notify_all()

    async def _heard(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: text in self._lines)

    async def __aenter__(self):
        self._child = await Child.start(self._spec, clock=SystemClock(), sink=self._sink)
        return self._child, self._heard

    async def __aexit__(self, *_: object) -> None:
        await self._child.stop(0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


@each_way
def test_exit_codes_and_signals_are_exact(name: str) -> None:
    found = way(name)
    for code in (0, 1, 77, 127, 128 + 9, 183, 255):
        assert run(shell(f"exit {code}", Sandbox(able=found))).exit.code == code
    for number in (signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ):
        end = run(shell(f"kill -{int(number)} $$", Sandbox(able=found))).exit
        assert (end.code, end.signal) == (None, number)


@each_way
def test_a_stop_lets_the_program_end_well_and_a_deaf_one_is_killed(name: str) -> None:
    found = Sandbox(able=way(name))

    async def scene() -> None:
        async with running(shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done", found)) as (child, heard):
            await heard("up")
            end = await child.stop(PATIENCE_S)
            assert (end.code, end.asked) == (7, True)
        async with running(shell("trap '' TERM; echo up; while :; do sleep 0.01; done", found)) as (child, heard):
            await heard("up")
            assert (await child.stop(0.2)).signal == signal.SIGKILL

    asyncio.run(scene())


@each_way
def test_who_is_killed_leaves_no_zombie_to_others(name: str) -> None:
    """The first process of a namespace is collected by who waits for it: not every PID 1 collects what comes to it."""
    found = Sandbox(able=way(name))
    left: list[str] = []

    async def scene() -> None:
        for _ in range(10):
            async with running(shell("trap '' TERM; echo up; sleep 600", found)) as (child, heard):
                await heard("up")
                inside = {one.key for one in child._tree.members() if one.pid != child.pid}
                assert (await child.stop(0)).signal == signal.SIGKILL
                left.extend(str(one) for one in processes() if one.key in inside)

    asyncio.run(scene())
    assert left == []


@each_way
def test_a_pause_holds_every_process_of_it(name: str) -> None:
    async def scene() -> None:
        async with running(shell("sleep 600 & echo up; wait", Sandbox(able=way_found))) as (child, heard):
            await heard("up")
            await child.pause()
            members = child._tree.members()
            assert len(members) >= 4  # who waits, init, the shell, its sleep
            assert all(member.stopped for member in members)
            await child.resume()
            await until(lambda: not any(member.stopped for member in child._tree.members()))

    way_found = way(name)
    asyncio.run(scene())


@each_way
def test_a_signal_for_the_program_reaches_it_alone(name: str) -> None:
    async def scene() -> None:
        line = "trap 'echo heard; exit 4' USR1; echo up; while :; do sleep 0.01; done"
        async with running(shell(line, Sandbox(able=found))) as (child, heard):
            await heard("up")
            child.send(signal.SIGUSR1)
            await heard("heard")
            assert (await child.wait()).code == 4

    found = way(name)
    asyncio.run(scene())


ATTACKS = """
import ctypes, fcntl, os, sys
libc = ctypes.CDLL(None, use_errno=True)
numbers = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
for name, number in numbers.items():
    if os.fork() == 0:
        libc.syscall(number, -1, 0, 0, 0, 0, 0)
        print(name, ctypes.get_errno(), flush=True)
        os._exit(0)
    os.wait()
for name, call in {
    "nested": lambda: libc.clone(0, 0, 0x10000000, 0) if False else libc.unshare(0x10000000),
    "root of init": lambda: len(os.listdir("/proc/1/root/home")) * 0,
    "memory of init": lambda: open("/proc/1/mem", "r+b") and 0,
    "core pattern": lambda: open("/proc/sys/kernel/core_pattern", "r+b") and 0,
    "sysrq": lambda: open("/proc/sysrq-trigger", "wb") and 0,
    "disk": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)),
    "signal": lambda: os.kill(int(os.environ["PARENT"]), 0),
}.items():
    try:
        print(name, ctypes.get_errno() if call() else "done")
    except OSError as error:
        print(name, error.errno)
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print("caps", status["CapEff"].strip(), status["NoNewPrivs"].strip())
print("ids", " ".join(name for name in os.listdir("/proc") if name.isdecimal()))
"""


@each_way
def test_known_ways_out_are_closed(name: str) -> None:
    from millrace.process.seccomp import DENIED, UNAVAILABLE
    from millrace.process.syscalls import NUMBERS

    found = way(name)
    numbers = NUMBERS[os.uname().machine]
    calls = {one: numbers[one] for one in (*DENIED, *UNAVAILABLE) if one in numbers}
    spec = python(ATTACKS, found, *[word for one in calls.items() for word in map(str, one)])
    done = run(Spec(argv=spec.argv, cwd=spec.cwd, env={"PARENT": str(os.getpid())}, sandbox=spec.sandbox))
    assert done.exit.ok, done.stderr
    said = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if not line.startswith(("caps", "ids")))
    assert {one: said[one] for one in calls} == {one: "38" if one in UNAVAILABLE else "1" for one in calls}
    others = {one: answer for one, answer in said.items() if one not in calls}
    assert len(others) == 7
    assert "done" not in others.values()
    caps = next(line for line in done.stdout.splitlines() if line.startswith("caps")).split()
    assert caps[1:] == ["0000000000000004" if name == "root" else "0000000000000000", "1"]
    ids = next(line for line in done.stdout.splitlines() if line.startswith("ids")).split()
    assert ids == ["ids", "1", "2"]


def test_without_namespaces_the_filter_still_holds_and_the_record_says_so() -> None:
    filtered = Able(mechanism=Mechanism.FILTER, refused=("namespaces: not here",))
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = (str(server.getsockname()[1]), "@none")
        assert run(python(CONNECT, filtered, *where)).stdout.split()[0] == "1"  # EPERM

    async def scene() -> None:
        child = await Child.start(
            shell("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; exit 9", Sandbox(able=filtered)),
            clock=SystemClock(),
        )
        assert (await child.wait()).code == 9
        assert [line.text.split()[1] for line in child.tail()] == ["1", "2"]
        assert "system call filter" in child.confinement.in_force
        assert "namespaces: not here" in child.confinement.missing
        assert "files hidden" in child.confinement.missing

    asyncio.run(scene())


@each_way
def test_what_cannot_be_shut_in_does_not_start(tmp_path: Path, name: str) -> None:
    found = way(name)
    ran = tmp_path / "ran"
    ran.mkdir()
    for sandbox, word in (
        (Sandbox(able=found, writes=(ran, tmp_path / "missing")), "missing"),
        (Sandbox(able=found, reads=(tmp_path / "gone",), writes=(ran,)), "gone"),
    ):
        with pytest.raises(CannotStart, match=f"cannot shut /bin/sh in: .*{word}"):
            run(shell(f"touch {ran}/it", sandbox))
    assert not list(ran.iterdir())


def test_a_program_that_cannot_be_executed_inside_is_no_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{tmp_path}/elsewhere/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CannotStart, match="script: No such file"):
        run(Spec(argv=(str(script),), cwd=tmp_path, sandbox=Sandbox(able=way("users"))))


def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    found = way("users")
    word = f"{1000 + secrets.randbelow(1000)}.{secrets.randbelow(10**6):06}"

    async def scene() -> None:
        for wait_s in (0.0, 0.001, 0.005, 0.02, 0.05):
            starting = asyncio.ensure_future(
                Child.start(
                    Spec(argv=("/bin/sleep", word), cwd=tmp_path, sandbox=Sandbox(able=found)), clock=SystemClock()
                )
            )
            await asyncio.wait((starting,), timeout=wait_s)
            if not starting.cancel():
                await starting.result().stop(0)
            await asyncio.wait((starting,))
            assert alive(word) == []

    asyncio.run(scene())


OUTER = """
import asyncio, sys
from pathlib import Path
from millrace.process.child import Child
from millrace.process.sandbox import Able, Mechanism, Sandbox
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

async def main():
    able = Able(mechanism=Mechanism(sys.argv[2]), user_namespace=sys.argv[3] == "1", bwrap=sys.argv[4])
    line = f"setsid sh -c 'sleep {sys.argv[1]} & sleep {sys.argv[1]}' & exec sleep {sys.argv[1]}"
    spec = Spec(argv=("/bin/sh", "-c", line), cwd=Path("/"), env={"PATH": "/usr/bin:/bin"}, sandbox=Sandbox(able=able))
    child = await Child.start(spec, clock=SystemClock())
    print("up", flush=True)
    await child.wait()

asyncio.run(main())
"""


@each_way
def test_kill_9_of_whoever_started_it_leaves_nothing(name: str) -> None:
    found = way(name)
    word = f"{1000 + secrets.randbelow(1000)}.{secrets.randbelow(10**6):06}"
    arguments = (word, found.mechanism, str(int(found.user_namespace)), found.bwrap)
    with subprocess.Popen([sys.executable, "-c", OUTER, *arguments], stdout=subprocess.PIPE) as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"up\n"
        asyncio.run(until(lambda: len(alive(word)) >= 3))
        outer.kill()
    asyncio.run(until(lambda: not alive(word)))


def test_what_works_is_found_once() -> None:
    async def scene() -> tuple[Able, Able]:
        clock = SystemClock()
        return await able(("/bin/true", "once"), clock=clock), await able(("/bin/true", "once"), clock=clock)

    first, second = asyncio.run(scene())
    assert first is second


def test_what_refused_is_told_without_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(spec: Spec, **_: object) -> object:
        raise CannotStart(f"cannot shut {spec.argv[0]} in: unshare: Operation not permitted")

    monkeypatch.setattr("millrace.process.able.capture", forbidden)
    found = asyncio.run(able(("/bin/true", "forbidden"), clock=SystemClock()))
    assert "namespaces with users of its own: unshare: Operation not permitted" in found.refused


def test_a_program_that_needs_more_than_is_shown_is_only_filtered(tmp_path: Path) -> None:
    """So that a wrapper script of the user's own goes on working, and the record says what it costs."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "real").write_text("#!/bin/sh\nexit 0\n")
    (hidden / "real").chmod(0o755)
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "wrapper"
    wrapper.write_text(f"#!/bin/sh\nexec {hidden}/real\n")
    wrapper.chmod(0o755)
    found = asyncio.run(able((str(wrapper),), clock=SystemClock()))
    assert found.mechanism is Mechanism.FILTER
    assert any("real: not found" in why or "No such file" in why for why in found.refused)


@each_way
def test_what_it_used_is_counted(name: str) -> None:
    code = "import time\nkept = bytearray(60 << 20)\nwhile time.process_time() < 0.3: pass"
    end = run(python(code, way(name))).exit
    assert end.ok
    assert end.cpu_s >= 0.3
    assert end.max_rss_bytes >= 60 << 20


@each_way
def test_the_program_is_found_also_where_the_lists_of_children_are_not_to_be_had(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = way(name)

    async def scene() -> None:
        async with running(python("import signal; print('up', flush=True); signal.pause()", found)) as (child, _):
            first = entry.program_of(child.pid)
            assert first is not None
            assert first.pid != child.pid
            monkeypatch.setattr(entry, "children_of", lambda *_: [])
            again = entry.program_of(child.pid)
            assert again is not None
            assert again.key == first.key

    asyncio.run(scene())
