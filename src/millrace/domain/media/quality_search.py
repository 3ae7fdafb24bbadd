"""The search for the CRF that gives a wanted VMAF: which probe encode comes next, and what is chosen in the end. Pure.

VMAF falls and the rate falls as CRF grows, so both are lines through the probes that never rise: VMAF itself and the logarithm
of the rate, which is nearly straight in CRF. A probe is made where these lines say that the answer lies, until it has been
probed there, or lies between two probes and near one of them.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, floor, log

from msgspec import Struct

from millrace.domain.media.profile import CRF_STEP, DEFAULT_CRF, QualityTarget, Unreachable, VideoCodec

VMAF_PER_CRF = {VideoCodec.H264: -1.3, VideoCodec.H265: -1.3, VideoCodec.AV1: -0.7, VideoCodec.VP9: -0.7}
RATE_PER_CRF = {VideoCodec.H264: -0.12, VideoCodec.H265: -0.12, VideoCodec.AV1: -0.07, VideoCodec.VP9: -0.07}
"""What one CRF changes where only one probe is known: of VMAF, and of the natural logarithm of the rate. A guess to begin with."""
USUAL_VMAF = 93.0
"""What the default CRF of a codec is taken for, before anything is known of the film."""
LEAST_FALL = 0.25
"""Beyond the probes a line falls at least by that part of the guess: it must not run level for ever where VMAF saturates."""
NEAR, TOGETHER = 1.0, 6.0
"""Between two probes no further apart than the second, and no further from one of them than the first, the line is more exact than
another sample of the film."""
BEYOND = 2.0
"""How far above a good probe the next one looks, where nothing is known above it."""
FARTHEST_START = 4.0
"""How far from its codec's default CRF a search begins: what small renditions can reach is not known before."""

Point = tuple[float, float]


class Trial(Struct, frozen=True, kw_only=True):
    """What a probe encode gave: VMAF over all pieces, and their rate."""

    crf: float
    vmaf: float
    bitrate_bps: int


class Search(Struct, frozen=True, kw_only=True):
    """What is searched for one rendition. `ceiling_bps` bounds its rate, and `ceiling` says why; None for no bound."""

    codec: VideoCodec
    target: QualityTarget
    ceiling_bps: int | None = None
    ceiling: str = ""


class Choice(Struct, frozen=True, kw_only=True):
    """What was found: the CRF, the VMAF and the rate that are expected of it, and the probes. `shortfall` is why the quality that
    was wanted is not reached; empty where it is.
    """

    crf: float
    vmaf: float
    bitrate_bps: int
    wanted_vmaf: float
    trials: tuple[Trial, ...]
    frames: int = 0
    shortfall: str = ""

    @property
    def note(self) -> str:
        """The choice for a person."""
        expected = f"VMAF {self.vmaf:.1f} at {_kilobits(self.bitrate_bps)}"
        short = f"; {self.shortfall}" if self.shortfall else ""
        return f"CRF {self.crf:g} is taken, which is expected to give {expected}, for the VMAF {self.wanted_vmaf:g} that is wanted{short}."

    @property
    def evidence(self) -> str:
        """What was tried, for a person."""
        probes = ", ".join(
            f"CRF {one.crf:g} gave {one.vmaf:.2f} at {_kilobits(one.bitrate_bps)}" for one in self.trials
        )
        return f"{len(self.trials)} probes of {self.frames} frames: {probes}"


def next_crf(search: Search, trials: Sequence[Trial]) -> float | None:
    """The CRF to probe next; None where the choice can be made."""
    if not trials:
        away = (search.target.vmaf - USUAL_VMAF) / VMAF_PER_CRF[search.codec]
        return _on_step(search, DEFAULT_CRF[search.codec] + max(-FARTHEST_START, min(FARTHEST_START, away)))
    if len(trials) >= search.target.probes:
        return None
    wanted, probed = _wanted(search, trials), {one.crf: one for one in trials}
    below = max((crf for crf in probed if crf <= wanted), default=None)
    above = min((crf for crf in probed if crf > wanted), default=None)
    if below is not None and above is not None and above - below <= TOGETHER:
        is_near = min(wanted - below, above - wanted) <= NEAR
    else:
        is_near = False
    if is_near or (wanted == search.target.max_crf and wanted in probed):
        return None
    if wanted not in probed:
        return wanted
    is_good = probed[wanted].vmaf >= search.target.vmaf and wanted == _for_quality(search, trials)
    # Good, and nothing above is known, where the guess may be wrong by much: there may be bits to save.
    return _on_step(search, wanted + BEYOND) if is_good and above is None else None


def choice(search: Search, trials: Sequence[Trial], frames: int = 0) -> Choice:
    """What the probes, each of so many frames, say. Raises ValueError where there are none."""
    if not trials:
        raise ValueError("cannot choose a quality without a probe")
    crf = _wanted(search, trials)
    vmaf, rate = _vmaf_at(search, trials, crf), _rate_at(search, trials, crf)
    return Choice(
        crf=crf,
        vmaf=round(vmaf, 2),
        bitrate_bps=round(rate),
        wanted_vmaf=search.target.vmaf,
        trials=tuple(trials),
        frames=frames,
        shortfall=_shortfall(search, trials, crf, vmaf, rate),
    )


def refuses(search: Search, found: Choice) -> bool:
    """Whether the job must not go on with this choice."""
    return bool(found.shortfall) and search.target.unreachable is Unreachable.REFUSE


def _shortfall(search: Search, trials: Sequence[Trial], crf: float, vmaf: float, rate: float) -> str:
    target, texts = search.target, []
    over = search.ceiling_bps is not None and rate > search.ceiling_bps
    if over:
        texts.append(f"even max_crf {target.max_crf:g} takes more than {search.ceiling}")
    if vmaf < target.vmaf:
        if not over and crf > _for_quality(search, trials):
            texts.append(f"{search.ceiling} allows no better quality")
        elif not over:
            texts.append(f"min_crf {target.min_crf:g} allows no better quality")
    return " and ".join(texts)


def _wanted(search: Search, trials: Sequence[Trial]) -> float:
    """The largest CRF that gives the quality, or a larger one where the bound on the rate asks for it."""
    return max(_for_quality(search, trials), _for_rate(search, trials))


def _for_quality(search: Search, trials: Sequence[Trial]) -> float:
    good = (crf for crf in reversed(_grid(search)) if _vmaf_at(search, trials, crf) >= search.target.vmaf)
    return next(good, search.target.min_crf)


def _for_rate(search: Search, trials: Sequence[Trial]) -> float:
    if search.ceiling_bps is None:
        return search.target.min_crf
    ceiling = search.ceiling_bps
    return next((crf for crf in _grid(search) if _rate_at(search, trials, crf) <= ceiling), search.target.max_crf)


def _vmaf_at(search: Search, trials: Sequence[Trial], crf: float) -> float:
    line = _falling([(one.crf, one.vmaf) for one in trials])
    return min(100.0, max(0.0, _value(line, crf, VMAF_PER_CRF[search.codec])))


def _rate_at(search: Search, trials: Sequence[Trial], crf: float) -> float:
    line = _falling([(one.crf, log(max(1, one.bitrate_bps))) for one in trials])
    return exp(_value(line, crf, RATE_PER_CRF[search.codec]))


def _falling(points: Sequence[Point]) -> list[Point]:
    """The points in order of CRF, none above the one before it: noise between near probes must not turn the line around."""
    line: list[Point] = []
    for crf, value in sorted(points):
        line.append((crf, min(value, line[-1][1]) if line else value))
    return line


def _value(line: Sequence[Point], crf: float, guess: float) -> float:
    """The line at `crf`: straight between two points, and beyond them on with the slope of its last piece."""
    for (left, left_value), (right, right_value) in pairwise(line):
        if left <= crf <= right:
            return left_value + (right_value - left_value) * (crf - left) / (right - left)
    (first, first_value), (last, last_value) = line[0], line[-1]
    if len(line) == 1:
        return first_value + guess * (crf - first)
    ends = (line[0], line[1]) if crf < first else (line[-2], line[-1])
    slope = (ends[1][1] - ends[0][1]) / (ends[1][0] - ends[0][0])
    slope = min(slope, guess * LEAST_FALL)
    return first_value + slope * (crf - first) if crf < first else last_value + slope * (crf - last)


def _grid(search: Search) -> list[float]:
    step = CRF_STEP[search.codec]
    count = floor((search.target.max_crf - search.target.min_crf) / step)
    return [search.target.min_crf + number * step for number in range(count + 1)]


def _on_step(search: Search, crf: float) -> float:
    return min(_grid(search), key=lambda one: (abs(one - crf), one))


def _kilobits(bitrate_bps: int) -> str:
    return f"{bitrate_bps / 1000:,.0f} kbit/s"
