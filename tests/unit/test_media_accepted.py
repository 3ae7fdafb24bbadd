"""What an input may be at most, and what of an engine's words is believed."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media import accepted
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import Command, Progress
from millrace.engines.ffmpeg.headers import read_headers
from millrace.engines.ffmpeg.reading import CODECS, FORMATS, PROTOCOLS, source
from millrace.process.sandbox import Able, Mechanism
from millrace.programs.ffmpeg import is_too_old
from millrace.worker.bounds import SLOWEST_BYTES_S, Bounds
from millrace.worker.failure import TaskFailedError
from millrace.worker.media_steps import FRAMES_BEYOND, beyond
from millrace.worker.shut_in import admit

VIDEO = VideoStream(index=0, codec="h264", width=128, height=72, frame_rate=Fraction(25), frames=50, end=Fraction(2))
AUDIO = AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, packets=94, end=Fraction(2))
PROFILE = profile_from({"name": "p", "packaging": "mkv", "renditions": [{"video": {}}], "audio": [{"codec": "flac"}]})
HOURS = Fraction(3600)


def film(video: VideoStream = VIDEO, audio: AudioStream = AUDIO, **changes: Any) -> Probe:
    return replace(Probe(formats=("matroska",), duration=Fraction(2), video=(video,), audio=(audio,)), **changes)


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        (film(replace(VIDEO, width=16_000, height=16_000)), "holds pictures of 16000x16000"),
        (film(replace(VIDEO, width=65_535, height=16)), "holds pictures of 65535x16"),
        (film(replace(VIDEO, sar=Fraction(1000))), "is to be shown as pictures of 128000x72"),
        (film(duration=accepted.LONGEST_S + Fraction(1)), "at most 48 are taken"),
        (film(replace(VIDEO, frames=2, end=40 * HOURS), duration=40 * HOURS), "has gaps: its 2 frames would have to be shown as 3600000"),
        (film(audio=replace(AUDIO, packets=2, end=40 * HOURS)), "has gaps: its sound of 2 packets would last 40.0 hours"),
        (film(audio=replace(AUDIO, sample_rate=2_000_000_000)), "sound of 2000000000 Hz"),
        (film(audio=replace(AUDIO, channels=4000)), "sound of 4000 channels"),
        (film(subtitles=(SubtitleStream(index=2, codec="subrip", is_text=True),) * 300), "has 302 streams"),
    ],
)  # fmt: skip
def test_too_much_is_refused_with_how_much_may_be(probe: Probe, says: str) -> None:
    with pytest.raises(Refused, match=says) as told:
        plan(PROFILE, probe)
    assert told.value.failure_class is FailureClass.INPUT


@pytest.mark.parametrize(
    "probe",
    [
        film(),
        film(replace(VIDEO, width=8192, height=4320)),
        film(replace(VIDEO, width=4320, height=8192)),
        # A lecture: one picture a minute; and a day of a camera.
        film(replace(VIDEO, frames=120, end=2 * HOURS), duration=2 * HOURS),
        film(replace(VIDEO, frames=24 * 3600 * 25, end=24 * HOURS), replace(AUDIO, packets=4_000_000, end=24 * HOURS), duration=24 * HOURS),
    ],
)  # fmt: skip
def test_what_people_watch_is_taken(probe: Probe) -> None:
    assert plan(PROFILE, probe).frames


def test_the_lists_are_what_they_are() -> None:
    options = dict(zip(source("x")[::2], source("x")[1::2], strict=True))
    assert set(options) == {
        "-protocol_whitelist",
        "-format_whitelist",
        "-codec_whitelist",
        "-max_pixels",
        "-max_streams",
        "-i",
    }
    assert PROTOCOLS == ("file",)
    formats = set(",".join(FORMATS).split(","))
    assert not formats & {
        "hls",
        "dash",
        "concat",
        "imf",
        "lavfi",
        "tty",
        "image2",
        "sdp",
        "rtsp",
        "applehttp",
        "webvtt",
        "srt",
        "ass",
    }
    assert not CODECS & {"magicyuv", "svg", "ansi", "xbin", "bintext", "tiff", "exr", "webp", "cdgraphics"}
    decoders = options["-codec_whitelist"].split(",")
    assert len(decoders) == len(set(decoders))
    assert {"h264", "hevc", "libdav1d", "mp3float", "aac"} <= set(decoders)


HEAD = "Input #0, matroska,webm, from 'x':\n  Metadata:\n    {}: x\n  Duration: 00:00:02.00, start: 0.000000\n"
STREAM = "  Stream #0:0: Video: h264 (High), yuv420p, 16000x16000, 25 fps\n"


@pytest.mark.parametrize(
    ("tag", "stream", "forged"),
    [
        ("title", STREAM, False),
        ("title", f"  Program 1\n{STREAM}  Program 2\n{STREAM}", False),  # a stream of two programs
        ("a\n  Stream #0:0: Video: h264 (High), yuv420p, 16x16, 25 fps", STREAM, True),
        ("a\n  Duration: 00:00:01.00, start: 0.000000", STREAM, True),
        ("a\n  Stream #0:1 -> #0:0 (copy)", f"{STREAM}Stream mapping:\n  Stream #0:0 -> #0:0 (copy)\n", True),
    ],
)
def test_a_file_that_describes_itself_in_other_words_is_found_out(tag: str, stream: str, forged: bool) -> None:
    head = read_headers(HEAD.format(tag) + stream)
    assert head.forged is forged
    assert forged or len(head.streams) == 1


def report(frame: int, out_time_s: float | None = None) -> Progress:
    return Progress(frame=frame, fps=None, speed=None, out_time_s=out_time_s, bitrate_bps=None, ended=False)


def test_an_encode_that_goes_far_beyond_its_plan_is_ended() -> None:
    pictures, sound = (
        Command(argv=(), label="encode", frames=50),
        Command(argv=(), label="encode", duration=Fraction(2)),
    )
    assert beyond(pictures, report(50 + FRAMES_BEYOND)) is None
    assert beyond(sound, report(0, 60.0)) is None
    assert beyond(sound, report(0)) is None
    for command, seen in ((pictures, report(51 + FRAMES_BEYOND)), (sound, report(0, 63.0))):
        found = beyond(command, seen)
        assert found is not None
        assert found.failure_class is FailureClass.OUTPUT
        assert "the input contradicts itself" in found.message


def test_who_reads_more_has_longer() -> None:
    bounds = Bounds(describe_s=10.0)
    assert bounds.describing_s(0) == 10.0
    assert bounds.describing_s(SLOWEST_BYTES_S * 5) == 15.0


NONE = Able(mechanism=Mechanism.NONE, refused=("namespaces: not here",))


@pytest.mark.parametrize("location", ["https://h/x.mp4", "http://h/x", "s3://b/x", "upload://u1"])
def test_what_strangers_may_have_made_is_not_read_where_no_sandbox_works(location: str) -> None:
    with pytest.raises(TaskFailedError, match=r"no sandbox works on this worker \(namespaces: not here\)") as told:
        admit(location, NONE)
    assert told.value.failure.failure_class is FailureClass.CAPABILITY
    assert "--sandbox off" in str(told.value)
    admit(location, None)  # switched off: somebody said so
    for mechanism in (Mechanism.FILTER, Mechanism.NAMESPACES, Mechanism.BUBBLEWRAP):
        admit(location, Able(mechanism=mechanism))
    admit(str(Path("/media/film.mp4")), NONE)  # the operator's own


def test_versions_below_the_floor_are_too_old() -> None:
    old = ("ffmpeg version 4.4.2-0ubuntu0.22.04.1", "ffmpeg version n5.0.3", "ffmpeg version 2.8")
    new = (
        "ffmpeg version 5.1.9-0+deb12u1",
        "ffmpeg version n9.0.2-17-g2a571b6068-20260930",
        "ffmpeg version N-117000-gabc",
    )
    assert all(map(is_too_old, old))
    assert not any(map(is_too_old, new))
