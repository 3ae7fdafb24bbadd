"""The sizes of a ladder: pure geometry.

A rung named by its height is a box of 16:9 (1080 is 1920x1080), turned with the picture: portrait video gets portrait
boxes, so that "1080" always means the same amount of picture. The picture is fitted into the box with its shape kept.
A rung that would need enlarging is left out; when all would, the lowest one is made at the source's own size.
"""

from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

BOX = Fraction(16, 9)
ROUNDING = Fraction(1, 100)
"""Relative slack: a 1918x1080 source may fill the 1080 rung, because only rounding separates them."""


class Size(Struct, frozen=True, kw_only=True):
    """Pixels, both even."""

    width: int
    height: int


def fitted(display: tuple[Fraction, Fraction], height: int | None) -> Size | None:
    """The even size of a picture of `display` pixels in the box of `height`; None where that would enlarge it.

    `height` None means the picture's own size.
    """
    wide, high = display
    if height is None:
        return _even(wide, high)
    long_side, short_side = max(wide, high), min(wide, high)
    scale = min(height * BOX / long_side, height / short_side)
    if scale > 1 + ROUNDING:
        return None
    scale = min(scale, Fraction(1))
    return _even(wide, high, scale)


def filling(size: Size, height: int) -> Size:
    """The even size of a picture made larger or smaller until it fills the box of `height`, turned with it."""
    long_side, short_side = max(size.width, size.height), min(size.width, size.height)
    scale = min(height * BOX / long_side, Fraction(height, short_side))
    return Size(width=max(2, round(size.width * scale / 2) * 2), height=max(2, round(size.height * scale / 2) * 2))


def ladder(display: tuple[Fraction, Fraction], heights: Sequence[int | None]) -> tuple[tuple[int, Size], ...]:
    """The rungs really made, largest first: (index into `heights`, size). Rungs of equal size are made once."""
    made: dict[Size, int] = {}
    for index, height in enumerate(heights):
        size = fitted(display, height)
        if size is not None:
            made.setdefault(size, index)
    if not made and heights:
        lowest = min(range(len(heights)), key=lambda index: heights[index] or 0)
        made[_even(*display)] = lowest
    ordered = sorted(made.items(), key=lambda rung: -rung[0].width * rung[0].height)
    return tuple((index, size) for size, index in ordered)


def _even(wide: Fraction, high: Fraction, scale: Fraction = Fraction(1)) -> Size:
    return Size(width=_even_side(wide, scale), height=_even_side(high, scale))


def _even_side(side: Fraction, scale: Fraction) -> int:
    """The even number nearest to the scaled side (4:2:0 chroma needs even sides), never above the side itself."""
    nearest = int(side * scale / 2 + Fraction(1, 2)) * 2
    return max(2, min(nearest, int(side) // 2 * 2))
