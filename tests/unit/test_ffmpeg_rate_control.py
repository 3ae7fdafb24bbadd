"""Golden tests: how each codec is told to spend its bits, and the commands that look at quality."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan, plan_generated
from millrace.domain.media.probe import AudioStream, Color, Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.samples import ProbeEncode, with_crf
from millrace.domain.media.split import Chunk
from millrace.domain.media.vmaf import measure
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.ffmpeg.reading import playlist, source

ENGINE = FFmpeg("ffmpeg")
RATE = Fraction(25)
PROBE = Probe(
    formats=("matroska",),
    duration=Fraction(10),
    video=(VideoStream(index=0, codec="h264", width=640, height=360, frame_rate=RATE, frames=250, end=250 / RATE),),
    audio=(AudioStream(index=2, codec="ac3", sample_rate=48000, channels=2, end=Fraction(10)),),
)
SOURCE, OUT, WORK = Path("/films/a.mkv"), Path("/jobs/7/out"), Path("/jobs/7/pieces")
START = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-max_alloc", "536870912"]
PROGRESS = ["-progress", "pipe:1", "-stats_period", "0.5"]
STRICT = ["-xerror", "-err_detect", "explode"]
READ = [*source("/films/a.mkv")]


def planned(*videos: dict[str, Any], packaging: str = "mkv", **document: Any) -> Plan:
    rungs = [{"name": f"r{number}", "video": video} for number, video in enumerate(videos)]
    base = {"name": "t", "packaging": packaging, "renditions": rungs, "audio": [{"codec": "opus"}], "gop_s": 2}
    return plan(profile_from({**base, **document}), PROBE)


def options(video: dict[str, Any], working: frozenset[str] | None = None) -> list[str]:
    """What stands between the encoder's name and the key frames, and what comes behind those."""
    (command,) = FFmpeg("ffmpeg", working=working).encode(planned(video), SOURCE, OUT, WORK)
    argv = list(command.argv)
    begin, end = argv.index("-c:v"), argv.index("-map", argv.index("-c:v"))
    keys = argv.index("-g")
    return [*argv[begin + 1 : keys], "...", *argv[keys + 6 : end]]


X264 = ["-sc_threshold", "0", "-flags", "+cgop", "-forced-idr", "1"]
X265 = "log-level=warning:scenecut=0:open-gop=0"
VP9 = ["libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-row-mt", "1"]
CAP = ["-maxrate", "2000000", "-bufsize", "4000000"]
SAME = ["-maxrate", "1000000", "-bufsize", "1000000"]
RATE_OF = ["-b:v", "1000000"]


@pytest.mark.parametrize(
    ("video", "argv"),
    [
        ({"codec": "h264", "crf": 20, "maxrate": "2M"}, ["libx264", "-preset", "veryfast", "-crf", "20", *CAP, "...", *X264]),
        ({"codec": "h264", "bitrate": "1M", "maxrate": "2M"}, ["libx264", "-preset", "veryfast", *RATE_OF, *CAP, "...", *X264]),
        ({"codec": "h264", "bitrate": "1M", "mode": "cbr"}, ["libx264", "-preset", "veryfast", *RATE_OF, *SAME, "-nal-hrd", "cbr", "...", *X264]),
        ({"codec": "h264", "bitrate": "1M", "passes": 2}, ["libx264", "-preset", "veryfast", *RATE_OF, "-pass", "2", "-passlogfile", "/jobs/7/pieces/r0.pass", "...", *X264]),
        ({"codec": "h265", "crf": 20, "maxrate": "2M"}, ["libx265", "-preset", "fast", "-crf", "20", *CAP, "...", "-forced-idr", "1", "-x265-params", X265]),
        ({"codec": "h265", "bitrate": "1M", "mode": "cbr"}, ["libx265", "-preset", "fast", *RATE_OF, *SAME, "...", "-forced-idr", "1", "-x265-params", f"{X265}:strict-cbr=1"]),
        ({"codec": "h265", "bitrate": "1M", "passes": 2}, ["libx265", "-preset", "fast", *RATE_OF, "...", "-forced-idr", "1", "-x265-params", f"{X265}:pass=2:stats=/jobs/7/pieces/r0.pass.log"]),
        ({"codec": "av1", "crf": 30, "maxrate": "2M"}, ["libsvtav1", "-preset", "9", "-crf", "30", *CAP, "...", "-svtav1-params", "scd=0"]),
        ({"codec": "av1", "bitrate": "1M"}, ["libsvtav1", "-preset", "9", *RATE_OF, "...", "-svtav1-params", "scd=0"]),
        ({"codec": "av1", "bitrate": "1M", "mode": "cbr"}, ["libsvtav1", "-preset", "9", *RATE_OF, *SAME, "...", "-svtav1-params", "scd=0:pred-struct=1"]),
        ({"codec": "vp9", "crf": 30}, [*VP9, "-crf", "30", "-b:v", "0", "...", "-flags", "+cgop"]),
        ({"codec": "vp9", "crf": 30, "maxrate": "2M"}, [*VP9, "-crf", "30", "-b:v", "2000000", *CAP, "...", "-flags", "+cgop"]),
        ({"codec": "vp9", "bitrate": "1M", "mode": "cbr"}, [*VP9, *RATE_OF, "-minrate", "1000000", *SAME, "...", "-flags", "+cgop"]),
        ({"codec": "vp9", "bitrate": "1M", "passes": 2}, [*VP9, *RATE_OF, "-pass", "2", "-passlogfile", "/jobs/7/pieces/r0.pass", "...", "-flags", "+cgop"]),
    ],
)  # fmt: skip
def test_each_codec_is_told_its_rate_in_its_own_way(video: dict[str, Any], argv: list[str]) -> None:
    assert options(video) == argv


@pytest.mark.parametrize(
    ("video", "argv"),
    [
        ({"crf": 20, "maxrate": "2M"}, ["-rc", "vbr", "-no-scenecut", "1", "-forced-idr", "1", "-cq", "20", "-b:v", "0", *CAP]),
        ({"bitrate": "1M", "mode": "cbr"}, ["-rc", "cbr", "-no-scenecut", "1", "-forced-idr", "1", *RATE_OF, *SAME]),
        ({"bitrate": "1M", "passes": 2}, ["-rc", "vbr", "-multipass", "fullres", "-no-scenecut", "1", "-forced-idr", "1", *RATE_OF]),
    ],
)  # fmt: skip
def test_an_encoder_of_a_graphics_card_makes_its_passes_by_itself(video: dict[str, Any], argv: list[str]) -> None:
    card = frozenset({"h264_nvenc", "libopus"})
    assert options(video, card) == ["h264_nvenc", "-preset", "p2", *argv, "..."]
    assert FFmpeg("ffmpeg", working=card).first_pass(planned(video), SOURCE, WORK) == ()


def test_one_pass_needs_no_first() -> None:
    assert ENGINE.first_pass(planned({"bitrate": "1M"}), SOURCE, WORK) == ()


def test_the_first_pass_counts_streams_as_the_second_does() -> None:
    ladder = planned({"height": 360, "crf": 20}, {"height": 180, "bitrate": "1M", "passes": 2})
    (first,) = ENGINE.first_pass(ladder, SOURCE, WORK)
    pictures, sound = (["-map", f"0:{stream}", "-c", "copy", "-f", "null", "-"] for stream in (0, 2))
    graph = (
        "[0:0]fps=25:start_time=0,scale=640:360:flags=bicubic,setsar=1,format=yuv420p,split=2[v0][s0];"
        "[s0]scale=320:180:flags=bicubic,setsar=1,format=yuv420p[v1];[v0]nullsink"
    )
    assert list(first.argv) == [
        *(*START, *PROGRESS, *STRICT, *READ, "-filter_complex", graph, *pictures, *sound, "-map", "[v1]"),
        *("-c:v", "libx264", "-preset", "veryfast", "-b:v", "1000000"),
        *("-pass", "1", "-passlogfile", "/jobs/7/pieces/r1.pass"),
        *(
            "-g",
            "50",
            "-keyint_min",
            "50",
            "-force_key_frames",
            "expr:eq(mod(n,50),0)",
            *X264,
            "-f",
            "null",
            "-",
            *sound,
        ),
    ]
    assert (first.cwd, first.writes, first.reads, first.frames) == (WORK, WORK, (SOURCE,), 250)
    (second,) = ENGINE.encode(ladder, SOURCE, OUT, WORK)
    assert second.reads == (SOURCE, WORK)
    assert second.writes == OUT


def test_a_path_with_signs_of_a_list_is_quoted_for_x265() -> None:
    (command,) = ENGINE.encode(planned({"codec": "h265", "bitrate": "1M", "passes": 2}), SOURCE, OUT, Path("/a:b=c'd"))
    assert command.argv[command.argv.index("-x265-params") + 1].endswith(r":stats=/a\:b\=c\'d/r0.pass.log")


def test_a_quality_that_was_not_searched_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="has not been searched"):
        ENGINE.encode(planned({"quality": {"vmaf": 93}}), SOURCE, OUT, WORK)


FIT = "scale=1920:1080:flags=bicubic,setsar=1,format=yuv420p,settb=1/(25),setpts=N"
VMAF = "libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path"
SOUND = ["-map", "0:2", "-c", "copy", "-f", "null", "-"]
END = ["-map", "[v]", "-fps_mode", "passthrough", "-f", "null", "-"]


@pytest.mark.parametrize(("packaging", "path"), [("mkv", "video.mkv"), ("cmaf", "r0/index.m3u8")])
def test_a_comparison(packaging: str, path: str) -> None:
    audio = "opus" if packaging == "mkv" else "aac"
    made = planned({}, packaging=packaging, checks={"vmaf": {"every": 3}}, audio=[{"codec": audio}], segment_s=2)
    command = ENGINE.compare(made, made.files[0], source=SOURCE, folder=OUT, work=WORK, cores=4)
    read = playlist(f"/jobs/7/out/{path}") if packaging == "cmaf" else source(f"/jobs/7/out/{path}")
    graph = (
        f"[0:0]fps=25:start_time=0,{FIT}[r];[1:v:0]{FIT}[d];"
        f"[d][r]{VMAF}=r0.vmaf.json:n_threads=4:n_subsample=3:shortest=1[v]"
    )
    assert list(command.argv) == [
        *START,
        *PROGRESS,
        *STRICT,
        *READ,
        *STRICT,
        *read,
        "-filter_complex",
        graph,
        *END,
        *SOUND,
    ]
    assert (command.cwd, command.writes, command.reads, command.frames) == (WORK, WORK, (SOURCE, OUT), 250)


@pytest.mark.parametrize(("hdr", "tonemaps"), [("tonemap", 1), ("keep", 2)])
def test_the_source_goes_through_the_filters_of_the_plan_and_is_compared_in_standard_range(
    hdr: str, tonemaps: int
) -> None:
    (stream,) = PROBE.video
    hard = replace(stream, field_order="tt", color=Color(transfer="smpte2084", primaries="bt2020", space="bt2020nc"))
    document = {
        "name": "t",
        "packaging": "mkv",
        "renditions": [{"video": {"codec": "h265", "bit_depth": 10}}],
        "hdr": hdr,
    }
    made = plan(profile_from(document), replace(PROBE, video=(hard,)))
    argv = ENGINE.compare(made, made.files[0], source=SOURCE, folder=OUT, work=WORK, cores=1).argv
    graph = argv[argv.index("-filter_complex") + 1]
    assert graph.startswith("[0:0]bwdif=mode=send_frame:parity=auto:deint=all,fps=25")
    assert graph.count("format=yuv420p10le") == 2
    assert graph.count("tonemap=tonemap=") == tonemaps


def test_a_probe_encode_and_its_comparison() -> None:
    made = planned({"quality": {"vmaf": 93}})
    video = with_crf(made.videos[0], 24.5)
    piece = Chunk(number=2, first=100, end=150, seek=Fraction(79, 20))
    probe = ProbeEncode(video=video, piece=piece, measure=measure(video, every=2))
    encode, look = ENGINE.probe_encode(made, probe, SOURCE, WORK)
    read = ["-xerror", "-threads", "1", "-copyts", "-start_at_zero", "-noaccurate_seek", "-ss", "3.950000", *READ]
    kept = "[0:0]fps=25,trim=start_pts=100:end_pts=150,"
    assert list(encode.argv) == [
        *(*START, *PROGRESS, "-n", *read),
        *("-filter_complex", f"{kept}scale=640:360:flags=bicubic,setsar=1,format=yuv420p[v0]", "-map", "[v0]"),
        *("-c:v", "libx264", "-threads", "1", "-preset", "veryfast", "-crf", "24.5", "-g", "50", "-keyint_min", "50"),
        *("-force_key_frames", "expr:eq(mod(n,50),0)", *X264, "-fps_mode", "passthrough"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "matroska", "file:r0-crf-24.5-2.mkv"),
    ]
    graph = (
        f"{kept}{FIT}[r];[1:v:0]{FIT}[d];[d][r]{VMAF}=r0-crf-24.5-2.vmaf.json:n_threads=1:n_subsample=2:shortest=1[v]"
    )
    assert list(look.argv) == [
        *(*START, *PROGRESS, *read, *source("/jobs/7/pieces/r0-crf-24.5-2.mkv"), "-filter_complex", graph, *END),
    ]
    assert encode.writes == look.writes == WORK
    assert encode.frames == 50


def test_a_generated_clip_is_probed_without_a_file() -> None:
    made = plan_generated(
        profile_from({"name": "t", "packaging": "mkv", "renditions": [{"video": {"quality": {"vmaf": 93}}}]})
    )
    video = with_crf(made.videos[0], 20)
    probe = ProbeEncode(video=video, piece=Chunk(number=0, first=0, end=60), measure=measure(video))
    encode, look = ENGINE.probe_encode(made, probe, None, WORK)
    assert "lavfi" in encode.argv
    assert "trim=end_pts=60" in encode.argv[encode.argv.index("-filter_complex") + 1]
    assert encode.reads == look.reads == ()
