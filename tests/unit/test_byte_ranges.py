"""Spans of a file: joined, cut into what is checked together, and refused where they are none."""

import pytest

from millrace.domain.media.byte_ranges import Bundle, Ranges, bundled, joined, length, without


def test_spans_that_lie_close_are_one() -> None:
    spans = [(50, 60), (0, 10), (15, 20), (5, 12), (61, 61)]
    assert joined(spans, gap=3) == ((0, 20), (50, 60))
    assert joined(spans, gap=2) == ((0, 12), (15, 20), (50, 60))
    assert joined(spans, gap=0) == ((0, 12), (15, 20), (50, 60))
    assert joined([(0, 5), (5, 9)], gap=0) == ((0, 9),)


def test_too_many_spans_are_joined_over_longer_gaps() -> None:
    spans = [(place, place + 1) for place in range(0, 1000, 10)]
    found = joined(spans, gap=0, most=99)
    assert found == ((0, 991),)
    assert joined(spans, gap=0, most=100) == tuple(spans)


def test_what_lies_outside() -> None:
    assert without([(5, 10), (20, 30)], 40) == ((0, 5), (10, 20), (30, 40))
    assert without([(0, 40)], 40) == ()
    assert without([], 40) == ((0, 40),)


def test_bundles_are_no_longer_than_they_may_be_and_lose_nothing() -> None:
    spans = ((0, 25), (30, 33), (40, 41))
    groups = bundled(spans, most_bytes=10)
    assert [length(group) for group in groups] == [10, 10, 9]
    assert groups[2] == ((20, 25), (30, 33), (40, 41))
    assert bundled((), most_bytes=10) == ()


@pytest.mark.parametrize(
    ("spans", "fault"),
    [
        (((0, 5), (5, 10)), ""),
        (((0, 11),), "leaves the file"),
        (((-1, 5),), "leaves the file"),
        (((5, 5),), "leaves the file"),
        (((5, 8), (2, 4)), "not in order"),
        (((2, 5), (4, 6)), "not in order"),
    ],
)
def test_ranges_of_another_machine_are_looked_at(spans: tuple[tuple[int, int], ...], fault: str) -> None:
    found = Ranges(size=10, bundles=tuple(Bundle(spans=(span,), sha256="") for span in spans)).fault
    assert fault in found
    assert bool(fault) == bool(found)
