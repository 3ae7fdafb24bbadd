"""Schedules, as people keep and read them."""

import msgspec

from millrace.api.jobs import tenant_of
from millrace.api.master import Master
from millrace.domain.schedules import RUNS_KEPT, Run, Schedule
from millrace.edge.call import Call
from millrace.scheduler import schedules
from millrace.wire.v1.schedules import RunView, ScheduleDetail, ScheduleList, ScheduleRequest, ScheduleView


async def create(master: Master, call: Call[ScheduleRequest]) -> ScheduleDetail:
    """Keep a schedule."""
    tenant = tenant_of(master, call.body.job.tenant)
    made = await schedules.create(master.farm, call.body, tenant=tenant, actor=call.caller)
    return _detail(made, [])


async def show_all(master: Master, call: Call[None]) -> ScheduleList:
    """Every one."""
    call.only()
    return ScheduleList(schedules=[ScheduleView(**_fields(one)) for one in await master.farm.store.schedules()])  # type: ignore[arg-type]  # the fields stand below


async def show(master: Master, call: Call[None]) -> ScheduleDetail:
    """One of them, with its last runs."""
    return await _shown(master, await schedules.find(master.farm, call.path["ref"]))


async def remove(master: Master, call: Call[None]) -> None:
    """Forget one."""
    await schedules.remove(master.farm, call.path["ref"])


async def pause(master: Master, call: Call[None]) -> ScheduleDetail:
    """Let no time come."""
    return await _shown(master, await schedules.pause(master.farm, call.path["ref"]))


async def resume(master: Master, call: Call[None]) -> ScheduleDetail:
    """Let times come again."""
    return await _shown(master, await schedules.resume(master.farm, call.path["ref"]))


async def trigger(master: Master, call: Call[None]) -> RunView:
    """Submit its job now."""
    return _run(await schedules.trigger(master.farm, call.path["ref"], actor=call.caller))


async def _shown(master: Master, schedule: Schedule) -> ScheduleDetail:
    return _detail(schedule, [_run(run) for run in await master.farm.store.runs(schedule.id, limit=RUNS_KEPT)])


def _detail(schedule: Schedule, runs: list[RunView]) -> ScheduleDetail:
    return ScheduleDetail(**_fields(schedule), job=msgspec.json.decode(schedule.request), runs=runs)  # type: ignore[arg-type]  # the fields stand below


def _fields(schedule: Schedule) -> dict[str, object]:
    return {
        "id": schedule.id,
        "name": schedule.name,
        "tenant": schedule.tenant,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "overlap": schedule.overlap,
        "missed": schedule.missed,
        "paused": schedule.due_at is None,
        "due": schedule.due_at,
        "last_job": schedule.last_job,
        "last_state": schedule.last_state,
        "created": schedule.created_at,
        "actor": schedule.actor,
    }


def _run(run: Run) -> RunView:
    return RunView(
        due=run.due_at,
        at=run.at,
        actor=run.actor,
        outcome=run.outcome,
        reason=run.reason,
        job=run.job,
        state=run.state,
    )
