"""Schedules: keep them, and submit their jobs when they come due.

Exactly one run for each time, whoever leads: the run is written in the transaction that moves the schedule to its next time, which
only one does that finds it at this one. So the duty needs no term of a leader; it only saves the others the look.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec.structs import replace

from millrace.domain import ids
from millrace.domain.records import NewJob
from millrace.domain.schedules import NewSchedule, Outcome, Run, Schedule, Verdict, judge
from millrace.runtime.cron import fault_in, is_zone, local_time, next_after
from millrace.scheduler import steer
from millrace.scheduler.errors import ConflictError, Finding, InvalidError, NotFoundError
from millrace.scheduler.farm import Farm
from millrace.scheduler.submit import NO_GSTREAMER, Caller, prepare
from millrace.telemetry.logs import logger
from millrace.wire.v1.jobs import JobRequest
from millrace.wire.v1.schedules import ScheduleRequest

log = logger("scheduler")

MOST = 1000
MOST_OF_A_TENANT = 200
"""Schedules; two that come at once may make one more."""
DUE = "{due}"
_BATCH = 100
_OF_ONE_MOMENT: Mapping[str, object] = {"run_after": None, "after": []}
"""What a job of a schedule cannot ask for, as it is where it does not."""


async def create(farm: Farm, request: ScheduleRequest, *, tenant: str, actor: str) -> Schedule:
    """Keep a schedule.

    Raises:
        InvalidError: the time, the zone or the job cannot be.
        ConflictError: the tenant has one of this name, or there are too many.
    """
    job = replace(request.job, tenant=tenant)
    await _check(farm, request, job, actor)
    known = await farm.store.schedules()
    if len(known) >= MOST or sum(one.tenant == tenant for one in known) >= MOST_OF_A_TENANT:
        raise ConflictError("cannot make another schedule: there are too many already; remove some")
    now = await farm.store.now()
    try:
        due = next_after(request.cron, request.zone, now)
    except ValueError as error:
        raise InvalidError(Finding("cron", str(error))) from error
    new = NewSchedule(
        id=farm.new_id(ids.schedule_id, now),
        tenant=tenant,
        name=request.name,
        cron=request.cron,
        zone=request.zone,
        overlap=request.overlap,
        missed=request.missed,
        request=msgspec.json.encode(job).decode(),
        actor=actor,
        due_at=None if request.paused else due,
    )
    made = await farm.store.add_schedule(new)
    if made is None:
        raise ConflictError(
            f"cannot make schedule {request.name!r}: there is one of this name; remove it first, or take another name"
        )
    return made


async def _check(farm: Farm, request: ScheduleRequest, job: JobRequest, actor: str) -> None:
    findings = []
    if (fault := fault_in(request.cron)) is not None:
        findings.append(Finding("cron", f"{fault}; give one such as 30 3 * * *, or @daily"))
    if not is_zone(request.zone):
        findings.append(Finding("zone", "no time zone is called that; give one such as Europe/Berlin"))
    findings.extend(
        Finding(f"job.{field}", "makes no sense for a job that comes again and again; leave it out")
        for field, usual in _OF_ONE_MOMENT.items()
        if getattr(job, field) != usual
    )
    if job.input is not None and job.input.startswith("upload://"):
        findings.append(Finding("job.input", "an upload does not stay; name a path or a URL"))
    wrong: Sequence[Finding] = ()
    try:
        _, wanted = await prepare(farm, job, caller=Caller(name=actor))
    except InvalidError as error:
        wrong = error.findings
    else:
        wrong = (NO_GSTREAMER,) if wanted.needs.engine == "gstreamer" else ()
    findings.extend(replace(one, field=f"job.{one.field}") for one in wrong)
    if findings:
        raise InvalidError(*findings)


async def find(farm: Farm, ref: str) -> Schedule:
    """A schedule by its id or its name.

    Raises:
        NotFoundError: there is no such schedule.
        ConflictError: several tenants have one of this name.
    """
    found = await farm.store.schedule(ref)
    if found is not None:
        return found
    named = [one for one in await farm.store.schedules() if one.name == ref]
    if not named:
        raise NotFoundError(f"there is no schedule {ref[:64]!r}; `millrace schedules list` shows those there are")
    if len(named) > 1:
        which = ", ".join(f"{one.id} (tenant {one.tenant})" for one in named[:5])
        raise ConflictError(f"cannot say which schedule {ref!r} is meant: name it by its id, one of {which}")
    return named[0]


async def pause(farm: Farm, ref: str) -> Schedule:
    """Let no time come. What came until now stays. Raises as :func:`find`."""
    return await _set_due(farm, await find(farm, ref), None)


async def resume(farm: Farm, ref: str) -> Schedule:
    """Let times come again, from now on; those that came meanwhile are passed over. Raises as :func:`find`."""
    schedule = await find(farm, ref)
    if schedule.due_at is not None:
        return schedule
    return await _set_due(farm, schedule, next_after(schedule.cron, schedule.zone, await farm.store.now()))


async def _set_due(farm: Farm, schedule: Schedule, due: datetime | None) -> Schedule:
    if not await farm.store.set_schedule_due(schedule.id, due):
        raise NotFoundError(f"there is no schedule {schedule.id} any more")
    return replace(schedule, due_at=due)


async def remove(farm: Farm, ref: str) -> None:
    """Forget it with its runs; its jobs stay. Raises as :func:`find`."""
    await farm.store.remove_schedule((await find(farm, ref)).id)


async def trigger(farm: Farm, ref: str, *, actor: str) -> Run:
    """Submit its job now, whether it is paused or not.

    Raises as :func:`find`, and:
        ConflictError: its last job has not ended, or the job cannot be accepted.
    """
    schedule = await find(farm, ref)
    now = await farm.store.now()
    verdict, job = await _decide(farm, schedule, now, now)
    run = None
    if job is not None:
        run = await _run(farm, schedule, now, verdict, job, actor=actor, next_due=schedule.due_at)
        if run is None:
            raise ConflictError(
                f"cannot run schedule {schedule.name}: it was run, or changed, at this moment; look and try again"
            )
    if run is None or run.job is None:
        raise ConflictError(f"cannot run schedule {schedule.name}: {verdict.reason if run is None else run.reason}")
    return run


async def run_due(farm: Farm) -> int:
    """Run every schedule that is due; returns how many. Idempotent: any master may run it at any time."""
    total = 0
    while due := await farm.store.due_schedules(limit=_BATCH):
        now = await farm.store.now()
        done = [await _run_due(farm, schedule, schedule.due_at, now) for schedule in due if schedule.due_at is not None]
        total += sum(done)
        if not any(done):
            break
    return total


async def _run_due(farm: Farm, schedule: Schedule, due: datetime, now: datetime) -> bool:
    try:
        following = next_after(schedule.cron, schedule.zone, max(now, due))
    except ValueError as error:  # this machine knows fewer time zones than that on which it was made
        log.error("schedules.paused", schedule=schedule.id, name=schedule.name, why=str(error))  # noqa: TRY400  no fault of ours
        return await farm.store.set_schedule_due(schedule.id, None)
    verdict, job = await _decide(farm, schedule, due, now)
    return await _run(farm, schedule, due, verdict, job, actor="master", next_due=following) is not None


async def _decide(farm: Farm, schedule: Schedule, due: datetime, now: datetime) -> tuple[Verdict, NewJob | None]:
    """What a time comes to, and its job where it has one."""
    verdict = judge(schedule, due, now)
    if verdict.outcome is not Outcome.SUBMITTED:
        return verdict, None
    try:
        job, _ = await prepare(farm, request_at(schedule, due), caller=Caller(name=f"schedule:{schedule.name}"))
    except (InvalidError, msgspec.ValidationError) as error:
        return Verdict(Outcome.REFUSED, f"the job cannot be accepted: {error}"), None
    return verdict, job


async def _run(
    farm: Farm,
    schedule: Schedule,
    due: datetime,
    verdict: Verdict,
    job: NewJob | None,
    *,
    actor: str,
    next_due: datetime | None,
) -> Run | None:
    await _make_room(farm, schedule, verdict, actor)
    run = Run(due_at=due, at=due, actor=actor, outcome=verdict.outcome, reason=verdict.reason)
    done = await farm.store.run_schedule(schedule, run, next_due=next_due, job=job)
    if done is not None:
        farm.runs[done.outcome] += 1
    return done


async def _make_room(farm: Farm, schedule: Schedule, verdict: Verdict, actor: str) -> None:
    """Cancel the job that the next one replaces. Whoever is killed after that comes again, and finds it canceled."""
    if verdict.replaces and schedule.last_job is not None:
        with suppress(ConflictError, NotFoundError):  # it has ended meanwhile
            await steer.cancel(farm, str(schedule.last_job), actor=actor)


def request_at(schedule: Schedule, due: datetime) -> JobRequest:
    """What it submits for a time."""
    request = msgspec.json.decode(schedule.request, type=JobRequest)
    text = local_time(schedule.zone, due).strftime("%Y-%m-%dT%H%M")
    places = {
        field: place.replace(DUE, text)
        for field in ("input", "output")
        if (place := getattr(request, field)) is not None
    }
    return replace(request, **places)
