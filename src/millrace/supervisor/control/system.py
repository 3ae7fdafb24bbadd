"""The supervisor itself: whether it is well, its description, its end."""

import asyncio
from functools import cache

import msgspec

import millrace
from millrace.edge.call import Answer, Call
from millrace.edge.route import Access
from millrace.supervisor.control.metrics import exposition
from millrace.supervisor.control.plan_view import plan_view
from millrace.supervisor.control.rest import is_ready
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.resources import own_usage
from millrace.telemetry.exposition import MEDIA
from millrace.wire.v1.supervise import CallerView, EndingView, PlanView, SupervisorHealth


async def health(supervisor: Supervisor, call: Call[None]) -> SupervisorHealth:
    """That it answers, and whether all that is wanted is ready."""
    call.only()
    state = supervisor.keeper.state
    return SupervisorHealth(
        status="ending" if state.ending else "healthy", ready=is_ready(state), version=millrace.__version__,
        run=supervisor.changes.run,
    )  # fmt: skip


async def caller(_supervisor: Supervisor, call: Call[None]) -> CallerView:
    """Who asks, so that a program need not offer what would be refused."""
    call.only()
    opened = [access.value for access in Access if access in call.grants]
    return CallerView(name=call.caller, grants=opened)


async def shutdown(supervisor: Supervisor, call: Call[None]) -> EndingView:
    """Stop everything in order; asked again, at once."""
    call.only()
    # The keeper may end before this is answered: the answer goes out first.
    asyncio.get_running_loop().call_soon(supervisor.keeper.end)
    return EndingView(ending=True)


async def plan(supervisor: Supervisor, call: Call[None]) -> Answer:
    """The plan in force, without secrets."""
    call.only()
    view = PlanView(plan=plan_view(supervisor.keeper.plan, supervisor.secrets))
    return Answer(body=msgspec.json.encode(view), headers=(("etag", supervisor.tag),))


async def metrics(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Counts for Prometheus."""
    call.only()
    samples = await supervisor.resources.now()
    keeper = supervisor.keeper
    text = exposition(
        keeper.plan,
        keeper.state,
        keeper.facts,
        ledger=supervisor.ledger,
        samples=samples,
        whole={
            "ready": is_ready(keeper.state),
            "start_time_seconds": supervisor.started.timestamp(),
            **own_usage(),
            "audit_lost_total": supervisor.trail.lost,
        },
        requests=supervisor.tally.rows(),
        looks=supervisor.resources.look_s,
        hidden=supervisor.resources.hidden,
        ending_for_s=keeper.ending_for_s,
    )
    return Answer(body=text.encode(), media=MEDIA)


async def openapi(_supervisor: Supervisor, call: Call[None]) -> Answer:
    """The description of this API."""
    call.only()
    return Answer(body=_document())


@cache
def _document() -> bytes:
    from millrace.supervisor.control.description import document  # noqa: PLC0415  it describes the table that names us

    return document(millrace.__version__)
