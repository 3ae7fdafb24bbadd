"""What a child costs that needs nothing set: no tools before it, no looks at others, no timers while nothing ends."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.process.launch import spawn
from millrace.process.mark import RLIMIT_LOCKS, Mark, can_number, own_mark
from millrace.process.values import CannotStart, Limits, Spec
from millrace.process.warden import Warden, guarded

NUMBER = 123_456_789


@pytest.fixture
def warden():
    if not can_number():
        pytest.skip("this system lets no limit carry a mark")
    posted = Warden.post(own_mark())
    assert posted is not None
    yield posted
    posted.dismiss()


def told(argv: tuple[str, ...], **more: object) -> tuple[list[str], subprocess.Popen[bytes]]:
    """The lines that a child prints; it has ended."""
    read, write = os.pipe()
    spec = Spec(argv=argv, cwd=Path("/"), env={"PATH": os.defpath}, **more)
    process = spawn(spec, mark=Mark(word="x", number=NUMBER), stdout=write, stderr=2)
    os.close(write)
    with os.fdopen(read) as said:
        lines = said.read().splitlines()
    process.wait()
    return lines, process


def test_it_has_its_mark_and_no_core_from_the_first_moment_and_we_have_ours_back(warden: Warden) -> None:
    before = resource.getrlimit(RLIMIT_LOCKS), resource.getrlimit(resource.RLIMIT_CORE)
    lines, _ = told(("/bin/grep", "-E", "^Max (file locks|core)", "/proc/self/limits"))
    assert {" ".join(line.split()[:-2]) for line in lines} == {"Max core file size 0", f"Max file locks {NUMBER}"}
    assert (resource.getrlimit(RLIMIT_LOCKS), resource.getrlimit(resource.RLIMIT_CORE)) == before


def test_it_cannot_take_its_mark_off_by_raising_the_limit(warden: Warden) -> None:
    read, write = os.pipe()
    spec = Spec(argv=("/bin/sh", "-c", "read x < /dev/zero"), cwd=Path("/"), env={"PATH": os.defpath})
    process = spawn(spec, mark=Mark(word="x", number=NUMBER), stdout=write, stderr=2)
    try:
        assert resource.prlimit(process.pid, RLIMIT_LOCKS) == (NUMBER, NUMBER)
        assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("more", [{}, {"nice": 1}, {"limits": Limits(open_files=77)}], ids=["plain", "nice", "limits"])
def test_only_what_has_to_be_set_takes_a_tool(warden: Warden, more: dict[str, object]) -> None:
    _, process = told(("/bin/true",), **more)
    assert (Path(process.args[0]).name == "true") is (not more)


def test_without_a_living_warden_a_child_dies_by_its_own_signal(warden: Warden) -> None:
    assert guarded()
    warden._popen.kill()
    os.waitid(os.P_PID, warden._popen.pid, os.WEXITED | os.WNOWAIT)
    assert not guarded()
    _, process = told(("/bin/true",))
    assert Path(process.args[0]).name != "true"


def test_a_script_that_does_not_say_what_reads_it_is_read_by_sh(warden: Warden, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo read: $1\n")
    script.chmod(0o755)
    assert told((str(script), "word"))[0] == ["read: word"]
    script.write_bytes(b"#!/no/such/reader\n")
    with pytest.raises(CannotStart, match="No such file"):
        told((str(script),))


SCENE = """
import asyncio, os, sys
from pathlib import Path
from millrace.process import look
from millrace.process.child import Child
from millrace.process.orphans import Orphans
from millrace.process.own import adopts
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

def refuse():
    raise AssertionError("the whole table was read")

async def main():
    clock = SystemClock()
    orphans = Orphans(clock)
    orphans.start()
    assert adopts()
    look.processes = refuse
    loop = asyncio.get_running_loop()
    assert loop._scheduled == [], loop._scheduled  # nothing wakes us while nothing ends
    start = lambda line: Child.start(Spec(argv=("/bin/sh", "-c", line), cwd=Path("/"), env={"PATH": os.defpath}), clock=clock)
    end = await (await start("exit 7")).wait()
    assert (end.code, end.strays) == (7, 0), end
    end = await (await start("setsid sh -c 'sleep 1000 & sleep 1000' & (sleep 1000 &) ; exit 8")).wait()
    assert end.code == 8 and end.strays >= 1, end
    child = await start("setsid sh -c '(sleep 1000 &) ; sleep 1000' & exec sleep 1000")
    assert (await child.stop(20)).asked
    before = orphans.collected
    child = await start("(sleep 0.1 &) ; exec sleep 1000")
    async with asyncio.timeout(60):
        while orphans.collected == before or loop._scheduled[1:]:
            await asyncio.sleep(0.01)
    await child.stop(20)
    await orphans.stop()
    print(len(look.strangers()))
asyncio.run(main())
"""


def test_where_orphans_come_to_us_no_end_costs_a_walk_through_proc_and_nothing_is_left() -> None:
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("this system does not tell the children of a process")
    done = subprocess.run([sys.executable, "-c", SCENE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_supervisor_inside_another_keeps_the_number_that_it_was_given() -> None:
    if not can_number():
        pytest.skip("this system lets no limit carry a mark")
    code = (
        "import resource as r; r.setrlimit(10, (5_000_000_007, 5_999_999_999))\n"
        "from millrace.process.mark import child_mark, own_mark; print(child_mark().number, own_mark().number)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "None None\n", done.stderr
