"""Schedules: the verbs and the duty of a master, on a real SQLite store under virtual time."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from test_scheduler import Rig, farm_test

from millrace.domain.schedules import Outcome, Schedule
from millrace.domain.states import State
from millrace.domain.tenants import Quotas
from millrace.domain.tenants import Rules as TenantRules
from millrace.scheduler import schedules, steer
from millrace.scheduler.errors import ConflictError, InvalidError, NotFoundError
from millrace.wire.v1.jobs import JobRequest
from millrace.wire.v1.schedules import ScheduleRequest

JOB = JobRequest(scenario="720p30-h264")
HOUR = timedelta(hours=1)


async def create(
    rig: Rig, name: str = "hourly", *, cron: str = "0 * * * *", tenant: str = "default", **more: object
) -> Schedule:
    job = more.pop("job", JOB)
    request = ScheduleRequest(name=name, cron=cron, job=job, **more)  # type: ignore[arg-type]
    return await schedules.create(rig.farm, request, tenant=tenant, actor="me")


async def until(rig: Rig, moment: datetime) -> None:
    await rig.clock.advance((moment - rig.clock.now()).total_seconds())


async def history(rig: Rig, schedule: Schedule) -> list[tuple[str, int | None]]:
    """Outcomes and jobs' numbers, oldest first."""
    return [(run.outcome.value, run.job) for run in reversed(await rig.farm.store.runs(schedule.id, limit=99))]


@farm_test
async def test_a_job_is_submitted_once_for_each_time(rig: Rig) -> None:
    made = await create(rig, overlap="allow")
    assert made.due_at is not None
    assert await schedules.run_due(rig.farm) == 0
    await until(rig, made.due_at)
    # Two masters that both believe that they lead, and one that looks again.
    await asyncio.gather(schedules.run_due(rig.farm), schedules.run_due(rig.farm))
    assert await schedules.run_due(rig.farm) == 0
    assert await history(rig, made) == [("submitted", 1)]
    job = await rig.job("1")
    assert (job.state, (await rig.farm.store.transitions(job.id))[0].actor) == (State.QUEUED, "schedule:hourly")
    await until(rig, made.due_at + HOUR)
    assert await schedules.run_due(rig.farm) == 1
    assert await history(rig, made) == [("submitted", 1), ("submitted", 2)]


@farm_test
async def test_times_are_those_of_the_zone_over_a_change_of_its_clocks(rig: Rig) -> None:
    await until(rig, datetime(2026, 3, 28, 0, 0, tzinfo=UTC))
    made = await create(rig, cron="30 3 * * *", zone="Europe/Berlin")
    dues = [made.due_at]
    for _ in range(2):
        await until(rig, dues[-1] or datetime.now(UTC))
        await schedules.run_due(rig.farm)
        dues.append((await schedules.find(rig.farm, "hourly")).due_at)
    assert dues == [datetime(2026, 3, day, hour, 30, tzinfo=UTC) for day, hour in ((28, 2), (29, 1), (30, 1))]


@farm_test
async def test_of_times_that_nobody_saw_one_comes_late_or_none(rig: Rig) -> None:
    once, skip = await create(rig, "once"), await create(rig, "skip", missed="skip")
    assert once.due_at is not None
    await until(rig, once.due_at + timedelta(hours=5, minutes=20))
    assert await schedules.run_due(rig.farm) == 2
    assert await history(rig, once) == [("submitted", 1)]
    assert await history(rig, skip) == [("missed", None)]
    for schedule in (once, skip):
        assert (await schedules.find(rig.farm, schedule.id)).due_at == once.due_at + 6 * HOUR
    # One that is seen some seconds late was not missed.
    await until(rig, once.due_at + timedelta(hours=6, seconds=30))
    await schedules.run_due(rig.farm)
    assert [outcome for outcome, _ in await history(rig, skip)] == ["missed", "submitted"]


@farm_test
async def test_what_becomes_of_a_time_while_the_last_job_has_not_ended(rig: Rig) -> None:
    forbid, allow, instead = [await create(rig, word, overlap=word) for word in ("forbid", "allow", "replace")]
    assert forbid.due_at is not None
    for hour in range(2):
        await until(rig, forbid.due_at + hour * HOUR)
        await schedules.run_due(rig.farm)
    runs = [await history(rig, one) for one in (forbid, allow, instead)]
    assert [[outcome for outcome, _ in one] for one in runs] == [
        ["submitted", "skipped"], ["submitted", "submitted"], ["submitted", "submitted"]
    ]  # fmt: skip
    (_, first), (_, second) = runs[2]
    assert [(await rig.job(str(number))).state for number in (first, second)] == [State.CANCELED, State.QUEUED]
    assert (await rig.job(str(runs[1][0][1]))).state is State.QUEUED
    skipped = (await rig.farm.store.runs(forbid.id, limit=1))[0]
    assert skipped.reason == f"job {runs[0][0][1]} had not ended"
    await steer.cancel(rig.farm, str(runs[0][0][1]), actor="me")
    await until(rig, forbid.due_at + 2 * HOUR)
    await schedules.run_due(rig.farm)
    assert [outcome for outcome, _ in await history(rig, forbid)] == ["submitted", "skipped", "submitted"]


@farm_test
async def test_while_it_is_paused_no_time_comes_and_none_is_made_up_for(rig: Rig) -> None:
    made = await create(rig)
    assert made.due_at is not None
    assert (await schedules.pause(rig.farm, "hourly")).due_at is None
    await until(rig, made.due_at + 3 * HOUR)
    assert await schedules.run_due(rig.farm) == 0
    assert (await schedules.resume(rig.farm, "hourly")).due_at == made.due_at + 4 * HOUR
    assert (await schedules.resume(rig.farm, "hourly")).due_at == made.due_at + 4 * HOUR
    assert await schedules.run_due(rig.farm) == 0
    assert (await create(rig, "asleep", paused=True)).due_at is None


@farm_test
async def test_by_hand_it_runs_now_and_its_times_stay(rig: Rig) -> None:
    made = await create(rig)
    run = await schedules.trigger(rig.farm, "hourly", actor="me")
    assert (run.job, run.actor, run.outcome) == (1, "me", Outcome.SUBMITTED)
    with pytest.raises(ConflictError, match="job 1 had not ended"):
        await schedules.trigger(rig.farm, "hourly", actor="me")
    assert (await schedules.find(rig.farm, "hourly")).due_at == made.due_at
    await schedules.pause(rig.farm, "hourly")
    await steer.cancel(rig.farm, "1", actor="me")
    await rig.clock.advance(1)
    assert (await schedules.trigger(rig.farm, "hourly", actor="me")).job == 2


@farm_test
async def test_the_time_stands_in_the_places_that_ask_for_it(rig: Rig) -> None:
    await until(rig, datetime(2026, 6, 1, 0, 10, tzinfo=UTC))
    job = JobRequest(input="/media/{due}.mp4", output="/out/news-{due}", profile="web-hls")
    made = await create(rig, zone="Europe/Berlin", job=job)
    await until(rig, made.due_at or datetime.now(UTC))
    await schedules.run_due(rig.farm)
    spec = (await rig.job("1")).spec
    assert (spec["input"], spec["output"]) == ("/media/2026-06-01T0300.mp4", "/out/news-2026-06-01T0300")


@farm_test
async def test_what_cannot_be_is_refused_by_its_field(rig: Rig) -> None:
    now = await rig.farm.store.now()
    job = JobRequest(scenario="no-such", run_after=now, after=["1"])
    with pytest.raises(InvalidError) as caught:
        await create(rig, cron="61 * * * *", zone="Mars/Phobos", job=job)
    assert {one.field for one in caught.value.findings} >= {"cron", "zone", "job.run_after", "job.after"}
    for wrong, field in (
        ({"job": JobRequest(input="upload://u1")}, "job.input"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"job": JobRequest(scenario="no-such")}, "job.scenario"),
        ({"job": JobRequest(engine="gstreamer")}, "job.engine"),
    ):
        with pytest.raises(InvalidError) as caught:
            await create(rig, **wrong)  # type: ignore[arg-type]
        assert [one.field for one in caught.value.findings] == [field]
    await create(rig)
    with pytest.raises(ConflictError, match="there is one of this name"):
        await create(rig)
    await create(rig, tenant="other")
    with pytest.raises(ConflictError, match="name it by its id"):
        await schedules.find(rig.farm, "hourly")
    with pytest.raises(NotFoundError):
        await schedules.find(rig.farm, "nothing")


@farm_test
async def test_a_job_that_can_be_accepted_no_more_is_told_and_the_times_go_on(rig: Rig) -> None:
    made = await create(rig, job=replace(JOB, tenant="default"))
    assert made.due_at is not None
    await rig.farm.store.set_tenant(
        "default", TenantRules(outputs=("/out",), inputs=("/in",), quotas=Quotas(per_day=0))
    )
    rig.farm.tenants.forget("default")
    await until(rig, made.due_at)
    assert await schedules.run_due(rig.farm) == 1
    (run,) = await rig.farm.store.runs(made.id, limit=9)
    assert (run.outcome, run.job) == (Outcome.REFUSED, None)
    assert "quota `per_day`" in run.reason
    assert (await schedules.find(rig.farm, "hourly")).due_at == made.due_at + HOUR
    await schedules.remove(rig.farm, "hourly")
    with pytest.raises(NotFoundError):
        await schedules.find(rig.farm, "hourly")
