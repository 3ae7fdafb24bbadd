"""Service levels: whether a finished job counts, whether the farm kept its promise, and the reason.

The table is that of the predecessor, with its three faults mended: the prefix test includes the bare word and ignores
case, an unclassified failure is not called compliant, and the time to start is judged too.
"""

from datetime import timedelta
from enum import StrEnum

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.order import Priority, Queue
from millrace.domain.states import State

UNCOUNTED = "not_sla_worthy"
"""The reason of a job that promised nothing."""
MAX_QUEUE_TIME = timedelta(seconds=30)
MAX_PROCESSING_TIME = timedelta(seconds=600)
MIN_DURATION_S = 10.0
_TRIAL_PREFIXES = ("test", "debug", "benchmark")


class Classification(StrEnum):
    """What a job is for, as its owner declares it. Only production work has a service level."""

    PRODUCTION = "production"
    TEST = "test"
    BENCHMARK = "benchmark"
    DEBUG = "debug"


class Served(Struct, frozen=True, kw_only=True):
    """How one finished job was served; durations are wall time."""

    state: State
    failure_class: FailureClass | None
    classification: Classification | None
    queue: Queue
    priority: Priority
    profile: str
    media_duration_s: float | None
    queue_time: timedelta
    processing_time: timedelta


class Verdict(Struct, frozen=True):
    """Whether the service level was kept, and why."""

    compliant: bool
    reason: str


def is_sla_worthy(job: Served) -> bool:
    """Whether the job has a service level at all."""
    if job.classification is not None:
        return job.classification is Classification.PRODUCTION
    if job.profile.lower().startswith(_TRIAL_PREFIXES):
        return False
    if job.media_duration_s is not None and job.media_duration_s < MIN_DURATION_S:
        return False
    return not (job.queue is Queue.BATCH and job.priority is Priority.LOW)


_FAILED: dict[FailureClass, Verdict] = {
    FailureClass.INPUT: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.REQUEST: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.CAPABILITY: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.OUTPUT_EXISTS: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.CANCELED: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.NETWORK: Verdict(compliant=True, reason="external_failure_platform_ok"),
    FailureClass.RESOURCE: Verdict(compliant=False, reason="resource_management_failure"),
    FailureClass.DISK: Verdict(compliant=False, reason="resource_management_failure"),
    FailureClass.OUTPUT: Verdict(compliant=False, reason="platform_failure"),
    FailureClass.ENGINE: Verdict(compliant=False, reason="platform_failure"),
    FailureClass.STALLED: Verdict(compliant=False, reason="platform_failure"),
    FailureClass.LOST: Verdict(compliant=False, reason="platform_failure"),
}


def judge(job: Served) -> Verdict:
    """The verdict on a finished job (state `completed` or `failed`; others have no service level)."""
    if job.state not in (State.COMPLETED, State.FAILED) or not is_sla_worthy(job):
        return Verdict(compliant=True, reason=UNCOUNTED)
    if job.state is State.FAILED:
        return _judge_failure(job)
    if job.queue_time > MAX_QUEUE_TIME:
        return Verdict(compliant=False, reason="queue_time_exceeded")
    if job.processing_time > MAX_PROCESSING_TIME:
        return Verdict(compliant=False, reason="processing_time_exceeded")
    return Verdict(compliant=True, reason="compliant")


def _judge_failure(job: Served) -> Verdict:
    if job.failure_class is FailureClass.TIMEOUT:
        if job.processing_time > MAX_PROCESSING_TIME:
            return Verdict(compliant=False, reason="platform_timeout_exceeded")
        return Verdict(compliant=True, reason="user_timeout_reasonable")
    if job.failure_class is None:
        return Verdict(compliant=False, reason="platform_failure")
    return _FAILED[job.failure_class]
