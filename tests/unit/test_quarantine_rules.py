"""Who is blamed, who is quarantined, who is avoided: the pure rules."""

from datetime import UTC, datetime, timedelta

import pytest

from millrace.domain.elsewhere import avoided
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.quarantine import (
    FIRST_PROOF_S,
    JOBS,
    LAST_PROOF_S,
    Blame,
    NodeRecord,
    blamed,
    disproved,
    judge,
    proof_after_s,
)
from millrace.domain.records import Attempt, Outcome

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def _failure(failure_class: FailureClass = FailureClass.ENGINE) -> Failure:
    return Failure(failure_class=failure_class, message="broke")


def _attempt(node: str, outcome: Outcome, failure: Failure | None = None) -> Attempt:
    return Attempt(
        task_id="j.1", attempt=1, node_id=node, node_name=node, claimed_at=NOW, started_at=NOW, ended_at=NOW,
        outcome=outcome, failure=failure,
    )  # fmt: skip


def _record(blames: int, *, completed: int = 0, quarantines: int = 0) -> NodeRecord:
    return NodeRecord(
        blames=[Blame(number=n, at=NOW + timedelta(seconds=n), failure=_failure()) for n in range(blames)],
        completed=completed,
        quarantines=quarantines,
    )


@pytest.mark.parametrize("failure_class", FailureClass)
def test_only_failures_of_the_platform_count_and_never_a_loss(failure_class: FailureClass) -> None:
    attempts = [_attempt("bad", Outcome.FAILED, _failure(failure_class)), _attempt("good", Outcome.COMPLETED)]
    counts = {
        FailureClass.NETWORK, FailureClass.RESOURCE, FailureClass.DISK, FailureClass.STALLED, FailureClass.ENGINE,
    }  # fmt: skip
    assert bool(blamed(attempts, finisher="good")) == (failure_class in counts)


def test_neither_the_finisher_nor_who_handed_it_back_or_was_lost_is_blamed() -> None:
    attempts = [
        _attempt("good", Outcome.FAILED, _failure()),
        _attempt("full", Outcome.HANDED_BACK),
        _attempt("dead", Outcome.LOST, _failure(FailureClass.LOST)),
        _attempt("bad", Outcome.FAILED, _failure()),
    ]
    assert set(blamed(attempts, finisher="good")) == {"bad"}


def test_enough_jobs_that_others_finished_quarantine_a_node_and_the_last_gives_the_reason() -> None:
    assert judge(_record(JOBS - 1), working=5, quarantined=0) is None
    verdict = judge(_record(JOBS), working=5, quarantined=0)
    assert verdict is not None
    assert verdict.reason == "it failed 3 jobs that other nodes then finished, the last of them job 2 (engine): broke"


def test_a_node_that_finishes_as_many_as_it_fails_works_on() -> None:
    assert judge(_record(4, completed=4), working=5, quarantined=0) is None
    assert judge(_record(5, completed=4), working=5, quarantined=0) is not None


@pytest.mark.parametrize(
    ("working", "quarantined", "may"),
    [(1, 0, False), (2, 0, True), (3, 0, True), (2, 1, False), (3, 1, True), (2, 2, False), (4, 2, True)],
)
def test_never_more_than_half_of_the_farm(working: int, quarantined: int, may: bool) -> None:
    assert (judge(_record(9), working=working, quarantined=quarantined) is not None) == may


def test_proofs_come_later_each_time_up_to_a_bound() -> None:
    waits = [proof_after_s(times) for times in (1, 2, 3, 99, 10**6)]
    assert waits == [FIRST_PROOF_S, 2 * FIRST_PROOF_S, 4 * FIRST_PROOF_S, LAST_PROOF_S, LAST_PROOF_S]
    verdict = judge(_record(3, quarantines=2), working=2, quarantined=0)
    assert verdict is not None
    assert (verdict.times, verdict.proof_after_s) == (3, waits[2])


def test_a_proof_must_name_every_encoder_that_is_said_to_work() -> None:
    assert disproved(["aac", "libx264"], {"aac": "", "libx264": "", "h264_nvenc": "no device"}) == {}
    assert disproved(["aac", "libx264"], {"aac": "broke"}) == {"aac": "broke", "libx264": "it was not tried"}


@pytest.mark.parametrize(
    ("failed_on", "able", "expected"),
    [
        (["a"], {"a"}, ()),  # a farm of one
        (["a"], set(), ()),
        (["a"], {"a", "b"}, ("a",)),
        (["a", "b"], {"a", "b", "c"}, ("a", "b")),
        (["a", "b"], {"a", "b"}, ("b",)),  # all have failed it: not the last again
        (["a", "b", "a"], {"a", "b"}, ("a",)),
        (["a", "a"], {"a"}, ()),
        (["a"], {"b"}, ("a",)),
    ],
)
def test_a_task_avoids_where_it_failed_as_long_as_there_is_another(
    failed_on: list[str], able: set[str], expected: tuple[str, ...]
) -> None:
    assert avoided(failed_on, able) == expected
