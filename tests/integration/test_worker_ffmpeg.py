"""A worker with the real FFmpeg, from the claim to the published output."""

import asyncio

from fake_master import FakeMaster
from farm_worker import ffmpeg_source, running


def spec(profile="128x72p", **fields):
    document = {
        "name": "tiny", "packaging": "mp4", "renditions": [{"video": {"codec": "h264", "height": 72, "preset": "ultrafast"}}],
    }  # fmt: skip
    base = {
        "input": None,
        "output": None,
        "overwrite": False,
        "engine": "ffmpeg",
        "profile": document,
        "parameters": {},
    }
    return {**base, **fields}


def test_a_generated_clip_is_delivered_to_a_folder(tmp_path):
    async def scenario():
        with FakeMaster() as master:
            async with running(master, tmp_path, [ffmpeg_source()], roots=[tmp_path / "media"]):
                out = tmp_path / "media" / "out"
                task = master.add(spec(output=str(out), parameters={"duration_s": 1}))
                await master.until(lambda: task.state in ("completed", "failed"))
                assert task.failure is None, task.log
                print(task.log, task.outputs, task.facts)
                assert (out / "video.mp4").stat().st_size == task.outputs[0].size

    asyncio.run(scenario())
