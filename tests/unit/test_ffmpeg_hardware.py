"""Golden tests: how the encoders of graphics cards are told what to do, and who may be taken for what."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from millrace.domain.media.chunks import with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.parameters import with_parameters
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.media.split import Chunking
from millrace.engines.ffmpeg import encoders
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.profiles import named

RATE = Fraction(25)
STREAM = VideoStream(index=0, codec="h264", width=640, height=360, frame_rate=RATE, frames=500, end=500 / RATE)
PROBE = Probe(formats=("matroska",), duration=Fraction(20), video=(STREAM,))
SOURCE, OUT, WORK = Path("/films/a.mkv"), Path("/jobs/7/out"), Path("/jobs/7/pieces")
CLOSED = {
    "qsv": ["-flags", "+cgop", "-adaptive_i", "0", "-adaptive_b", "0", "-forced_idr", "1"],
    "vaapi": ["-flags", "+cgop", "-idr_interval", "0"],
}
CARD = ["-init_hw_device", "vaapi=card", "-filter_hw_device", "card"]


def profile_of(*videos: dict[str, Any]) -> Any:
    rungs = [{"name": f"r{number}", "video": video} for number, video in enumerate(videos)]
    return profile_from({"name": "t", "packaging": "mkv", "renditions": rungs, "gop_s": 2})


def planned(*videos: dict[str, Any]) -> Plan:
    return plan(profile_of(*videos), PROBE)


def argv_of(*videos: dict[str, Any], working: str) -> list[str]:
    (command,) = FFmpeg("ffmpeg", working=[working]).encode(planned(*videos), SOURCE, OUT, WORK)
    return list(command.argv)


@pytest.mark.parametrize(
    ("video", "encoder", "options"),
    [
        ({"crf": 23}, "h264_qsv", ["-preset", "veryfast", "-global_quality", "23"]),
        ({"crf": 23, "preset": "slow", "maxrate": "2M"}, "h264_qsv", ["-preset", "slow", "-global_quality", "23", "-maxrate", "2000000", "-bufsize", "4000000"]),
        ({"codec": "h265", "bitrate": "1M", "mode": "cbr"}, "hevc_qsv", ["-preset", "fast", "-b:v", "1000000", "-maxrate", "1000000", "-bufsize", "1000000"]),
        ({"crf": 23}, "h264_vaapi", ["-rc_mode", "CQP", "-global_quality", "23"]),
        ({"crf": 23, "maxrate": "2M"}, "h264_vaapi", ["-rc_mode", "QVBR", "-global_quality", "23", "-b:v", "2000000", "-maxrate", "2000000", "-bufsize", "4000000"]),
        ({"codec": "av1", "crf": 30}, "av1_vaapi", ["-rc_mode", "CQP", "-global_quality", "120"]),
        ({"bitrate": "1M"}, "h264_vaapi", ["-rc_mode", "VBR", "-b:v", "1000000"]),
    ],
)  # fmt: skip
def test_each_family_is_told_in_its_own_way(video: dict[str, Any], encoder: str, options: list[str]) -> None:
    argv, family = argv_of({**video, "encoder": "hardware"}, working=encoder), encoder.rpartition("_")[2]
    begin, keys = argv.index("-c:v"), argv.index("-g")
    assert argv[begin + 1 : keys] == [encoder, *options]
    assert argv[keys : keys + 6 + len(CLOSED[family])] == [
        *("-g", "50", "-keyint_min", "50", "-force_key_frames", "expr:eq(mod(n,50),0)"), *CLOSED[family]
    ]  # fmt: skip
    assert (argv[argv.index("explode") + 1 :][:4] == CARD) == (family == "vaapi")


def test_what_lies_in_the_memory_of_a_card_is_not_scaled_again() -> None:
    rungs = [{"height": height, "codec": "h265", "bit_depth": 10, "encoder": "vaapi"} for height in (360, 180)]
    argv = argv_of(*rungs, working="hevc_vaapi")
    assert argv[argv.index("-filter_complex") + 1] == (
        "[0:0]fps=25:start_time=0,scale=640:360:flags=bicubic,setsar=1,split=2[d0][s0];[d0]format=p010le,hwupload[v0];"
        "[s0]scale=320:180:flags=bicubic,setsar=1,format=p010le,hwupload[v1]"
    )


def test_software_goes_first_unless_a_card_is_asked_for() -> None:
    every = ["libx264", "h264_nvenc", "h264_qsv", "h264_vaapi"]
    for word, names in {
        "auto": every, "hardware": every[1:], "nvenc": every[1:2], "qsv": every[2:3], "vaapi": every[3:],
    }.items():  # fmt: skip
        (rung,) = profile_of({"encoder": word}).renditions
        assert list(encoders.candidates(rung.video)) == names
        assert encoders.chosen(rung.video, every) == names[0]
    assert encoders.candidates_of(profile_of({"encoder": "qsv"})) == (("h264_qsv",),)
    assert encoders.streams_of(profile_of({"encoder": "qsv"}, {"encoder": "qsv", "height": 180})) == {"h264_qsv": 2}


def test_a_card_is_asked_for_by_profile_or_by_parameter_and_comes_back_as_it_went() -> None:
    changed, _ = with_parameters(named("web-hls"), {"encoder": "vaapi"})
    assert {str(rung.video.encoder) for rung in changed.renditions} == {"vaapi"}
    assert profile_from(to_document(changed)) == changed
    assert "encoder" not in str(to_document(named("web-hls")))


@pytest.mark.parametrize(
    ("video", "text"),
    [
        ({"codec": "vp9", "encoder": "nvenc"}, "'nvenc'; allowed: auto, hardware, qsv, vaapi"),
        ({"encoder": "gpu"}, "'gpu'; allowed: auto, hardware, nvenc, qsv, vaapi"),
        ({"encoder": "qsv", "bitrate": "1M", "passes": 2}, "allowed with nvenc"),
    ],
)
def test_what_no_card_makes_is_refused(video: dict[str, Any], text: str) -> None:
    packaging = "webm" if video.get("codec") == "vp9" else "mkv"
    with pytest.raises(ProfileError, match=text):
        profile_from({"name": "t", "packaging": packaging, "renditions": [{"video": video}], "audio": "none"})


def test_a_film_that_a_card_encodes_is_not_cut() -> None:
    made = planned({"encoder": "nvenc"})
    found = with_split(made, PROBE, cores=4, chunking=Chunking.ALWAYS, helpers=3)
    assert found.split.is_whole
    assert found.split.reason == "whole: each chunk would take sessions of the graphics card that encodes it"
    assert not with_split(planned({}), PROBE, cores=4, chunking=Chunking.ALWAYS).split.reason.endswith("encodes it")


def test_a_proof_takes_the_options_of_real_work() -> None:
    argv = encoders.proof("ffmpeg", "h264_vaapi").argv
    assert argv[argv.index("-init_hw_device") :][:4] == tuple(CARD)
    assert argv[argv.index("-vf") :] == (
        *("-vf", "format=nv12,hwupload", "-c:v", "h264_vaapi", "-rc_mode", "CQP", "-global_quality", "22"),
        *CLOSED["vaapi"], "-f", "null", "-",
    )  # fmt: skip
    assert "-init_hw_device" not in encoders.proof("ffmpeg", "h264_nvenc").argv
    assert "-init_hw_device" in encoders.session("ffmpeg", "h264_vaapi").argv
