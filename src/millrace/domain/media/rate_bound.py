"""A bound on the rate, and whether a player's buffer holds out with it. Pure."""

from collections.abc import Iterable
from fractions import Fraction

from msgspec import Struct

from millrace.domain.media.levels import level_of
from millrace.domain.media.profile import RateMode, VideoSettings

BEGINS_FULL = Fraction(9, 10)
"""The part of the buffer that is full when the first picture is taken out: what x264 and x265 reckon with (`vbv-init`)."""
GOES_ON_FULL = Fraction(3, 5)
"""The same for a chunk that others come before: about what is left before a key frame within a film that is always at its bound
(measured with x264: 0.59 to 0.72), so that a chunk begins with no more than the one before it has left."""


class Bound(Struct, frozen=True, kw_only=True):
    """The highest rate at which bits come, and how many the player's buffer holds."""

    rate_bps: int
    buffer_bits: int


class Supply(Struct, frozen=True, kw_only=True):
    """When the buffer of a `bound` was emptiest: the part of it that was full after a picture was taken out (below 0: that picture came
    late), and the number of that picture in the order of decoding.
    """

    bound: Bound
    least: float
    picture: int


def bound_of(settings: VideoSettings) -> Bound | None:
    """What a rendition is held to; None for nothing. A constant rate has a buffer of one second, a bound one of two, which is what
    players of HLS are told to expect (Apple's authoring guide), or what its level holds.
    """
    if settings.mode is RateMode.CBR and settings.bitrate_bps is not None:
        return Bound(rate_bps=settings.bitrate_bps, buffer_bits=settings.bitrate_bps)
    level = level_of(settings)
    most = settings.maxrate_bps if level is None else settings.maxrate_bps or level.bits_per_second
    if most is None:
        return None
    return Bound(rate_bps=most, buffer_bits=most * 2 if level is None else min(most * 2, level.buffer_bits))


def supply(sizes: Iterable[int], rate: Fraction, bound: Bound) -> Supply:
    """How a player's buffer fares that bits come into as fast as the bound allows, until it is full, and of which a picture is taken
    out at once when its turn comes (ITU-T H.264 C.1, `cbr_flag` 0).

    Args:
        sizes: bytes of each picture, in the order of decoding.
        rate: pictures in a second.
        bound: what the pictures were made to keep.
    """
    each = bound.rate_bps / float(rate)
    full, least, where = float(bound.buffer_bits * BEGINS_FULL), float(bound.buffer_bits), 0
    for number, size in enumerate(sizes):
        full = min(float(bound.buffer_bits), full + each * (number > 0)) - 8 * size
        if full < least:
            least, where = full, number
    return Supply(bound=bound, least=least / bound.buffer_bits, picture=where)
