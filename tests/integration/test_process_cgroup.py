"""Control groups of this machine: limits that hold, trees that are killed whole, and nothing left behind."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shut_in import PATIENCE_S, alive, way

from millrace.process.capture import Captured, capture
from millrace.process.cgroup import Resources
from millrace.process.child import Child
from millrace.process.grounds import close_grounds, grounds
from millrace.process.sandbox import Sandbox
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

PYTHON = os.path.realpath(sys.executable)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    place = grounds().place(Resources())
    missing = place.record.missing
    grounds().forget(place)
    if missing:
        pytest.skip(f"this machine gives us no control group: {missing[0]}")
    yield
    bases = grounds().bases
    close_grounds()
    assert [base for base in bases if base.exists()] == []


def needs(resources: Resources) -> None:
    place = grounds().place(resources)
    missing = place.record.missing
    grounds().forget(place)
    if missing:
        pytest.skip(f"this machine has no such control group for us: {missing[0]}")


def run(code: str, resources: Resources | None) -> Captured:
    spec = Spec(argv=(PYTHON, "-I", "-S", "-c", code), cwd=Path("/"), resources=resources)
    return asyncio.run(capture(spec, clock=SystemClock(), timeout_s=PATIENCE_S))


def test_who_wants_too_much_memory_is_killed_and_the_reason_told() -> None:
    limit = Resources(memory_bytes=64 << 20)
    needs(limit)
    code = "kept = bytearray(150 << 20); print('enough')"
    assert run(code, Resources()).stdout == "enough\n"
    done = run(code, limit)
    assert (done.exit.signal, done.exit.oom_kills >= 1, done.stdout) == (signal.SIGKILL, True, "")
    assert "because its memory limit was reached" in str(done.exit)


def test_who_wants_too_many_processes_gets_no_more() -> None:
    limit = Resources(pids=8)
    needs(limit)
    code = (
        "import os\ntry:\n  for n in range(12):\n    if not os.fork():\n      os.read(0, 1); import time; time.sleep(600)\n"
        "  print('all')\nexcept BlockingIOError: print('no more')"
    )
    assert run(code, Resources()).stdout == "all\n"
    assert run(code, limit).stdout == "no more\n"


def test_who_wants_too_much_of_the_processor_is_throttled() -> None:
    limit = Resources(cpus=0.1)
    needs(limit)
    code = (
        "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass\n"
        "words = [line.split(':', 2) for line in open('/proc/self/cgroup')]\n"
        "path = next(p.strip() for _, names, p in words if 'cpu' in names.split(',') or not names and PURE)\n"
        "import glob\nstat = next(open(f) for f in glob.glob('/sys/fs/cgroup' + ('' if PURE else '/cpu*') + path + '/cpu.stat'))\n"
        "print(next(line.split()[1] for line in stat if line.startswith('nr_throttled')))"
    ).replace("PURE", str(Path("/sys/fs/cgroup/cgroup.controllers").exists()))
    done = run(code, limit)
    assert done.exit.ok, done.stderr
    assert int(done.stdout) > 0
    assert done.exit.cpu_s < 0.7  # a second of spinning


# Both are there, under names that tell of no shell, before it goes on.
HIDING = (
    "setsid env -i prlimit --locks=77:77 sh -c '/bin/sleep {word} & a=$!; /bin/sleep {word} & for p in $a $!; do "
    'c=; until [ "$c" = sleep ]; do read -r c < /proc/$p/comm; done; done\' >/dev/null 2>&1'
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may take the mark off, so nobody else can hide")
@pytest.mark.parametrize("ending", ["stop", "end"])
def test_who_hides_from_everything_else_does_not_get_away(ending: str) -> None:
    async def scene(resources: Resources | None) -> list[int]:
        word = f"{1000 + secrets.randbelow(1000)}.{secrets.randbelow(10**6):06}"
        line = HIDING.format(word=word) + ("; echo up; exec sleep 600" if ending == "stop" else "; exit 0")
        spec = Spec(argv=("/bin/sh", "-c", line), cwd=Path("/"), env={"PATH": os.defpath}, resources=resources)
        said = asyncio.Event()

        async def heard(_: object) -> None:
            said.set()

        child = await Child.start(spec, clock=SystemClock(), sink=heard)
        if ending == "stop":
            async with asyncio.timeout(PATIENCE_S):
                await said.wait()
            await child.stop(0)
        else:
            await child.wait()
        left = alive(word)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    assert len(asyncio.run(scene(None))) == 2
    assert asyncio.run(scene(Resources())) == []


def test_a_fork_loop_is_killed_whole() -> None:
    word = f"loop{secrets.token_hex(6)}"
    code = (
        "import os, time\nprint('up', flush=True)\nend = time.monotonic() + 120\nwhile time.monotonic() < end:\n  try:\n"
        "    if not os.fork(): os.setsid()\n    time.sleep(0.03)\n  except OSError: pass\n"
    )

    async def scene() -> None:
        said = asyncio.Event()

        async def heard(_: object) -> None:
            said.set()

        spec = Spec(argv=(PYTHON, "-I", "-S", "-c", code, word), cwd=Path("/"), resources=Resources(pids=300))
        child = await Child.start(spec, clock=SystemClock(), sink=heard)
        async with asyncio.timeout(PATIENCE_S):
            await said.wait()
            while len(alive(word)) < 20:
                await asyncio.sleep(0.01)
        await child.stop(0)
        assert alive(word) == []

    asyncio.run(scene())


def test_it_goes_together_with_a_sandbox() -> None:
    limit = Resources(memory_bytes=64 << 20)
    needs(limit)
    sandbox = Sandbox(able=way("users"), reads=(Path(sys.base_prefix),))
    code = "kept = bytearray(150 << 20)"
    spec = Spec(argv=(PYTHON, "-I", "-S", "-c", code), cwd=Path("/"), resources=limit, sandbox=sandbox)
    done = asyncio.run(capture(spec, clock=SystemClock(), timeout_s=PATIENCE_S))
    assert done.exit.signal == signal.SIGKILL
    assert done.exit.oom_kills >= 1


def test_its_folders_go_with_the_child() -> None:
    async def scene() -> None:
        spec = Spec(argv=("/bin/true",), cwd=Path("/"), resources=Resources())
        for _ in range(5):
            await (await Child.start(spec, clock=SystemClock())).wait()
        grounds().forget(grounds().place(Resources()))
        assert [path for base in grounds().bases if base.is_dir() for path in base.iterdir() if path.is_dir()] == []

    asyncio.run(scene())
