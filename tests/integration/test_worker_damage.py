"""A worker with the real FFmpeg and films that are damaged, or that somebody writes to while they are read."""

import asyncio
import json
import subprocess

import pytest
from fake_master import FakeMaster
from farm_worker import FFMPEG, ffmpeg_source, running

from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.process.sandbox import Demand
from millrace.worker.proofs import EngineSource

TINY = {
    "name": "tiny",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "preset": "ultrafast", "crf": 16}}],
    "audio": [{"codec": "aac"}],
    "gop_s": 1,
}


def spec(source, out, **fields):
    base = {"overwrite": False, "engine": "ffmpeg", "profile": TINY, "parameters": {}}
    return {**base, "input": str(source), "output": str(out), **fields}


def farm(scenario, tmp_path, *, engine=None, **terms):
    async def main():
        with FakeMaster() as master:
            async with running(
                master, tmp_path, [engine or ffmpeg_source()], roots=[tmp_path / "media"], sandbox=Demand.OFF, **terms
            ):
                await scenario(master)

    asyncio.run(main())


async def ended(master, task):
    await master.until(lambda: task.state in ("completed", "failed"), "the end of the task")
    return task


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Six seconds with a key frame each second."""
    path = tmp_path_factory.mktemp("sound") / "film.mp4"
    clip = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x90:rate=25:duration=6",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=6:sample_rate=48000",
    ]
    how = [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-g",
        "25",
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        "-movflags",
        "+faststart",
    ]
    subprocess.run([FFMPEG, "-v", "error", *clip, *how, str(path)], check=True)
    return path


@pytest.fixture
def film(tmp_path, sound):
    """A copy below the allowed root."""
    (tmp_path / "media").mkdir()
    path = tmp_path / "media" / "film.mp4"
    path.write_bytes(sound.read_bytes())
    return path


def spoil(path):
    """The last third of the second second's key frame and all that follows it in the file for 2000 bytes."""
    read = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v", "-c", "copy"]
    listed = subprocess.run([*read, "-f", "framecrc", "-"], capture_output=True, text=True, check=True).stdout
    sizes = [int(line.split(",")[4]) for line in listed.splitlines() if not line.startswith("#")]
    stored = subprocess.run([*read, "-f", "data", "-"], capture_output=True, check=True).stdout
    key = stored[sum(sizes[:50]) : sum(sizes[:51])]
    data = bytearray(path.read_bytes())
    at = data.find(key)
    assert at > 0
    data[at + len(key) // 3 : at + len(key)] = bytes(len(key) - len(key) // 3)
    path.write_bytes(data)


def test_a_damaged_film_fails_with_the_second_and_a_sound_one_is_not_looked_through(tmp_path, film):
    async def scenario(master):
        good = await ended(master, master.add(spec(film, film.parent / "good")))
        assert good.failure is None, good.log
        assert "look for damage" not in good.log
        assert "damage" not in good.facts
        spoil(film)
        bad = await ended(master, master.add(spec(film, film.parent / "bad")))
        assert bad.failure[0] == "input"
        damage = bad.facts["damage"]
        (place,) = damage["places"]
        # Some pictures before the key frame wait in the decoder when that fails.
        assert 1.5 <= place["from_s"] <= 2.0
        assert (place["type"], place["to_s"], damage["count"], damage["on_damage"]) == ("video", 3.0, 1, "fail")
        assert bad.failure[1].endswith(f"Damaged: video from {place['from_s']:.3f} to 3.000 s.")
        assert not (film.parent / "bad").exists()

    farm(scenario, tmp_path)


@pytest.mark.parametrize(("on_damage", "chunks"), [("conceal", "never"), ("cut", "always")])
def test_what_the_job_says_is_made_of_it_and_proven(tmp_path, film, on_damage, chunks):
    async def scenario(master):
        spoil(film)
        out = film.parent / "out"
        job = spec(film, out, parameters={"on_damage": on_damage, "chunks": chunks})
        task = await ended(master, master.add(job))
        assert task.failure is None, task.log
        proof = json.loads((out / "proof.json").read_text())
        assert proof["damage"] == task.facts["damage"]
        assert proof["damage"]["on_damage"] == on_damage
        (place,) = proof["damage"]["places"]
        frames = 150 - (round((place["to_s"] - place["from_s"]) * 25) if on_damage == "cut" else 0)
        assert (proof["frames"], proof["files"][0]["frames"]) == (frames, {"planned": frames, "found": frames})
        assert proof["division"].startswith("whole: ")
        assert any(note.startswith("The input is damaged") for note in task.facts["plan"]["notes"])

    farm(scenario, tmp_path, cores=2)


WRITES = {
    "appended": 'printf more >> "$FILM"',
    "overwritten": 'printf more | dd of="$FILM" bs=1 seek=100000 conv=notrunc 2>/dev/null',
    "replaced": 'cp "$FILM" "$FILM.new"; mv "$FILM.new" "$FILM"',
    "gone": 'rm "$FILM"',
}


@pytest.mark.parametrize("how", WRITES)
def test_a_film_that_changes_while_it_is_read_is_never_completed(tmp_path, film, how):
    # Whoever encodes is the one that writes, so that it surely happens meanwhile.
    engine = tmp_path / "ffmpeg"
    engine.write_text(
        f'#!/bin/sh\nFILM="{film}"\n"{FFMPEG}" "$@"\nstatus=$?\ncase "$*" in *filter_complex*) {WRITES[how]};; esac\nexit $status\n'
    )
    engine.chmod(0o755)
    encoders = ("libx264", "aac")
    source = EngineSource(
        name="ffmpeg", binary=engine, encoders=encoders, bind=lambda working: FFmpeg(engine, working=working)
    )

    async def scenario(master):
        task = await ended(master, master.add(spec(film, film.parent / "out")))
        assert task.state == "failed", task.log
        assert task.failure[0] == "input"
        assert "the input changed while it was read" in task.failure[1]
        assert not (film.parent / "out").exists()

    farm(scenario, tmp_path, engine=source)


def test_damage_of_a_film_that_was_written_to_is_told_as_that(tmp_path, film):
    engine = tmp_path / "ffmpeg"
    noise = f'dd if=/dev/urandom of="{film}" bs=1000 seek=30 count=30 conv=notrunc 2>/dev/null'
    engine.write_text(f'#!/bin/sh\ncase "$*" in *filter_complex*) {noise};; esac\nexec "{FFMPEG}" "$@"\n')
    engine.chmod(0o755)
    source = EngineSource(
        name="ffmpeg", binary=engine, encoders=("libx264", "aac"), bind=lambda working: FFmpeg(engine, working=working)
    )

    async def scenario(master):
        job = spec(film, film.parent / "out", parameters={"on_damage": "conceal"})
        task = await ended(master, master.add(job))
        assert task.failure[0] == "input"
        assert "the input changed while it was read, it was written to" in task.failure[1]

    farm(scenario, tmp_path, engine=source)
