"""Renditions that add nothing are left out: what stays is the convex hull, whatever the renditions are."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.per_title import Rung, redundant

POINTS = st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 100)), min_size=1, max_size=12)


def rungs(points: list[tuple[int, float]]) -> list[Rung]:
    return [Rung(name=f"r{at}", bitrate_bps=rate * 1000, vmaf=vmaf) for at, (rate, vmaf) in enumerate(points)]


@given(points=POINTS, min_gain=st.floats(0.1, 10))
def test_what_stays_is_convex_and_holds_the_best(points: list[tuple[int, float]], min_gain: float) -> None:
    given_ = rungs(points)
    dropped = redundant(given_, min_gain)
    kept = sorted((one for one in given_ if one.name not in dropped), key=lambda one: one.bitrate_bps)
    assert max(one.vmaf for one in kept) == max(one.vmaf for one in given_)
    assert kept
    assert all(one.bitrate_bps < other.bitrate_bps for one, other in pairwise(kept)) or len(kept) <= 2
    slopes = [
        (other.vmaf - one.vmaf) / (other.bitrate_bps - one.bitrate_bps)
        for one, other in pairwise(kept)
        if other.bitrate_bps > one.bitrate_bps
    ]
    assert all(later < earlier for earlier, later in pairwise(slopes)), "each further bit is worth less"


@given(points=POINTS, min_gain=st.floats(0.1, 10))
def test_the_order_of_the_renditions_does_not_matter_and_nothing_goes_twice(
    points: list[tuple[int, float]], min_gain: float
) -> None:
    given_ = rungs(list({rate: (rate, vmaf) for rate, vmaf in points}.values()))
    dropped = redundant(given_, min_gain)
    assert redundant(given_[::-1], min_gain).keys() == dropped.keys()
    kept = [one for one in given_ if one.name not in dropped]
    assert redundant(kept, min_gain) == {}


def test_a_usual_ladder_stays_and_an_easy_film_needs_fewer() -> None:
    usual = rungs([(5000, 94), (2400, 86), (1100, 74), (500, 58)])
    assert redundant(usual, 1) == {}
    easy = rungs([(900, 96), (850, 88), (400, 80), (420, 70)])
    assert redundant(easy, 1) == {
        "r1": "r1 (VMAF 88.0 at 850 kbit/s) gives no more than switching between r0 (VMAF 96.0 at 900 kbit/s) and r2 (VMAF 80.0 at 400 kbit/s)",
        "r3": "r3 (VMAF 70.0 at 420 kbit/s) gives no more than switching between r0 (VMAF 96.0 at 900 kbit/s) and r2 (VMAF 80.0 at 400 kbit/s)",
    }


def test_what_costs_more_than_the_best_goes() -> None:
    found = redundant(rungs([(2000, 93), (2500, 90), (300, 50)]), 1)
    assert found == {"r1": "r1 (VMAF 90.0 at 2,500 kbit/s) costs no less than r0 (VMAF 93.0 at 2,000 kbit/s)"}
