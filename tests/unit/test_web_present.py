"""Numbers on the pages: short enough for their columns, and never wrong by a unit."""

from datetime import UTC, datetime, timedelta

import pytest

from millrace.web.present import ago, span

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (1.9, "now"),
        (2, "2 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (9 * 60 + 59, "9 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (999 * 86_400, "999 d ago"),
    ],
)
def test_an_age_has_one_unit_and_fits_its_column(seconds, text):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text
    assert len(text) <= len("59 min ago")


def test_nothing_has_no_age():
    assert ago(None, NOW) == ""


def test_lengths_of_time_keep_two_units():
    assert [span(seconds) for seconds in (None, 5, 65, 3700, 90_000)] == [
        "",
        "5 s",
        "1 min 5 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
