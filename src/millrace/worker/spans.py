"""Which part of an attempt's progress bar each step with an engine has."""

from msgspec import Struct

from millrace.domain.media.outputs import Plan

ENCODE_FROM = 0.02
ENCODE_TO = 0.96
"""The parts of the bar before and after the work of engines."""
SEARCH_PART, COMPARE_PART = 0.25, 0.3
"""What a search before the encode and a comparison after it take of what lies between the two."""


class Spans(Struct, frozen=True, kw_only=True):
    """Whether there is a search before the encode and a comparison after it."""

    searches: bool
    compares: bool

    @classmethod
    def of(cls, plan: Plan) -> "Spans":
        """Those of a plan."""
        return cls(
            searches=any(video.settings.quality for video in plan.videos),
            compares=any(video.vmaf for video in plan.videos),
        )

    @property
    def encode_from(self) -> float:
        """Where the encode begins."""
        return ENCODE_FROM + (SEARCH_PART * (ENCODE_TO - ENCODE_FROM) if self.searches else 0.0)

    @property
    def encode_to(self) -> float:
        """Where it ends."""
        return ENCODE_TO - (COMPARE_PART * (ENCODE_TO - ENCODE_FROM) if self.compares else 0.0)
