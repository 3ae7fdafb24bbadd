"""Which bytes of a file somebody needs, and how they are fetched and checked, as data. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

Span = tuple[int, int]
"""The place of a byte, and that after the last one."""
GAP_BYTES = 256 << 10
"""What lies between two spans is fetched with them where it is less: a request takes about as long as so many bytes."""
BUNDLE_BYTES = 8 << 20
"""How many bytes are checked together: so many are fetched again where they are others."""
MOST_SPANS = 2000
"""Of one part: they stand in what every worker that makes one is told."""


class Bundle(Struct, frozen=True, kw_only=True):
    """Bytes that are checked together: `sha256` is that of the spans, one after the other; empty where nobody knows it yet."""

    spans: tuple[Span, ...]
    sha256: str


class Ranges(Struct, frozen=True, kw_only=True):
    """Some bytes of a file of `size` bytes."""

    size: int
    bundles: tuple[Bundle, ...]

    @property
    def end(self) -> int:
        """Where the last of them ends."""
        return max((end for bundle in self.bundles for _, end in bundle.spans), default=0)

    @property
    def needed(self) -> int:
        """How many bytes."""
        return sum(length(bundle.spans) for bundle in self.bundles)

    @property
    def fault(self) -> str:
        """Why they are none; empty where they are. They come from another machine."""
        spans = [span for bundle in self.bundles for span in bundle.spans]
        if any(not 0 <= begin < end <= self.size for begin, end in spans):
            return "a range of its input leaves the file"
        if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
            return "the ranges of its input are not in order"
        return ""


def length(spans: Iterable[Span]) -> int:
    """How many bytes they are."""
    return sum(end - begin for begin, end in spans)


def joined(spans: Iterable[Span], *, gap: int = GAP_BYTES, most: int = MOST_SPANS) -> tuple[Span, ...]:
    """The same in order, without overlaps; those with less than `gap` bytes between them are one, and so are more where there
    would be more than `most`.
    """
    found: list[Span] = []
    for begin, end in sorted(span for span in spans if span[0] < span[1]):
        if found and begin - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return tuple(found) if len(found) <= most else joined(found, gap=2 * gap + 1, most=most)


def without(spans: Sequence[Span], size: int) -> tuple[Span, ...]:
    """What of a file of `size` bytes lies outside of some spans, which are in order."""
    edges = [0, *(place for span in spans for place in span), size]
    return tuple((begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end)


def bundled(spans: Iterable[Span], *, most_bytes: int = BUNDLE_BYTES) -> tuple[tuple[Span, ...], ...]:
    """Spans in order, in groups of at most so many bytes; those that are longer are cut."""
    groups: list[tuple[Span, ...]] = []
    group: list[Span] = []
    room = most_bytes
    for begin, end in spans:
        place = begin
        while place < end:
            step = min(room, end - place)
            group.append((place, place + step))
            place, room = place + step, room - step
            if not room:
                groups.append(tuple(group))
                group, room = [], most_bytes
    return (*groups, tuple(group)) if group else tuple(groups)
