"""The whole surface of a supervisor: method, path, who may, which handler, what goes in, what comes out."""

from typing import Any

from millrace.edge.route import Access, Body, Handler, Param, Route
from millrace.supervisor.control import events, plans, processes, system
from millrace.supervisor.control.supervisor import Supervisor
from millrace.wire.v1 import supervise as s

OPEN, READ, OPERATE = Access.OPEN, Access.READ, Access.OPERATE

_WAIT = (
    Param(
        name="wait",
        text="Seconds to wait until it has come to rest; 0 answers at once. What is not at rest by then is answered with 202.",
        schema={"type": "integer", "minimum": 0, "maximum": processes.MAX_WAIT_S, "default": processes.WAIT_S},
    ),
)
_ROLLING = Param(
    name="rolling",
    text="Replace one instance after the other, each when the one before is up, so that the others serve.",
    schema={"type": "boolean", "default": False},
)
_DRY = Param(name="dry_run", text="Only say what would change.", schema={"type": "boolean", "default": False})
_LINES = (
    Param(
        name="limit",
        text="At most so many lines.",
        schema={"type": "integer", "minimum": 1, "maximum": processes.MAX_LINES, "default": processes.LINES},
    ),
    Param(name="after", text="Only lines after this number.", schema={"type": "integer", "minimum": 0}),
)
_FOLLOW = (
    Param(name="after", text="A cursor: what comes after it. Without it, what is to come.", schema={"type": "string"}),
    Param(name="Last-Event-ID", where="header", text="The cursor as browsers send it.", schema={"type": "string"}),
)


def R(  # noqa: N802  a row's name is short, so that the rows can be read
    method: str, path: str, access: Access, handler: Handler[Supervisor], summary: str, **more: Any
) -> Route[Supervisor]:
    """One row."""
    return Route(method=method, path=path, access=access, handler=handler, summary=summary, **more)


# fmt: off
TABLE: tuple[Route[Supervisor], ...] = (
    R("GET", "/v1/processes", READ, processes.show_all, "List the processes with their instances.", reply=s.ProcessList),
    R("GET", "/v1/processes/{name}", READ, processes.show, "Show a process.", reply=s.ProcessView, statuses=(404,)),
    R("POST", "/v1/processes/{name}/start", OPERATE, processes.start, "Start a process, also after it was given up.", reply=s.SteerView, statuses=(404, 409), params=_WAIT),
    R("POST", "/v1/processes/{name}/stop", OPERATE, processes.stop, "Stop a process.", reply=s.SteerView, statuses=(404, 409), params=_WAIT),
    R("POST", "/v1/processes/{name}/restart", OPERATE, processes.restart, "Stop a process and start it again.", reply=s.SteerView, statuses=(404, 409), params=(*_WAIT, _ROLLING)),
    R("POST", "/v1/processes/{name}/scale", OPERATE, processes.scale, "Have so many instances of a process.", body=Body.JSON, request=s.ScaleRequest, reply=s.SteerView, statuses=(404, 409, 413, 422), params=_WAIT),
    R("GET", "/v1/processes/{name}/logs", READ, processes.logs, "Read the last lines that a process printed.", reply=s.LinesView, statuses=(404,), params=_LINES, quiet=True),
    R("GET", "/v1/events", READ, events.stream, "Follow every change, as server-sent events.", media=events.MEDIA, params=_FOLLOW),
    R("GET", "/v1/reload", READ, plans.show, "Show the last change of the plan.", reply=s.ReloadView, statuses=(404,)),
    R("POST", "/v1/reload", OPERATE, plans.reload, "Read the plan again, and keep what it says now.", reply=s.ReloadView, statuses=(409, 422), params=(*_WAIT, _DRY)),
    R("POST", "/v1/shutdown", OPERATE, system.shutdown, "Stop everything in order, and end; asked again, at once.", reply=s.EndingView, status=202),
    R("GET", "/v1/health", OPEN, system.health, "Whether the supervisor answers, and everything is ready.", reply=s.SupervisorHealth, quiet=True),
    R("GET", "/metrics", READ, system.metrics, "States and counts for Prometheus.", media="text/plain", quiet=True),
    R("GET", "/v1/openapi.json", READ, system.openapi, "This description.", quiet=True),
)
# fmt: on
