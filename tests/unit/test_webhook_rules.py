"""Signatures, back-off and events of webhooks: the pure rules."""

import itertools
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from millrace.domain.failures import FailureClass
from millrace.domain.states import FINAL, State
from millrace.domain.webhooks import (
    BACKOFF_CAP_S,
    ENDS,
    EVENTS,
    MAX_ATTEMPTS,
    Again,
    Answer,
    Dead,
    Delivered,
    Gone,
    Message,
    body,
    follows,
    headers,
    new_secret,
    signature,
    unknown_events,
)

NOW = datetime(2026, 11, 27, 20, 0, 0, 500_000, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _message(**changes: Any) -> Message:
    given: dict[str, Any] = {
        "webhook": "w1", "url": "https://example.com", "secrets": (SECRET,), "id": "m1", "sequence": 7, "attempt": 1,
        "job_id": "j1", "number": 42, "source": State.PROCESSING, "target": State.FAILED, "at": NOW, "reason": "broke",
        "job_attempt": 4, "failure_class": FailureClass.DISK, "tenant": "acme", "profile": "web-hls", "labels": {"a": "b"},
    }  # fmt: skip
    return Message(**{**given, **changes})


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    # From the tests of the libraries at github.com/standard-webhooks/standard-webhooks.
    content = b'{"test": 2432232314}'
    found = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", content)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265331", content) != found
    with pytest.raises(ValueError, match="whsec_"):
        signature("MfKQ", "m", "1", b"")


def test_a_message_carries_one_signature_for_each_valid_secret() -> None:
    other = new_secret(bytes(32))
    message = _message(secrets=(other, SECRET))
    content = body(message)
    found = headers(message, content, now=NOW)
    assert found["webhook-id"] == "m1"
    assert found["webhook-timestamp"] == "1795809600"
    assert found["webhook-signature"].split() == [
        signature(secret, "m1", "1795809600", content) for secret in (other, SECRET)
    ]


def test_the_body_says_what_happened_and_is_the_same_for_each_attempt() -> None:
    content = body(_message())
    assert content == body(_message(attempt=9))
    assert msgspec.json.decode(content) == {
        "type": "job.failed",
        "timestamp": NOW.isoformat(),
        "data": {
            "job": "j1", "number": 42, "sequence": 7, "from": "processing", "to": "failed", "reason": "broke", "attempt": 4,
            "failure_class": "disk", "tenant": "acme", "profile": "web-hls", "labels": {"a": "b"},
        },
    }  # fmt: skip


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_delivers(status: int) -> None:
    assert follows(Answer(status=status), attempt=1, jitter=0.5) == Delivered(f"answered {status}")


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 400, 401, 404, 429, 500, 503, None])
def test_all_else_is_tried_again_and_at_last_given_up(status: int | None) -> None:
    answer = Answer(status=status, why="cannot connect")
    assert isinstance(follows(answer, attempt=1, jitter=0.5), Again)
    assert isinstance(follows(answer, attempt=MAX_ATTEMPTS - 1, jitter=0.5), Again)
    last = follows(answer, attempt=MAX_ATTEMPTS, jitter=0.5)
    assert isinstance(last, Dead)
    assert "all 24 attempts are spent" in last.result


def test_gone_ends_it_at_once() -> None:
    assert follows(Answer(status=410), attempt=1, jitter=0.5) == Gone("answered 410")


def test_the_waits_grow_to_a_bound_and_last_a_day() -> None:
    def wait(attempt: int, jitter: float) -> float:
        found = follows(Answer(status=500), attempt=attempt, jitter=jitter)
        assert isinstance(found, Again)
        return found.delay_s

    means = [wait(attempt, 0.5) for attempt in range(1, MAX_ATTEMPTS)]
    assert means[:3] == [5, 10, 20]
    assert all(a <= b for a, b in itertools.pairwise(means))
    assert means[-1] == BACKOFF_CAP_S
    assert 24 < sum(means) / 3600 < 30
    assert (wait(2, 0.0), wait(2, 1.0)) == (7.5, 12.5)


def test_events_are_the_states_and_the_usual_ones_their_ends() -> None:
    assert set(EVENTS.values()) == set(State)
    assert {EVENTS[event] for event in ENDS} == FINAL
    assert unknown_events(["job.completed", "*", "job.done", "job.*"]) == ["job.done", "job.*"]


def test_a_secret_has_its_length() -> None:
    assert len(new_secret(bytes(range(32)))) == len("whsec_") + 44
    with pytest.raises(ValueError, match="32 random bytes"):
        new_secret(b"short")
