"""Accept a job: check what is asked, resolve its profile, work out what it needs, store it."""

import hashlib
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.needs import Needs, early
from millrace.domain.order import head_start_ms, weight
from millrace.domain.records import Arriving, InputWait, Move, NewJob
from millrace.domain.states import State
from millrace.domain.tenants import Over, Quota, until_tomorrow_s
from millrace.scheduler.after import predecessors
from millrace.scheduler.arrive import HEAD_BYTES
from millrace.scheduler.errors import Finding, InvalidError, KeyReusedError, QuotaError
from millrace.scheduler.farm import Farm
from millrace.scheduler.locations import check_among, check_input, check_output
from millrace.scheduler.tenants import refuse
from millrace.scheduler.wanted import Wanted, given, wanted_of
from millrace.store.store import Added
from millrace.wire.v1.base import Request
from millrace.wire.v1.jobs import JobRequest

NO_GSTREAMER = Finding("engine", "is gstreamer, and this release runs FFmpeg only", ("auto", "ffmpeg"))
"""Of a job that is one of many; one that comes alone is accepted, and rejected with its own sentence."""
_FARTHEST = timedelta(days=3660)
_CANONICAL = msgspec.json.Encoder(order="sorted")


class Caller(Struct, frozen=True):
    """Who asks, for the record."""

    name: str = "api"


class Submitted(Struct, frozen=True, kw_only=True):
    """What became of a request. `fresh` is the new job and what the store said of it, which together are all that there is
    to know of it; None where the job was there before, or has moved on already.
    """

    id: str
    number: int
    repeated: bool = False
    fresh: tuple[NewJob, Added] | None = None


async def submit(
    farm: Farm,
    request: JobRequest,
    *,
    caller: Caller,
    idempotency_key: str | None = None,
    arriving: Arriving | None = None,
) -> Submitted:
    """Store the job; it is accepted when this returns. `arriving` is its upload, where not all of that is there.

    Raises:
        InvalidError: the request asks for what cannot be; names each field at fault.
        KeyReusedError: the idempotency key was used with another body.
        QuotaError: a quota of the tenant is used up.
    """
    job, wanted = await prepare(farm, request, caller=caller, idempotency_key=idempotency_key)
    if arriving is not None:
        job = await _waiting(farm, job, wanted.needs, arriving)
    (added,) = await farm.store.add_jobs([job])
    if added.conflict:
        raise KeyReusedError(
            f"cannot accept the job: the idempotency key {idempotency_key!r} was used with another body; "
            "send the first body again, or take a new key"
        )
    if added.refused is not None:
        raise over_quota(farm, request.tenant, added.refused, added.created_at, what="accept the job")
    if added.repeated:
        return Submitted(id=added.id, number=added.number, repeated=True)
    if wanted.needs.engine == "gstreamer":
        await _reject(farm, added.id)
        return Submitted(id=added.id, number=added.number)
    return Submitted(id=added.id, number=added.number, fresh=(job, added))


async def _waiting(farm: Farm, job: NewJob, needs: Needs, upload: Arriving) -> NewJob:
    """The job as it begins when the beginning of its upload has arrived, on a worker that can do so."""
    return replace(
        job,
        state=State.PENDING,
        class_id=await farm.store.class_of(early(needs)),
        own_class_id=job.class_id,
        awaits=InputWait(upload=upload.upload, size=upload.size, bytes=min(HEAD_BYTES, upload.size)),
    )


def over_quota(farm: Farm, tenant: str, over: Over, now: datetime, *, what: str) -> QuotaError:
    """The error for a quota that forbids jobs; `now` is the store's."""
    again_s = until_tomorrow_s(now) if over.quota is Quota.PER_DAY else None
    return refuse(farm, tenant, over, what=what, retry_after_s=again_s)


async def prepare(
    farm: Farm, request: JobRequest, *, caller: Caller, idempotency_key: str | None = None
) -> tuple[NewJob, Wanted]:
    """The job that a request asks for, checked and not stored; with what it resolves to.

    Raises:
        InvalidError: as :func:`submit`.
    """
    check_input(request.input)
    check_output(request.output)
    rules = await farm.rules_of(request.tenant)
    check_among("input", request.input, rules.inputs, request.tenant)
    check_among("output", request.output, rules.outputs, request.tenant)
    parameters = given(request.parameters)
    wanted = wanted_of(request, parameters)
    after = await predecessors(farm, request) if request.after else ()
    # The store's time decides what is due; for the id, whose time only sorts, nobody asks another machine.
    now = farm.clock.now() if request.run_after is None else await farm.store.now()
    if request.run_after is not None and request.run_after - now > _FARTHEST:
        raise InvalidError(Finding("run_after", "lies more than ten years ahead"))
    later = request.run_after is not None and request.run_after > now
    spec: dict[str, object] = {
        "input": request.input,
        "output": request.output,
        "overwrite": request.overwrite,
        "engine": wanted.needs.engine,
        "profile": wanted.document,
        "parameters": parameters,
        "run_after": request.run_after.isoformat() if request.run_after else None,
    }
    if request.early:
        spec["early"] = True
    if after:
        spec |= {"after": [one.id for one in after], "after_any_end": request.after_any_end}
    job = NewJob(
        id=farm.new_job_id(now),
        tenant=request.tenant,
        queue=request.queue,
        priority=request.priority,
        classification=request.classification,
        labels=request.labels,
        profile=wanted.name,
        spec=spec,
        max_retries=farm.rules.max_retries if request.max_retries is None else request.max_retries,
        timeout_s=request.timeout_s,
        class_id=await farm.store.class_of(wanted.needs),
        head_start_ms=head_start_ms(weight(request.queue, request.priority), farm.rules.ageing_s),
        state=State.PENDING if later or after else State.QUEUED,
        due_at=request.run_after if later else None,
        actor=caller.name,
        idempotency_key=idempotency_key,
        body_digest=digest(request) if idempotency_key else None,
        keeps=request.output is None,
        after=tuple(one.number for one in after),
        after_any_end=request.after_any_end,
    )
    return job, wanted


def digest(request: Request) -> str:
    """Tells two bodies apart that were sent with one idempotency key."""
    return hashlib.sha256(_CANONICAL.encode(request)).hexdigest()


async def _reject(farm: Farm, job_id: str) -> None:
    sentence = "cannot run on GStreamer: this release runs FFmpeg only; submit the job with engine ffmpeg or auto"
    moves = [
        Move(
            task_id=task.id,
            sources=frozenset({State.QUEUED, State.PENDING}),
            target=State.REJECTED,
            reason=sentence,
            actor="master",
            failure=Failure(failure_class=FailureClass.CAPABILITY, message=sentence),
        )
        for task in await farm.store.tasks(job_id)
    ]
    await farm.store.move(moves)
