"""A player's buffer, filled at the bound and emptied picture by picture."""

from fractions import Fraction

import pytest
from msgspec.structs import replace

from millrace.domain.media.profile import RateMode, VideoCodec, VideoSettings
from millrace.domain.media.rate_bound import Bound, bound_of, supply

RATE = Fraction(25)
BOUND = Bound(rate_bps=200_000, buffer_bits=400_000)
EACH = 1000
"""Bytes that come in for each picture."""


def test_pictures_as_large_as_what_comes_leave_the_buffer_as_it_is() -> None:
    found = supply([EACH] * 100, RATE, BOUND)
    assert found.least == pytest.approx((360_000 - 8 * EACH) / 400_000)


def test_what_is_never_used_is_not_saved_up_beyond_the_buffer() -> None:
    """400,000 bits are there at the most, however long nothing was taken out: the picture that wants more comes late."""
    assert supply([0] * 1000 + [50_000], RATE, BOUND).least == pytest.approx(0)
    late = supply([0] * 1000 + [50_001], RATE, BOUND)
    assert (late.picture, late.least < 0) == (1000, True)


def test_the_first_picture_finds_nine_tenths() -> None:
    assert supply([45_000], RATE, BOUND).least == pytest.approx(0)
    assert supply([45_001], RATE, BOUND).least < 0


def test_two_pieces_that_hold_out_alone_may_not_do_so_together() -> None:
    """Each empties the buffer that it thinks nine tenths full, and the second one begins where the first has ended."""
    greedy = [45_000, *[EACH] * 20]
    assert supply(greedy, RATE, BOUND).least >= 0
    joined = supply(greedy + greedy, RATE, BOUND)
    assert joined.least < 0
    assert joined.picture >= len(greedy)


def test_what_a_rendition_is_held_to() -> None:
    free = VideoSettings(codec=VideoCodec.H264, crf=23.0)
    assert bound_of(free) is None
    assert bound_of(replace(free, maxrate_bps=1000)) == Bound(rate_bps=1000, buffer_bits=2000)
    # ITU-T H.264, table A-1: 14,000 and 14,000 units of 1250 bits in the High profile.
    assert bound_of(replace(free, level="3.1")) == Bound(rate_bps=17_500_000, buffer_bits=17_500_000)
    assert bound_of(replace(free, level="3.1", maxrate_bps=1000)) == Bound(rate_bps=1000, buffer_bits=2000)
    constant = VideoSettings(codec=VideoCodec.H264, bitrate_bps=1000, mode=RateMode.CBR)
    assert bound_of(constant) == Bound(rate_bps=1000, buffer_bits=1000)
    assert bound_of(replace(constant, mode=RateMode.VBR)) is None
