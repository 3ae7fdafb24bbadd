"""The sample tables of a track of an MP4 or MOV: how large its samples are and where they lie (ISO/IEC 14496-12, 8.7)."""

import sys
from array import array
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise

from msgspec import Struct

from millrace.domain.media.byte_ranges import Span

Tables = Mapping[bytes, bytes]
"""The boxes in the box `stbl`, by their kinds."""


class Sizes(Struct, frozen=True):
    """Of `count` samples: all have `each` bytes, or where that is 0 each ends at its place in `ends`, counted from the first one's beginning."""

    count: int
    each: int
    ends: "array[int]"

    def of(self, first: int, last: int) -> int:
        """Bytes from the one sample to before the other."""
        return self.each * (last - first) if self.each else self.ends[last] - self.ends[first]

    def one_by_one(self) -> "array[int]":
        """Those of all, one by one."""
        each = array("Q", [self.each])
        return each * self.count if self.each else array("Q", (end - begin for begin, end in pairwise(self.ends)))


def sizes_of(tables: Tables) -> Sizes:
    """Raises KeyError where there is no such table, ValueError where it is cut short."""
    table = tables[b"stsz"]
    each, count = int.from_bytes(table[4:8]), int.from_bytes(table[8:12])
    ends = array("Q", [0]) if each else array("Q", accumulate(numbers(table, 8), initial=0))
    return Sizes(count, each, ends)


def chunks_of(tables: Tables) -> Iterator[tuple[int, int]]:
    """Where each chunk begins in the file, and how many samples it holds. Raises as :func:`sizes_of`."""
    offsets = numbers(tables[b"co64"], 4, "Q") if b"co64" in tables else numbers(tables[b"stco"], 4)
    return zip(offsets, _counts(numbers(tables[b"stsc"], 4, each=3), len(offsets)), strict=True)


def extents_of(tables: Tables, sizes: Sizes) -> Iterator[Span]:
    """The bytes of each chunk that has any. Raises as :func:`sizes_of`, IndexError where there are fewer samples than that."""
    first = 0
    for offset, count in chunks_of(tables):
        last = min(first + count, sizes.count)
        if size := sizes.of(first, last):
            yield offset, offset + size
        first = last


def numbers(table: bytes, at: int, kind: str = "I", *, each: int = 1) -> "array[int]":
    """The numbers of a table (array's `kind`), whose count stands at that place after its beginning, so many for `each`. Raises ValueError."""
    found = array(kind)
    begin = at + 4
    end = begin + int.from_bytes(table[at:begin]) * each * found.itemsize
    if end > len(table):
        raise ValueError("its index cannot be read")
    found.frombytes(table[begin:end])
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _counts(runs: "array[int]", chunks: int) -> "array[int]":
    """How many samples each chunk holds: three numbers for each run of chunks, its first (from 1) and how many in each."""
    counts = array("I")
    for first, samples, after in zip(runs[::3], runs[1::3], [*runs[3::3], chunks + 1], strict=True):
        if not len(counts) + 1 == first < after <= chunks + 1:
            raise ValueError("its index cannot be read")
        counts.extend(array("I", [samples]) * (after - first))
    return counts
