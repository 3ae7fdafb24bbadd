"""What several workers of one machine find out of its encoders, once for all."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from fake_engine import FakeEngine

from millrace.runtime.clock import SystemClock
from millrace.worker.proofs import Proven, prove

_HOLD = """
import sys
from pathlib import Path
from millrace.runtime.hold import Hold
hold = Hold.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


async def proven(engine: FakeEngine, tmp_path: Path) -> Proven:
    return await prove(
        engine.source(), cache=tmp_path / "proofs.json", environment={}, clock=SystemClock(), folder=tmp_path
    )


def trials(tmp_path: Path) -> list[str]:
    return (tmp_path / "engine" / "proofs").read_text().split()


def test_workers_that_start_together_try_each_encoder_once(tmp_path: Path) -> None:
    async def main() -> None:
        engine = FakeEngine(tmp_path / "engine")
        found = await asyncio.gather(*(proven(engine, tmp_path) for _ in range(3)))
        assert [one.reasons for one in found] == [{"libx264": ""}] * 3
        assert trials(tmp_path) == ["libx264"]

    asyncio.run(main())


def test_a_worker_that_is_killed_meanwhile_holds_nobody_up(tmp_path: Path) -> None:
    async def main(other: subprocess.Popen[bytes]) -> None:
        engine = FakeEngine(tmp_path / "engine")
        waiting = asyncio.create_task(proven(engine, tmp_path))
        await asyncio.sleep(0)
        assert not (tmp_path / "engine" / "proofs").exists()
        other.send_signal(signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, 30)).reasons == {"libx264": ""}
        assert trials(tmp_path) == ["libx264"]

    command = [sys.executable, "-c", _HOLD, str(tmp_path / "proofs.json.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        asyncio.run(main(other))
