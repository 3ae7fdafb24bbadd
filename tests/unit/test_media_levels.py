"""Levels: what does not fit one is refused where it is known, and what fits is bounded by it."""

from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.levels import LEVELS, beyond_level, rung
from millrace.domain.media.parameters import ParameterError, with_parameters
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile import Packaging, VideoCodec
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.engines.ffmpeg.codecs import video_options
from millrace.engines.ffmpeg.encoders import candidates_of, chosen

FILM = VideoStream(index=0, codec="h264", width=3840, height=2160, frame_rate=Fraction(25), frames=50, end=Fraction(2))


def profile(**video: Any) -> Any:
    return profile_from({"name": "t", "packaging": "mp4", "renditions": [{"name": "r", "video": video}]})


def findings(**video: Any) -> list[str]:
    with pytest.raises(ProfileError) as told:
        profile(**video)
    return [f"{path} {text}" for path, text in told.value.findings]


@pytest.mark.parametrize(
    ("video", "told"),
    [
        ({"codec": "h264", "level": 4.1, "height": 2160}, "level is 4.1, which is too low: the rendition has 3840x2160 pixels"),
        ({"codec": "h265", "level": "4.1", "height": 2160}, "level is 4.1, which is too low: the rendition has 3840x2160 pixels"),
        ({"codec": "h264", "level": 4, "height": 1080, "fps": 60}, "has 60 frames of 1920x1080 a second, and level 4 of h264 holds 30.12"),
        ({"codec": "h264", "level": "3.1", "height": 720, "maxrate": "20M"}, "maxrate is 20000000, and level 3.1 of h264 holds 17500000"),
        ({"codec": "h265", "level": "4.0", "height": 1080, "bitrate": "13M"}, "bitrate is 13000000, and level 4 of h265 holds 12000000"),
        ({"codec": "h264", "level": 4.7}, "level is 4.7; allowed: 1, 1.1"),
        ({"codec": "h264", "level": True}, "level is True; allowed"),
        ({"codec": "h264", "level": 4.1, "encoder": "nvenc"}, "is kept by encoders in software only, and encoder is nvenc"),
        ({"codec": "h265", "level": 5.1, "encoder": "hardware"}, "is kept by encoders in software only, and encoder is hardware"),
        ({"codec": "vp9", "level": 4.1}, "level is 4.1; only h264 and h265 have one here, not vp9"),
    ],
)  # fmt: skip
def test_what_a_profile_names_has_to_fit_its_level(video: dict[str, Any], told: str) -> None:
    (found,) = findings(**video)
    assert found.startswith("renditions[0].video.")
    assert told in found


@pytest.mark.parametrize(
    ("level", "height", "fps"), [("4.1", 1080, 30), ("5.1", 1080, 60), ("5.1", 2160, 30), ("3.1", 720, 30), ("6.2", 4320, 120)]
)  # fmt: skip
def test_what_everybody_uses_fits(level: str, height: int, fps: int) -> None:
    for codec in ("h264", "h265"):
        made = profile(codec=codec, level=level, height=height, fps=fps)
        assert made.renditions[0].video.level == level
        assert profile_from(to_document(made)) == made


def test_what_the_film_decides_is_refused_before_the_encode() -> None:
    probe = Probe(formats=("mov",), duration=Fraction(2), video=(FILM,))
    with pytest.raises(Refused, match=r"Rendition r would have 3840x2160 pixels, and level 4.1 of h264") as refused:
        plan(profile(codec="h264", level="4.1"), probe)
    assert refused.value.failure_class is FailureClass.REQUEST
    fast = replace(FILM, width=1920, height=1080, frame_rate=Fraction(60), frames=120)
    with pytest.raises(Refused, match=r"60 frames of 1920x1080 a second, and level 4.1 of h264 holds 30.12"):
        plan(profile(codec="h264", level="4.1"), replace(probe, video=(fast,)))
    assert plan(profile(codec="h264", level="4.1", fps=30), replace(probe, video=(fast,))).frames == 60


def test_no_level_holds_every_picture() -> None:
    # 8K at 240 frames a second is more than the highest level of H.264 holds, named or not.
    top = replace(FILM, width=7680, height=4320, frame_rate=Fraction(240), frames=480)
    with pytest.raises(Refused, match=r"level 6.2 of h264 holds 128.9"):
        plan(profile(codec="h264"), Probe(formats=("mov",), duration=Fraction(2), video=(top,)))


def test_h264_counts_whole_blocks() -> None:
    settings = profile(codec="h264", level="4").renditions[0].video
    assert beyond_level(settings, rung(1080), Fraction(245760, 8160)) is None
    assert beyond_level(settings, rung(1080), Fraction(245761, 8160)) is not None


def test_the_encoder_is_told_and_bounded() -> None:
    probe = Probe(formats=("mov",), duration=Fraction(2), video=(replace(FILM, width=1280, height=720),))
    (video,) = plan(profile(codec="h264", level="3.1"), probe).videos
    words = " ".join(video_options(video, "libx264", Packaging.MP4))
    assert "-maxrate 17500000 -bufsize 17500000 -g" in words
    assert "-level 3.1" in words
    (video,) = plan(profile(codec="h265", level="3.1", maxrate="4M"), probe).videos
    words = " ".join(video_options(video, "libx265", Packaging.MP4))
    assert "-maxrate 4000000 -bufsize 8000000" in words
    assert ":level-idc=3.1:high-tier=0" in words
    assert "-level " not in words


def test_no_card_is_taken_for_a_level() -> None:
    kept, free = profile(codec="h264", level="4.1"), profile(codec="h264")
    assert candidates_of(kept) == (("libx264",),)
    assert chosen(kept.renditions[0].video, {"h264_nvenc"}) == "libx264"
    assert chosen(free.renditions[0].video, {"h264_nvenc"}) == "h264_nvenc"
    with pytest.raises(ParameterError, match="is kept by encoders in software only, and encoder is hardware"):
        with_parameters(kept, {"encoder": "hardware"})


def test_levels_rise() -> None:
    for levels in LEVELS.values():
        for lower, higher in zip(list(levels.values()), list(levels.values())[1:], strict=False):
            assert lower.per_second <= higher.per_second
            assert lower.picture <= higher.picture
            assert lower.bits_per_second <= higher.bits_per_second
    assert set(LEVELS) == {VideoCodec.H264, VideoCodec.H265}
