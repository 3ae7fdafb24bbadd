"""A worker with the real FFmpeg, from the claim to the published output."""

import asyncio
import os
import subprocess

import pytest
from fake_master import FakeMaster
from farm_worker import FFMPEG, ffmpeg_source, running
from msgspec.structs import replace

from millrace.domain.media.profile_document import to_document
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.profiles import named
from millrace.process.sandbox import Demand
from millrace.runtime.clock import SystemClock
from millrace.worker.ahead import Ahead
from millrace.worker.attempt_log import Notes
from millrace.worker.engine_run import Engines
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.proofs import EngineSource

TINY = {
    "name": "tiny",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "height": 72, "preset": "ultrafast"}}],
}


def spec(**fields):
    base = {"input": None, "output": None, "overwrite": False, "engine": "ffmpeg", "profile": TINY, "parameters": {}}
    return {**base, **fields}


def farm(scenario, tmp_path, **terms):
    async def main():
        (tmp_path / "media").mkdir(exist_ok=True)
        with FakeMaster() as master:
            async with running(master, tmp_path, [ffmpeg_source()], roots=[tmp_path / "media"], **terms):
                await scenario(master, tmp_path / "media")

    asyncio.run(main())


def film(path, *, seconds=1):
    clip = [f"testsrc2=size=128x72:rate=25:duration={seconds}", f"sine=duration={seconds}:sample_rate=48000"]
    inputs = [part for one in clip for part in ("-f", "lavfi", "-i", one)]
    command = [FFMPEG, "-v", "error", *inputs, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)]
    subprocess.run(command, check=True)
    return path


async def ended(master, task):
    await master.until(lambda: task.state in ("completed", "failed"), "the end of the task")
    return task


def test_a_generated_clip_is_delivered_to_a_folder(tmp_path):
    async def scenario(master, media):
        task = await ended(master, master.add(spec(output=str(media / "out"), parameters={"duration_s": 1})))
        assert task.failure is None, task.log
        assert (media / "out" / "video.mp4").stat().st_size == task.outputs[0].size
        assert task.outputs[0].location == str(media / "out" / "video.mp4")
        assert task.outputs[0].streams[0]["frames"] == 30

    farm(scenario, tmp_path)


def test_a_file_becomes_a_ladder_at_the_master(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4")
        task = await ended(master, master.add(spec(input=str(source), profile=to_document(named("web-hls")))))
        assert task.failure is None, task.log
        names = {one.name for one in task.outputs}
        assert {"master.m3u8"} < names
        assert {name for _, name in master.stored} == names
        assert any(one.streams and one.streams[0]["type"] == "video" for one in task.outputs)
        assert task.facts["probe"]["streams"][0]["frames"] == 25
        assert b"#EXTM3U" in master.stored[(task.id, "master.m3u8")]

    farm(scenario, tmp_path)


def test_bad_inputs_fail_with_their_class_and_their_log(tmp_path):
    async def scenario(master, media):
        (media / "text.mp4").write_text("this is no film\n" * 100)
        whole = film(media / "film.mp4").read_bytes()
        (media / "short.mp4").write_bytes(whole[: len(whole) // 2])
        for name in ("text.mp4", "short.mp4"):
            task = await ended(master, master.add(spec(input=str(media / name))))
            assert task.state == "failed", name
            assert task.failure[0] == "input", (name, task.failure)
            assert f"failed (input): {task.failure[1]}" in task.log

    farm(scenario, tmp_path)


class Wasteful(FFmpeg):
    """Needs more memory than there is, unless it is to spare it."""

    def probe(self, source, *, sparing=False):
        command = super().probe(source, sparing=sparing)
        lacks = ("/bin/sh", "-c", "echo 'x: Cannot allocate memory' >&2; exit 244")
        return command if sparing else replace(command, argv=lacks)


def test_a_film_that_takes_too_much_memory_is_described_with_less(tmp_path):
    wasteful = EngineSource(name="ffmpeg", binary=FFMPEG, encoders=("libx264",), bind=lambda _: Wasteful(FFMPEG))

    async def main():
        with FakeMaster() as master:
            async with running(master, tmp_path, [wasteful], roots=[tmp_path]):
                wanted = spec(input=str(film(tmp_path / "film.mp4")), output=str(tmp_path / "out"))
                task = await ended(master, master.add(wanted))
                assert task.failure is None, task.log
                found = task.facts["probe"]
                assert found["streams"][0]["frames"] == 25
                assert found["size"] == (tmp_path / "film.mp4").stat().st_size

    asyncio.run(main())


def probes(log, number=1):
    """When each probe of a log began, and when the attempt did. `number` is that of the job."""
    lines = log.splitlines()
    begun = [line.partition(" ")[0] for line in lines if f"Z probe: {FFMPEG}" in line]
    return begun, next(line.partition(" ")[0] for line in lines if f"Z job {number}, attempt 1" in line)


@pytest.mark.parametrize("sandbox", [Demand.OFF, Demand.AUTO])
def test_an_input_that_is_expected_is_probed_before_its_task_and_once(tmp_path, sandbox):
    (tmp_path / "media").mkdir()
    source = film(tmp_path / "media" / "film.mp4")

    async def scenario(master, media):
        task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"))))
        assert task.failure is None, task.log
        (probed,), began = probes(task.log)
        assert probed < began
        assert task.facts["probe"]["streams"][0]["frames"] == 25
        # What was found is for one task: the film may be another one by the next.
        again = await ended(master, master.add(spec(input=str(source), output=str(media / "again"))))
        assert again.failure is None, again.log
        (probed,), began = probes(again.log, 2)
        assert probed >= began

    farm(scenario, tmp_path, expects=source, sandbox=sandbox)


@pytest.mark.parametrize("expected", ["other.mp4", "none.mp4", "../elsewhere.mp4"])
def test_another_input_than_was_expected_is_probed_like_any(tmp_path, expected):
    (tmp_path / "media").mkdir()
    source = film(tmp_path / "media" / "film.mp4")
    film(tmp_path / "media" / "other.mp4")
    film(tmp_path / "elsewhere.mp4")

    async def scenario(master, media):
        task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"))))
        assert task.failure is None, task.log
        (probed,), began = probes(task.log)
        assert probed >= began

    farm(scenario, tmp_path, expects=tmp_path / "media" / expected)


def test_a_bad_input_that_was_expected_fails_like_any(tmp_path):
    (tmp_path / "media").mkdir()
    source = tmp_path / "media" / "text.mp4"
    source.write_text("this is no film\n" * 100)

    async def scenario(master, media):
        task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"))))
        assert task.failure[0] == "input"
        assert "Invalid data" in task.log or "no video or audio" in task.failure[1], task.log

    farm(scenario, tmp_path, expects=source)


def test_a_probe_that_nobody_asks_for_leaves_nothing_behind(tmp_path):
    async def main():
        clock = SystemClock()
        engines = Engines(clock=clock, alive=EnginesAlive(tmp_path / "engines"))
        slow = Command(argv=("/bin/sleep", "1000"), label="probe")
        ahead = Ahead(slow, engines=engines, clock=clock, folder=tmp_path)
        while not (notes := list((tmp_path / "engines").glob("*.json"))):
            await asyncio.sleep(0)
        await ahead.drop()
        with pytest.raises(ProcessLookupError):
            os.kill(int(notes[0].stem), 0)
        assert await ahead.outcome(Command(argv=("/bin/true",), label="probe"), Notes(clock)) is None

    asyncio.run(main())


def test_a_probe_ahead_that_cannot_be_run_is_left_to_the_task(tmp_path):
    async def main():
        clock = SystemClock()
        engines = Engines(clock=clock, alive=EnginesAlive(tmp_path / "engines"))
        command = Command(argv=(str(tmp_path / "none"),), label="probe")
        notes = Notes(clock)
        assert await Ahead(command, engines=engines, clock=clock, folder=tmp_path).outcome(command, notes) is None
        assert notes.text == ""

    asyncio.run(main())
