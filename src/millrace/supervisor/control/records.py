"""What has happened: processes that ended, hooks that ran."""

from collections.abc import Container

from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.happenings import HookRan, RunEnded
from millrace.supervisor.ledger import KEPT, WHOLE, signal_name
from millrace.supervisor.plan import Kind
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.supervise import HookRunList, HookRunView, RunList, RunView

LIMIT = 100


async def runs(supervisor: Supervisor, call: Call[None]) -> RunList:
    """The last processes that ended, of all or of one, of every kind or of one."""
    call.only("process", "type", "limit")
    plan = supervisor.keeper.plan.processes
    names, kind = _named(supervisor, call), call.one("type")
    if kind is not None and kind not in {*Kind}:
        raise invalid(FieldError(field="type", message="is none of the allowed values", allowed=[*Kind]))
    chosen = {name for name in names if kind is None or plan[name].kind == kind}
    found = supervisor.ledger.runs(chosen, limit=_limit(call))
    return RunList(runs=[_run_view(one, plan[one.id.process].kind) for one in found])


async def hooks(supervisor: Supervisor, call: Call[None]) -> HookRunList:
    """The last hooks that ran, of the whole and of all processes, or of one process."""
    call.only("process", "limit")
    names: Container[str] = _named(supervisor, call)
    if call.one("process") is None:
        names = {WHOLE, *supervisor.keeper.plan.processes}
    return HookRunList(hooks=[*map(_hook_view, supervisor.ledger.hook_runs(names, limit=_limit(call)))])


def _named(supervisor: Supervisor, call: Call[None]) -> set[str]:
    name = call.one("process")
    return {*supervisor.keeper.plan.processes} if name is None else {supervisor.process(name).name}


def _limit(call: Call[None]) -> int:
    return call.integer("limit", least=1, most=KEPT) or LIMIT


def _run_view(one: RunEnded, kind: Kind) -> RunView:
    return RunView(
        process=one.id.process,
        instance=str(one.id),
        type=kind.value,
        began=one.began,
        ended=one.ended,
        seconds=round((one.ended - one.began).total_seconds(), 3),
        code=one.code,
        signal=None if one.signal is None else signal_name(one.signal),
        how=one.how,
        why=one.why.value,
    )


def _hook_view(one: HookRan) -> HookRunView:
    return HookRunView(
        process="" if one.id is None else one.id.process,
        instance="" if one.id is None else str(one.id),
        moment=one.moment.value,
        hook=one.hook,
        attempt=one.attempt,
        began=one.at,
        seconds=round(one.took_s, 3),
        fault=one.fault,
    )
