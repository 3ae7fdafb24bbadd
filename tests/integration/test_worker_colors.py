"""What a worker proves of high dynamic range, with the real FFmpeg: what went in, what came out, and that the job fails where that differs."""

import asyncio
import json
import subprocess

from fake_master import FakeMaster
from farm_worker import FFMPEG, running
from msgspec.structs import replace
from test_worker_ffmpeg import ended, spec

from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.worker.proofs import EngineSource

MASTERED = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
KEPT = {
    "name": "kept",
    "packaging": "mp4",
    "hdr": "keep",
    "renditions": [{"video": {"codec": "h265", "preset": "ultrafast"}}],
}


def hdr_film(path):
    marked = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    clip = ("-f", "lavfi", "-i", f"testsrc2=s=64x36:r=25:d=0.4,format=yuv420p10le,{marked}")
    told = f"log-level=error:max-cll=1000,400:master-display={MASTERED}"
    made = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", told, str(path))
    subprocess.run([FFMPEG, "-v", "error", *clip, *made], check=True)
    return path


class Forgetful(FFmpeg):
    """Once it has begun to forget, it drops all that is said beside the samples."""

    forgets = False

    def encode(self, *args, **places):
        (command,) = super().encode(*args, **places)
        lost = [part.replace("format=yuv420p10le", "sidedata=mode=delete,format=yuv420p10le") for part in command.argv]
        return (replace(command, argv=tuple(lost)) if self.forgets else command,)


def test_the_display_that_a_film_was_mastered_on_is_proven_or_the_job_fails(tmp_path, monkeypatch):
    source = EngineSource(
        name="ffmpeg", binary=FFMPEG, encoders=("libx265",), bind=lambda working: Forgetful(FFMPEG, working=working)
    )
    film = hdr_film(tmp_path / "film.mp4")

    async def main():
        with FakeMaster() as master:
            async with running(master, tmp_path, [source], roots=[tmp_path]):
                good = await ended(
                    master, master.add(spec(input=str(film), output=str(tmp_path / "good"), profile=KEPT))
                )
                assert good.failure is None, good.log
                monkeypatch.setattr(Forgetful, "forgets", True)
                bad = await ended(master, master.add(spec(input=str(film), output=str(tmp_path / "bad"), profile=KEPT)))
        return good, bad

    good, bad = asyncio.run(main())
    proof = json.loads((tmp_path / "good" / "proof.json").read_bytes())
    (went_in,), (came_out,) = proof["source"]["streams"], proof["files"]
    display = {
        "red": [0.68, 0.32],
        "green": [0.265, 0.69],
        "blue": [0.15, 0.06],
        "white": [0.3127, 0.329],
        "luminance": [0.0001, 1000.0],
    }
    for stream in (went_in, came_out):
        assert stream["color"]["mastering_display"] == display
        assert stream["color"]["light_level"] == {"max_cll": 1000, "max_fall": 400}
        assert (stream["color"]["transfer"], stream["color"]["hdr"]) == ("smpte2084", "PQ")
    assert (went_in["frames"], came_out["frames"]) == (10, {"planned": 10, "found": 10})
    assert proof["made_by"] == {
        "node": proof["made_by"]["node"],
        "task": good.task if hasattr(good, "task") else proof["made_by"]["task"],
        "attempt": 1,
        "encoders": ["libx265"],
    }
    assert bad.failure[0] == "output"
    assert "video.mp4 was mastered on a display that it does not tell of; planned, as in the source:" in bad.failure[1]
    assert "has no light levels; planned, as in the source: MaxCLL 1000 and MaxFALL 400 cd/m2" in bad.failure[1]
    assert not (tmp_path / "bad").exists()
