"""When a clock was set, by what was read of it and of one that nobody sets."""

import pytest

from millrace.scheduler.clock_set import Reading, set_by_s


def reading(store_s: float, asked_s: float, answered_s: float | None = None) -> Reading:
    return Reading(store_s=store_s, asked_s=asked_s, answered_s=asked_s if answered_s is None else answered_s)


@pytest.mark.parametrize(
    ("before", "now", "by_s"),
    [
        (reading(1000, 5), reading(1000.5, 5.5), 0.0),
        (reading(1000, 5), reading(4600.5, 5.5), 3600.0),
        (reading(1000, 5), reading(-2599.5, 5.5), -3600.0),
        (reading(1000, 5), reading(1010.9, 15), 0.0),  # it runs a little fast
        # An answer that was long on its way was read at some moment of it, and proves nothing.
        (reading(1000, 5, 25), reading(1020, 25.5), 0.0),
        (reading(1000, 5), reading(1000.1, 5.5, 25.5), 0.0),
        (reading(1000, 5), reading(1100, 5.5, 25.5), 79.5),
        # A machine that slept does not know it; the database's did not.
        (reading(1000, 5), reading(1601, 6), 600.0),
    ],
)
def test_by_how_much_it_was_set_at_least(before: Reading, now: Reading, by_s: float) -> None:
    assert set_by_s(before, now) == pytest.approx(by_s)
