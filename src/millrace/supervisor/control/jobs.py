"""Scheduled processes: look at their times and runs, pause, resume and trigger them."""

import msgspec

from millrace.edge.call import Answer, Call
from millrace.edge.refusal import not_found
from millrace.supervisor.control.supervisor import Supervisor, conflict
from millrace.supervisor.schedule.jobs import HISTORY, Job, Run, Verdict, judge
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Paused, Stage
from millrace.wire.v1.supervise import JobHistory, JobRunView, ScheduleView, TriggerView

MAX_WAIT_S = 3600
_encode = msgspec.json.Encoder().encode


async def show(supervisor: Supervisor, call: Call[None]) -> ScheduleView:
    """When a process runs, and how its runs went."""
    call.only()
    return _view(supervisor, call.path["name"])


async def history(supervisor: Supervisor, call: Call[None]) -> JobHistory:
    """Its last runs."""
    call.only("limit")
    _, job = _job(supervisor, call.path["name"])
    limit = call.integer("limit", least=1, most=HISTORY) or HISTORY
    return JobHistory(process=call.path["name"], runs=[run_view(run) for run in job.history[-limit:]])


async def pause(supervisor: Supervisor, call: Call[None]) -> ScheduleView:
    """Pass its times over; a run that goes on is left alone, and a trigger still works."""
    return _set_paused(supervisor, call, paused=True)


async def resume(supervisor: Supervisor, call: Call[None]) -> ScheduleView:
    """Heed its times again."""
    return _set_paused(supervisor, call, paused=False)


async def trigger(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Run it now. The run goes on whether or not its end is waited for."""
    call.only("wait")
    name, wait_s = call.path["name"], call.integer("wait", most=MAX_WAIT_S) or 0
    schedule, before = _job(supervisor, name)
    state = supervisor.keeper.state
    if state.ending:
        raise conflict(f"cannot trigger {name}: the supervisor stops everything")
    if not state.wanted.get(name):
        raise conflict(f"cannot trigger {name}: it is stopped; start it first")
    if state.stage is Stage.PREPARING:
        raise conflict(f"cannot trigger {name}: the hooks before the start still run")
    if judge(schedule.overlap, before) is Verdict.SKIP:
        why = "as many runs as may wait for it do" if schedule.overlap == "queue" else "a run of it goes on"
        raise conflict(f"cannot trigger {name}: {why} (overlap: {schedule.overlap})")
    supervisor.keeper.trigger(name)
    number = _job(supervisor, name)[1].count
    settled = await supervisor.news.until(lambda: _ended(supervisor, name, number), wait_s) if wait_s else False
    view = TriggerView(settled=settled, run=run_view(_find(supervisor, name, number)))
    return Answer(status=200 if settled else 202, body=_encode(view))


def watch(supervisor: Supervisor, call: Call[None]) -> object:
    """What a change changes, for the audit trail: whether its times are heeded, and how many runs were wanted so far."""
    job = supervisor.keeper.state.jobs.get(call.path["name"])
    return None if job is None else {"paused": job.paused, "runs": job.count}


def _job(supervisor: Supervisor, name: str) -> tuple[Schedule, Job]:
    """The schedule of a process.

    Raises:
        RefusalError: there is no such process, or it has none.
    """
    plan = supervisor.process(name)
    job = supervisor.keeper.state.jobs.get(name)
    if plan.schedule is None or job is None:
        raise not_found(f"there is no schedule of {name}: it is a {plan.kind}")
    return plan.schedule, job


def _set_paused(supervisor: Supervisor, call: Call[None], *, paused: bool) -> ScheduleView:
    call.only()
    name, verb = call.path["name"], "pause" if paused else "resume"
    _, job = _job(supervisor, name)
    if supervisor.keeper.state.ending:
        raise conflict(f"cannot {verb} {name}: the supervisor stops everything")
    if job.paused is paused:
        raise conflict(f"cannot {verb} {name}: it is {'' if paused else 'not '}paused")
    supervisor.keeper.post(Paused(name, paused))
    return _view(supervisor, name)


def _ended(supervisor: Supervisor, name: str, number: int) -> bool:
    job = supervisor.keeper.state.jobs.get(name)
    if job is None:  # taken out of the plan
        return True
    waiting = (*([job.current] if job.current else []), *job.queued)
    return all(run.number != number for run in waiting)


def _find(supervisor: Supervisor, name: str, number: int) -> Run:
    """A run, wherever it stands; one that was passed over for a newer one, or whose process is gone, is nowhere."""
    job = supervisor.keeper.state.jobs.get(name, Job())
    for run in (*reversed(job.history), *([job.current] if job.current else []), *job.queued):
        if run.number == number:
            return run
    raise conflict(f"cannot tell how run {number} of {name} ended: a newer one took its place before it began")


def _view(supervisor: Supervisor, name: str) -> ScheduleView:
    schedule, job = _job(supervisor, name)
    ledger = supervisor.ledger
    counts = {key[1]: count for key, count in sorted(ledger.jobs.items()) if key[0] == name}
    took = [(run.ended - run.began).total_seconds() for run in job.history if run.ended and run.began]
    executing = job.current is not None and job.current.began is not None
    stopped = not supervisor.keeper.state.wanted.get(name)
    return ScheduleView(
        process=name,
        expression=schedule.expression,
        timezone=schedule.zone,
        overlap=schedule.overlap.value,
        timeout_s=schedule.timeout_s or None,
        state="executing" if executing else "stopped" if stopped else "paused" if job.paused else "idle",
        paused=job.paused,
        next_run=None if stopped or job.paused else job.due,
        current=None if job.current is None else run_view(job.current),
        queued=len(job.queued),
        skipped=job.skipped,
        counts=counts,
        average_s=round(sum(took) / len(took), 3) if took else None,
        last_run=run_view(job.history[-1]) if job.history else None,
        last_success=ledger.last_success.get(name),
    )


def run_view(run: Run) -> JobRunView:
    """A run as it is told."""
    return JobRunView(
        number=run.number,
        by=run.by.value,
        due=run.due,
        began=run.began,
        ended=run.ended,
        seconds=round((run.ended - run.began).total_seconds(), 3) if run.ended and run.began else None,
        outcome=None if run.outcome is None else run.outcome.value,
        code=run.code,
        how=run.how,
    )
