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
    ConfigView,
    DefinitionView,
    EndingView,
    HookRunList,
    JobHistory,
    LinesView,
    NewProcess,
    PlanView,
    ProcessDefinition,
    ProcessList,
    ProcessView,
    ReloadView,
    RescaleView,
    ResourcesView,
    RollView,
    RunList,
    SavedView,
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


def stop_run(name: str, number: int, *, wait_s: int) -> Call[TriggerView]:
    """Stop one run, waiting up to `wait_s` seconds for its end."""
    return calls.post(
        f"/v1/processes/{segment(name)}/schedule/runs/{number}/stop?wait={wait_s}",
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


def reload(*, wait_s: int, dry_run: bool, discard: bool = False) -> Call[ReloadView]:
    """Read the plan again, waiting up to `wait_s` seconds for what becomes of it; or see what that would change.

    `discard` drops what was changed over the API and not saved.
    """
    return calls.post(
        f"/v1/reload?wait={wait_s}{'&dry_run=true' if dry_run else ''}{'&discard=true' if discard else ''}",
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


def add(request: NewProcess, *, wait_s: int, dry_run: bool = False) -> Call[ReloadView]:
    """Add a process, waiting up to `wait_s` seconds until it is up; or see what that would change."""
    return _changing("POST", "/v1/processes", request, wait_s=wait_s, dry_run=dry_run)


def change(
    name: str, request: ProcessDefinition, *, wait_s: int, dry_run: bool = False, tag: str | None = None
) -> Call[ReloadView]:
    """Put another definition in the place of a process's own; with `tag`, only while that plan is in force. Else as :func:`add`."""
    return _changing("PUT", f"/v1/processes/{segment(name)}", request, wait_s=wait_s, dry_run=dry_run, tag=tag)


def remove(name: str, *, wait_s: int, dry_run: bool = False) -> Call[ReloadView | None]:
    """Stop a process and take it out; None once it is gone. Else as :func:`add`."""
    path = f"/v1/processes/{segment(name)}"
    return _changing("DELETE", path, None, wait_s=wait_s, dry_run=dry_run)


def definition(name: str) -> Call[tuple[DefinitionView, str]]:
    """How a process is written, without secrets, and the tag of the plan."""
    read = calls.json_into(DefinitionView)
    return Call(
        method="GET", path=f"/v1/processes/{segment(name)}/definition",
        read=lambda answer: (read(answer), answer.headers.get("etag", "")),
    )  # fmt: skip


def config() -> Call[ConfigView]:
    """Where the plan comes from, and what was changed on top of it."""
    return calls.get("/v1/config", ConfigView)


def save() -> Call[SavedView]:
    """Save what was changed."""
    return calls.post("/v1/config/save", SavedView)


def _changing(
    method: str,
    path: str,
    request: ProcessDefinition | None,
    *,
    wait_s: int,
    dry_run: bool,
    tag: str | None = None,
) -> Call[Any]:
    """An answer without a body is read as None."""
    read = calls.json_into(ReloadView)
    query = (("wait", str(wait_s)), *([("dry_run", "true")] if dry_run else []))
    headers = {**calls.JSON_HEADERS, **({} if tag is None else {"if-match": tag})}
    return Call(
        method=method, path=path, query=query, headers=headers, body=b"" if request is None else msgspec.json.encode(request),
        read=lambda answer: read(answer) if answer.body else None, repeat=Repeat.UNSENT,
        silence_s=wait_s + calls.QUICK_TIMEOUT_S,
    )  # fmt: skip


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
        async for line in response.aiter_lines():
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
                for event in sse.parse(response.iter_lines()):
                    after = event.id or after
                    if event.name in _NEWS:
                        yield _NEWS[event.name].decode(event.data)
                    elif event.name == "gap":
                        yield None
            return
        except InterruptedTransferError:
            continue
