"""The service-level table, row by row."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.order import Priority, Queue
from millrace.domain.sla import Classification, Served, is_sla_worthy, judge
from millrace.domain.states import State

GOOD = Served(
    state=State.COMPLETED,
    failure_class=None,
    classification=None,
    queue=Queue.DEFAULT,
    priority=Priority.MEDIUM,
    profile="web-hls",
    media_duration_s=60.0,
    queue_time=timedelta(seconds=1),
    processing_time=timedelta(seconds=30),
)


@pytest.mark.parametrize(
    ("change", "worthy"),
    [
        ({}, True),
        ({"classification": Classification.PRODUCTION, "profile": "test"}, True),
        ({"classification": Classification.TEST}, False),
        ({"classification": Classification.BENCHMARK}, False),
        ({"classification": Classification.DEBUG}, False),
        ({"profile": "test"}, False),
        ({"profile": "Test-clip"}, False),
        ({"profile": "benchmark-4k"}, False),
        ({"profile": "latest"}, True),
        ({"media_duration_s": 9.9}, False),
        ({"media_duration_s": None}, True),
        ({"queue": Queue.BATCH, "priority": Priority.LOW}, False),
        ({"queue": Queue.BATCH, "priority": Priority.HIGH}, True),
    ],
)
def test_which_jobs_have_a_service_level(change: dict[str, object], worthy: bool) -> None:
    assert is_sla_worthy(replace(GOOD, **change)) is worthy


def failed(failure: FailureClass | None, processing_s: float = 30) -> Served:
    processing = timedelta(seconds=processing_s)
    return replace(GOOD, state=State.FAILED, failure_class=failure, processing_time=processing)


@pytest.mark.parametrize(
    ("job", "compliant", "reason"),
    [
        (GOOD, True, "compliant"),
        (replace(GOOD, queue_time=timedelta(seconds=31)), False, "queue_time_exceeded"),
        (replace(GOOD, queue_time=timedelta(seconds=30)), True, "compliant"),
        (replace(GOOD, processing_time=timedelta(seconds=601)), False, "processing_time_exceeded"),
        (replace(GOOD, state=State.CANCELED), True, "not_sla_worthy"),
        (failed(FailureClass.INPUT), True, "external_failure_platform_ok"),
        (failed(FailureClass.REQUEST), True, "external_failure_platform_ok"),
        (failed(FailureClass.NETWORK), True, "external_failure_platform_ok"),
        (failed(FailureClass.CAPABILITY), True, "external_failure_platform_ok"),
        (failed(FailureClass.RESOURCE), False, "resource_management_failure"),
        (failed(FailureClass.DISK), False, "resource_management_failure"),
        (failed(FailureClass.LOST), False, "platform_failure"),
        (failed(FailureClass.OUTPUT), False, "platform_failure"),
        (failed(FailureClass.TIMEOUT), True, "user_timeout_reasonable"),
        (failed(FailureClass.TIMEOUT, 601), False, "platform_timeout_exceeded"),
        (failed(None), False, "platform_failure"),
    ],
)
def test_the_verdict(job: Served, compliant: bool, reason: str) -> None:
    verdict = judge(job)
    assert (verdict.compliant, verdict.reason) == (compliant, reason)


def test_every_failure_class_has_a_verdict() -> None:
    for failure in FailureClass:
        assert judge(failed(failure)).reason
