"""Which renditions of a ladder add nothing to a title. Pure.

A player that switches between two renditions gets, over time, the rates and the qualities on the straight line between them. So
a rendition has to lie above the line between its neighbours, or nobody is better off with it: the useful ones are the convex hull of
rate and quality (Netflix, "Per-Title Encode Optimization", 2015).
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.outputs import Plan


class Rung(Struct, frozen=True, kw_only=True):
    """What is expected of a rendition: its rate and its VMAF."""

    name: str
    bitrate_bps: int
    vmaf: float

    @property
    def words(self) -> str:
        """For a person."""
        return f"{self.name} (VMAF {self.vmaf:.1f} at {self.bitrate_bps / 1000:,.0f} kbit/s)"


def redundant(rungs: Sequence[Rung], min_gain: float) -> Mapping[str, str]:
    """The renditions that give less than `min_gain` VMAF more than switching between those beside them, each with the reason.

    The best and the cheapest one stay. Those that gain least go first, since what goes changes what is beside the others.
    """
    best = max(rungs, key=lambda one: (one.vmaf, -one.bitrate_bps))
    ordered = sorted(rungs, key=lambda one: (-one.bitrate_bps, one.vmaf))
    kept = [best, *(one for one in ordered if one.bitrate_bps < best.bitrate_bps)]
    while len(kept) > 2:
        gain, place = min((_gain(kept, number), number) for number in range(1, len(kept) - 1))
        if gain >= min_gain:
            break
        del kept[place]
    return {rung.name: _reason(rung, best, kept) for rung in ordered if rung not in kept}


def _reason(rung: Rung, best: Rung, kept: Sequence[Rung]) -> str:
    if rung.bitrate_bps >= best.bitrate_bps:
        return f"{rung.words} costs no less than {best.words}"
    above = min((one for one in kept if one.bitrate_bps > rung.bitrate_bps), key=lambda one: one.bitrate_bps)
    below = max((one for one in kept if one.bitrate_bps <= rung.bitrate_bps), key=lambda one: one.bitrate_bps)
    return f"{rung.words} gives no more than switching between {above.words} and {below.words}"


def _gain(ordered: Sequence[Rung], place: int) -> float:
    """VMAF above the line between the neighbours; less than nothing below it."""
    above, rung, below = ordered[place - 1 : place + 2]
    if above.bitrate_bps == below.bitrate_bps:
        return rung.vmaf - above.vmaf
    part = (rung.bitrate_bps - below.bitrate_bps) / (above.bitrate_bps - below.bitrate_bps)
    return rung.vmaf - (below.vmaf + part * (above.vmaf - below.vmaf))


def without_redundant(plan: Plan) -> Plan:
    """The plan without the renditions that add nothing, with a note about each, where the profile asks for that."""
    found = [(video.name, video.search) for video in plan.videos if video.search]
    if plan.per_title is None or not found:
        return plan
    rungs = [Rung(name=name, bitrate_bps=one.bitrate_bps, vmaf=one.vmaf) for name, one in found]
    dropped = redundant(rungs, plan.per_title)
    files = tuple(file for file in plan.files if file.video is None or file.video.name not in dropped)
    return replace(plan, files=files, notes=(*plan.notes, *(f"Left out: {reason}." for reason in dropped.values())))
