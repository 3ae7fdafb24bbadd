"""VMAF of a rendition: at which size it is measured, what is kept of the scores of its frames, and whether floors hold. Pure.

VMAF predicts what people said who looked at a screen of a certain size, so both pictures are brought to the size that the
model was made for before they are compared (Netflix, "VMAF: The Journey Continues", 2018: bicubic, at the size of the screen).
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from msgspec import Struct

from millrace.domain.media.ladder import Size, filling
from millrace.domain.media.outputs import VideoOutput

HD, HD_HEIGHT = "vmaf_v0.6.1", 1080
UHD, UHD_HEIGHT = "vmaf_4k_v0.6.1", 2160
"""The models, which are built into libvmaf: a screen of 1080 lines seen from three times its height, and one of 2160 lines
from one and a half."""
ENOUGH_FRAMES, APART = 500, (7, 5, 3, 1)
"""At least that many frames of a film are compared, with odd distances between them: every second frame is one that other frames
are predicted from, and better than its neighbours (docs/decisions/0041-quality.md)."""


class Measure(Struct, frozen=True, kw_only=True):
    """How a rendition is compared: with that model at that size, every `every`-th frame from the first."""

    model: str
    size: Size
    every: int

    def frames_of(self, frames: int) -> int:
        """How many of so many frames are compared."""
        return ceil(frames / self.every)


class Moment(Struct, frozen=True, kw_only=True):
    """One frame, counted from 0, and its VMAF."""

    frame: int
    at_s: float
    vmaf: float


class Quality(Struct, frozen=True, kw_only=True):
    """What the scores of so many `frames` say. 99 of a hundred frames are better than `one_percent_low`, which one of them has."""

    frames: int
    mean: float
    harmonic_mean: float
    one_percent_low: float
    worst: Moment

    @property
    def sentence(self) -> str:
        """The quality for a person."""
        return (
            f"VMAF {self.mean:.2f} (harmonic mean {self.harmonic_mean:.2f}, 1 % low {self.one_percent_low:.2f}, "
            f"worst {self.worst.vmaf:.2f} at {self.worst.at_s:.2f} s, {self.frames} frames compared)"
        )


def measure(video: VideoOutput, every: int | None = None) -> Measure:
    """How this rendition is compared; `every` comes before what its profile says.

    Each model is asked about what its screen can show: the larger one from 1081 lines on.
    """
    long_side, short_side = max(video.size.width, video.size.height), min(video.size.width, video.size.height)
    is_uhd = long_side > HD_HEIGHT * 16 // 9 or short_side > HD_HEIGHT
    return Measure(
        model=UHD if is_uhd else HD,
        size=filling(video.size, UHD_HEIGHT if is_uhd else HD_HEIGHT),
        every=every or (video.vmaf and video.vmaf.every) or _apart(video.frames),
    )


def _apart(frames: int) -> int:
    return next((apart for apart in APART if frames >= ENOUGH_FRAMES * apart), 1)


def pooled(scores: Sequence[tuple[int, float]], rate: Fraction) -> Quality:
    """The quality that (frame, VMAF) pairs say. The harmonic mean is libvmaf's own, over 1 + VMAF, so that 0 counts as well.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("cannot pool the VMAF of no frames")
    values = sorted(score for _, score in scores)
    frame, lowest = min(scores, key=lambda one: (one[1], one[0]))
    return Quality(
        frames=len(values),
        mean=_rounded(sum(values) / len(values)),
        harmonic_mean=_rounded(len(values) / sum(1 / (1 + value) for value in values) - 1),
        one_percent_low=_rounded(values[ceil(len(values) / 100) - 1]),
        worst=Moment(frame=frame, at_s=_rounded(float(frame / rate)), vmaf=_rounded(lowest)),
    )


def shortfalls(video: VideoOutput, found: Quality) -> tuple[str, ...]:
    """What keeps a rendition from its floors, one text for each; empty where all hold."""
    floor = video.vmaf
    if floor is None:
        return ()
    worst = f"worst at {found.worst.at_s:.2f} s: {found.worst.vmaf:.1f}"
    wanted = (
        ("mean", found.mean, floor.min_mean),
        ("harmonic mean", found.harmonic_mean, floor.min_harmonic_mean),
        ("1 % low", found.one_percent_low, floor.min_one_percent_low),
    )
    return tuple(
        f"has a VMAF of {value:.2f} ({name}); wanted: at least {least:g} ({worst})"
        for name, value, least in wanted
        if least is not None and value < least
    )


def _rounded(value: float) -> float:
    return round(value, 3)
