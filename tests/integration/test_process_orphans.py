"""Orphans: collected, attributed, killed; and never the exit status of our own children taken."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.process.child import Child
from millrace.process.look import read_process
from millrace.process.mark import can_number, child_mark
from millrace.process.values import Batch, Spec
from millrace.runtime.clock import SystemClock

HERE = Path(__file__).parent
PATIENCE_S = 60


def test_exit_codes_stay_exact_while_orphans_are_collected() -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "many_exits.py"), "100"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["wrong"] == []
    assert said["collected"] >= 200  # and what was left of the one that takes its time


ESCAPES = {
    "double fork and setsid": "setsid sh -c 'sleep 1000 & echo $!'",
    "and an empty environment": "setsid env -i sh -c '/bin/sleep 1000 & echo $!'",
    "and another user": "setsid env -i setpriv --reuid=65534 --clear-groups sh -c '/bin/sleep 1000 & echo $!'",
}


@pytest.mark.parametrize("how", ESCAPES)
def test_stop_finds_who_left_the_session(tmp_path: Path, how: str) -> None:
    if "user" in how and os.getuid() != 0:
        pytest.skip("only root may change the user")
    if "environment" in how and not can_number():
        pytest.skip("this system lets no limit carry a mark")

    async def scene() -> None:
        said: asyncio.Queue[str] = asyncio.Queue()

        async def sink(batch: Batch) -> None:
            for line in batch.lines:
                said.put_nowait(line.text)

        # The main process waits, so that whatever `setsid` left has lost its parent before the stop.
        command = f"{ESCAPES[how]} 2>&1; echo up; exec sleep 1000"
        spec = Spec(argv=("sh", "-c", command), cwd=tmp_path, env={"PATH": os.defpath})
        child = await Child.start(spec, clock=SystemClock(), sink=sink)
        try:
            async with asyncio.timeout(PATIENCE_S):
                pid, up = int(await said.get()), await said.get()
            assert up == "up"
            escaped = read_process(pid)
            assert escaped is not None
            assert escaped.alive
            assert escaped.session != child.pid
        finally:
            await child.stop(PATIENCE_S)
        left = read_process(pid)
        assert left is None or not left.alive

    asyncio.run(scene())


def test_a_mark_is_seen_in_limits_or_environment_and_nowhere_else() -> None:
    mark, other = child_mark(), child_mark()
    assert mark != other
    for env, limits in (({"MILLRACE_CHILD": f"outer:{mark.word}"}, []), ({}, [f"--locks={mark.number}"])):
        if limits and mark.number is None:
            continue
        process = subprocess.Popen(
            ["prlimit", *limits, "sh", "-c", "echo; read x"], env={"PATH": os.defpath, **env}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            assert mark.on(process.pid)
            assert other.on(process.pid) is False
            process.kill()
    assert mark.on(os.getpid()) is False
