import contextlib
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.profile import Packaging, VideoCodec
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.engines.profile_text import parsed
from millrace.engines.profiles import UnknownProfileError, named, names

GOOD: dict[str, Any] = {
    "name": "mine",
    "packaging": "cmaf",
    "renditions": [{"video": {"codec": "h264", "height": 720, "crf": 22}}],
    "audio": [{"codec": "aac", "bitrate": "128k", "channels": 2}],
}


def findings(**changes: Any) -> dict[str, str]:
    with pytest.raises(ProfileError) as error:
        profile_from({**GOOD, **changes})
    found: dict[str, str] = {}
    for path, text in error.value.findings:
        found[path] = f"{found.get(path, '')} {text}"
    return found


def video(**settings: Any) -> list[dict[str, Any]]:
    return [{"video": {"codec": "h264", **settings}}]


def test_a_good_one() -> None:
    profile = profile_from(GOOD)
    assert profile.renditions[0].name == "720p"
    assert profile.renditions[0].video.codec is VideoCodec.H264
    assert profile.audio[0].bitrate_bps == 128_000


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"renditions": video(crf=math.nan)}, "renditions[0].video.crf", "0 to 51"),
        ({"renditions": video(crf=-1)}, "renditions[0].video.crf", "0 to 51"),
        ({"renditions": video(crf=True)}, "renditions[0].video.crf", "0 to 51"),
        ({"renditions": video(height=10**9)}, "renditions[0].video.height", "16 to 4320"),
        ({"renditions": video(height=71)}, "renditions[0].video.height", "is 71, and pictures in 4:2:0 need an even number of pixels; use 70 or 72"),
        ({"renditions": video(height=14)}, "renditions[0].video.height", "16 to 4320"),
        ({"renditions": video(height=8640)}, "renditions[0].video.height", "16 to 4320"),
        ({"renditions": video(height=30, codec="h265")}, "renditions[0].video.height", "32 to 4320"),
        ({"generate": {"width": 1281}}, "generate.width", "use 1280 or 1282"),
        ({"generate": {"height": 17}}, "generate.height", "use 16 or 18"),
        ({"packaging": "thumbnails", "thumbnails": {"width": 161}}, "thumbnails.width", "use 160 or 162"),
        ({"renditions": video(height=720.5)}, "renditions[0].video.height", "whole number"),
        ({"renditions": video(preset="warp9")}, "renditions[0].video.preset", "veryfast"),
        ({"renditions": video(colour="red")}, "renditions[0].video.colour", "unknown"),
        ({"renditions": video(crf=20, bitrate="1M")}, "renditions[0].video.crf", "exclude"),
        ({"renditions": video(bitrate="fast")}, "renditions[0].video.bitrate", "5M"),
        ({"renditions": video(bitrate="2M", maxrate="1M")}, "renditions[0].video.maxrate", "below"),
        ({"renditions": video(bit_depth=10)}, "renditions[0].video.bit_depth", "8"),
        ({"renditions": video(fps="0/0")}, "renditions[0].video.fps", "30000/1001"),
        ({"renditions": [{"video": {"codec": "vp9"}}]}, "renditions[0].video.codec", "h264"),
        ({"renditions": []}, "renditions", "at least one"),
        ({"renditions": {}}, "renditions", "list"),
        ({"renditions": [3]}, "renditions[0]", "mapping"),
        ({"renditions": [{"name": "../x", "video": {}}]}, "renditions[0].name", "letters"),
        ({"renditions": video(height=720) * 2}, "renditions", "two entries"),
        ({"audio": "loud"}, "audio", "none"),
        ({"audio": [{"codec": "opus"}]}, "audio[0].codec", "aac"),
        ({"audio": [{"channels": 99}]}, "audio[0].channels", "1 to 8"),
        ({"packaging": "avi"}, "packaging", "cmaf"),
        ({"packaging": None}, "packaging", "missing"),
        ({"packaging": "m4a"}, "renditions", "no video"),
        ({"name": "a b"}, "name", "letters"),
        ({"name": None}, "name", "letters"),
        ({"segment_s": 0}, "segment_s", "0.5 to 30"),
        ({"segment_s": math.inf}, "segment_s", "0.5 to 30"),
        ({"gop_s": 3}, "gop_s", "without a rest"),
        ({"subtitles": "burn"}, "subtitles", "keep, convert, drop"),
        ({"extra": 1}, "extra", "unknown"),
        ({"checks": {"frame_tolerance": -1}}, "checks.frame_tolerance", "0 to 1000"),
        ({"thumbnails": {}}, "thumbnails", "only for"),
        ({"hdr": "keep"}, "renditions[0].video.codec", "cannot hold high dynamic range; allowed with hdr: keep: h265, av1, vp9"),
        ({"hdr": "keep", "renditions": video(codec="h265", bit_depth=8)}, "renditions[0].video.bit_depth", "10"),
        ({"renditions": video(mode="cbr")}, "renditions[0].video.mode", "needs bitrate and no maxrate"),
        ({"renditions": video(mode="cbr", bitrate="1M", maxrate="2M")}, "renditions[0].video.mode", "no maxrate"),
        ({"renditions": video(mode="abr")}, "renditions[0].video.mode", "vbr, cbr"),
        ({"renditions": video(passes=2)}, "renditions[0].video.passes", "needs a bitrate"),
        ({"renditions": video(passes=2, crf=20)}, "renditions[0].video.passes", "needs a bitrate"),
        ({"renditions": video(passes=3)}, "renditions[0].video.passes", "1 to 2"),
        ({"renditions": video(passes=2, bitrate="1M", mode="cbr")}, "renditions[0].video.passes", "cbr has no use for"),
        ({"renditions": video(passes=2, bitrate="1M", codec="av1")}, "renditions[0].video.passes", "allowed for h264, h265, vp9"),
        ({"renditions": video(bitrate="1M", maxrate="2M", codec="av1")}, "renditions[0].video.maxrate", "cannot be kept by av1"),
        ({"renditions": video(quality=93)}, "renditions[0].video.quality", "mapping"),
        ({"renditions": video(quality={})}, "renditions[0].video.quality.vmaf", "missing"),
        ({"renditions": video(quality={"vmaf": 100})}, "renditions[0].video.quality.vmaf", "10 to 99"),
        ({"renditions": video(quality={"vmaf": 93}, crf=20)}, "renditions[0].video.quality", "crf exclude"),
        ({"renditions": video(quality={"vmaf": 93}, bitrate="1M")}, "renditions[0].video.quality", "bitrate exclude"),
        ({"renditions": video(quality={"vmaf": 93, "min_crf": 30, "max_crf": 20})}, "renditions[0].video.quality.min_crf", "above max_crf"),
        ({"renditions": video(quality={"vmaf": 93, "max_crf": 52})}, "renditions[0].video.quality.max_crf", "0 to 51"),
        ({"renditions": video(quality={"vmaf": 93, "min_crf": 20.3})}, "renditions[0].video.quality.min_crf", "steps of 0.5"),
        ({"renditions": video(quality={"vmaf": 93, "min_crf": 20.5}, codec="av1")}, "renditions[0].video.quality.min_crf", "steps of 1"),
        ({"renditions": video(quality={"vmaf": 93, "probes": 1})}, "renditions[0].video.quality.probes", "2 to 8"),
        ({"renditions": video(quality={"vmaf": 93, "max_bitrate": "much"})}, "renditions[0].video.quality.max_bitrate", "5M"),
        ({"renditions": video(quality={"vmaf": 93, "unreachable": "ignore"})}, "renditions[0].video.quality.unreachable", "best, refuse"),
        ({"renditions": video(quality={"vmaf": 93, "ssim": 1})}, "renditions[0].video.quality.ssim", "unknown"),
        ({"per_title": True}, "per_title", "needs quality in every rendition"),
        ({"per_title": "yes"}, "per_title", "mapping"),
        ({"per_title": {"min_gain": 0}, "renditions": video(quality={"vmaf": 93})}, "per_title.min_gain", "0.1 to 20"),
        ({"per_title": {"gain": 1}, "renditions": video(quality={"vmaf": 93})}, "per_title.gain", "unknown"),
        ({"checks": {"vmaf": "yes"}}, "checks.vmaf", "true, false or a mapping"),
        ({"checks": {"vmaf": {"min_mean": 101}}}, "checks.vmaf.min_mean", "0 to 100"),
        ({"checks": {"vmaf": {"every": 0}}}, "checks.vmaf.every", "1 to 100"),
        ({"checks": {"vmaf": {"min_max": 1}}}, "checks.vmaf.min_max", "unknown"),
        ({"renditions": [{"video": {}, "vmaf": 1}]}, "renditions[0].vmaf", "true, false or a mapping"),
        ({"packaging": "m4a", "renditions": [], "checks": {"vmaf": True}}, "checks.vmaf", "nothing to compare"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_path_and_what_is_allowed(changes: Any, path: str, words: str) -> None:
    found = findings(**changes)
    assert path in found
    assert words in found[path]


def test_high_dynamic_range_is_kept_in_ten_bits() -> None:
    document = {
        **GOOD,
        "hdr": "keep",
        "renditions": [{"video": {"codec": "h265"}}, {"video": {"codec": "av1"}, "name": "b"}],
    }
    assert [rung.video.bit_depth for rung in profile_from(document).renditions] == [10, 10]


def test_all_mistakes_come_at_once() -> None:
    assert set(findings(nonsense=1, subtitles=3, renditions=video(crf=99, preset=0))) == {
        "nonsense", "subtitles", "renditions[0].video.crf", "renditions[0].video.preset",
    }  # fmt: skip


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@given(key=st.sampled_from([*GOOD, "subtitles", "checks", "generate", "thumbnails", "gop_s", "hdr"]), value=JSON)
def test_nothing_but_a_profile_error_comes_out(key: str, value: Any) -> None:
    with contextlib.suppress(ProfileError):
        assert profile_from({**GOOD, key: value}).name


@pytest.mark.parametrize("name", [*names(), "1080p30-h264", "4K60-h265", "720p60-vp9", "2160p24-av1"])
def test_documents_come_back_as_they_went(name: str) -> None:
    profile = named(name)
    assert profile_from(to_document(profile)) == profile


RATES: list[dict[str, Any]] = [
    {"crf": 20.5, "maxrate": "3M"},
    {"bitrate": "1M", "maxrate": "2M", "passes": 2},
    {"bitrate": "1M", "mode": "cbr"},
    {"quality": {"vmaf": 93}, "maxrate": "3M"},
    {
        "quality": {
            "vmaf": 93.5,
            "min_crf": 18,
            "max_crf": 30.5,
            "max_bitrate": "2M",
            "probes": 6,
            "unreachable": "refuse",
        }
    },
]


@pytest.mark.parametrize("settings", RATES)
@pytest.mark.parametrize("check", [None, True, {"min_mean": 90, "every": 3}])
@pytest.mark.parametrize("own", [None, True, False, {"min_one_percent_low": 70.5}])
def test_rate_control_and_quality_come_back_as_they_went(settings: Any, check: Any, own: Any) -> None:
    document = {**GOOD, "renditions": [{"video": settings, "vmaf": own}], "checks": {"vmaf": check}}
    profile = profile_from(document)
    assert profile_from(to_document(profile)) == profile


@pytest.mark.parametrize(("asked", "gain"), [(None, None), (False, None), (True, 1), ({}, 1), ({"min_gain": 2.5}, 2.5)])
def test_a_ladder_for_each_title_comes_back_as_it_went(asked: Any, gain: float | None) -> None:
    profile = profile_from({**GOOD, "renditions": video(quality={"vmaf": 93}), "per_title": asked})
    assert profile.per_title == gain
    assert profile_from(to_document(profile)) == profile


def test_a_rendition_may_ask_for_another_comparison_than_the_profile() -> None:
    renditions = [
        {"name": name, "video": {}, "vmaf": own} for name, own in (("a", None), ("b", False), ("c", {"min_mean": 60}))
    ]
    made = profile_from({**GOOD, "renditions": renditions, "checks": {"vmaf": {"min_mean": 90}}})
    assert [rung.vmaf and rung.vmaf.min_mean for rung in made.renditions] == [90, None, 60]


def test_a_quality_takes_the_place_of_a_crf() -> None:
    (rung,) = profile_from({**GOOD, "renditions": video(quality={"vmaf": 93})}).renditions
    assert (rung.video.crf, rung.video.bitrate_bps) == (None, None)
    assert rung.video.quality is not None
    assert (rung.video.quality.vmaf, rung.video.quality.min_crf, rung.video.quality.max_crf) == (93, 12, 45)


def test_the_built_in_ones() -> None:
    assert names() == ("audio", "av1", "mp4-h264", "mp4-h265", "thumbnails", "web-hls")
    assert [rung.video.height for rung in named("web-hls").renditions] == [1080, 720, 480, 360]


def test_a_scenario_is_a_profile_by_its_parts() -> None:
    profile = named("4K60-h265")
    assert profile.renditions[0].video.codec is VideoCodec.H265
    assert (profile.generate.width, profile.generate.height, profile.generate.rate) == (3840, 2160, Fraction(60))
    assert named("720p60-vp9").packaging is Packaging.WEBM


@pytest.mark.parametrize("name", ["1080p0-h264", "99999p30-h264", "1080p500-h264", "1080p30-mpeg2", "1081p30-h264", ""])
def test_absurd_scenarios_are_no_profiles(name: str) -> None:
    with pytest.raises(UnknownProfileError):
        named(name)


def test_a_miss_suggests_a_near_name() -> None:
    with pytest.raises(UnknownProfileError, match=r"did you mean web-hls\?"):
        named("webhls")


@pytest.mark.parametrize(
    "text",
    ["name: [", "- a", "a: &x [1]\nb: *x", "name: a\nname: b", "!!python/object:os.system {}", "\x00", "x" * 300_000],
)
def test_bad_yaml_is_a_profile_error(text: str) -> None:
    with pytest.raises(ProfileError):
        parsed(text)
