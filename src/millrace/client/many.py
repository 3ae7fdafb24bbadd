"""The requests that people make about many jobs at once: batches and schedules."""

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from millrace.client.calls import Answer, Call, Repeat, get, new_key, post, segment
from millrace.wire.v1.batches import BatchDetail, BatchList, BatchRequest, SteerBatchReply, SteerBatchRequest
from millrace.wire.v1.jobs import JobList
from millrace.wire.v1.schedules import RunView, ScheduleDetail, ScheduleList, ScheduleRequest

ACCEPTING_S = 120.0
"""How long a master may take over ten thousand jobs."""


def submit_batch(request: BatchRequest, *, key: str | None = None) -> Call[BatchDetail]:
    """Submit many jobs, all or none. The idempotency key (a new one where None) makes every repetition the same batch."""
    headers = {"idempotency-key": key or new_key()}
    return post("/v1/batches", BatchDetail, request, headers=headers, silence_s=ACCEPTING_S)


def batches(*, tenant: str | None = None, cursor: str | None = None, limit: int | None = None) -> Call[BatchList]:
    """A page of batches, newest first."""
    query = {"tenant": tenant, "cursor": cursor, "limit": None if limit is None else str(limit)}
    return get("/v1/batches", BatchList, query=query)


def batch(batch_id: str) -> Call[BatchDetail]:
    """One batch."""
    return get(f"/v1/batches/{segment(batch_id)}", BatchDetail)


def batch_jobs(
    batch_id: str, *, states: Sequence[str] = (), cursor: str | None = None, limit: int | None = None
) -> Call[JobList]:
    """A page of a batch's jobs, in the order of their submission."""
    query = {"cursor": cursor, "limit": None if limit is None else str(limit)}
    call = get(f"/v1/batches/{segment(batch_id)}/jobs", JobList, query=query)
    return replace(call, query=call.query + tuple(("state", state) for state in states))


def steer_batch(batch_id: str, verb: Literal["cancel", "retry"], *, after: str | None) -> Call[SteerBatchReply]:
    """Cancel a page of its jobs, or run them again."""
    # Sent twice, a retry could start jobs again that have failed in between.
    repeat = Repeat.SAFE if verb == "cancel" else Repeat.UNSENT
    request = SteerBatchRequest(after=after)
    return post(f"/v1/batches/{segment(batch_id)}/{verb}", SteerBatchReply, request, repeat=repeat)


def create_schedule(request: ScheduleRequest) -> Call[ScheduleDetail]:
    """Keep a schedule."""
    # Sent twice it would fail at its own name.
    return post("/v1/schedules", ScheduleDetail, request, repeat=Repeat.UNSENT)


def schedules() -> Call[ScheduleList]:
    """Every schedule."""
    return get("/v1/schedules", ScheduleList)


def schedule(ref: str) -> Call[ScheduleDetail]:
    """One schedule, by id or name."""
    return get(f"/v1/schedules/{segment(ref)}", ScheduleDetail)


def steer_schedule(ref: str, verb: Literal["pause", "resume"]) -> Call[ScheduleDetail]:
    """Let no time of it come, or let them come again."""
    return post(f"/v1/schedules/{segment(ref)}/{verb}", ScheduleDetail)


def trigger_schedule(ref: str) -> Call[RunView]:
    """Submit its job now."""
    # Sent twice it would submit two.
    return post(f"/v1/schedules/{segment(ref)}/trigger", RunView, repeat=Repeat.UNSENT)


def remove_schedule(ref: str) -> Call[None]:
    """Forget a schedule."""
    return Call(method="DELETE", path=f"/v1/schedules/{segment(ref)}", read=_nothing)


def _nothing(_: Answer) -> None:
    return None
