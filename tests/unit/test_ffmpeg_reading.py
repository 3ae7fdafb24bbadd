"""Readers of what FFmpeg says: description, packets, cadence, progress."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.failures import FailureClass
from millrace.domain.media.probe import DolbyVision
from millrace.domain.media.purposes import Purpose
from millrace.engines.engine import EngineFailure
from millrace.engines.ffmpeg.cadence import cadence
from millrace.engines.ffmpeg.probe import read_probe
from millrace.engines.ffmpeg.progress import FFmpegProgress

LOG_9 = """\
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:a, b.mp4':
  Metadata:
    title           : Stream #0:9: Video: fake, yuv420p, 9x9
  Duration: 00:00:00.20, start: 0.000000, bitrate: 1589 kb/s
  Stream #0:0[0x1](und): Video: hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(tv, bt2020nc/bt2020/smpte2084, top first), 1920x1080 [SAR 4:3 DAR 64:27], 1205 kb/s, 29.97 fps, 29.97 tbr, 30k tbn (default)
    Side data:
      Display Matrix: rotation of -90.00 degrees
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, 5.1(side), fltp, 384 kb/s (default)
  Stream #0:2[0x3](fre): Subtitle: mov_text (tx3g / 0x67337874), 0 kb/s (default)
  Stream #0:3[0x0]: Video: png, rgb24(pc, gbr/unknown/unknown), 64x64 [SAR 1:1 DAR 1:1], 90k tbr, 90k tbn (attached pic)
Stream mapping:
  Stream #0:0 -> #0:0 (copy)
  Stream #0:3 -> #0:1 (copy)
  Stream #0:1 -> #0:2 (copy)
Output #0, framecrc, to 'pipe:':
"""
LOG_5 = LOG_9.replace("  Stream #0:0[0x1](und)", "  Stream #0:0(und)").replace("Display Matrix", "displaymatrix")
PACKETS = """\
#tb 0: 1/30000
#media_type 0: video
#tb 1: 1/90000
#tb 2: 1/48000
2,      -1024,      -1024,     1024,      256, 0xea44782a, F=0x5, S=1, Skip Samples,       10, 0x00240004
0,      -1001,          0,     1001,     1414, 0x074eac1b
2,          0,          0,     1024,      258, 0xb8847714
0,          0,       2002,     1001,      650, 0x5f03386f, F=0x0
0,       1001,       1001,     1001,      180, 0x271f57ad, F=0x10
0,       2002,       3003,     1001,      180, 0x271f57ad
1,          0,          0,        0,     3000, 0x271f57ad
0,       3003,       4004,     1001,      180, 0x271f57ad, F=0x0
0,       4004,       5005,     1001,      180, 0x271f57ad, F=0x0
"""


@pytest.mark.parametrize("log", [LOG_9, LOG_5], ids=["9", "5.1"])
def test_everything_is_read(log: str) -> None:
    found = read_probe(PACKETS, log, 0)
    video, cover = found.video
    assert (video.codec, video.profile, video.width, video.height) == ("hevc", "Main 10", 1920, 1080)
    assert (video.sar, video.rotation_degrees, video.bit_depth, video.field_order) == (Fraction(4, 3), 90, 10, "tt")
    assert (video.frame_rate, video.frames, video.end) == (Fraction(30000, 1001), 6, Fraction(6006, 30000))
    assert (video.color.space, video.color.primaries, video.color.transfer) == ("bt2020nc", "bt2020", "smpte2084")
    assert video.keyframes == (0, Fraction(3003, 30000))
    assert video.display_size == (1080, 2560)
    assert cover.attached_picture
    assert found.pictures == (video,)
    assert (found.audio[0].channels, found.audio[0].language, found.audio[0].start) == (6, "eng", 0)
    assert (found.subtitles[0].codec, found.subtitles[0].is_text, found.subtitles[0].language) == (
        "mov_text",
        True,
        "fre",
    )


@pytest.mark.parametrize(
    ("packets", "log", "words"),
    [
        (PACKETS, LOG_9 + "[in#0] stream 1, offset 0x535ed: partial file\n", "cut short"),
        (PACKETS, LOG_9 + "[in#0] File ended prematurely\n", "cut short"),
        (PACKETS, LOG_9.replace("00:00:00.20", "00:01:00.00"), "declares 60.0 s but holds 0.2 s"),
        (PACKETS.replace("0x5f03386f, F=0x0", "0x5f03386f, F=0x2"), LOG_9, "corrupt"),
        (
            PACKETS,
            "[in#0] Format h263 detected only with low score of 25, misdetection possible!\n" + LOG_9,
            "known kind",
        ),
        (PACKETS, LOG_9.replace("hevc (Main 10)", "none").replace("yuv420p10le", "none"), "cannot be decoded"),
        (PACKETS, LOG_9.replace("-90.00", "30.00"), "quarter turns"),
        (
            PACKETS,
            LOG_9.replace("    Side data:", "    Side data:\n      Frame Cropping: 900/1020/0/0"),
            "cropped by more than it has",
        ),
        ("", "", "neither video nor audio"),
    ],
)
def test_damage_is_refused_in_a_sentence(packets: str, log: str, words: str) -> None:
    with pytest.raises(EngineFailure, match=words) as told:
        read_probe(packets, log, 0)
    assert told.value.failure.failure_class is FailureClass.INPUT


@pytest.mark.parametrize(
    "rate",
    [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60000, 1001), Fraction(25, 2)],
)
@pytest.mark.parametrize("base", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1, 12800)])
@pytest.mark.parametrize("frames", [8, 60, 5000])
def test_constant_rates_are_exact_in_every_time_base(rate: Fraction, base: Fraction, frames: int) -> None:
    times = [round(number / rate / base) for number in range(frames)]
    found = cadence(times, base, None)
    assert not found.is_vfr
    # Eight frames in milliseconds cannot tell 29.97 from 30; both keep every frame.
    assert found.rate is not None
    assert abs(found.rate - rate) <= rate * Fraction(2, 1000)
    if frames >= 60 and base != Fraction(1, 1000):
        assert found.rate == rate


@given(gaps=st.lists(st.sampled_from([1, 2, 3]), min_size=30, max_size=300).filter(lambda gaps: len(set(gaps)) > 1))
def test_a_rate_called_constant_keeps_every_frame(gaps: list[int]) -> None:
    times = [sum(gaps[:number]) * 512 for number in range(len(gaps) + 1)]
    found = cadence(times, Fraction(1, 15360), None)
    if not found.is_vfr:
        assert found.rate is not None
        slots = {round((time - times[0]) * Fraction(1, 15360) * found.rate) for time in times}
        assert len(slots) == len(times)


def test_what_a_container_crops_is_left_out_and_what_it_says_is_read() -> None:
    said = "    Side data:\n      Frame Cropping: 8/12/40/0\n      DOVI configuration record: version: 1.0, profile: 8, level: 4, rpu flag: 1, el flag: 0, bl flag: 1, compatibility id: 4"
    beside = "  Stream #0:4: Data: none (tmcd / 0x64636D74)\n  Stream #0:5(eng): Audio: aac, 48000 Hz, stereo, fltp (visual impaired) (comment)\n"
    log = LOG_9.replace("    Side data:", said).replace(
        "Stream mapping:\n", f"{beside}Stream mapping:\n  Stream #0:5 -> #0:3 (copy)\n"
    )
    found = read_probe(PACKETS + "#tb 3: 1/48000\n3,          0,          0,     1024,      257, 0xb8847714\n", log, 0)
    assert (found.video[0].width, found.video[0].height, found.video[0].rotation_degrees) == (1900, 1040, 90)
    assert found.video[0].dolby_vision == DolbyVision(profile=8, compatibility=4)
    assert found.data == 1
    assert found.audio[1].purposes == (Purpose.DESCRIPTION, Purpose.COMMENTARY)


def test_progress_reports() -> None:
    reader = FFmpegProgress()
    lines = ["frame=12345", "fps=29.7", "bitrate= 277.6kbits/s", "out_time_us=2538667", "speed=5.08x", "torn"]
    assert [reader.feed(line) for line in lines] == [None] * 6
    report = reader.feed("progress=continue")
    assert report is not None
    assert (report.frame, report.fps, report.speed, report.ended) == (12345, 29.7, 5.08, False)
    assert report.out_time_s == pytest.approx(2.538667)
    assert report.bitrate_bps == pytest.approx(277_600)
    for line in ("frame=", "fps=N/A", "bitrate=N/A", "speed=N/A", "out_time_us=-9223372036854775808"):
        reader.feed(line)
    last = reader.feed("progress=end")
    assert last is not None
    assert (last.frame, last.fps, last.speed, last.out_time_s, last.bitrate_bps, last.ended) == (
        0,
        None,
        None,
        None,
        None,
        True,
    )


@given(st.text())
def test_no_line_breaks_the_progress_reader(text: str) -> None:
    FFmpegProgress().feed(text)


def test_chapters_attachments_and_forced_text_are_told() -> None:
    beside = """\
  Chapters:
    Chapter #0:0: start -0.500000, end 0.000000
      Metadata:
        title           : One
    Chapter #0:1: start 0.000000, end 0.100000
    Chapter #0:1: start 0.000000, end 0.100000
  Stream #0:4(ger): Subtitle: subrip (srt) (default) (forced)
  Stream #0:5: Attachment: ttf
Stream mapping:
"""
    found = read_probe(PACKETS, LOG_9.replace("Stream mapping:\n", beside), 0)
    assert (found.chapters, found.attachments) == (2, 1)
    assert [(text.language, text.forced) for text in found.subtitles] == [("fre", False), ("ger", True)]
    later = read_probe(PACKETS, LOG_9.replace("start: 0.0", "start: 0.05").replace("Stream mapping:\n", beside), 0)
    assert later.chapters == 1
