from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.ladder import Size, fitted, ladder
from millrace.domain.media.rates import capped, frames_until, snapped

HEIGHTS = [1080, 720, 480, 360]


def sizes(width: int, height: int, heights: list[int | None] | None = None) -> list[tuple[int, int]]:
    rungs = ladder((Fraction(width), Fraction(height)), heights or HEIGHTS)
    return [(size.width, size.height) for _, size in rungs]


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ((1920, 1080), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((1280, 720), [(1280, 720), (854, 480), (640, 360)]),
        ((3840, 2160), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((1080, 1920), [(1080, 1920), (720, 1280), (480, 854), (360, 640)]),  # portrait keeps its orientation
        ((1920, 800), [(1920, 800), (1280, 534), (854, 356), (640, 266)]),  # cinemascope fills the 16:9 box in width
        ((640, 272), [(640, 272)]),
        ((1440, 1080), [(1440, 1080), (960, 720), (640, 480), (480, 360)]),
        ((320, 240), [(320, 240)]),  # below the lowest rung: the source's own size
        ((127, 71), [(126, 70)]),
        ((1000, 1000), [(720, 720), (480, 480), (360, 360)]),
    ],
)
def test_rungs(source: tuple[int, int], made: list[tuple[int, int]]) -> None:
    assert sizes(*source) == made


def test_no_height_keeps_the_size() -> None:
    assert fitted((Fraction(1001), Fraction(563)), None) == Size(width=1000, height=562)


@given(
    width=st.integers(2, 8192),
    height=st.integers(2, 8192),
    sar=st.fractions(Fraction(1, 4), Fraction(4)),
    heights=st.lists(st.one_of(st.none(), st.integers(16, 4320)), min_size=1, max_size=8),
)
def test_sizes_are_even_never_enlarged_and_each_made_once(
    width: int, height: int, sar: Fraction, heights: list[int | None]
) -> None:
    wide = max(Fraction(2), width * sar)
    rungs = ladder((wide, Fraction(height)), heights)
    assert rungs
    found = [size for _, size in rungs]
    assert len(set(found)) == len(found)
    for size in found:
        assert size.width % 2 == size.height % 2 == 0
        assert 2 <= size.width <= wide
        assert 2 <= size.height <= height


@given(width=st.integers(320, 4096), height=st.integers(320, 4096))
def test_the_shape_of_the_picture_is_kept(width: int, height: int) -> None:
    for _, size in ladder((Fraction(width), Fraction(height)), HEIGHTS):
        shape = Fraction(width, height)
        assert abs(size.width - size.height * shape) <= 2 * max(shape, 1) + 2


@pytest.mark.parametrize(
    ("rate", "cap", "made"),
    [
        (Fraction(60), Fraction(30), Fraction(30)),
        (Fraction(60000, 1001), Fraction(30), Fraction(30000, 1001)),
        (Fraction(50), Fraction(30), Fraction(25)),
        (Fraction(25), Fraction(30), Fraction(25)),
        (Fraction(25), Fraction(24), Fraction(24)),
        (Fraction(30), Fraction(30000, 1001), Fraction(30)),
        (Fraction(25), None, Fraction(25)),
    ],
)
def test_a_cap_keeps_motion_even(rate: Fraction, cap: Fraction | None, made: Fraction) -> None:
    assert capped(rate, cap) == made


@given(rate=st.fractions(1, 240), cap=st.fractions(1, 240))
def test_a_cap_is_never_exceeded(rate: Fraction, cap: Fraction) -> None:
    assert 0 < capped(rate, cap) <= cap * Fraction(1002, 1000) or capped(rate, cap) == rate <= cap * Fraction(
        1002, 1000
    )


@pytest.mark.parametrize(
    ("printed", "exact"),
    [
        ("29.97", Fraction(30000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("12.50", Fraction(25, 2)),
        ("59.94", Fraction(60000, 1001)),
    ],
)
def test_printed_rates_become_exact(printed: str, exact: Fraction) -> None:
    assert snapped(Fraction(printed)) == exact


def test_frames_round_half_up() -> None:
    assert [frames_until(Fraction(number, 50), Fraction(25)) for number in (0, 1, 2, 3)] == [0, 1, 1, 2]
