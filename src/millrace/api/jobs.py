"""Jobs: submit, list, show, steer."""

import asyncio
from typing import Any

from msgspec.structs import replace

from millrace.api.master import Master
from millrace.api.query import choice, labels
from millrace.api.uploads import SCHEME, caught_up, check_arrived, is_upload
from millrace.api.views import accepted_view, job_detail, job_view
from millrace.domain.after import waits_for
from millrace.domain.failures import FailureClass
from millrace.domain.masters import TERM_S
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Arriving, Job
from millrace.domain.states import FINAL, State
from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.scheduler import dead as dead_letters
from millrace.scheduler import steer
from millrace.scheduler.dead import dead
from millrace.scheduler.read import find_job
from millrace.scheduler.submit import Caller, submit
from millrace.scheduler.tenants import why_held_back
from millrace.store.store import JobFilter
from millrace.wire.v1.jobs import DEFAULT_TENANT, JobDetail, JobList, JobRequest, RetryManyReply, RetryManyRequest
from millrace.wire.v1.problems import FieldError

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_MAX_KEY = 255


async def detail(master: Master, job: Job) -> JobDetail:
    """A job with all that is known of it."""
    store = master.farm.store
    attempts, outputs, transitions, facts, tasks, upload = await asyncio.gather(
        store.attempts(job.id),
        store.outputs(job.id),
        store.transitions(job.id),
        store.facts(job.id),
        store.standings(job.id),
        arriving_of(master, job),
    )
    return job_detail(
        job,
        attempts=attempts,
        outputs=outputs,
        transitions=transitions,
        facts=facts,
        tasks=tasks,
        held_back=await held_back(master, job),
        upload=upload,
    )


async def arriving_of(master: Master, job: Job) -> Arriving | None:
    """How much of its upload has arrived, where a job that has not ended began before that was all there."""
    location = job.spec.get("input")
    if job.state in FINAL or not job.spec.get("early") or not isinstance(location, str):
        return None
    return await master.farm.store.input_awaited(job.id, location.removeprefix(SCHEME))


async def held_back(master: Master, job: Job) -> str:
    """For which quota of its tenant a queued job waits, or for which jobs or bytes a pending one; empty for none."""
    if job.state is State.QUEUED:
        return await why_held_back(master.farm, job.tenant)
    if job.state is State.PENDING and (upload := await arriving_of(master, job)) is not None:
        return upload.sentence
    return waits_for(await master.farm.store.awaited(job.id)) if job.spec.get("after") else ""


def idempotency_key(call: Call[Any]) -> str | None:
    """The header's value, or None where it is missing."""
    key = call.header("idempotency-key")
    if key is not None and not (0 < len(key) <= _MAX_KEY and key.isascii() and key.isprintable()):
        raise invalid(
            FieldError(field="Idempotency-Key", message=f"must be 1 to {_MAX_KEY} printable ASCII characters")
        )
    return key


async def create(master: Master, call: Call[JobRequest]) -> JobDetail:
    """Accept a job. The same key with the same body gives the same job again."""
    location, arriving = call.body.input, None
    if location is not None and is_upload(location):
        # A worker would find out too, but only after the job was accepted, and it can ask nobody for the rest.
        arriving = await check_arrived(master, location, early=await _may_be_early(master, call.body))
    submitted = await submit(
        master.farm,
        replace(call.body, tenant=tenant_of(master, call.body.tenant)),
        caller=Caller(name=call.caller),
        idempotency_key=idempotency_key(call),
        arriving=arriving,
    )
    if arriving is not None:
        await caught_up(master, arriving.upload)
    if submitted.fresh is None or arriving is not None:
        return await detail(master, await find_job(master.farm.store, submitted.id))
    return accepted_view(*submitted.fresh)


async def _may_be_early(master: Master, request: JobRequest) -> bool:
    """Whether a job may be accepted before its upload: a master of before would never let it go on, and what starts later does not hurry."""
    return (
        request.early
        and not (request.after or request.run_after)
        and not await master.farm.store.masters_behind(ttl_s=TERM_S)
    )


def tenant_of(master: Master, given: str) -> str:
    """The tenant that a request is for: the one whose view this is, or in everybody's the one that it names."""
    if not master.tenant or given == master.tenant:
        return given
    if given != DEFAULT_TENANT:  # which is also what stands there where nothing was said
        why = f"must be {master.tenant!r}, to which this API key is bound; leave it out"
        raise invalid(FieldError(field="tenant", message=why, allowed=[master.tenant]), status=422)
    return master.tenant


async def show_all(master: Master, call: Call[None]) -> JobList:
    """A page of jobs, newest first."""
    call.only("state", "queue", "priority", "tenant", "profile", "label", "failure_class", "dead", "cursor", "limit")
    only = JobFilter(
        states=frozenset(choice("state", name, State) for name in call.query.get("state", [])),
        queue=choice("queue", call.one("queue"), Queue),
        priority=choice("priority", call.one("priority"), Priority),
        tenant=call.one("tenant"),
        profile=call.one("profile"),
        labels=labels(call.query.get("label", [])) or None,
        failures=frozenset(choice("failure_class", name, FailureClass) for name in call.query.get("failure_class", [])),
    )
    if call.truth("dead"):
        if only.states:
            raise invalid(FieldError(field="state", message="is failed where `dead` is asked for; leave it out"))
        only = dead(only, only.failures)
    limit = call.integer("limit", least=1, most=MAX_LIMIT) or DEFAULT_LIMIT
    try:
        page = await master.farm.store.jobs(only, cursor=call.one("cursor"), limit=limit)
    except ValueError:
        raise invalid(FieldError(field="cursor", message="is no cursor that this API gave")) from None
    return JobList(jobs=[job_view(job) for job in page.jobs], next=page.next_cursor)


async def show(master: Master, call: Call[None]) -> JobDetail:
    """One job, by id or number."""
    return await detail(master, await find_job(master.farm.store, call.path["ref"]))


async def retry_dead(master: Master, call: Call[RetryManyRequest]) -> RetryManyReply:
    """Run a page of dead jobs again."""
    body = call.body
    only = dead(JobFilter(queue=body.queue, profile=body.profile, tenant=body.tenant), body.failure_class)
    try:
        done = await dead_letters.retry_dead(master.farm, only, cursor=body.before, limit=body.limit, actor=call.caller)
    except ValueError:
        raise invalid(FieldError(field="before", message="is no cursor that this API gave")) from None
    return RetryManyReply(retried=list(done.numbers), next=done.cursor)


async def cancel(master: Master, call: Call[None]) -> JobDetail:
    """End a job."""
    return await detail(master, await steer.cancel(master.farm, call.path["ref"], actor=call.caller))


async def pause(master: Master, call: Call[None]) -> JobDetail:
    """Hold a job."""
    return await detail(master, await steer.pause(master.farm, call.path["ref"], actor=call.caller))


async def resume(master: Master, call: Call[None]) -> JobDetail:
    """Let a held job go on."""
    return await detail(master, await steer.resume(master.farm, call.path["ref"], actor=call.caller))


async def retry(master: Master, call: Call[None]) -> JobDetail:
    """Run a job again."""
    return await detail(master, await steer.retry(master.farm, call.path["ref"], actor=call.caller))
