"""Damage of a source: where it lies, and what is made of a film that has some. Pure.

Pictures are predicted from others, so a damaged one spoils what follows up to the next key frame. A place is therefore what may look
other than in the sound film, not what the decoder stumbled over.
"""

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from msgspec import Struct

from millrace.domain.failures import FailureClass, Refused

TOLD = 3
"""Places that a sentence names."""
MOST_KEPT = 1000
"""Places that are kept as data."""
MOST_MENDED = 100
"""Places that are cut out, or kept from the decoder: each is a word of a command line."""
MOST_DAMAGED = Fraction(1, 2)
"""Of a film: what is worse is no film any more, and something else is wrong with it."""
NEAR = Fraction(1, 4)
"""Of a frame: times of pictures that are kept in milliseconds lie that near to their places."""

Document = dict[str, object]


class OnDamage(StrEnum):
    """What becomes of a film that is damaged: no output, one in which the decoder hides it, or one without the damaged places."""

    FAIL = "fail"
    CONCEAL = "conceal"
    CUT = "cut"


class Place(Struct, frozen=True, kw_only=True):
    """A damaged interval of one stream, in seconds after the beginning of the source.

    `packets` of pictures are kept from the decoder: the first and the last number of each run of them, counted in their stream from 0.
    """

    kind: Literal["video", "audio"]
    stream: int
    start: Fraction
    end: Fraction
    packets: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} from {_seconds(self.start)} to {_seconds(self.end)} s"


class Damage(Struct, frozen=True, kw_only=True):
    """All that was found, in order of time. `ends` is where a source ends that declares to last for `declared` seconds."""

    places: tuple[Place, ...] = ()
    ends: Fraction | None = None
    declared: Fraction | None = None

    @property
    def sentence(self) -> str:
        """Where, for a person; empty where nothing is known."""
        parts = []
        if self.places:
            more = len(self.places) - TOLD
            named = ", ".join(str(place) for place in self.places[:TOLD])
            parts.append(f"Damaged: {named}{f', and {more} more places' if more > 0 else ''}.")
        if self.ends is not None and self.declared is not None:
            parts.append(f"It ends at {_seconds(self.ends)} s and declares {_seconds(self.declared)}.")
        return " ".join(parts)

    @property
    def document(self) -> Document:
        """As plain data."""
        kept = self.places[:MOST_KEPT]
        found: Document = {
            "places": [
                {"type": one.kind, "stream": one.stream, "from_s": _rounded(one.start), "to_s": _rounded(one.end)}
                for one in kept
            ],
            "count": len(self.places),
        }
        if self.ends is not None and self.declared is not None:
            found |= {"ends_s": _rounded(self.ends), "declared_s": _rounded(self.declared)}
        return found


class Span(Struct, frozen=True, kw_only=True):
    """An interval that is cut out, in seconds after the beginning of the source; where there are pictures, whole places of their grid."""

    start: Fraction
    end: Fraction


class Mending(Struct, frozen=True, kw_only=True):
    """What is made of the damage: `cuts` are taken out of pictures and sound alike; where there are none, all of it is concealed."""

    on_damage: OnDamage
    damage: Damage
    cuts: tuple[Span, ...] = ()

    def kept(self, length: Fraction) -> Fraction:
        """What is left of so many seconds."""
        return length - sum((max(Fraction(0), min(cut.end, length) - cut.start) for cut in self.cuts), Fraction(0))

    @property
    def note(self) -> str:
        """What was done, for a person."""
        if self.on_damage is OnDamage.CONCEAL:
            return f"The input is damaged, and the damage is concealed. {self.damage.sentence}"
        out = sum((cut.end - cut.start for cut in self.cuts), Fraction(0))
        return f"The input is damaged, and {_seconds(out)} s of it are cut out. {self.damage.sentence}"

    @property
    def document(self) -> Document:
        """As plain data."""
        cuts = [{"from_s": _rounded(cut.start), "to_s": _rounded(cut.end)} for cut in self.cuts]
        return {"on_damage": str(self.on_damage), **self.damage.document, **({"cuts": cuts} if cuts else {})}


def mending(
    on_damage: OnDamage, damage: Damage, *, streams: Collection[int], length: Fraction, rate: Fraction | None
) -> Mending:
    """What is made of the damage in those of the source's `streams` that are used. The film lasts `length` seconds; `rate` is that
    of the grid of its pictures, None where there are none.

    Raises:
        Refused: class input, where too little is sound or known.
    """
    places = tuple(place for place in damage.places if place.stream in streams and place.start < length)
    found = Damage(places=places, ends=damage.ends, declared=damage.declared)
    if on_damage is OnDamage.CONCEAL and found.ends is not None:
        raise _refused(
            f"is cut short, and nothing can stand for its end; on_damage: cut makes what is there. {found.sentence}"
        )
    if not places and found.ends is None:
        raise _refused("is damaged, and it could not be found out where")
    spans = merged((max(Fraction(0), one.start), min(length, one.end)) for one in places)
    spoiled = sum((end - start for start, end in spans), Fraction(0))
    if spoiled > length * MOST_DAMAGED:
        raise _refused(
            f"is damaged for {_seconds(spoiled)} of {_seconds(length)} s, which is too much. {found.sentence}"
        )
    cuts = _cuts(places, length, rate) if on_damage is OnDamage.CUT else ()
    made = Mending(on_damage=on_damage, damage=found, cuts=cuts)
    count = max(len(cuts), sum(len(place.packets) for place in places))
    if count > MOST_MENDED:
        raise _refused(f"is damaged in {count} places, and at most {MOST_MENDED} are mended. {found.sentence}")
    return made


def _cuts(places: Sequence[Place], length: Fraction, rate: Fraction | None) -> tuple[Span, ...]:
    if rate is None:
        intervals = [(one.start, one.end) for one in places]
    else:
        # A picture that lies next to its place stands there; sound may lie anywhere.
        intervals = []
        for one in places:
            slack = NEAR if one.kind == "video" else Fraction(0)
            intervals.append((floor(one.start * rate + slack) / rate, ceil(one.end * rate - slack) / rate))
    clipped = merged((max(Fraction(0), start), min(length, end)) for start, end in intervals)
    return tuple(Span(start=start, end=end) for start, end in clipped if end > start)


def merged(intervals: Iterable[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """The intervals in order, those that touch as one."""
    found: list[tuple[Fraction, Fraction]] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _seconds(value: Fraction) -> str:
    return f"{float(value):.3f}"


def _rounded(value: Fraction) -> float:
    return round(float(value), 6)


def _refused(text: str) -> Refused:
    return Refused(FailureClass.INPUT, f"The input {text}" + ("" if text.endswith(".") else "."))
