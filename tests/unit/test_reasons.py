"""What is said of a plan: the sentence follows from what was weighed, and the steps from the plan."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_media_chunks import document, film

from millrace.domain.media.chunks import SPREAD_WORTH, WORTH, with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.pace import EFFORT, effort_of
from millrace.domain.media.plan import plan
from millrace.domain.media.plan_document import plan_from, to_document
from millrace.domain.media.probe import AudioStream
from millrace.domain.media.profile import DEFAULT_PRESET, PRESETS, VideoCodec
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.reasons import reason, steps
from millrace.domain.media.split import Chunking, Course
from millrace.engines.profiles import named


def planned(
    profile: str | dict[str, Any] = "mp4-h264", *, frames: int = 1500, sound: bool = True, **split: Any
) -> Plan:
    probe = film(frames, key=100)
    heard = AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, end=probe.duration)
    probe = replace(probe, audio=(heard,) if sound else ())
    wanted = named(profile) if isinstance(profile, str) else profile_from(profile)
    return with_split(plan(wanted, probe), probe, **{"cores": 2, **split})


@settings(deadline=None)
@given(
    frames=st.integers(2, 20_000),
    cores=st.integers(1, 16),
    helpers=st.integers(0, 40),
    chunking=st.sampled_from(Chunking),
    codec=st.sampled_from(("h264", "h265")),
)
def test_what_was_chosen_is_what_was_weighed_as_worth_it(
    frames: int, cores: int, helpers: int, chunking: Chunking, codec: str
) -> None:
    made = planned(document("mp4", 2, 1, codec), frames=frames, cores=cores, helpers=helpers, chunking=chunking)
    decision = made.split.decision
    assert decision is not None
    assert made.split.reason == reason(decision)
    assert (decision.cores, decision.helpers, decision.asked) == (cores, helpers, chunking)
    assert [way.course for way in decision.ways] == [*Course][: len(decision.ways)]
    chosen, here = decision.ways[decision.chosen], decision.ways[decision.here]
    assert chosen.chunks == max(1, len(made.split.chunks))
    assert chosen.workers == max(1, made.split.workers)
    assert chosen.repeated == sum(chunk.lead for chunk in made.split.chunks)
    assert all(way.time_s > 0 and way.cpu_s > 0 for way in decision.ways)
    if decision.obstacle:
        assert made.split.reason == f"whole: {decision.obstacle}"
        assert chosen.course is Course.WHOLE
    elif chunking is Chunking.AUTO:
        whole = decision.ways[0]
        assert here.time_s <= whole.time_s * (WORTH if decision.here else 1)
        assert chosen.time_s <= here.time_s * (SPREAD_WORTH if chosen.course is Course.SPREAD else 1)


def test_the_sentence_has_the_ratio_of_the_times_that_were_weighed() -> None:
    made = planned(helpers=5)
    decision = made.split.decision
    assert decision is not None
    shared = decision.ways[decision.chosen]
    assert shared.course is Course.SPREAD
    part = re.search(r"expected (\d\.\d\d) of the time on one", made.split.reason)
    assert part is not None
    assert float(part[1]) == pytest.approx(shared.time_s / decision.ways[decision.here].time_s, abs=0.005)


def test_what_was_weighed_goes_with_the_plan_to_another_worker() -> None:
    made = planned(helpers=5)
    assert plan_from(to_document(made)).split.decision == made.split.decision


def test_a_worker_of_before_wrote_down_no_decision() -> None:
    old = to_document(planned(helpers=5))
    del old["split"]["decision"]
    assert plan_from(old).split.decision is None


def test_every_preset_has_a_pace_and_a_slower_one_takes_longer() -> None:
    for codec in VideoCodec:
        assert set(EFFORT[codec]) <= set(PRESETS[codec])
        assert DEFAULT_PRESET[codec] in EFFORT[codec]
    assert effort_of(VideoCodec.H264, "veryfast") == 1
    quick = planned(document("mp4", 2, 1, preset="ultrafast")).split.decision
    slow = planned(document("mp4", 2, 1, preset="slow")).split.decision
    assert quick is not None
    assert slow is not None
    assert quick.ways[0].cpu_s < slow.ways[0].cpu_s
    assert [way.course for way in quick.ways] == [way.course for way in slow.ways]


def test_two_passes_cost_more_than_one() -> None:
    one, two = (planned(document("mp4", 2, 1, bitrate="500k", passes=passes)).split.decision for passes in (1, 2))
    assert one is not None
    assert two is not None
    assert two.ways[0].cpu_s == pytest.approx(one.ways[0].cpu_s / 0.7)


def test_the_steps_of_a_ladder_in_chunks() -> None:
    found = steps(planned("web-hls", frames=3000, chunking=Chunking.ALWAYS))
    assert found["pictures"].startswith(
        "decoded once for each chunk for all renditions, each scaled from the one above: 1080p (1920x1080 h264), "
    )
    assert found["sound"].startswith("encoded once, from the beginning to the end, beside the chunks: aac 2 channels")
    assert found["packaging"].endswith("one set for HLS and DASH")
    assert "the times across " in found["verification"]
    assert "3,000 frames in each rendition" in found["verification"]
    assert "quality" not in found


def test_the_steps_of_a_film_that_stays_whole() -> None:
    found = steps(planned("mp4-h264", sound=False, chunking=Chunking.NEVER))
    assert found["pictures"].startswith("decoded once: ")
    assert found["sound"] == "none"
    assert found["packaging"] == "1 file (mp4)"
    assert "join" not in found["verification"]


def test_the_steps_of_thumbnails_and_of_a_searched_quality() -> None:
    found = steps(planned("thumbnails"))
    assert set(found) == {"pictures", "packaging", "verification"}
    assert "one every 5 s" in found["pictures"]
    wanted = document("mp4", 2, 1, quality={"vmaf": 93})
    wanted["checks"] = {"vmaf": True}
    found = steps(planned(wanted))
    assert found["quality"] == "a CRF for one is searched that gives VMAF 93"
    assert found["verification"].endswith("VMAF of one against the source")
