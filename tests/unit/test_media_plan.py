from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.check import Produced, cause, check
from millrace.domain.media.plan import plan, plan_generated
from millrace.domain.media.probe import AudioStream, Color, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile import Hdr
from millrace.domain.media.profile_document import profile_from, to_document
from millrace.engines.profiles import named

VIDEO = VideoStream(
    index=0, codec="h264", width=1920, height=1080, frame_rate=Fraction(25), frames=250, end=Fraction(10)
)
AUDIO = AudioStream(index=1, codec="aac", sample_rate=48000, channels=6, end=Fraction(10))
PROBE = Probe(formats=("mov",), duration=Fraction(10), video=(VIDEO,), audio=(AUDIO,))


def probe(**changes: Any) -> Probe:
    return replace(PROBE, video=(replace(VIDEO, **changes),))


def refusal(profile: str, source: Probe | None, **parameters: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        plan(named(profile), source, parameters=parameters)
    return refused.value


def test_the_ladder_of_a_film() -> None:
    made = plan(named("web-hls"), PROBE)
    assert [file.path for file in made.files] == [
        "1080p/index.m3u8", "720p/index.m3u8", "480p/index.m3u8", "360p/index.m3u8", "audio-0/index.m3u8",
    ]  # fmt: skip
    assert made.frames == 250
    assert made.duration == 10
    assert {video.gop_frames for video in made.videos} == {100}
    assert made.files[-1].audio[0].channels == 2
    assert made.notes == ()


def test_a_small_source_is_never_enlarged_and_the_note_says_so() -> None:
    made = plan(named("web-hls"), probe(width=320, height=180))
    assert [(video.name, video.size.width) for video in made.videos] == [("180p", 320)]
    assert "never enlarged" in made.notes[0]
    assert "never enlarged" in plan(named("1080p30-h264"), probe(width=320, height=180)).notes[0]


def test_a_rate_above_the_cap_is_halved() -> None:
    made = plan(named("1080p30-h264"), probe(frame_rate=Fraction(60), frames=600))
    assert (made.pictures.rate, made.frames) == (30, 300) if made.pictures else False


def test_pictures_that_begin_late_are_padded() -> None:
    made = plan(named("web-hls"), probe(start=Fraction(1, 2), end=Fraction(21, 2)))
    assert made.frames == 263


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (replace(PROBE, video=()), "no video stream"),
        (probe(attached_picture=True), "cover art"),
        (probe(frames=0), "no frames"),
        (probe(width=8, height=8), "too small"),
        (probe(width=16, height=4000), "long and thin"),
    ],
)
def test_what_cannot_be_video_is_refused(source: Probe, words: str) -> None:
    refused = refusal("mp4-h264", source)
    assert refused.failure_class is FailureClass.INPUT
    assert words in refused.sentence


def test_pictures_in_which_x265_writes_beyond_its_buffers_are_not_made() -> None:
    assert "so small" in refusal("mp4-h265", probe(width=36, height=20)).sentence
    assert plan(named("mp4-h264"), probe(width=36, height=20)).videos[0].size.height == 20
    assert plan(named("mp4-h265"), probe(width=58, height=32)).videos[0].size.height == 32


def test_audio_from_silence_is_refused() -> None:
    assert refusal("audio", replace(PROBE, audio=())).failure_class is FailureClass.INPUT


def test_a_source_without_audio_makes_none() -> None:
    made = plan(named("web-hls"), replace(PROBE, audio=()))
    assert not any(file.audio for file in made.files)
    assert made.notes == ("The input has no audio; the output has none either.",)


def test_bitmaps_are_left_out_when_text_is_wanted() -> None:
    titles = (
        SubtitleStream(index=2, codec="hdmv_pgs_subtitle", is_text=False),
        SubtitleStream(index=3, codec="ass", is_text=True),
    )
    made = plan(named("mp4-h264"), replace(PROBE, subtitles=titles))
    assert [entry.codec for entry in made.files[0].subtitles] == ["mov_text"]
    assert "pictures, not text" in made.notes[0]


def test_hdr_is_planned_for() -> None:
    made = plan(named("web-hls"), probe(color=Color(transfer="smpte2084")))
    assert made.pictures is not None
    assert made.pictures.tonemap
    kept = replace(named("mp4-h265"), hdr=Hdr.KEEP)
    color = Color(transfer="arib-std-b67", primaries="bt2020", space="bt2020nc")
    made = plan(kept, probe(color=color))
    assert made.pictures is not None
    assert (made.pictures.tonemap, made.pictures.hdr) == (False, color)
    assert "HDR" not in " ".join(made.notes)
    standard = plan(kept, probe(color=Color(transfer="bt709"))).pictures
    assert standard is not None
    assert (standard.tonemap, standard.hdr) == (False, None)
    # A page shows thumbnails in standard range.
    small = plan(replace(named("thumbnails"), hdr=Hdr.KEEP), probe(color=color)).pictures
    assert small is not None
    assert (small.tonemap, small.hdr) == (True, None)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"crf": 99}, "crf is 99; allowed: 0 to 51"),
        ({"crf": float("nan")}, "crf"),
        ({"warp": 9}, "warp is unknown; allowed: codec"),
        ({"duration_s": 5}, "generated"),
        ({"vmaf": 100}, "vmaf is 100; allowed: 10 to 99"),
        ({"vmaf": 93, "crf": 20}, "quality and crf exclude each other"),
        ({"preset": "-y"}, "preset is '-y'"),
        ({"codec": "divx"}, "codec"),
        ({"height": -1}, "height"),
        ({"height": 71}, "height is 71, and pictures in 4:2:0 need an even number of pixels; use 70 or 72"),
    ],
)
def test_parameters_are_refused_with_what_is_allowed(parameters: dict[str, Any], words: str) -> None:
    refused = refusal("mp4-h264", PROBE, **parameters)
    assert refused.failure_class is FailureClass.REQUEST
    assert words in refused.sentence


@pytest.mark.parametrize("duration", [0, -1, 1e9, float("nan"), True, "ten"])
def test_absurd_lengths_of_a_generated_clip(duration: Any) -> None:
    assert "duration_s" in refusal("1080p30-h264", None, duration_s=duration).sentence


def test_parameters_change_every_rendition() -> None:
    made = plan(named("web-hls"), PROBE, parameters={"preset": "ultrafast", "bitrate": "800k"})
    assert {(video.settings.preset, video.settings.bitrate_bps, video.settings.crf) for video in made.videos} == {
        ("ultrafast", 800_000, None)
    }


def test_a_quality_by_parameter_takes_the_place_of_the_rate_and_the_other_way_round() -> None:
    (video,) = plan(named("mp4-h264"), PROBE, parameters={"vmaf": 91}).videos
    assert (video.settings.quality and video.settings.quality.vmaf, video.settings.crf) == (91, None)
    document = {**to_document(named("mp4-h264"))}
    document["renditions"][0]["video"] |= {"crf": None, "quality": {"vmaf": 93, "max_crf": 40, "max_bitrate": "2M"}}
    wanted = profile_from(document)
    (video,) = plan(wanted, PROBE, parameters={"crf": 20}).videos
    assert (video.settings.quality, video.settings.crf) == (None, 20)
    (video,) = plan(wanted, PROBE, parameters={"vmaf": 80}).videos
    assert video.settings.quality is not None
    assert (video.settings.quality.vmaf, video.settings.quality.max_crf) == (80, 40)
    (video,) = plan(wanted, PROBE, parameters={"codec": "h265"}).videos
    assert video.settings.quality is not None
    assert (video.settings.quality.max_crf, video.settings.quality.max_bitrate_bps) == (45, 2_000_000)


def test_a_codec_by_parameter_takes_its_own_defaults() -> None:
    made = plan(named("mp4-h264"), PROBE, parameters={"codec": "av1"})
    assert (made.videos[0].settings.preset, made.videos[0].settings.crf) == ("9", 32)


def test_a_generated_clip() -> None:
    made = plan_generated(named("1080p30-h264"))
    assert made.generated is not None
    assert (made.frames, made.duration, made.generated.size.width) == (300, 10, 1920)


@given(
    width=st.integers(128, 4096),
    height=st.integers(128, 4096),
    rate=st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(7)]),
    frames=st.integers(1, 5000),
    rotation=st.sampled_from([0, 90, 180, 270]),
)
def test_renditions_always_share_frames_rate_and_gop(
    width: int, height: int, rate: Fraction, frames: int, rotation: int
) -> None:
    source = probe(
        width=width, height=height, frame_rate=rate, frames=frames, end=frames / rate, rotation_degrees=rotation
    )
    made = plan(named("web-hls"), source)
    assert {(video.frames, video.rate, video.gop_frames) for video in made.videos} == {
        (frames, rate, max(1, int(4 * rate + Fraction(1, 2))))
    }
    assert len({file.path for file in made.files}) == len(made.files)
    turned = rotation in (90, 270)
    for video in made.videos:
        assert video.size.width <= (height if turned else width)
        assert video.size.height <= (width if turned else height)


def proven() -> tuple[Any, Produced]:
    wanted = plan(named("web-hls"), probe(width=640, height=360))
    found = VideoStream(
        index=0, codec="h264", width=640, height=360, frame_rate=Fraction(25), frames=250,
        start=Fraction(10), end=Fraction(20), keyframes=(Fraction(10), Fraction(14), Fraction(18)),
    )  # fmt: skip
    sound = AudioStream(index=0, codec="aac", sample_rate=48000, channels=2, start=Fraction(10), end=Fraction(20))
    empty = Probe(formats=("hls",), duration=Fraction(10))
    segments = {
        path: ((path.replace("index.m3u8", "seg-0.m4s"), Fraction(4)),)
        for path in ("360p/index.m3u8", "audio-0/index.m3u8")
    }
    produced = Produced(
        probes={
            "360p/index.m3u8": replace(empty, video=(found,)),
            "audio-0/index.m3u8": replace(empty, audio=(sound,)),
        },
        sizes=dict.fromkeys(("360p/index.m3u8", "360p/seg-0.m4s", "audio-0/index.m3u8", "audio-0/seg-0.m4s"), 1000),
        segments=segments,
    )
    return wanted, produced


def test_what_is_as_planned_has_no_findings() -> None:
    assert check(*proven()) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 249}, "249 frames; planned: 250"),
        ({"end": Fraction(19)}, "9.000 s of video"),
        ({"codec": "hevc"}, "hevc"),
        ({"width": 638}, "638x360"),
        ({"sar": Fraction(4, 3)}, "square"),
        ({"rotation_degrees": 90}, "turned"),
        ({"bit_depth": 10}, "10 bits"),
        ({"keyframes": (Fraction(10), Fraction(15), Fraction(18))}, "key frames"),
        ({"keyframes": (Fraction(10),)}, "key frames"),
        ({"start": Fraction(9), "end": Fraction(19)}, "begins at"),
        ({"color": Color(transfer="smpte2084")}, "HDR"),
    ],
)
def test_each_difference_in_the_pictures_is_found(change: dict[str, Any], words: str) -> None:
    wanted, produced = proven()
    probes = dict(produced.probes)
    before = probes["360p/index.m3u8"]
    probes["360p/index.m3u8"] = replace(before, video=(replace(before.video[0], **change),))
    assert any(words in finding.text for finding in check(wanted, replace(produced, probes=probes)))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Color(), "has the transfer None; planned: smpte2084"),
        (Color(transfer="arib-std-b67", primaries="bt2020", space="bt2020nc"), "transfer arib-std-b67"),
        (Color(transfer="smpte2084", primaries="bt709", space="bt2020nc"), "primaries bt709"),
        (Color(transfer="smpte2084", primaries="bt2020", space="bt709"), "matrix bt709"),
    ],
)
def test_high_dynamic_range_that_was_lost_is_found(found: Color, words: str) -> None:
    wanted, produced = proven()
    assert wanted.pictures is not None
    color = Color(transfer="smpte2084", primaries="bt2020", space="bt2020nc", range="tv")
    kept = replace(wanted, pictures=replace(wanted.pictures, hdr=color, color=color))
    before = produced.probes["360p/index.m3u8"]

    def findings(shown: Color) -> str:
        probes = {**produced.probes, "360p/index.m3u8": replace(before, video=(replace(before.video[0], color=shown),))}
        return " ".join(one.text for one in check(kept, replace(produced, probes=probes)))

    assert findings(color) == ""
    assert words in findings(found)


def test_missing_and_empty_files_are_found() -> None:
    # A full disk: FFmpeg's HLS muxer leaves empty segments and ends with 0.
    wanted, produced = proven()
    empty = replace(produced, sizes={**produced.sizes, "360p/seg-0.m4s": 0})
    assert {finding.path for finding in check(wanted, empty)} == {"360p/seg-0.m4s", "360p/index.m3u8"}
    assert cause(check(wanted, empty)) is FailureClass.DISK
    nothing = check(wanted, Produced(probes={}, sizes={}))
    assert cause(nothing) is FailureClass.OUTPUT
    unread = replace(produced, probes={})
    assert any("could not be read back" in finding.text for finding in check(wanted, unread))


def test_lost_sound_is_found() -> None:
    wanted, produced = proven()
    probes = dict(produced.probes)
    before = probes["audio-0/index.m3u8"]
    for change in (
        {"end": Fraction(15)},
        {"channels": 1},
        {"codec": "opus"},
        {"start": Fraction(11), "end": Fraction(21)},
    ):
        probes["audio-0/index.m3u8"] = replace(before, audio=(replace(before.audio[0], **change),))
        assert check(wanted, replace(produced, probes=probes))
    probes["audio-0/index.m3u8"] = replace(before, audio=())
    assert check(wanted, replace(produced, probes=probes))
