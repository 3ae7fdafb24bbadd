"""Scheduled processes: look at their times and runs, pause, resume and trigger them."""

import msgspec

from millrace.edge.call import Answer, Call
from millrace.edge.refusal import not_found
from millrace.supervisor.control.processes import WAIT_S
from millrace.supervisor.control.supervisor import Supervisor, conflict
from millrace.supervisor.schedule.jobs import HISTORY, Job, Run, Verdict, judge
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Id, Paused, Stage
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
    return JobHistory(
        process=call.path["name"], runs=[run_view(call.path["name"], run) for run in job.history[-limit:]]
    )


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
    if judge(schedule, before) is Verdict.SKIP:
        going = "a run of it goes on" if schedule.at_once == 1 else f"{schedule.at_once} runs of it go on"
        why = "as many runs as may wait for it do" if schedule.overlap == "queue" else going
        raise conflict(f"cannot trigger {name}: {why} (overlap: {schedule.overlap})")
    supervisor.keeper.trigger(name)
    return await _answer(supervisor, name, _job(supervisor, name)[1].count, wait_s)


async def stop_run(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Stop one run and no other, by the stop sequence of its process; one that waits does not begin."""
    call.only("wait")
    name, wait_s = call.path["name"], call.integer("wait", most=MAX_WAIT_S)
    _, job = _job(supervisor, name)
    number = next((run.number for run in (*job.current, *job.queued) if str(run.number) == call.path["number"]), None)
    if number is None:
        going = ", ".join(str(run.number) for run in (*job.current, *job.queued)) or "none"
        raise not_found(
            f"there is no run {call.path['number'][:20]} of {name} that goes on or waits; these do: {going}"
        )
    supervisor.keeper.call_off(name, number)
    return await _answer(supervisor, name, number, WAIT_S if wait_s is None else wait_s)


def watch(supervisor: Supervisor, call: Call[None]) -> object:
    """What a change changes, for the audit trail: whether its times are heeded, how many runs were wanted so far, which go on."""
    job = supervisor.keeper.state.jobs.get(call.path["name"])
    if job is None:
        return None
    return {
        "paused": job.paused,
        "runs": job.count,
        "going": [run.number for run in job.current if run.verdict is None],
    }


async def _answer(supervisor: Supervisor, name: str, number: int, wait_s: int) -> Answer:
    """The run when it has ended (200), or as it is when the time is up (202)."""
    settled = await supervisor.news.until(lambda: _ended(supervisor, name, number), wait_s) if wait_s else False
    view = TriggerView(settled=settled, run=run_view(name, _find(supervisor, name, number)))
    return Answer(status=200 if settled else 202, body=_encode(view))


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
    return all(run.number != number for run in (*job.current, *job.queued))


def _find(supervisor: Supervisor, name: str, number: int) -> Run:
    """A run, wherever it stands; one that was passed over for a newer one, or whose process is gone, is nowhere."""
    job = supervisor.keeper.state.jobs.get(name, Job())
    for run in (*reversed(job.history), *job.current, *job.queued):
        if run.number == number:
            return run
    raise conflict(f"cannot tell how run {number} of {name} ended: a newer one took its place before it began")


def _view(supervisor: Supervisor, name: str) -> ScheduleView:
    schedule, job = _job(supervisor, name)
    ledger = supervisor.ledger
    counts = {key[1]: count for key, count in sorted(ledger.jobs.items()) if key[0] == name}
    took = [(run.ended - run.began).total_seconds() for run in job.history if run.ended and run.began]
    executing = any(run.began is not None for run in job.current)
    stopped = not supervisor.keeper.state.wanted.get(name)
    return ScheduleView(
        process=name,
        expression=schedule.expression,
        timezone=schedule.zone,
        overlap=schedule.overlap.value,
        max_concurrent=schedule.at_once,
        timeout_s=schedule.timeout_s or None,
        state="executing" if executing else "stopped" if stopped else "paused" if job.paused else "idle",
        paused=job.paused,
        next_run=None if stopped or job.paused else job.due,
        current=[run_view(name, run) for run in job.current],
        queued=len(job.queued),
        skipped=job.skipped,
        counts=counts,
        average_s=round(sum(took) / len(took), 3) if took else None,
        last_run=run_view(name, job.history[-1]) if job.history else None,
        last_success=ledger.last_success.get(name),
    )


def run_view(name: str, run: Run) -> JobRunView:
    """A run of a process as it is told."""
    return JobRunView(
        number=run.number,
        instance=str(Id(name, run.slot)),
        by=run.by.value,
        due=run.due,
        began=run.began,
        ended=run.ended,
        seconds=round((run.ended - run.began).total_seconds(), 3) if run.ended and run.began else None,
        outcome=None if run.outcome is None else run.outcome.value,
        code=run.code,
        how=run.how,
    )
