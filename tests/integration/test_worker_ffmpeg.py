"""A worker with the real FFmpeg, from the claim to the published output."""

import asyncio
import subprocess

from fake_master import FakeMaster
from farm_worker import FFMPEG, ffmpeg_source, running

from millrace.domain.media.profile_document import to_document
from millrace.engines.profiles import named

TINY = {
    "name": "tiny",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "height": 72, "preset": "ultrafast"}}],
}


def spec(**fields):
    base = {"input": None, "output": None, "overwrite": False, "engine": "ffmpeg", "profile": TINY, "parameters": {}}
    return {**base, **fields}


def farm(scenario, tmp_path):
    async def main():
        (tmp_path / "media").mkdir()
        with FakeMaster() as master:
            async with running(master, tmp_path, [ffmpeg_source()], roots=[tmp_path / "media"]):
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
