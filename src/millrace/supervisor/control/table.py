"""The whole surface of a supervisor: method, path, who may, which handler, what goes in, what comes out."""

from typing import Any

from millrace.edge.route import Access, Body, Handler, Param, Route
from millrace.supervisor.audit_trail import KEPT as AUDITED
from millrace.supervisor.control import audit, definitions, events, jobs, plans, processes, records, system, usage
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.ledger import KEPT
from millrace.supervisor.plan import Kind
from millrace.supervisor.schedule.jobs import HISTORY
from millrace.wire.v1 import supervise as s

OPEN, READ, OPERATE, ADMIN = Access.OPEN, Access.READ, Access.OPERATE, Access.ADMIN

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
_DISCARD = Param(
    name="discard",
    text="Drop what was changed over this API and not saved.",
    schema={"type": "boolean", "default": False},
)
_IF_MATCH = Param(
    name="If-Match",
    where="header",
    text="The entity tag of the plan that is meant; where another is in force by now, nothing is changed (412).",
    schema={"type": "string"},
)
_CHANGE = (*_WAIT, _DRY, _IF_MATCH)
_LINES = (
    Param(
        name="limit",
        text="At most so many lines.",
        schema={"type": "integer", "minimum": 1, "maximum": processes.MAX_LINES, "default": processes.LINES},
    ),
    Param(name="after", text="Only lines after this number.", schema={"type": "integer", "minimum": 0}),
)
_STACK = (_LINES[0],)
_RUN_WAIT = (
    Param(
        name="wait",
        text="Seconds to wait for the end of the run; what goes on by then is answered with 202.",
        schema={"type": "integer", "minimum": 0, "maximum": jobs.MAX_WAIT_S, "default": 0},
    ),
)
_HISTORY = (
    Param(
        name="limit",
        text="At most so many runs, the newest.",
        schema={"type": "integer", "minimum": 1, "maximum": HISTORY, "default": HISTORY},
    ),
)
_OF_PROCESS = Param(name="process", text="Only those of this process.", schema={"type": "string"})
_RECORDS = Param(
    name="limit",
    text="At most so many, the newest.",
    schema={"type": "integer", "minimum": 1, "maximum": KEPT, "default": records.LIMIT},
)
_RUNS = (
    _OF_PROCESS,
    Param(name="type", text="Only processes of this type.", schema={"type": "string", "enum": [*Kind]}),
    _RECORDS,
)
_AUDIT = (
    Param(
        name="caller",
        text="Only what this caller did: the name of a key, `uid:N`, or `certificate SUBJECT`.",
        schema={"type": "string"},
    ),
    _OF_PROCESS,
    Param(
        name="since", text="Only entries after this time: RFC 3339, or seconds since 1970.", schema={"type": "string"}
    ),
    Param(
        name="limit",
        text="At most so many, the newest.",
        schema={"type": "integer", "minimum": 1, "maximum": AUDITED, "default": audit.LIMIT},
    ),
)
_PAST = (
    Param(
        name="since", text="Only samples after this time: RFC 3339, or seconds since 1970.", schema={"type": "string"}
    ),
    Param(
        name="limit",
        text="At most so many samples of each instance, the newest.",
        schema={"type": "integer", "minimum": 1, "maximum": usage.MAX_SAMPLES, "default": usage.MAX_SAMPLES},
    ),
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
    R("POST", "/v1/processes", ADMIN, definitions.add, "Add a process to the plan in force, until it is saved or the supervisor ends.", watch=definitions.watch, audited=definitions.audited, body=Body.JSON, request=s.NewProcess, reply=s.ReloadView, status=201, also=(200, 202), statuses=(409, 412, 413, 422), rehearsal="dry_run", params=_CHANGE, limit=definitions.MAX_BYTES),
    R("PUT", "/v1/processes/{name}", ADMIN, definitions.change, "Put another definition in the place of a process's own.", watch=definitions.watch, audited=definitions.audited, body=Body.JSON, request=s.ProcessDefinition, reply=s.ReloadView, also=(202,), statuses=(404, 409, 412, 413, 422), rehearsal="dry_run", params=_CHANGE, limit=definitions.MAX_BYTES),
    R("DELETE", "/v1/processes/{name}", ADMIN, definitions.remove, "Stop a process, and take it out of the plan in force.", watch=definitions.watch, reply=s.ReloadView, status=204, also=(200, 202), statuses=(404, 409, 412), rehearsal="dry_run", params=_CHANGE),
    R("GET", "/v1/processes/{name}/definition", OPERATE, definitions.show, "Show how a process is written, without secrets.", reply=s.DefinitionView, statuses=(404, 409)),
    R("GET", "/v1/config", OPERATE, definitions.config, "Show where the plan comes from, and what was changed over this API.", reply=s.ConfigView, statuses=(409,)),
    R("POST", "/v1/config/save", ADMIN, definitions.save, "Save what was changed over this API in a file beside the plan.", watch=definitions.watch, reply=s.SavedView, statuses=(409, 412, 422), params=(_IF_MATCH,)),
    R("POST", "/v1/processes/{name}/start", OPERATE, processes.start, "Start a process, also after it was given up.", watch=processes.watch, reply=s.SteerView, statuses=(404, 409), params=_WAIT),
    R("POST", "/v1/processes/{name}/stop", OPERATE, processes.stop, "Stop a process.", watch=processes.watch, reply=s.SteerView, statuses=(404, 409), params=_WAIT),
    R("POST", "/v1/processes/{name}/restart", OPERATE, processes.restart, "Stop a process and start it again.", watch=processes.watch, reply=s.SteerView, statuses=(404, 409), params=(*_WAIT, _ROLLING)),
    R("POST", "/v1/processes/{name}/scale", OPERATE, processes.scale, "Have so many instances of a process.", watch=processes.watch, body=Body.JSON, request=s.ScaleRequest, reply=s.SteerView, statuses=(404, 409, 413, 422), params=_WAIT),
    R("POST", "/v1/processes/{name}/signal", OPERATE, processes.signal, "Send a signal to the main process of each instance.", body=Body.JSON, request=s.SignalRequest, reply=s.SignalView, statuses=(404, 409, 413, 422)),
    R("GET", "/v1/processes/{name}/schedule", READ, jobs.show, "Show when a scheduled process runs, and how its runs went.", reply=s.ScheduleView, statuses=(404,)),
    R("GET", "/v1/processes/{name}/schedule/history", READ, jobs.history, "List the last runs of a scheduled process.", reply=s.JobHistory, statuses=(404,), params=_HISTORY),
    R("POST", "/v1/processes/{name}/schedule/pause", OPERATE, jobs.pause, "Pass the times of a scheduled process over.", watch=jobs.watch, reply=s.ScheduleView, statuses=(404, 409)),
    R("POST", "/v1/processes/{name}/schedule/resume", OPERATE, jobs.resume, "Heed the times of a scheduled process again.", watch=jobs.watch, reply=s.ScheduleView, statuses=(404, 409)),
    R("POST", "/v1/processes/{name}/schedule/trigger", OPERATE, jobs.trigger, "Run a scheduled process now; 200 when its end was waited for.", watch=jobs.watch, reply=s.TriggerView, status=202, statuses=(404, 409), params=_RUN_WAIT),
    R("POST", "/v1/processes/{name}/schedule/runs/{number}/stop", OPERATE, jobs.stop_run, "Stop one run of a scheduled process, or let one that waits not begin.", watch=jobs.watch, reply=s.TriggerView, statuses=(202, 404), params=_WAIT),
    R("GET", "/v1/runs", READ, records.runs, "List the last processes that ended, such as oneshots.", reply=s.RunList, statuses=(404,), params=_RUNS),
    R("GET", "/v1/hooks", READ, records.hooks, "List the last hooks that ran.", reply=s.HookRunList, statuses=(404,), params=(_OF_PROCESS, _RECORDS)),
    R("GET", "/v1/plan", OPERATE, system.plan, "Show the plan in force, without secrets.", reply=s.PlanView),
    R("GET", "/v1/logs", READ, processes.logs_of_all, "Read the last lines that all processes printed.", reply=s.StackLines, params=_STACK, quiet=True),
    R("GET", "/v1/processes/{name}/logs", READ, processes.logs, "Read the last lines that a process printed.", reply=s.LinesView, statuses=(404,), params=_LINES, quiet=True),
    R("GET", "/v1/processes/{name}/resources", READ, usage.show, "What the instances of a process use, over the last minutes.", reply=s.ResourcesView, statuses=(404,), params=_PAST, quiet=True),
    R("GET", "/v1/resources", READ, usage.show_all, "What every instance that runs uses now.", reply=s.ResourcesView, quiet=True),
    R("GET", "/v1/events", READ, events.stream, "Follow every change, as server-sent events.", media=events.MEDIA, params=_FOLLOW),
    R("GET", "/v1/reload", READ, plans.show, "Show the last change of the plan.", reply=s.ReloadView, statuses=(404,)),
    R("POST", "/v1/reload", OPERATE, plans.reload, "Read the plan again, and keep what it says now.", watch=plans.watch, reply=s.ReloadView, statuses=(409, 422), rehearsal="dry_run", params=(*_WAIT, _DRY, _DISCARD)),
    R("POST", "/v1/shutdown", ADMIN, system.shutdown, "Stop everything in order, and end; asked again, at once.", reply=s.EndingView, status=202),
    R("GET", "/v1/audit", ADMIN, audit.show, "Show who changed what, and who was turned away.", reply=s.AuditList, params=_AUDIT),
    R("GET", "/v1/health", OPEN, system.health, "Whether the supervisor answers, and everything is ready.", reply=s.SupervisorHealth, quiet=True),
    R("GET", "/v1/caller", READ, system.caller, "Who asks, and what the key opens.", reply=s.CallerView, quiet=True),
    R("GET", "/metrics", READ, system.metrics, "States and counts for Prometheus.", media="text/plain", quiet=True),
    R("GET", "/v1/openapi.json", READ, system.openapi, "This description.", quiet=True),
)
# fmt: on
