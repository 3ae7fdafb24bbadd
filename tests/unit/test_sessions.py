"""Sessions of hardware encoders: what a task takes on a node, what fits beside what it holds, and what never fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.needs import Needs, Offer, missing, needs_from, taken
from millrace.domain.sessions import FAMILIES, Allowance, chosen_among, family_of
from millrace.engines.ffmpeg import encoders
from millrace.engines.profiles import named

H264 = ("libx264", "h264_nvenc")
LADDER = Needs(encoders=(H264, ("aac",)), streams={"h264_nvenc": 4})


def an_offer(*working: str, **sessions: int) -> Offer:
    return Offer(engines=frozenset({"ffmpeg"}), encoders=frozenset({"aac", *working}), sessions=sessions)


@pytest.mark.parametrize(
    ("encoder", "family"),
    [("h264_nvenc", "nvenc"), ("hevc_qsv", "qsv"), ("av1_vaapi", "vaapi"), ("h264_videotoolbox", "videotoolbox"),
     ("libx264", None), ("nvenc", None), ("pcm_s16le", None), ("libvpx-vp9", None)],
)  # fmt: skip
def test_the_family_of_an_encoder_is_the_hardware_that_it_uses(encoder: str, family: str | None) -> None:
    assert family_of(encoder) == family


def test_a_task_takes_a_session_for_each_picture_where_no_encoder_in_software_works() -> None:
    assert taken(an_offer("h264_nvenc"), LADDER) == {"nvenc": 4}
    assert taken(an_offer("h264_nvenc", "libx264"), LADDER) == {}
    assert taken(an_offer("h264_nvenc"), Needs(encoders=(H264,))) == {"nvenc": 1}
    both = Needs(encoders=(H264, ("libx265", "hevc_nvenc", "hevc_qsv")), streams={"h264_nvenc": 2, "hevc_nvenc": 3})
    assert taken(an_offer("h264_nvenc", "hevc_nvenc", "hevc_qsv"), both) == {"nvenc": 5}
    assert taken(an_offer("h264_nvenc", "hevc_qsv"), both) == {"nvenc": 2, "qsv": 1}


def test_what_takes_more_than_a_node_has_never_fits_and_says_so() -> None:
    assert missing(an_offer("h264_nvenc", nvenc=4), LADDER) is None
    assert missing(an_offer("h264_nvenc", nvenc=3), LADDER) == "4 sessions of nvenc at once"
    assert missing(an_offer("h264_nvenc"), LADDER) is None  # nobody counted them
    assert missing(an_offer("libx264", nvenc=0), LADDER) is None


def test_needs_are_kept_with_their_streams_and_those_of_before_are_spelled_as_before() -> None:
    assert needs_from(LADDER.to_document()) == Needs(
        encoders=(("h264_nvenc", "libx264"), ("aac",))[::-1], streams=LADDER.streams
    )
    assert "streams" not in Needs(encoders=(H264,)).to_document()
    assert LADDER.digest != Needs(encoders=LADDER.encoders).digest


def test_the_master_takes_the_encoder_that_the_worker_takes() -> None:
    for candidates in encoders.VIDEO.values():
        hardware = [name for name in candidates if family_of(name)]
        assert list(candidates[len(candidates) - len(hardware) :]) == sorted(hardware)
        for working in (frozenset(hardware), frozenset(hardware[1:])):
            if working:
                assert chosen_among(working) == next(name for name in candidates if name in working)
    assert chosen_among(frozenset()) is None


def test_a_ladder_makes_as_many_pictures_at_once_as_it_has_renditions() -> None:
    profile = named("web-hls")
    assert encoders.streams_of(profile) == dict.fromkeys(
        ("h264_nvenc", "h264_qsv", "h264_vaapi"), len(profile.renditions)
    )


ALLOWANCE = Allowance(sessions={"nvenc": 3}, takes={1: {"nvenc": 1}, 2: {"nvenc": 2}, 4: {"qsv": 9}})


@pytest.mark.parametrize(
    ("held", "fitting"),
    [([], [1, 2, 3, 4]), ([1], [1, 2, 3, 4]), ([2], [1, 3, 4]), ([1, 2], [3, 4]), ([2, 2], [3, 4]), ([3, 3, 4], [1, 2, 3, 4])],
)  # fmt: skip
def test_what_fits_is_what_leaves_no_family_short(held: list[int], fitting: list[int]) -> None:
    assert ALLOWANCE.fitting([1, 2, 3, 4], held) == fitting


@given(
    st.dictionaries(st.sampled_from(FAMILIES), st.integers(0, 6)),
    st.dictionaries(st.integers(1, 5), st.dictionaries(st.sampled_from(FAMILIES), st.integers(1, 3)), max_size=5),
    st.lists(st.integers(1, 5), max_size=30),
)
def test_however_tasks_come_no_family_is_used_beyond_its_sessions(
    sessions: dict[str, int], takes: dict[int, dict[str, int]], wanted: list[int]
) -> None:
    allowance, held = Allowance(sessions=sessions, takes=takes), list[int]()
    for class_id in wanted:
        held += allowance.fitting([class_id], held)
    for family, most in sessions.items():
        assert sum(takes.get(class_id, {}).get(family, 0) for class_id in held) <= most
