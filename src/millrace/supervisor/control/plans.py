"""The plan: read it again, see what that changes and what became of it."""

import msgspec
from msgspec.structs import replace

from millrace.edge.call import Answer, Call
from millrace.edge.refusal import RefusalError, not_found
from millrace.supervisor.control.processes import MAX_WAIT_S, WAIT_S
from millrace.supervisor.control.supervisor import Supervisor, conflict
from millrace.supervisor.control.views import difference_view, reload_view
from millrace.supervisor.plans.findings import PlanError
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.supervise import ReloadView

_encode = msgspec.json.Encoder().encode


async def show(supervisor: Supervisor, call: Call[None]) -> ReloadView:
    """The last change of the plan."""
    call.only()
    found = supervisor.keeper.state.reload
    if found is None:
        raise not_found("the plan was not reloaded since the supervisor started")
    return reload_view(found)


async def reload(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Read the plan again: 200 when it is known what became of it, 202 where that is not waited for."""
    call.only("wait", "dry_run", "discard")
    wait_s, discard = call.integer("wait", most=MAX_WAIT_S), call.truth("discard")
    try:
        if call.truth("dry_run"):
            found = difference_view(await supervisor.reloader.preview(discard=discard), number=None, outcome="dry-run")
            names = sorted(supervisor.reloader.layers.unsaved)
            return Answer(body=_encode(_with_unsaved(found, names, discard=discard)))
        if supervisor.keeper.state.ending:
            raise conflict("cannot reload: the supervisor stops everything")
        number, names = await supervisor.reloader.reload(call.caller or "the API", discard=discard)
        if supervisor.keeper.state.ending:  # meanwhile
            raise conflict("cannot reload: the supervisor stops everything")
    except PlanError as error:
        faults = tuple(FieldError(field=one.path or "plan", message=str(one)) for one in error.findings)
        raise RefusalError(422, "invalid", _sentence(error), errors=faults) from None
    view, settled = await outcome(supervisor, number, WAIT_S if wait_s is None else wait_s)
    view = _with_unsaved(view, names, discard=discard)
    return Answer(status=200 if settled else 202, body=_encode(view), headers=(("etag", supervisor.tag),))


async def outcome(supervisor: Supervisor, number: int, wait_s: int) -> tuple[ReloadView, bool]:
    """What became of a change of the plan within so many seconds, and whether that is known."""
    known = supervisor.outcomes
    settled = await supervisor.news.until(lambda: number in known, wait_s)
    return known.get(number) or _pending(supervisor), settled


def _with_unsaved(view: ReloadView, names: list[str], *, discard: bool) -> ReloadView:
    return replace(view, dropped=names) if discard else replace(view, unsaved=names)


def watch(supervisor: Supervisor, call: Call[None]) -> object:
    """What a change changes, for the audit trail: which change of the plan is the last, and how many each process shall have."""
    del call
    state = supervisor.keeper.state
    return {
        "reload": None if state.reload is None else state.reload.number,
        "desired": dict(sorted(state.wanted.items())),
    }


def _pending(supervisor: Supervisor) -> ReloadView:
    found = supervisor.keeper.state.reload
    if found is None:
        raise conflict("cannot reload: the supervisor ends")
    return reload_view(found)


def _sentence(error: PlanError) -> str:
    return "cannot reload, and nothing was changed: " + "; ".join(map(str, error.findings))
