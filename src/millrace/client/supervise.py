"""What can be asked of a supervisor."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from millrace.client import calls, sse
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Call, Repeat, segment
from millrace.client.client import Client
from millrace.client.errors import InterruptedTransferError
from millrace.wire.v1.supervise import (
    AuditList,
    CallerView,
    ChangeView,
    EndingView,
    HookRunList,
    JobHistory,
    LinesView,
    PlanView,
    ProcessList,
    ProcessView,
    ReloadView,
    RescaleView,
    ResourcesView,
    RollView,
    RunList,
    ScaleRequest,
    ScheduleView,
    SignalRequest,
    SignalView,
    StackLines,
    SteerView,
    SupervisorHealth,
    TriggerView,
)

News = ChangeView | ReloadView | RollView | RescaleView
"""What the stream of changes tells."""
_NEWS: Mapping[str, msgspec.json.Decoder[News]] = {
    "change": msgspec.json.Decoder(ChangeView),
    "reload": msgspec.json.Decoder(ReloadView),
    "roll": msgspec.json.Decoder(RollView),
    "rescale": msgspec.json.Decoder(RescaleView),
}


def processes() -> Call[ProcessList]:
    """Every process."""
    return calls.get("/v1/processes", ProcessList)


def process(name: str) -> Call[ProcessView]:
    """One process."""
    return calls.get(f"/v1/processes/{segment(name)}", ProcessView)


def health() -> Call[SupervisorHealth]:
    """Whether it answers."""
    return calls.get("/v1/health", SupervisorHealth)


def steer(
    name: str, verb: str, *, wait_s: int, request: ScaleRequest | None = None, rolling: bool = False
) -> Call[SteerView]:
    """`start`, `stop`, `restart` or `scale`, waiting up to `wait_s` seconds for the rest."""
    return calls.post(
        f"/v1/processes/{segment(name)}/{verb}?wait={wait_s}{'&rolling=true' if rolling else ''}",
        SteerView,
        request,
        repeat=Repeat.UNSENT,
        silence_s=wait_s + calls.QUICK_TIMEOUT_S,
    )


def signal(name: str, number: str) -> Call[SignalView]:
    """Send a signal to the main process of each instance."""
    return calls.post(
        f"/v1/processes/{segment(name)}/signal", SignalView, SignalRequest(signal=number), repeat=Repeat.UNSENT
    )


def schedule(name: str) -> Call[ScheduleView]:
    """When a scheduled process runs, and how its runs went."""
    return calls.get(f"/v1/processes/{segment(name)}/schedule", ScheduleView)


def pause_schedule(name: str, *, paused: bool) -> Call[ScheduleView]:
    """Pass its times over, or heed them again."""
    verb = "pause" if paused else "resume"
    return calls.post(f"/v1/processes/{segment(name)}/schedule/{verb}", ScheduleView, repeat=Repeat.UNSENT)


def trigger(name: str, *, wait_s: int) -> Call[TriggerView]:
    """Run it now, waiting up to `wait_s` seconds for the end."""
    return calls.post(
        f"/v1/processes/{segment(name)}/schedule/trigger?wait={wait_s}",
        TriggerView,
        repeat=Repeat.UNSENT,
        silence_s=wait_s + calls.QUICK_TIMEOUT_S,
    )


def history(name: str, *, limit: int) -> Call[JobHistory]:
    """The last runs of a scheduled process."""
    return calls.get(f"/v1/processes/{segment(name)}/schedule/history", JobHistory, query={"limit": str(limit)})


def runs(*, process: str | None = None, type: str | None = None, limit: int) -> Call[RunList]:  # noqa: A002  the parameter's name
    """The last processes that ended."""
    return calls.get("/v1/runs", RunList, query={"process": process, "type": type, "limit": str(limit)})


def hooks(*, process: str | None, limit: int) -> Call[HookRunList]:
    """The last hooks that ran."""
    return calls.get("/v1/hooks", HookRunList, query={"process": process, "limit": str(limit)})


def audit(*, caller: str | None, process: str | None, limit: int) -> Call[AuditList]:
    """Who changed what."""
    return calls.get("/v1/audit", AuditList, query={"caller": caller, "process": process, "limit": str(limit)})


def plan() -> Call[PlanView]:
    """The plan in force, without secrets."""
    return calls.get("/v1/plan", PlanView)


def logs_of_all(*, limit: int) -> Call[StackLines]:
    """The last lines of all processes."""
    return calls.get("/v1/logs", StackLines, query={"limit": str(limit)})


def logs(name: str, *, limit: int, after: int | None = None) -> Call[LinesView]:
    """The last lines, or those after a number."""
    query = {"limit": str(limit), "after": None if after is None else str(after)}
    return calls.get(f"/v1/processes/{segment(name)}/logs", LinesView, query=query)


def reload(*, wait_s: int, dry_run: bool) -> Call[ReloadView]:
    """Read the plan again, waiting up to `wait_s` seconds for what becomes of it; or see what that would change."""
    return calls.post(
        f"/v1/reload?wait={wait_s}{'&dry_run=true' if dry_run else ''}",
        ReloadView,
        repeat=Repeat.UNSENT,
        silence_s=wait_s + calls.QUICK_TIMEOUT_S,
    )


def resources(name: str | None = None, *, since: float | None = None) -> Call[ResourcesView]:
    """What every instance uses now; of one process, also over the last minutes, or after a time in seconds since 1970."""
    if name is None:
        return calls.get("/v1/resources", ResourcesView)
    query = {"since": None if since is None else f"{since:.6f}"}
    return calls.get(f"/v1/processes/{segment(name)}/resources", ResourcesView, query=query)


def caller() -> Call[CallerView]:
    """Who we are to it, and what we may."""
    return calls.get("/v1/caller", CallerView)


def description() -> Call[dict[str, Any]]:
    """What it can be asked, as OpenAPI."""
    return calls.get("/v1/openapi.json", dict[str, Any])


def shutdown() -> Call[EndingView]:
    """Stop everything."""
    return calls.post("/v1/shutdown", EndingView, repeat=Repeat.UNSENT)


async def follow(client: AsyncClient) -> AsyncIterator[News | None]:
    """As :func:`changes`, of one connection: from now on until it breaks off or the supervisor ends; None first of all.

    Raises:
        ClientError: the stream was refused, or nobody answered.
        InterruptedTransferError: it broke off.
    """
    call = Call(method="GET", path="/v1/events", read=lambda _: None, silence_s=sse.SILENCE_S)
    parser = sse.Parser()
    async with client.stream(call) as response:
        async for line in response.lines():
            event = parser.feed(line)
            if event is not None:
                yield _NEWS[event.name].decode(event.data) if event.name in _NEWS else None


def changes(client: Client) -> Iterator[News | None]:
    """Changes as they come, until the supervisor ends; None where some were missed.

    Raises:
        ClientError: the stream was refused, or nobody answered.
    """
    after = None
    while True:
        query = () if after is None else (("after", after),)
        call = Call(method="GET", path="/v1/events", read=lambda _: None, query=query, silence_s=sse.SILENCE_S)
        try:
            with client.stream(call) as response:
                for event in sse.parse(response.lines()):
                    after = event.id or after
                    if event.name in _NEWS:
                        yield _NEWS[event.name].decode(event.data)
                    elif event.name == "gap":
                        yield None
            return
        except InterruptedTransferError:
            continue
