"""What can be asked of a supervisor."""

from collections.abc import Iterator, Mapping

import msgspec

from millrace.client import calls, sse
from millrace.client.calls import Call, Repeat, segment
from millrace.client.client import Client
from millrace.client.errors import InterruptedTransferError
from millrace.wire.v1.supervise import (
    ChangeView,
    EndingView,
    LinesView,
    ProcessList,
    ProcessView,
    ReloadView,
    RescaleView,
    RollView,
    ScaleRequest,
    SteerView,
    SupervisorHealth,
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


def shutdown() -> Call[EndingView]:
    """Stop everything."""
    return calls.post("/v1/shutdown", EndingView, repeat=Repeat.UNSENT)


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
