"""A worker that compares what it made with the source, and that searches for a quality, with the real FFmpeg."""

import asyncio
import json
import re
import subprocess

from fake_master import FakeMaster
from farm_worker import FFMPEG, running
from msgspec.structs import replace
from test_worker_ffmpeg import ended, farm, film, spec
from test_worker_reuse import cache

from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.worker.proofs import EngineSource

QUICK = {"codec": "h264", "height": 72, "preset": "ultrafast"}


def profile(video, **checks):
    return {
        "name": "t",
        "packaging": "mp4",
        "gop_s": 1,
        "renditions": [{"video": {**QUICK, **video}}],
        "checks": checks,
    }


def job(source, out, video, **checks):
    return spec(input=str(source), output=str(out), profile=profile(video, **checks))


def test_the_vmaf_of_a_rendition_is_proven_and_told(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4")
        wanted = {"min_mean": 80, "every": 2}
        task = await ended(master, master.add(job(source, media / "out", {"crf": 12}, vmaf=wanted)))
        assert task.failure is None, task.log
        (file,) = [
            one for one in json.loads((media / "out" / "proof.json").read_bytes())["files"] if one["type"] == "video"
        ]
        found = file["vmaf"]
        assert (found["model"], found["compared_at"], found["every"], found["frames"]) == (
            "vmaf_v0.6.1",
            "1920x1080",
            2,
            13,
        )
        assert 80 < found["worst"]["vmaf"] <= found["one_percent_low"] <= found["harmonic_mean"] <= found["mean"] <= 100
        assert found["worst"]["at_s"] == found["worst"]["frame"] / 25
        assert task.facts["proof"]["files"][0]["vmaf"] == found
        assert "quality: video.mp4: VMAF" in task.log
        assert not (media / "out" / "quality").exists()

    farm(scenario, tmp_path)


def test_a_bad_encode_fails_on_its_floor_and_publishes_nothing(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4")
        task = await ended(
            master, master.add(job(source, media / "out", {"crf": 51}, vmaf={"min_one_percent_low": 90}))
        )
        assert task.state == "failed"
        assert task.failure[0] == "output"
        assert "the quality is not what was asked for: video.mp4 has a VMAF of" in task.failure[1]
        assert "(1 % low); wanted: at least 90 (worst at " in task.failure[1]
        assert not (media / "out").exists()

    farm(scenario, tmp_path)


class Hasty(FFmpeg):
    """Compares the first frames only, as a comparison does whose one side ends early."""

    def compare(self, plan, file, **places):
        command = super().compare(plan, file, **places)
        short = [part.replace("[1:v:0]", "[1:v:0]trim=end_frame=5,") for part in command.argv]
        return replace(command, argv=tuple(short))


def test_a_comparison_that_misses_frames_proves_nothing(tmp_path):
    hasty = EngineSource(
        name="ffmpeg", binary=FFMPEG, encoders=("libx264",), bind=lambda working: Hasty(FFMPEG, working=working)
    )

    async def main():
        with FakeMaster() as master:
            async with running(master, tmp_path, [hasty], roots=[tmp_path]):
                wanted = job(source, tmp_path / "out", {"crf": 12}, vmaf=True)
                task = await ended(master, master.add(wanted))
                assert task.failure[0] == "output"
                # The filter may be a few frames ahead of the five that are taken of it.
                words = r"cannot prove the quality of video\.mp4: \d+ frames were compared, where 25"
                assert re.match(words, task.failure[1]), task.failure
                assert not (tmp_path / "out").exists()

    source = film(tmp_path / "film.mp4")
    asyncio.run(main())


def test_two_passes_of_a_worker(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4", seconds=2)
        task = await ended(master, master.add(job(source, media / "out", {"bitrate": 60_000, "passes": 2})))
        assert task.failure is None, task.log
        assert " -pass 1 " in task.log
        assert " -pass 2 " in task.log
        assert sorted(path.name for path in (media / "out").iterdir()) == [".millrace.json", "proof.json", "video.mp4"]

    farm(scenario, tmp_path)


def test_two_passes_that_were_made_before_are_not_made_again(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4", seconds=2)
        made = []
        for out, bitrate in (("one", 60_000), ("two", 60_000), ("three", 70_000)):
            task = await ended(master, master.add(job(source, media / out, {"bitrate": bitrate, "passes": 2})))
            assert task.failure is None, task.log
            made.append((task.log.count(" -pass "), (media / out / "video.mp4").read_bytes()))
        assert [passes for passes, _ in made] == [2, 0, 2]
        assert made[0][1] == made[1][1] != made[2][1]
        (reused,) = json.loads((media / "two" / "proof.json").read_bytes())["reused"]
        assert reused["piece"] == "all files"

    farm(scenario, tmp_path, cache=cache(tmp_path))


def soft(path, *, seconds=1, crf=23):
    """A film without edges: what small renditions lose is little."""
    clip = ["-f", "lavfi", "-i", f"testsrc2=size=128x72:rate=25:duration={seconds},gblur=sigma=3"]
    made = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", str(crf), "-g", "25", str(path)]
    subprocess.run([FFMPEG, "-v", "error", *clip, *made], check=True)
    return path


def test_a_quality_is_searched_kept_and_proven(tmp_path):
    async def scenario(master, media):
        source = soft(media / "film.mp4", seconds=3)
        wanted = job(source, media / "out", {"quality": {"vmaf": 85, "probes": 3}}, vmaf={"every": 5})
        wanted["parameters"] = {"chunks": "always"}
        task = await ended(master, master.add(wanted))
        assert task.failure is None, task.log
        (file,) = [one for one in task.facts["proof"]["files"] if one["type"] == "video"]
        search = file["search"]
        assert 2 <= len(search["probes"]) <= 3
        assert search["shortfall"] == ""
        assert search["crf"] == task.facts["plan"]["files"][0]["video"]["settings"]["crf"]
        assert abs(file["vmaf"]["mean"] - 85) < 5
        assert f"plan: 72p: CRF {search['crf']:g} is taken, which is expected to give VMAF" in task.log
        assert task.facts["plan"]["notes"][0].startswith(f"72p: CRF {search['crf']:g} is taken")
        assert len(task.facts["plan"]["chunks"]) > 1

    farm(scenario, tmp_path)


def test_what_probes_found_is_found_once(tmp_path):
    async def scenario(master, media):
        source = soft(media / "film.mp4", seconds=2)
        found = []
        for vmaf in (85, 85, 80):
            wanted = job(source, media / f"out{len(found)}", {"quality": {"vmaf": vmaf, "probes": 3}})
            task = await ended(master, master.add(wanted))
            assert task.failure is None, task.log
            (file,) = [one for one in task.facts["proof"]["files"] if one["type"] == "video"]
            crfs = {one["crf"] for one in file["search"]["probes"]}
            known = {float(crf) for crf in re.findall(r"quality: 72p with CRF ([\d.]+) was tried before", task.log)}
            tried = {float(crf) for crf in re.findall(r"try CRF ([\d.]+) of 72p", task.log)}
            assert (known | tried, known & tried) == (crfs, set())
            found.append((file["search"], known, tried))
        assert (found[0][1], found[1][2]) == (set(), set())
        assert found[1][0] == found[0][0]
        assert found[2][1] <= found[0][2]
        assert found[2][2], "another quality takes other probes"
        # Another film has its own.
        task = await ended(
            master, master.add(job(film(media / "b.mp4"), media / "b", {"quality": {"vmaf": 85, "probes": 3}}))
        )
        assert task.failure is None, task.log
        assert "was tried before" not in task.log

    farm(scenario, tmp_path, cache=cache(tmp_path))


def test_a_rendition_takes_no_more_than_its_source_has(tmp_path):
    async def scenario(master, media):
        source = soft(media / "film.mp4", seconds=2, crf=45)
        task = await ended(master, master.add(job(source, media / "out", {"quality": {"vmaf": 99}})))
        assert task.failure is None, task.log
        assert "the source's own rate of" in task.facts["proof"]["files"][0]["search"]["shortfall"]

    farm(scenario, tmp_path)


def test_renditions_that_add_nothing_are_left_out_with_the_reason(tmp_path):
    """Three rungs of one film: the middle one costs nearly as much as the largest, and looks nearly as bad as the smallest."""

    async def scenario(master, media):
        source = soft(media / "film.mp4")
        # Each at the one CRF that it may have.
        rungs = [
            {
                "name": name,
                "video": {**QUICK, "height": height, "quality": {"vmaf": 60, "min_crf": crf, "max_crf": crf}},
            }
            for name, height, crf in (("large", 72, 24), ("middle", 64, 28), ("small", 36, 32))
        ]
        ladder = {"name": "t", "packaging": "cmaf", "segment_s": 1, "renditions": rungs, "per_title": True}
        task = await ended(master, master.add(spec(input=str(source), output=str(media / "out"), profile=ladder)))
        assert task.failure is None, task.log
        assert {path.name for path in (media / "out").iterdir() if path.is_dir()} == {"large", "small"}
        playlist = (media / "out" / "master.m3u8").read_text()
        assert "large/index.m3u8" in playlist
        assert "middle/index.m3u8" not in playlist
        (note,) = [one for one in task.facts["plan"]["notes"] if one.startswith("Left out: ")]
        assert note.startswith("Left out: middle (VMAF ")
        assert "no more than switching between large" in note

    farm(scenario, tmp_path)


def test_what_cannot_be_reached_is_taken_with_a_word_or_refused_as_the_profile_says(tmp_path):
    async def scenario(master, media):
        source = film(media / "film.mp4")
        for unreachable in ("best", "refuse"):
            quality = {"vmaf": 99, "min_crf": 45, "max_crf": 45, "unreachable": unreachable}
            task = await ended(master, master.add(job(source, media / unreachable, {"quality": quality})))
            assert "min_crf 45 allows no better quality" in task.log
            if unreachable == "best":
                assert task.failure is None, task.log
                assert task.facts["proof"]["files"][0]["search"]["shortfall"]
            else:
                assert task.failure[0] == "request"
                assert task.failure[1].startswith(
                    "cannot make 72p as good as VMAF 99: min_crf 45 allows no better quality"
                )
                assert not (media / unreachable).exists()

    farm(scenario, tmp_path)
