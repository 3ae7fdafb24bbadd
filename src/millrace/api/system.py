"""Whether it works, what it does, what it offers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

from millrace.api.explain import NO_SPACE, RETRY_AFTER_S
from millrace.api.master import Master
from millrace.api.metrics import certificate, counter, counters, database, gauge, quotas, requests
from millrace.domain.records import NodeState
from millrace.domain.schedules import Outcome
from millrace.domain.states import State
from millrace.domain.tenants import Quota, Tenant
from millrace.domain.webhooks import DeliveryState
from millrace.edge.call import Answer, Call
from millrace.edge.refusal import RefusalError
from millrace.store.store import StoreError, StoreUnavailableError
from millrace.telemetry.exposition import MEDIA
from millrace.wire.v1.system import HealthView, ReadyView

_TENANTS = 100
"""A label with more values than that would be too much for those who keep them."""
_COUNTED_FOR_S = 5.0
"""Counting a million jobs takes a while, and a scraper or two must not make the master do it all the time."""


async def health(master: Master, _: Call[None]) -> HealthView:
    """Whether the store answers."""
    await _ask_store(master)
    if master.farm.space.full:  # what is stored is served, and a restart would mend nothing
        return HealthView(status="degraded", store=f"takes no writes: {NO_SPACE}", version=master.version)
    return HealthView(status="healthy", store="answers", version=master.version)


async def ready(master: Master, _: Call[None]) -> ReadyView:
    """Whether this master should get traffic."""
    if master.long.stopping:
        raise RefusalError(503, "not-ready", "cannot take traffic: this master is stopping")
    await _ask_store(master)
    if master.farm.space.full:
        raise RefusalError(
            503, "not-ready", f"cannot take traffic: {NO_SPACE}", headers={"retry-after": str(RETRY_AFTER_S)}
        )
    return ReadyView(ready=True, reason="the store answers")


async def _ask_store(master: Master) -> None:
    try:
        await master.farm.clock.wait_for(master.farm.store.ping(), master.limits.health_s)
    except TimeoutError:
        why = f"the database has not answered for {master.limits.health_s:g} s"
    except StoreError as error:
        why = f"the database cannot be used: {error.why if isinstance(error, StoreUnavailableError) else type(error).__name__}"
    else:
        return
    raise RefusalError(503, "unhealthy", f"cannot work: {why}", headers={"retry-after": "2"})


class _Counted(Struct, frozen=True, kw_only=True):
    """What the database counts."""

    jobs: Mapping[State, int]
    nodes: Mapping[NodeState, int]
    messages: Mapping[DeliveryState, int]
    tenants: Sequence[Tenant]


async def _counted(master: Master) -> _Counted | None:
    """None while the database does not answer: what else there is to say is then of more use than at any other time."""
    store, now_s = master.farm.store, master.farm.clock.monotonic()
    try:
        await _ask_store(master)
        if master.counted is None or now_s - master.counted[0] > _COUNTED_FOR_S:
            master.counted = (now_s, await store.count_jobs())
        return _Counted(
            jobs=master.counted[1],
            nodes=Counter(node.state for node in await store.nodes()),
            messages=await store.count_messages(),
            tenants=(await store.tenants())[:_TENANTS],
        )
    except (RefusalError, StoreError):
        return None


def _of_store(counted: _Counted) -> list[str]:
    messages: Mapping[str, float] = {
        state: counted.messages.get(state, 0) for state in (DeliveryState.PENDING, DeliveryState.DEAD)
    }
    return [
        *gauge("millrace_jobs", {state: counted.jobs.get(state, 0) for state in State}, "state"),
        *gauge("millrace_nodes", {state: counted.nodes.get(state, 0) for state in NodeState}, "state"),
        *gauge("millrace_webhook_messages", messages, "state"),
        *quotas(counted.tenants),
    ]


async def metrics(master: Master, _: Call[None]) -> Answer:
    """Counts and durations for Prometheus."""
    counted = await _counted(master)
    leadership = master.leadership
    attendance = leadership.attendance if leadership is not None else None
    lines = [
        *gauge("millrace_store_up", {"": int(counted is not None)}),
        *(() if counted is None else _of_store(counted)),
        *gauge("millrace_waiting_claims", {"": len(master.farm.waiting)}),
        *(certificate(master.shows.ends.timestamp(), master.shows.failures) if master.shows is not None else ()),
        *database(master.farm.store.connections),
        *gauge("millrace_masters", {"": 0 if attendance is None else len(attendance.masters)}),
        *gauge("millrace_leads", {"": int(leadership is not None and leadership.leads)}),
        *counters("millrace_rate_limited_total", master.limited, "rate"),
        *counters("millrace_quota_refusals_total", {one: master.farm.tenants.refused[one] for one in Quota}, "quota"),
        *counters("millrace_schedule_runs_total", {one: master.farm.runs[one] for one in Outcome}, "outcome"),
        *counter("millrace_audit_unwritten_total", master.journal.lost if master.journal is not None else 0),
        *requests(master.tally.rows()),
    ]
    body = "\n".join(lines).encode() + b"\n"
    return Answer(body=body, media=MEDIA)


async def openapi(master: Master, _: Call[None]) -> Answer:
    """This API, as OpenAPI 3.1."""
    return Answer(body=master.description(), media="application/json")
