"""When cron expressions come due, over changes of daylight-saving time, and plans that say nonsense of it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.runtime.cron import fault_in, is_zone, next_after

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def times(expression: str, zone: str, local: str, count: int) -> list[str]:
    """The next times after a local one, as local times with their distance from UTC."""
    moment = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = []
    for _ in range(count):
        moment = next_after(expression, zone, moment)
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%m-%dT%H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # The night that has no hour from two to three: what names it comes at the first moment after it, once.
        ("30 2 * * *", BERLIN, "2026-03-28T02:30", ["03-29T03:00+0200", "03-30T02:30+0200"]),
        ("15,45 2 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+0200", "03-30T02:15+0200"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00", ["03-08T03:00-0400", "03-09T02:30-0400"]),
        ("0 3 * * *", BERLIN, "2026-03-28T12:00", ["03-29T03:00+0200", "03-30T03:00+0200"]),
        # The night that has that hour twice: what names it comes in the first of them only.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["10-25T02:30+0200", "10-26T02:30+0100"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00", ["11-01T01:30-0400", "11-02T01:30-0500"]),
        # What goes by the clock's hands comes in both.
        ("*/30 * * * *", BERLIN, "2026-10-25T01:45", ["10-25T02:00+0200", "10-25T02:30+0200", "10-25T02:00+0100", "10-25T02:30+0100", "10-25T03:00+0100"]),
        ("*/30 * * * *", BERLIN, "2026-03-29T01:00", ["03-29T01:30+0100", "03-29T03:00+0200", "03-29T03:30+0200"]),
        ("@hourly", NEW_YORK, "2026-11-01T00:30", ["11-01T01:00-0400", "11-01T01:00-0500", "11-01T02:00-0500"]),
        ("0 9 * * MON-FRI", BERLIN, "2026-01-02T10:00", ["01-05T09:00+0100"]),
        ("5,10-20/5 0 1 jan,JUL *", "UTC", "2026-01-01T00:12", ["01-01T00:15+0000", "01-01T00:20+0000", "07-01T00:05+0000"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["02-29T00:00+0000"]),
        ("0 0 13 * 5", "UTC", "2026-02-01T00:00", ["02-06T00:00+0000", "02-13T00:00+0000"]),  # either day
    ],
)  # fmt: skip
def test_it_comes_due_at_the_right_moments(expression: str, zone: str, after: str, expected: list[str]) -> None:
    assert times(expression, zone, after, len(expected)) == expected


def test_in_the_second_of_the_doubled_hours_nothing_of_the_first_comes_again() -> None:
    second = datetime(2026, 10, 25, 2, 40, fold=1, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)
    assert next_after("50 2 * * *", BERLIN, second) == datetime(2026, 10, 26, 1, 50, tzinfo=UTC)


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "@daily", "17 */5 * * *", "* 0 * * *"]),
    st.sampled_from([BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "Africa/Cairo"]),
    st.integers(1_577_836_800, 1_893_456_000).map(lambda second: datetime.fromtimestamp(second, UTC)),  # 2020 to 2030
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_time_only_ever_goes_on(expression: str, zone: str, moment: datetime) -> None:
    first = next_after(expression, zone, moment)
    assert moment < first < next_after(expression, zone, first)
    # Whenever one looks in between, the next time is the same.
    middle = moment + (first - moment) / 2
    assert next_after(expression, zone, middle) == first


@pytest.mark.parametrize(
    "expression",
    ["", "x", "* * * *", "* * * * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "MON * * * *", "0 0 30 2 *", "@reboot",
     "* * * * 8", "* * L-3 * *", "9" * 199 + " * * * *", "-1 * * * *", "1.5 * * * *", "* * ² * *"],
)  # fmt: skip
def test_what_is_no_expression_is_told(expression: str) -> None:
    assert fault_in(expression)


def test_zones_are_those_that_are_known() -> None:
    assert is_zone(BERLIN)
    assert is_zone("UTC")
    assert not [name for name in ("", "Mars/Phobos", "Europe", "../UTC", "/etc/passwd", "a\0b") if is_zone(name)]
