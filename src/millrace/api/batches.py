"""Batches, as people submit and read them."""

import msgspec
from msgspec.structs import replace

from millrace.api.jobs import DEFAULT_LIMIT, MAX_LIMIT, idempotency_key, tenant_of
from millrace.api.master import Master
from millrace.api.query import choice
from millrace.api.uploads import check_arrived, is_upload
from millrace.api.views import failure_view, job_view
from millrace.domain.batches import Batch
from millrace.domain.records import Job
from millrace.domain.states import State
from millrace.edge.call import Call
from millrace.edge.decode import field_error
from millrace.edge.refusal import RefusalError, invalid
from millrace.scheduler import batches
from millrace.scheduler.errors import Finding
from millrace.scheduler.submit import Caller, digest
from millrace.wire.v1.base import Document
from millrace.wire.v1.batches import (
    BatchDetail,
    BatchList,
    BatchRequest,
    BatchView,
    FailedJob,
    SkippedJob,
    SteerBatchReply,
    SteerBatchRequest,
)
from millrace.wire.v1.jobs import DEFAULT_TENANT, JobList, JobRequest
from millrace.wire.v1.problems import FieldError

FAILED_SHOWN = 20


async def create(master: Master, call: Call[BatchRequest]) -> BatchDetail:
    """Accept many jobs, or none."""
    request = replace(call.body, tenant=tenant_of(master, call.body.tenant))
    rows = [await _row(master, row, request.tenant) for row in request.jobs]
    caller = Caller(name=call.caller)
    checked = await batches.check(master.farm, rows, caller=caller)
    wrong = {place: [_error(one) for one in findings] for place, findings in checked.wrong.items()}
    if wrong and not (request.skip_bad and checked.jobs):
        raise RefusalError(
            422,
            "invalid",
            f"cannot accept the batch: {len(wrong)} of its {len(rows)} jobs are wrong, and nothing was accepted; correct them, or "
            "leave them out with skip_bad",
            errors=[
                replace(one, field=f"jobs[{place}].{one.field}") for place, errors in wrong.items() for one in errors
            ],
        )
    batch = await batches.submit_batch(
        master.farm,
        checked.jobs,
        tenant=request.tenant,
        name=request.name,
        caller=caller,
        key=idempotency_key(call),
        body_digest=digest(request),
    )
    return await _detail(master, batch, [SkippedJob(place=place, errors=errors) for place, errors in wrong.items()])


async def _row(master: Master, row: Document, tenant: str) -> JobRequest | tuple[Finding, ...]:
    """One job of a batch, or what is wrong with its shape."""
    try:
        request = msgspec.convert(row, JobRequest)
    except msgspec.ValidationError as error:
        wrong = field_error(str(error), JobRequest)
        return (Finding(wrong.field, wrong.message, tuple(wrong.allowed)),)
    if request.tenant not in (DEFAULT_TENANT, tenant):
        return (Finding("tenant", f"is {request.tenant!r}, and all jobs of a batch are of one tenant; leave it out"),)
    if request.input is not None and is_upload(request.input):
        try:
            await check_arrived(master, request.input)
        except RefusalError as error:
            return (Finding("input", error.errors[0].message),)
    return replace(request, tenant=tenant)


def _error(finding: Finding) -> FieldError:
    return FieldError(field=finding.field, message=finding.message, allowed=list(finding.allowed))


async def show_all(master: Master, call: Call[None]) -> BatchList:
    """A page of batches, newest first."""
    call.only("tenant", "cursor", "limit")
    limit = call.integer("limit", least=1, most=MAX_LIMIT) or DEFAULT_LIMIT
    found = await master.farm.store.batches(
        tenant=call.one("tenant"), below=call.integer("cursor", least=1), limit=limit + 1
    )
    page = found[:limit]
    return BatchList(
        batches=[BatchView(**_fields(one)) for one in page],  # type: ignore[arg-type]  # the fields stand below
        next=str(page[-1].number) if len(found) > limit else None,
    )


async def show(master: Master, call: Call[None]) -> BatchDetail:
    """One of them, with what failed of it."""
    return await _detail(master, await batches.find_batch(master.farm, call.path["id"]), [])


async def show_jobs(master: Master, call: Call[None]) -> JobList:
    """A page of a batch's jobs, in the order of their submission."""
    call.only("state", "cursor", "limit")
    batch = await batches.find_batch(master.farm, call.path["id"])
    limit = call.integer("limit", least=1, most=MAX_LIMIT) or DEFAULT_LIMIT
    states = [state for name in call.query.get("state", []) if (state := choice("state", name, State)) is not None]
    found = await master.farm.store.batch_jobs(
        batch.id, states=states, above=call.integer("cursor", least=1), limit=limit + 1
    )
    page = found[:limit]
    return JobList(jobs=[job_view(job) for job in page], next=str(page[-1].number) if len(found) > limit else None)


async def cancel(master: Master, call: Call[SteerBatchRequest | None]) -> SteerBatchReply:
    """Cancel a page of its jobs."""
    asked = call.body or SteerBatchRequest()
    done = await batches.cancel(master.farm, call.path["id"], above=_above(asked), limit=asked.limit, actor=call.caller)
    return _steered(done)


async def retry(master: Master, call: Call[SteerBatchRequest | None]) -> SteerBatchReply:
    """Run a page of those again that did not complete."""
    asked = call.body or SteerBatchRequest()
    done = await batches.retry(master.farm, call.path["id"], above=_above(asked), limit=asked.limit, actor=call.caller)
    return _steered(done)


def _above(asked: SteerBatchRequest) -> int | None:
    if asked.after is None:
        return None
    if not (asked.after.isascii() and asked.after.isdigit() and len(asked.after) <= 18):
        raise invalid(FieldError(field="after", message="is no cursor that this API gave"))
    return int(asked.after)


def _steered(done: batches.Steered) -> SteerBatchReply:
    return SteerBatchReply(
        changed=list(done.changed),
        passed_over={str(number): why for number, why in done.passed_over.items()},
        next=None if done.cursor is None else str(done.cursor),
    )


async def _detail(master: Master, batch: Batch, skipped: list[SkippedJob]) -> BatchDetail:
    failed = await master.farm.store.batch_jobs(batch.id, states=batches.BAD_ENDS, above=None, limit=FAILED_SHOWN)
    return BatchDetail(**_fields(batch), failed=[_failed(job) for job in failed], skipped=skipped)  # type: ignore[arg-type]  # the fields stand below


def _fields(batch: Batch) -> dict[str, object]:
    return {
        "id": batch.id,
        "name": batch.name,
        "tenant": batch.tenant,
        "total": batch.total,
        "counts": dict(batch.counts),
        "ended": batch.ended,
        "done": batch.is_done,
        "fraction": batch.fraction,
        "created": batch.created_at,
        "actor": batch.actor,
    }


def _failed(job: Job) -> FailedJob:
    location = job.spec.get("input")
    return FailedJob(
        job=job.id,
        number=job.number,
        state=job.state,
        input=location if isinstance(location, str) else None,
        failure=failure_view(job.failure),
    )
