from pathlib import Path

import pytest

from millrace.client.calls import QUICK_TIMEOUT_S, Answer, Call, FileSlice, Repeat, segment
from millrace.client.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    StaleError,
    UnauthorizedError,
    UnreachableError,
)
from millrace.client.failover import SILENT_S, Broken, Masters, Send, Wait, exchange
from millrace.client.http import Terms, headers
from millrace.client.people import health
from millrace.client.replies import refusal, result
from millrace.client.sse import parse
from millrace.client.work import claim
from millrace.wire.v1.work import ClaimRequest

OK = Answer(status=200, headers={}, body=b"{}")
BUSY = Answer(status=503, headers={"retry-after": "3"}, body=b"")
CUT_OFF = Answer(status=408, headers={}, body=b"")
GONE = Broken(reason="connection refused", sent=False, absent=True)
SLOW = Broken(reason="no connection within 5 s", sent=False)
SILENT = Broken(reason="no answer", sent=True)


def call(repeat=Repeat.SAFE, **more):
    return Call(method="GET", path="/v1/x", read=lambda answer: answer.status, repeat=repeat, **more)


class Driver:
    """Plays a list of outcomes to an exchange and keeps its steps."""

    def __init__(
        self, *outcomes, masters=("http://a", "http://b"), repeat=Repeat.SAFE, patience_s=10.0, eager=False, **more
    ):
        self.masters = Masters(masters)
        self.steps = []
        self.now = 0.0
        self.outcomes = list(outcomes)
        self.exchange = exchange(
            call(repeat, **more),
            self.masters,
            patience_s=patience_s,
            monotonic=lambda: self.now,
            draw=lambda: 1.0,
            eager=eager,
        )

    @property
    def asked(self):
        return [step.base for step in self.steps if isinstance(step, Send)]

    @property
    def silences(self):
        return [step.silence_s for step in self.steps if isinstance(step, Send)]

    def run(self):
        reply = None
        try:
            while True:
                step = self.exchange.send(reply)
                self.steps.append(step)
                reply = None
                if isinstance(step, Send):
                    reply = self.outcomes.pop(0)
                else:
                    self.now += step.seconds
        except StopIteration as end:
            return end.value


def test_a_client_stays_with_the_master_that_answers():
    driver = Driver(OK)
    assert driver.run() is OK
    assert driver.masters.current == "http://a"


def test_the_next_master_is_asked_at_once_and_kept():
    driver = Driver(GONE, OK)
    assert driver.run() is OK
    assert driver.asked == ["http://a", "http://b"]
    assert driver.masters.current == "http://b"


def test_a_silent_master_is_waited_for_only_where_no_other_one_answers():
    driver = Driver(*[SILENT] * 4, OK, patience_s=100.0)
    assert driver.run() is OK
    assert driver.silences == [SILENT_S, SILENT_S, *[QUICK_TIMEOUT_S] * 3]


@pytest.mark.parametrize(
    ("call", "silence_s"),
    [
        ({"masters": ["http://a"]}, QUICK_TIMEOUT_S),
        ({"repeat": Repeat.UNSENT}, QUICK_TIMEOUT_S),  # it could not be repeated elsewhere
        ({"body": FileSlice(path=Path("film"), offset=0, length=9)}, QUICK_TIMEOUT_S),
        ({"silence_s": 60.0}, 60.0),
        ({"silence_s": 20.0, "waits": True}, 20.0),  # a long poll is silent by its nature
        ({"silence_s": 0.5}, 0.5),
    ],
)
def test_a_call_that_may_take_long_or_goes_nowhere_else_has_its_whole_time(call, silence_s):
    driver = Driver(OK, **call)
    driver.run()
    assert driver.silences == [silence_s]


def test_it_waits_when_all_have_failed_and_longer_each_round():
    driver = Driver(GONE, GONE, GONE, GONE, OK)
    driver.run()
    waits = [step.seconds for step in driver.steps if isinstance(step, Wait)]
    assert waits == pytest.approx([0.2, 0.4])


def test_patience_ends_with_a_sentence():
    driver = Driver(*[GONE] * 100, patience_s=5.0)
    with pytest.raises(UnreachableError, match="cannot reach the master at http://b: connection refused"):
        driver.run()
    assert driver.now <= 5.0


def test_somebody_at_a_terminal_hears_at_once_that_no_master_is_there():
    driver = Driver(GONE, GONE, OK, eager=True)
    with pytest.raises(UnreachableError, match="at http://a, http://b: connection refused"):
        driver.run()
    assert driver.asked == ["http://a", "http://b"]


def test_a_quota_that_is_used_up_is_not_waited_for():
    body = b'{"type":"urn:millrace:problem:quota-exceeded","title":"Too Many Requests","status":429}'
    over = Answer(status=429, headers={"retry-after": "40000"}, body=body)
    driver = Driver(over, OK)
    assert driver.run() is over
    assert driver.asked == ["http://a"]
    # Who only asked too often is told so by the same status, and waits.
    assert Driver(Answer(status=429, headers={}, body=b"{}"), OK).run() is OK


def test_a_master_that_says_when_to_come_again_is_not_waited_for_longer_each_round():
    driver = Driver(*[BUSY] * 12, OK, patience_s=100.0)
    assert driver.run() is OK
    assert [step.seconds for step in driver.steps if isinstance(step, Wait)] == [6.0] * 6


@pytest.mark.parametrize("first", [SLOW, SILENT, BUSY])
def test_a_master_that_is_there_is_waited_for(first):
    driver = Driver(GONE, first, GONE, OK, eager=True)
    assert driver.run() is OK


def test_a_master_that_has_answered_before_is_waited_for():
    driver = Driver(GONE, GONE, GONE, GONE, OK, eager=True)
    driver.masters.answered = True
    assert driver.run() is OK
    driver = Driver(OK, masters=["http://a"], eager=True)
    driver.run()
    assert driver.masters.answered


def test_without_patience_nothing_is_tried_twice_on_one_master():
    driver = Driver(GONE, masters=["http://a"], patience_s=0.0)
    with pytest.raises(UnreachableError):
        driver.run()


def test_what_may_have_happened_is_not_repeated_unless_that_is_safe():
    with pytest.raises(UnreachableError, match="may have been done"):
        Driver(SILENT, repeat=Repeat.UNSENT).run()
    assert Driver(GONE, OK, repeat=Repeat.UNSENT).run() is OK
    assert Driver(BUSY, OK, repeat=Repeat.UNSENT).run() is OK
    # It was cut off in the middle of the request, which therefore did nothing.
    assert Driver(CUT_OFF, OK, repeat=Repeat.UNSENT).run() is OK
    assert Driver(SILENT, OK).run() is OK


def test_a_busy_farm_is_given_the_time_that_it_asks_for():
    driver = Driver(BUSY, OK, masters=["http://a"])
    driver.run()
    assert driver.steps[1].seconds >= 3


def test_a_busy_answer_is_given_back_when_patience_ends():
    assert Driver(BUSY, masters=["http://a"], patience_s=1.0).run() is BUSY


@pytest.mark.parametrize(("wait_s", "waits"), [(5.0, True), (0.0, False)])
def test_a_claim_waits_where_it_may(wait_s, waits):
    assert claim("n1", ClaimRequest(epoch=1, request="request-1", limit=1, wait_s=wait_s)).waits is waits


def test_two_calls_that_fail_together_leave_a_master_once():
    masters = Masters(["http://a", "http://b", "http://c"])
    masters.leave("http://a")
    masters.leave("http://a")
    assert masters.current == "http://b"


@pytest.mark.parametrize("address", ["", "ftp://host", "host:80", "http://", "http://user:secret-key@host"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="cannot use") as caught:
        Masters([address])
    assert "secret-key" not in str(caught.value)


def test_no_address_at_all():
    with pytest.raises(ValueError, match="no address"):
        Masters([])


@pytest.mark.parametrize(
    ("status", "kind", "shape"),
    [
        (401, "unauthorized", UnauthorizedError),
        (403, "forbidden", UnauthorizedError),
        (404, "not-found", NotFoundError),
        (409, "stale-attempt", StaleError),
        (409, "https://millrace.dev/problems/stale-epoch", StaleError),
        (409, "conflict", ConflictError),
        (422, "invalid", RefusedError),
    ],
)
def test_each_refusal_has_its_reaction(status, kind, shape):
    body = b'{"type":"%s","title":"t","status":%d,"detail":"cannot do it"}' % (kind.encode(), status)
    error = refusal(Answer(status=status, headers={}, body=body))
    assert type(error) is shape
    assert str(error) == "cannot do it"


def test_a_refusal_names_the_fields_that_its_detail_leaves_out():
    body = b'{"type":"invalid","title":"t","status":422,"detail":"cannot","errors":[{"field":"queue","message":"is none"}]}'
    error = refusal(Answer(status=422, headers={}, body=body))
    assert str(error) == "cannot; queue: is none"
    assert error.errors[0].field == "queue"


def test_a_page_of_somebody_else_is_no_traceback():
    error = refusal(Answer(status=500, headers={}, body=b"<html>secret</html>"))
    assert str(error) == "the master answered 500"
    with pytest.raises(RefusedError, match="is this address a Millrace master"):
        result(health(), Answer(status=200, headers={}, body=b"<html>"))


def test_the_key_is_in_no_representation():
    terms = Terms(key="mr_secret")
    assert "mr_secret" not in repr(terms)
    assert headers(terms)["authorization"] == "Bearer mr_secret"


@pytest.mark.parametrize(("text", "part"), [("42", "42"), ("a/b", "a%2Fb"), ("..", "%2E%2E"), ("ü?", "%C3%BC%3F")])
def test_a_reference_is_one_segment(text, part):
    assert segment(text) == part


def test_events():
    lines = [": hello", "id: 7", "event: transition", "data: a", "data:b", "", "data: c", "", "data: never ends"]
    events = list(parse(lines))
    assert [(event.id, event.name, event.data) for event in events] == [
        ("7", "transition", "a\nb"),
        ("7", "message", "c"),
    ]
