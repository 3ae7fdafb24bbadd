"""How many instances a metric asks for, in virtual time."""

import math

import pytest
from msgspec.structs import replace
from supervision import Supervision, a_plan, a_process

from millrace.supervisor.change.autoscale import Scaling, decide, recommend
from millrace.supervisor.change.values import Autoscale, Measure, Metric
from millrace.supervisor.state import Measured, Unpinned, Wanted

RULE = Autoscale(
    least=1, most=10, metric=Metric(url="http://x"), target=10, interval_s=10, cooldown_s=30, settle_s=120
)  # fmt: skip
AVERAGE = replace(RULE, measure=Measure.AVERAGE)


@pytest.mark.parametrize(
    ("rule", "value", "count", "expected"),
    [
        (RULE, 35, 2, 4),
        (RULE, 0, 4, 1),
        (RULE, 1e308, 1, 10),
        (RULE, 21, 2, 2),  # 5 % over: within the tolerance
        (RULE, 19, 2, 2),
        (RULE, 23, 2, 3),
        (AVERAGE, 20, 3, 6),
        (AVERAGE, 10.9, 3, 3),
        (AVERAGE, 5, 4, 2),
        (AVERAGE, 0, 4, 1),
    ],
)
def test_the_ratio_of_the_metric_to_its_target_decides(
    rule: Autoscale, value: float, count: int, expected: int
) -> None:
    assert recommend(rule, value, count) == expected


class Followed:
    """A process that follows readings that come every ten seconds."""

    def __init__(self, rule: Autoscale = RULE, scale: int = 2) -> None:
        self.it = Supervision(a_plan(web=a_process("web", scale=scale, autoscale=rule)))

    def reads(self, *values: float | None) -> list[int]:
        found = []
        for value in values:
            self.it.passes(10)
            self.it.post(Measured("web", self.it.now_s, value, "" if value is not None else "connection refused"))
            found.append(self.it.state.wanted["web"])
        return found

    @property
    def why(self) -> str:
        return self.it.state.scalings["web"].why


def test_more_come_at_once_and_fewer_only_when_fewer_would_have_been_enough_for_long() -> None:
    web = Followed()
    assert web.reads(55) == [6]
    assert web.it.told == ["web 2 to 6: 55 asks for 6"]
    assert web.it.log[2:] == ["+web-2", "+web-3", "+web-4", "+web-5"]
    assert web.reads(*[5] * 11) == [6] * 11
    assert web.reads(5) == [1]


def test_one_high_number_holds_the_fewer_up() -> None:
    web = Followed(scale=6)
    assert web.reads(*[5] * 6, 45, *[5] * 6) == [6] * 12 + [5]  # as many as the highest of the window


def test_a_number_that_swings_changes_nothing() -> None:
    web = Followed(scale=4)
    assert web.reads(*[30, 38, 32, 40] * 20) == [4] * 80


def test_after_a_change_nothing_changes_for_a_while() -> None:
    web = Followed()
    assert web.reads(35, 90, 90, 90) == [4, 4, 4, 9]
    assert Followed(replace(RULE, cooldown_s=0)).reads(35, 90) == [4, 9]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -1.0])
def test_a_metric_that_fails_changes_nothing(value: float | None) -> None:
    web = Followed(scale=4)
    assert web.reads(*[value] * 50) == [4] * 50
    assert web.it.state.scalings["web"].failures == 50
    assert web.why.startswith("keeps 4: ")
    # What it did not see is no reason to believe that fewer are enough.
    assert web.reads(5) == [4]


def test_the_bounds_hold_whatever_the_number() -> None:
    assert Followed(scale=10).reads(1e300) == [10]
    web = Followed(replace(RULE, least=2, settle_s=0, cooldown_s=0))
    assert web.reads(0, 0) == [2, 2]


def test_who_scales_by_hand_holds_it_until_it_is_let_go() -> None:
    web = Followed()
    web.it.post(Wanted("web", 3, pins=True))
    assert web.reads(90, 90) == [3, 3]
    assert web.why == "keeps 3: it was scaled by hand"
    web.it.post(Unpinned("web"))
    assert web.reads(90) == [9]


def test_what_is_stopped_stays_stopped() -> None:
    web = Followed()
    web.it.post(Wanted("web", 0))
    assert web.reads(90, 0) == [0, 0]
    web.it.post(Wanted("web", 2))
    assert web.reads(90) == [9]


def test_a_new_plan_has_new_bounds_and_keeps_who_is_held() -> None:
    web = Followed()
    web.it.post(Wanted("web", 3, pins=True))
    other = a_plan(web=a_process("web", scale=2, autoscale=replace(RULE, most=4)))
    web.it.reloads(other)
    assert web.reads(90) == [3]
    web.it.post(Unpinned("web"))
    assert web.reads(90) == [4]
    web.it.reloads(a_plan(web=a_process("web", scale=2)))
    assert web.reads(10) == [4]
    assert not web.it.state.scalings


def test_an_old_reading_of_a_process_that_is_gone_changes_nothing() -> None:
    it = Supervision(a_plan(web=a_process("web")))
    it.post(Measured("web", 1.0, 90))
    it.post(Measured("gone", 1.0, 90))
    assert it.state.wanted == {"web": 1}


def test_a_window_shorter_than_the_interval_holds_one_wish() -> None:
    found, count = Scaling(), 3
    for at_s in (10.0, 20.0):
        found, count = decide(replace(RULE, settle_s=1), found, count=count, at_s=at_s, value=5)
    assert count == 1
