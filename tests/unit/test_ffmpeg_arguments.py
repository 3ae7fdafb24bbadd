"""Golden tests: whole argument lists."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.media.chunks import with_split
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Color, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.engines.ffmpeg.encoders import chosen, encoders_of
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.ffmpeg.reading import source
from millrace.engines.gstreamer import REASON
from millrace.engines.profiles import named

ENGINE = FFmpeg("ffmpeg")
RATE = Fraction(30000, 1001)
PROBE = Probe(
    formats=("matroska",),
    duration=Fraction(10),
    video=(VideoStream(index=0, codec="h264", width=854, height=480, frame_rate=RATE, frames=300, end=300 / RATE),),
    audio=(AudioStream(index=2, codec="ac3", sample_rate=48000, channels=6, language="eng", end=Fraction(10)),),
    subtitles=(SubtitleStream(index=3, codec="subrip", is_text=True, language="eng"),),
)
SOURCE = Path("/films/-a:b.mkv")
START = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-max_alloc", "536870912"]
READ = [*source("/films/-a:b.mkv")]
ENCODE = [*START, "-progress", "pipe:1", "-stats_period", "0.5", "-n", "-xerror", "-err_detect", "explode"]


def encode(profile: Any, probe: Probe | None = PROBE, **parameters: Any) -> list[str]:
    wanted = plan(profile, probe, parameters=parameters)
    (command,) = ENGINE.encode(wanted, SOURCE if probe else None, Path("/jobs/7"), Path("/jobs/7.pieces"))
    assert command.cwd == Path("/jobs/7")
    return list(command.argv)


@pytest.mark.parametrize(("sparing", "packets"), [(False, "64"), (True, "1")])
def test_probe(sparing: bool, packets: str) -> None:
    queue = ["-thread_queue_size", packets]
    copy = ["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1", *queue]
    command = ENGINE.probe(SOURCE, sparing=sparing)
    assert list(command.argv) == [*START, *queue, "-copyts", *READ, *copy, "-f", "framecrc", "-"]


def test_web_hls() -> None:
    def rung(number: int, name: str, crf: str, maxrate: int) -> list[str]:
        return [
            *("-map", f"[v{number}]", "-c:v", "libx264", "-preset", "veryfast", "-crf", crf),
            *("-maxrate", str(maxrate), "-bufsize", str(maxrate * 2)),
            *("-g", "120", "-keyint_min", "120", "-force_key_frames", "expr:eq(mod(n,120),0)"),
            *("-sc_threshold", "0", "-flags", "+cgop", "-forced-idr", "1"),
            *segments(name),
        ]

    def segments(name: str) -> list[str]:
        return [
            *("-map_metadata", "-1", "-map_chapters", "-1"),
            *("-f", "hls", "-hls_time", "4.004000", "-hls_playlist_type", "vod", "-hls_list_size", "0"),
            *("-hls_flags", "independent_segments", "-output_ts_offset", "10.000000", "-hls_segment_type", "fmp4"),
            *("-hls_segment_options", "movflags=+frag_discont", "-hls_fmp4_init_filename", "init.mp4"),
            *("-hls_segment_filename", f"file:{name}/seg-%05d.m4s", f"file:{name}/index.m3u8"),
        ]

    assert encode(named("web-hls")) == [
        *ENCODE,
        *READ,
        "-filter_complex",
        (
            "[0:0]fps=30000/1001:start_time=0,scale=854:480:flags=bicubic,setsar=1,format=yuv420p,split=2[v0][s0];"
            "[s0]scale=640:360:flags=bicubic,setsar=1,format=yuv420p[v1]"
        ),
        *rung(0, "480p", "23", 1_800_000),
        *rung(1, "360p", "23", 1_000_000),
        *("-map", "0:2", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a", "aac", "-b:a", "128000"),
        *("-ac", "2", "-ar", "48000", "-metadata:s:a:0", "language=eng"),
        *segments("audio-0"),
        *("-map", "0:3", "-c:s:0", "webvtt", "-metadata:s:s:0", "language=eng"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "webvtt", "file:subtitles-0.vtt"),
    ]


def test_mp4_h265() -> None:
    assert encode(named("mp4-h265")) == [
        *ENCODE,
        *READ,
        *(
            "-filter_complex",
            "[0:0]fps=30000/1001:start_time=0,scale=854:480:flags=bicubic,setsar=1,format=yuv420p[v0]",
        ),
        *("-map", "[v0]", "-c:v", "libx265", "-preset", "fast", "-crf", "25"),
        *("-g", "120", "-keyint_min", "120", "-force_key_frames", "expr:eq(mod(n,120),0)"),
        *("-forced-idr", "1", "-x265-params", "log-level=warning:scenecut=0:open-gop=0", "-tag:v", "hvc1"),
        *("-map", "0:2", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a", "aac", "-b:a", "160000"),
        *("-ac", "2", "-ar", "48000", "-metadata:s:a:0", "language=eng"),
        *("-map", "0:3", "-c:s:0", "mov_text", "-metadata:s:s:0", "language=eng"),
        *("-map_metadata", "0", "-map_chapters", "-1", "-f", "mp4", "-movflags", "+faststart", "file:video.mp4"),
    ]


def test_every_track_and_what_goes_along() -> None:
    profile = profile_from(
        {
            "name": "t",
            "packaging": "mkv",
            "renditions": [{"video": {"codec": "h264"}}],
            "audio": [{"codec": "opus", "tracks": ["de", "en"]}],
            "subtitles": "keep",
            "chapters": "keep",
            "attachments": "keep",
        }
    )
    german = replace(PROBE.audio[0], index=5, language="ger", channels=2)
    argv = encode(profile, replace(PROBE, audio=(*PROBE.audio, german), chapters=4, attachments=2))
    assert argv[argv.index("0:5") - 1 :] == [
        *("-map", "0:5", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a:0", "libopus", "-b:a:0", "128000"),
        *("-ac:a:0", "2", "-ar:a:0", "48000", "-metadata:s:a:0", "language=deu", "-disposition:a:0", "+default"),
        *("-map", "0:2", "-filter:a:1", "aresample=async=1:first_pts=0", "-c:a:1", "libopus", "-b:a:1", "128000"),
        *("-ac:a:1", "2", "-ar:a:1", "48000", "-metadata:s:a:1", "language=eng", "-disposition:a:1", "-default"),
        *("-map", "0:3", "-c:s:0", "copy", "-metadata:s:s:0", "language=eng", "-map", "0:t", "-c:t", "copy"),
        *("-map_metadata:s:t:0", "0:s:t:0", "-map_metadata:s:t:1", "0:s:t:1"),
        *("-map_metadata:g", "-1", "-map_metadata:s", "-1", "-map_chapters", "0", "-f", "matroska", "file:video.mkv"),
    ]


def test_generated_clip() -> None:
    assert encode(named("360p25-vp9"), None, duration_s=2) == [
        *ENCODE,
        *("-f", "lavfi", "-i"),
        "testsrc2=size=640x360:rate=25:duration=2.000000[out0];sine=frequency=440:sample_rate=48000:duration=2.000000[out1]",
        *("-filter_complex", "[0:0]fps=25:start_time=0,scale=640:360:flags=bicubic,setsar=1,format=yuv420p[v0]"),
        *(
            "-map",
            "[v0]",
            "-c:v",
            "libvpx-vp9",
            "-deadline",
            "good",
            "-cpu-used",
            "5",
            "-row-mt",
            "1",
            "-crf",
            "32",
            "-b:v",
            "0",
        ),
        *("-g", "100", "-keyint_min", "100", "-force_key_frames", "expr:eq(mod(n,100),0)", "-flags", "+cgop"),
        *("-map", "0:1", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a", "libopus", "-b:a", "128000"),
        *("-ac", "1", "-ar", "48000", "-map_metadata", "-1", "-map_chapters", "-1", "-f", "webm", "file:video.webm"),
    ]


def test_audio() -> None:
    assert encode(named("audio")) == [
        *ENCODE,
        *READ,
        *("-map", "0:2", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a", "aac", "-b:a", "160000"),
        *("-ac", "2", "-ar", "48000", "-metadata:s:a:0", "language=eng"),
        *("-map_metadata", "0", "-map_chapters", "-1", "-f", "ipod", "-movflags", "+faststart", "file:audio.m4a"),
    ]


def test_thumbnails() -> None:
    assert encode(named("thumbnails")) == [
        *ENCODE,
        *READ,
        "-filter_complex",
        (
            "[0:0]fps=30000/1001:start_time=0,select='eq(n,0)+gt(floor(n*1001/150000),floor((n-1)*1001/150000))',"
            "scale=160:88:flags=area,setsar=1,format=yuvj420p,tile=5x5[v0]"
        ),
        *("-map", "[v0]", "-c:v", "mjpeg", "-q:v", "4", "-fps_mode", "passthrough"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "image2", "-start_number", "1", "file:sprite-%03d.jpg"),
    ]


def test_odd_sources_get_their_filters() -> None:
    stream = VideoStream(
        index=1, codec="hevc", width=720, height=576, frame_rate=Fraction(25), frames=250, end=Fraction(10),
        field_order="tt", color=Color(transfer="arib-std-b67"),
    )  # fmt: skip
    argv = encode(named("mp4-h264"), Probe(formats=("mpegts",), duration=Fraction(10), video=(stream,)))
    graph = argv[argv.index("-filter_complex") + 1]
    assert graph.startswith(
        "[0:1]bwdif=mode=send_frame:parity=auto:deint=all,fps=25:start_time=0,zscale=t=linear:npl=203,"
    )
    assert graph.endswith("scale=720:576:flags=bicubic,setsar=1,format=yuv420p[v0]")


def test_renditions_of_different_depth_do_not_lose_the_deeper_one() -> None:
    rungs = [
        {"video": {"codec": "h265", "height": 480, "bit_depth": 8}},
        {"video": {"codec": "h265", "height": 360, "bit_depth": 10}},
    ]
    argv = encode(profile_from({"name": "t", "packaging": "mp4", "renditions": rungs}))
    assert argv[argv.index("-filter_complex") + 1] == (
        "[0:0]fps=30000/1001:start_time=0,scale=854:480:flags=bicubic,setsar=1,split=2[d0][s0];[d0]format=yuv420p[v0];"
        "[s0]scale=640:360:flags=bicubic,setsar=1,format=yuv420p10le[v1]"
    )


def test_the_first_working_encoder_is_taken() -> None:
    web = named("web-hls")
    assert encoders_of(web, None) == {"libx264", "aac"}
    assert encoders_of(web, ["h264_nvenc", "aac"]) == {"h264_nvenc", "aac"}
    assert encoders_of(named("thumbnails"), None) == {"mjpeg"}
    assert chosen(web.renditions[0].video, []) == "libx264"


def test_gstreamer_says_why_not() -> None:
    assert REASON.startswith("Engine gstreamer is not available")


def test_encoders_get_no_threads_of_their_own_on_one_core() -> None:
    wanted = with_split(plan(named("web-hls"), PROBE), PROBE, cores=1)
    (command,) = ENGINE.encode(wanted, SOURCE, Path("/jobs/7"), Path("/jobs/7.pieces"))
    argv = list(command.argv)
    places = [place for place, word in enumerate(argv) if word == "libx264"]
    assert [argv[place + 1 : place + 3] for place in places] == [["-threads", "1"]] * 2
    assert argv.count("-threads") == 2
