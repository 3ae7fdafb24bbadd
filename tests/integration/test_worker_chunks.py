"""One film in chunks on one worker: how many run, one progress, and that pause, cancel and failure mean all of them."""

import asyncio
import os
from fractions import Fraction
from pathlib import Path

import pytest
from fake_engine import PROFILE, FakeEngine
from fake_master import FakeMaster
from farm_worker import ffmpeg_source, running
from test_worker_ffmpeg import ended, film
from test_worker_protocol import gone

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.probe import Probe, VideoStream
from millrace.engines.engine import Command, Joined
from millrace.process.tree import read_process

SCRIPT = """
echo "frame 10"
echo "begun $$ $3" > "$1/said"
while read word < "$1/told-$3"; do
  case $word in
    finish) printf "piece $3" > "$2/piece-$3"; echo "frame 100"; exit 0;;
    fail) echo "chunk $3 broke" >&2; exit 3;;
    grumble) echo "chunk $3 grumbles" >&2; echo "grumbled" > "$1/said";;
  esac
done
"""


class ChunkEngine(FakeEngine):
    """Three chunks and a light command beside them, each a shell script with a FIFO of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tellers = [self._fifo(folder / f"told-{number}") for number in range(4)]
        self.children: dict[int, int] = {}
        self.joined = False

    def tell_chunk(self, number, word):
        os.write(self.tellers[number], word.encode() + b"\n")

    async def begin(self, count):
        """The numbers of the next commands that run."""
        found = []
        for _ in range(count):
            pid, number = map(int, (await self.heard()).removeprefix("begun ").split())
            self.children[number] = pid
            found.append(number)
        return sorted(found)

    def read_probe(self, stdout, stderr, exit_status):
        keys = tuple(Fraction(second) for second in range(10))
        stream = VideoStream(
            index=0, codec="h264", width=128, height=72, frame_rate=Fraction(30), frames=300, end=Fraction(10),
            keyframes=keys, key_decoding=keys,
        )  # fmt: skip
        return Probe(formats=("mp4",), duration=Fraction(10), video=(stream,))

    def encode(self, plan, source, folder, work):
        assert not plan.split.is_whole
        return tuple(
            Command(
                argv=("/bin/sh", "-c", SCRIPT, "engine", str(self.folder), str(work), str(number)),
                label=f"encode {number}",
                share=0.0 if number == 3 else 1 / 3,
                frames=100,
                light=number == 3,
            )
            for number in range(4)
        )

    def failure(self, exit_status, log_tail, *, signalled):
        return Failure(failure_class=FailureClass.ENGINE, message=f"ended with {exit_status}: {log_tail.splitlines()}")

    def pieces(self, plan):
        return tuple(f"piece-{number}" for number in range(4))

    def join(self, plan, pieces):
        self.joined = True
        assert [pieces.contents[f"piece-{number}"] for number in range(3)] == [b"piece 0", b"piece 1", b"piece 2"]
        return Joined(folder=None, moves=(("piece-0", "video.mp4"),), files={}, headers={"one": "ab"})

    def mux(self, plan, source, folder, work):
        return ()

    def read_inspection(self, plan, outcomes, listing):
        made = super().read_inspection(plan, outcomes, listing)
        probe = made.probes["video.mp4"]
        gops = tuple(chunk.frames for chunk in plan.split.chunks)
        video = type(probe.video[0])(
            index=0, codec="h264", width=128, height=72, frame_rate=Fraction(30), frames=300, end=Fraction(10),
            keyframes=tuple(Fraction(chunk.first, 30) for chunk in plan.split.chunks), gops=gops,
        )  # fmt: skip
        return type(made)(
            probes={"video.mp4": type(probe)(formats=("mp4",), duration=Fraction(10), video=(video,))},
            sizes=made.sizes,
        )


def spec(media, **parameters):
    return {
        "input": str(media / "film.mp4"),
        "output": None,
        "overwrite": False,
        "engine": "ffmpeg",
        "profile": {**PROFILE, "gop_s": 1},
        "parameters": {"chunks": "always", **parameters},
    }


def farm(scenario, tmp_path, **terms):
    async def main():
        media = tmp_path / "media"
        media.mkdir()
        (media / "film.mp4").write_text("video")
        with FakeMaster() as master:
            engine = ChunkEngine(tmp_path / "engine")
            async with running(master, tmp_path, [engine.source()], roots=[media], **terms):
                await scenario(master, engine, master.add(spec(media)))

    asyncio.run(main())


def test_chunks_run_side_by_side_within_their_bound_and_report_as_one(tmp_path):
    async def scenario(master, engine, task):
        # One core: two chunks at once, the third waits for a turn, the light command does not.
        assert await engine.begin(3) == [0, 1, 3]
        engine.tell_chunk(3, "finish")
        await gone(engine.children[3])
        engine.tell_chunk(1, "finish")
        assert await engine.begin(1) == [2]
        # 10 and 10 frames of those that run, 100 of the one that has ended.
        await master.until(lambda: task.reports and task.reports[-1].frame == 120)
        assert 0.02 + 0.94 * 0.39 < task.reports[-1].fraction < 0.02 + 0.94 * 0.41
        assert not engine.joined
        engine.tell_chunk(0, "finish")
        engine.tell_chunk(2, "finish")
        await ended(master, task)
        assert task.state == "completed", task.failure
        assert engine.joined
        proof = task.facts["proof"]
        assert sum(proof["files"][0]["frames_of_chunks"]) == 300
        assert {name for _, name in master.stored} == {"video.mp4", "proof.json"}
        assert "their headers are equal" in task.log

    farm(scenario, tmp_path)


def test_pause_and_cancel_reach_every_chunk(tmp_path):
    async def scenario(master, engine, task):
        await engine.begin(3)
        master.change(task, state="paused", paused=True)
        await master.until(lambda: task.reports and task.reports[-1].paused)
        assert all(read_process(pid).stopped for pid in engine.children.values())
        master.change(task, state="processing", paused=False)
        await master.until(lambda: not task.reports[-1].paused)
        assert not any(read_process(pid).stopped for pid in engine.children.values())
        master.change(task, state="canceled")
        for pid in engine.children.values():
            await gone(pid)
        assert task.state == "canceled"
        assert not engine.joined

    farm(scenario, tmp_path)


def test_a_chunk_that_fails_ends_the_others_and_says_why_itself(tmp_path):
    async def scenario(master, engine, task):
        await engine.begin(3)
        engine.tell_chunk(1, "fail")
        await ended(master, task)
        for pid in engine.children.values():
            await gone(pid)
        assert task.state == "failed"
        assert task.failure[0] == "engine"
        assert task.failure[1] == "ended with 3: ['chunk 1 broke']"
        assert not engine.joined

    farm(scenario, tmp_path)


def test_a_failure_is_judged_by_what_its_own_chunk_said(tmp_path):
    async def scenario(master, engine, task):
        await engine.begin(3)
        engine.tell_chunk(1, "grumble")
        assert await engine.heard() == "grumbled"
        # Only when the master has the line has it surely been taken in before what follows.
        await master.until(lambda: "chunk 1 grumbles" in task.log)
        engine.tell_chunk(0, "fail")
        await ended(master, task)
        assert task.failure[1] == "ended with 3: ['chunk 0 broke']"

    farm(scenario, tmp_path)


def test_a_chunk_that_stands_still_ends_the_task(tmp_path):
    async def scenario(master, engine, task):
        await engine.begin(3)
        await ended(master, task)
        assert task.failure[0] == "stalled"
        for pid in engine.children.values():
            await gone(pid)

    farm(scenario, tmp_path, stall_s=0.8)


@pytest.mark.parametrize("chunks", ["always", "never"])
def test_a_real_film_is_delivered_with_its_proof(tmp_path, chunks):
    async def main():
        media = tmp_path / "media"
        media.mkdir()
        with FakeMaster() as master:
            async with running(master, tmp_path, [ffmpeg_source()], roots=[media], cores=2):
                source = film(media / "film.mp4", seconds=3)
                profile = {**PROFILE, "gop_s": 0.5, "audio": [{"codec": "aac"}]}
                wanted = {**spec(media, chunks=chunks), "input": str(source), "profile": profile}
                task = await ended(master, master.add(wanted))
                assert task.state == "completed", task.log
                proof = task.facts["proof"]
                assert len(proof["chunks"]) == (0 if chunks == "never" else 2)
                assert proof["files"][0]["frames"] == {"planned": 75, "found": 75}
                assert [one.name for one in task.outputs] == ["video.mp4", "proof.json"]

    asyncio.run(main())
