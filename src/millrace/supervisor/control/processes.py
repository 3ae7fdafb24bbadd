"""Processes: look at them, and start, stop, restart and scale them."""

from signal import Signals
from typing import Any

import msgspec

from millrace.edge.call import Answer, Call
from millrace.edge.refusal import invalid
from millrace.supervisor.control.rest import instances_of, is_settled
from millrace.supervisor.control.supervisor import Supervisor, conflict
from millrace.supervisor.control.views import max_scale
from millrace.supervisor.state import AT_REST, Renewed, Unpinned, Wanted
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.supervise import (
    LinesView,
    ProcessList,
    ProcessView,
    ScaleRequest,
    SignalRequest,
    SignalView,
    StackLines,
    SteerView,
)

WAIT_S = 60
MAX_WAIT_S = 3600
LINES = 100
MAX_LINES = 1000
_NO_AUTO = "is for a process with autoscale in its plan, and stands alone"
_encode = msgspec.json.Encoder().encode


async def show_all(supervisor: Supervisor, call: Call[None]) -> ProcessList:
    """Every process."""
    call.only()
    keeper = supervisor.keeper
    return ProcessList(
        processes=[supervisor.view(name) for name in sorted(keeper.plan.processes)], ending=keeper.state.ending
    )


async def show(supervisor: Supervisor, call: Call[None]) -> ProcessView:
    """One process."""
    call.only()
    return supervisor.view(call.path["name"])


async def start(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Start what is stopped, and try afresh what was given up."""
    name, wait_s = _asked(supervisor, call, "start")
    state = supervisor.keeper.state
    wanted = state.wanted.get(name, 0)
    found = instances_of(state, name)
    if wanted and all(instance.phase not in AT_REST for each, instance in found if each.index < wanted):
        raise conflict(f"cannot start {name}: it is {supervisor.view(name).state} already")
    count = wanted or supervisor.scales.get(name) or supervisor.process(name).scale
    supervisor.keeper.post(Wanted(name, count))
    return await _answer(supervisor, name, wait_s)


async def stop(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Stop every instance."""
    name, wait_s = _asked(supervisor, call, "stop", while_ending=True)
    state = supervisor.keeper.state
    if all(instance.phase in AT_REST for _, instance in instances_of(state, name)):
        raise conflict(f"cannot stop {name}: it is {supervisor.view(name).state}, and nothing of it runs")
    supervisor.keeper.post(Wanted(name, 0))
    return await _answer(supervisor, name, wait_s)


async def restart(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Stop every instance and start it again, or (`rolling`) replace one after the other."""
    name, wait_s = _asked(supervisor, call, "restart", "rolling")
    rolling = call.truth("rolling")
    if rolling and not supervisor.process(name).is_service:
        raise conflict(
            f"cannot replace the instances of {name} one after the other: it runs to its end; restart it instead"
        )
    if not supervisor.keeper.state.wanted.get(name):
        raise conflict(f"cannot restart {name}: it is {supervisor.view(name).state}; start it instead")
    supervisor.keeper.post(Renewed(name, rolling=rolling))
    return await _answer(supervisor, name, wait_s)


async def scale(supervisor: Supervisor, call: Call[ScaleRequest]) -> Answer:
    """Have so many instances."""
    name, wait_s = _asked(supervisor, call, "scale")
    body, plan = call.body, supervisor.process(name)
    most = max_scale(plan)
    if body.auto:
        if plan.autoscale is None or body.desired is not None or body.delta is not None:
            raise invalid(FieldError(field="auto", message=_NO_AUTO), status=422)
        supervisor.keeper.post(Unpinned(name))
        return await _answer(supervisor, name, wait_s)
    if (body.desired is None) == (body.delta is None):
        raise invalid(FieldError(field="desired", message="give either desired or delta"), status=422)
    count = (
        body.desired if body.desired is not None else supervisor.keeper.state.wanted.get(name, 0) + (body.delta or 0)
    )
    if not 0 <= count <= most:
        field = "desired" if body.desired is not None else "delta"
        raise invalid(FieldError(field=field, message=f"makes {count} of {name}; allowed: 0 to {most}"), status=422)
    if count:
        supervisor.scales[name] = count
    supervisor.keeper.post(Wanted(name, count, pins=True))
    return await _answer(supervisor, name, wait_s)


def watch(supervisor: Supervisor, call: Call[Any]) -> object:
    """What a change changes, for the audit trail: how many there shall be, and how each instance is."""
    name, state = call.path["name"], supervisor.keeper.state
    if name not in supervisor.keeper.plan.processes:
        return None
    found = instances_of(state, name)
    return {
        "desired": state.wanted.get(name, 0),
        "instances": {str(each): {"state": one.phase.value, "run": one.run} for each, one in found},
    }


async def logs(supervisor: Supervisor, call: Call[None]) -> LinesView:
    """The last lines of a process."""
    call.only("limit", "after")
    name = supervisor.process(call.path["name"]).name
    limit = call.integer("limit", least=1, most=MAX_LINES) or LINES
    lines, last, lost = supervisor.lines.last(name, limit=limit, after=call.integer("after"))
    return LinesView(process=name, lines=lines, next=last, lost=lost, run=supervisor.changes.run)


async def logs_of_all(supervisor: Supervisor, call: Call[None]) -> StackLines:
    """The last lines of all processes, in the order of their times."""
    call.only("limit")
    limit = call.integer("limit", least=1, most=MAX_LINES) or LINES
    lines = supervisor.lines
    found = [line for name in supervisor.keeper.plan.processes for line in lines.last(name, limit=limit)[0]]
    return StackLines(lines=sorted(found, key=lambda line: (line.at, line.instance, line.number))[-limit:])


async def signal(supervisor: Supervisor, call: Call[SignalRequest]) -> SignalView:
    """Send a signal to the main process of each instance."""
    call.only()
    name = supervisor.process(call.path["name"]).name
    number = _signal(call.body.signal)
    sent = supervisor.keeper.signal(name, number)
    if not sent:
        raise conflict(f"cannot signal {name}: it is {supervisor.view(name).state}, and nothing of it runs")
    return SignalView(process=name, signal=number.name, sent=sent)


def _signal(text: str) -> Signals:
    word = text.strip().upper()
    try:
        if word.isascii() and word.isdigit():
            return Signals(int(word))
        return Signals[word if word.startswith("SIG") else f"SIG{word}"]
    except (KeyError, ValueError):
        raise invalid(
            FieldError(field="signal", message=f"{text!r} is no signal of this system, such as HUP or 10"), status=422
        ) from None


def _asked(
    supervisor: Supervisor, call: Call[Any], verb: str, *others: str, while_ending: bool = False
) -> tuple[str, int]:
    """Which process is meant, and how many seconds may be waited for its rest; `others` may stand in the query, too."""
    call.only("wait", *others)
    wait_s = call.integer("wait", most=MAX_WAIT_S)
    name = supervisor.process(call.path["name"]).name
    if supervisor.keeper.state.ending and not while_ending:
        raise conflict(f"cannot {verb} {name}: the supervisor stops everything")
    return name, WAIT_S if wait_s is None else wait_s


async def _answer(supervisor: Supervisor, name: str, wait_s: int) -> Answer:
    """The process when it has come to rest (200), or as it is when the time is up (202)."""
    settled = await supervisor.news.until(lambda: is_settled(supervisor.keeper.state, name), wait_s)
    view = SteerView(settled=settled, process=supervisor.view(name))
    return Answer(status=200 if settled else 202, body=_encode(view))
