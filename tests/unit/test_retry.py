"""Retry decisions: what is final, what waits how long, and that losses end too."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.failures import FailureClass
from millrace.domain.retry import (
    BACKOFF_CAP_S,
    MAX_LOSSES,
    TRANSIENT,
    GiveUp,
    Retry,
    after_failure,
    after_loss,
    backoff_s,
)

PERMANENT = ("input", "request", "capability", "output_exists", "output", "timeout", "canceled")


def test_failures_of_the_request_are_final_after_one_attempt() -> None:
    assert {failure.value for failure in FailureClass} - {failure.value for failure in TRANSIENT} == set(PERMANENT)
    for name in PERMANENT:
        decision = after_failure(FailureClass(name), spent=1, max_retries=3, jitter=1.0)
        assert isinstance(decision, GiveUp)
        assert name in decision.reason


@given(st.sampled_from(sorted(TRANSIENT)), st.integers(0, 20), st.integers(1, 30), st.floats(0, 1))
def test_failures_of_the_platform_are_tried_as_often_as_allowed(
    failure: FailureClass, max_retries: int, spent: int, jitter: float
) -> None:
    decision = after_failure(failure, spent=spent, max_retries=max_retries, jitter=jitter)
    assert isinstance(decision, Retry) == (spent <= max_retries)


def test_the_back_off_doubles_up_to_its_cap() -> None:
    assert [backoff_s(spent, 1.0) for spent in range(1, 9)] == [5, 10, 20, 40, 80, 160, 300, 300]


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_the_back_off_never_overflows_and_jitter_only_shortens_it(spent: int, jitter: float) -> None:
    assert 0 <= backoff_s(spent, jitter) <= BACKOFF_CAP_S


def test_a_lost_worker_costs_no_retry_but_a_poison_job_ends() -> None:
    assert after_loss(1) == Retry(0.0)
    assert after_loss(MAX_LOSSES - 1) == Retry(0.0)
    assert isinstance(after_loss(MAX_LOSSES), GiveUp)
