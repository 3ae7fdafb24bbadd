"""How many seconds an encode costs, as people are told beforehand. Pure."""

from collections.abc import Mapping

from millrace.domain.media.chunk_costs import Cost
from millrace.domain.media.outputs import Plan
from millrace.domain.media.profile import DEFAULT_PRESET, PRESETS, VideoCodec

PIXELS = 70e6
"""What one core encodes in a second with x264 veryfast (docs/decisions/0047-explained.md)."""
EFFORT: Mapping[VideoCodec, Mapping[str, float]] = {
    VideoCodec.H264: {
        "ultrafast": 0.29, "superfast": 0.64, "veryfast": 1.0, "faster": 1.8, "fast": 2.1, "medium": 2.4, "slow": 3.5, "slower": 6.5,
        "veryslow": 14.4,
    },
    VideoCodec.H265: {
        "ultrafast": 1.4, "superfast": 2.2, "veryfast": 2.8, "faster": 2.9, "fast": 4.3, "medium": 4.4, "slow": 11.3,
    },
    VideoCodec.AV1: {"12": 0.68, "11": 0.67, "10": 0.82, "9": 1.25, "8": 1.9, "7": 2.4, "6": 3.5, "5": 4.4},
    VideoCodec.VP9: {"8": 5.8, "7": 6.1, "6": 5.9, "5": 6.0, "4": 6.4, "3": 7.1, "2": 9.9},
}  # fmt: skip
"""How many times as long as x264 veryfast a pixel takes, for the presets that were measured."""
FIRST_PASS = 0.3
"""What a first pass takes of both: encoders skip there what only the second needs."""


def second(plan: Plan, cost: Cost) -> float:
    """What one core does of this plan in a second, in the unit of the costs (:mod:`millrace.domain.media.chunk_costs`)."""
    pixels = [one.size.width * one.size.height for one in plan.videos]
    effort = [effort_of(one.settings.codec, one.settings.preset) for one in plan.videos]
    beside = cost.all - sum(pixels)
    work = beside + sum(own * times for own, times in zip(pixels, effort, strict=True))
    passes = 1 / (1 - FIRST_PASS) if plan.is_two_pass else 1.0
    return PIXELS * cost.all / (work * passes)


def effort_of(codec: VideoCodec, preset: str) -> float:
    """How many times as long as x264 veryfast one pixel takes; of a preset that was not measured, what that nearest to it takes."""
    known, presets = EFFORT[codec], PRESETS[codec]
    place = presets.index(preset) if preset in presets else presets.index(DEFAULT_PRESET[codec])
    return known[min(known, key=lambda one: abs(presets.index(one) - place))]
