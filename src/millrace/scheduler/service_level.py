"""How a finished or running job looks against its service level."""

from datetime import timedelta

from millrace.domain.records import Document, Job
from millrace.domain.sla import Served, Verdict, judge
from millrace.domain.states import FINAL


def verdict(job: Job, media_duration_s: float | None = None) -> Verdict | None:
    """The verdict on a job that has ended; None before."""
    if job.state not in FINAL or job.finished_at is None:
        return None
    runnable = job.due_at or job.created_at
    started = job.started_at or job.finished_at
    return judge(
        Served(
            state=job.state,
            failure_class=job.failure.failure_class if job.failure else None,
            classification=job.classification,
            queue=job.queue,
            priority=job.priority,
            profile=job.profile,
            media_duration_s=media_duration_s,
            queue_time=max(started - runnable, timedelta()),
            processing_time=max(job.finished_at - started, timedelta()),
        )
    )


def media_duration_s(facts: Document | None) -> float | None:
    """Seconds of media that the job worked on, as its worker probed them."""
    value = (facts or {}).get("duration_s")
    return float(value) if isinstance(value, int | float) else None
