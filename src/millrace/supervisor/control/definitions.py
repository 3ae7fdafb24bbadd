"""Processes by the API: add, change and remove them in the plan in force, and save that beside the plan."""

import os
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from millrace.edge.access import PEER
from millrace.edge.call import Answer, Call
from millrace.edge.refusal import RefusalError, invalid
from millrace.edge.route import Access
from millrace.supervisor.change.values import Changing
from millrace.supervisor.control.plan_view import process_plan_view
from millrace.supervisor.control.plans import outcome
from millrace.supervisor.control.processes import MAX_WAIT_S, WAIT_S
from millrace.supervisor.control.supervisor import Supervisor, conflict
from millrace.supervisor.control.views import difference_view
from millrace.supervisor.plan import NAME
from millrace.supervisor.plans import definition, layering
from millrace.supervisor.plans.findings import PlanError
from millrace.supervisor.plans.layers import Layers
from millrace.telemetry.redact import Redactor
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.supervise import (
    ConfigView,
    DefinitionView,
    NewProcess,
    PlanChangeView,
    ProcessDefinition,
    ReloadView,
    SavedView,
)

MAX_BYTES = 1 << 17
"""Of a body: a process of 64 Ki characters, each of which JSON may spell with several."""
_encode = msgspec.json.Encoder().encode
Verb = Literal["add", "change", "remove"]


async def add(supervisor: Supervisor, call: Call[NewProcess]) -> Answer:
    """Add a process: 201 once it is up. One that does not get up is taken back, and is a refusal with the reason."""
    _check_may_change(supervisor, call)
    name = call.body.name
    if not NAME.match(name):
        message = "is no name; allowed: letters, digits, - and _, beginning with a letter, at most 64"
        raise invalid(FieldError(field="name", message=message), status=422)
    if name in supervisor.keeper.plan.processes:
        raise conflict(
            f"cannot add {name}: there is a process of that name; change it instead (PUT, or `millrace ctl set`)"
        )
    entry = _entry(supervisor, name, call.body)
    layers = _changed(supervisor, "add", name, entry)
    if name not in layers.plan.processes:
        raise invalid(
            FieldError(field="process.enabled", message="is false, so that nothing would be added"), status=422
        )
    return await _answer(supervisor, call, "add", name, layers=layers, entry=entry)


async def change(supervisor: Supervisor, call: Call[ProcessDefinition]) -> Answer:
    """Put another definition in the place of a process's own: what runs of it is replaced where need be, and nothing else is."""
    _check_may_change(supervisor, call)
    name = supervisor.process(call.path["name"]).name
    entry = _entry(supervisor, name, call.body)
    layers = _changed(supervisor, "change", name, _with_secrets(supervisor, name, entry))
    return await _answer(supervisor, call, "change", name, layers=layers, entry=entry)


async def remove(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Stop a process as its plan says, and take it out: 204 once it is gone."""
    _check_may_change(supervisor, call)
    plan = supervisor.keeper.plan
    name = supervisor.process(call.path["name"]).name
    if users := sorted(other for other, process in plan.processes.items() if name in process.depends_on):
        raise conflict(f"cannot remove {name}: {', '.join(users)} depend{'s' if len(users) == 1 else ''} on it")
    layers = _changed(supervisor, "remove", name, None)
    return await _answer(supervisor, call, "remove", name, layers=layers)


async def show(supervisor: Supervisor, call: Call[None]) -> Answer:
    """A process as it is written, without secrets, to be changed and sent back."""
    call.only()
    name = supervisor.process(call.path["name"]).name
    layers = supervisor.reloader.layers
    entry = layering.entry_of(layers, name)
    if entry is None:
        raise conflict(f"cannot show how {name} is written: it comes from a variable of the supervisor's environment")
    view = DefinitionView(
        name=name, origin=layers.origin(name), **definition.shown(entry, Redactor(supervisor.secrets))
    )
    return Answer(body=_encode(view), headers=(("etag", supervisor.tag),))


async def config(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Where the plan comes from, and what was changed on top of it."""
    call.only()
    source, layers = supervisor.reloader.source, supervisor.reloader.layers
    view = ConfigView(
        plan=str(source.path), saved_in=str(source.changes), changes=supervisor.keeper.plan.changes.value,
        may_change=Access.ADMIN in call.grants and _why_not(supervisor, call) is None,
        changed=[
            PlanChangeView(name=name, change=_kind(layers, name), saved=name not in layers.unsaved)
            for name in sorted({*layers.saved, *layers.unsaved})
        ],
    )  # fmt: skip
    return Answer(body=_encode(view), headers=(("etag", supervisor.tag),))


async def save(supervisor: Supervisor, call: Call[None]) -> Answer:
    """Save what was changed, in a file beside the plan; the plan's own text stays as it is."""
    call.only()
    _check_may_save(supervisor, call)
    reloader = supervisor.reloader
    place = reloader.source.changes
    try:
        found = await reloader.saving()
        _check_may_save(supervisor, call)  # it may be another plan by now
        reloader.save(found)
    except PlanError as error:
        said = "cannot save: as the files are now, the plan could not work at the next start"
        raise _refusal(supervisor, said, error) from None
    except OSError as error:
        why = error.strerror or str(error)
        hint = "let this user write to that folder, name a place with --changes, or change the plan itself and reload"
        raise conflict(f"cannot save to {place}: {why.lower()}; {hint}") from error
    view = SavedView(saved_in=str(place), processes=list(found.names))
    return Answer(body=_encode(view), headers=(("etag", supervisor.tag),))


def watch(supervisor: Supervisor, call: Call[Any]) -> object:
    """What a change changes, for the audit trail: the process, without secrets, and which plan is in force."""
    name = call.path.get("name") or getattr(call.body, "name", "")
    shown = process_plan_view(supervisor.keeper.plan, name, supervisor.secrets) if name else None
    return {"plan": supervisor.tag.strip('"'), "process": shown}


def audited(body: ProcessDefinition) -> object:
    """What of a body may be written down: all but values of environments and what looks like a secret."""
    name = body.name if isinstance(body, NewProcess) else None
    try:
        process: object = definition.shown(_written(body), Redactor())["process"]
    except ValueError as error:
        process = f"no process: it {error}"
    return {"process": process} if name is None else {"name": name, "process": process}


def _why_not(supervisor: Supervisor, call: Call[Any]) -> str | None:
    """Why whoever asks may not change processes, although the role would do; None where it may."""
    rule = supervisor.keeper.plan.changes
    if rule is Changing.NEVER:
        return "the plan lets nobody; set `global: {control: {changes: owner}}` in it, and reload it"
    peer = call.scope.get("state", {}).get(PEER)
    if rule is Changing.ADMIN or (peer is not None and peer.uid in {os.geteuid(), 0}):
        return None
    return (
        "the plan lets only the user who runs the supervisor, and root, on its unix socket; set `global: {control: {changes: "
        "admin}}` in it, and reload it, to let everybody who has the role admin"
    )


def _check_may_change(supervisor: Supervisor, call: Call[Any]) -> None:
    why = _why_not(supervisor, call)
    if why is not None:
        raise RefusalError(403, "forbidden", f"cannot change processes over the API: {why}")


def _check_may_save(supervisor: Supervisor, call: Call[Any]) -> None:
    _check_may_change(supervisor, call)
    _check_tag(supervisor, call)
    if supervisor.reloader.is_pending:
        raise conflict("cannot save: the last change of the plan is not up yet, and may be taken back; try again then")


def _check_tag(supervisor: Supervisor, call: Call[Any]) -> None:
    """RFC 9110, 13.1.1: the plan is still the one that was meant."""
    wanted = call.header("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if supervisor.tag not in [one.strip() for one in wanted.split(",")]:
        raise RefusalError(
            412, "precondition-failed",
            f"cannot change the plan: it is {supervisor.tag} now, and not {wanted[:80]}; look at it again, and send that as If-Match",
            headers={"etag": supervisor.tag},
        )  # fmt: skip


def _written(body: ProcessDefinition) -> str:
    """The YAML of a body. Raises ValueError: a phrase."""
    if (body.process is None) == (body.yaml is None):
        raise ValueError("must be given as process or as yaml; give one of them")
    return definition.entry_from_data(body.process) if body.yaml is None else definition.entry_from(body.yaml)


def _entry(supervisor: Supervisor, name: str, body: ProcessDefinition) -> str:
    try:
        return _written(body)
    except ValueError as error:
        field = "process" if body.yaml is None else "yaml"
        message = Redactor(supervisor.secrets).text(str(error))
        refusal = invalid(FieldError(field=field, message=message), status=422)
        refusal.detail = f"cannot take {name[:80]}: it {message}"
        raise refusal from None


def _with_secrets(supervisor: Supervisor, name: str, entry: str) -> str:
    """`***` stands for the secret that was there."""
    before = layering.entry_of(supervisor.reloader.layers, name)
    found, findings = definition.with_secrets(entry, before, Redactor(supervisor.secrets), f"processes.{name}")
    if findings:
        faults = [FieldError(field=path, message=message) for path, message in findings]
        raise RefusalError(
            422,
            "invalid",
            f"cannot change {name}: " + "; ".join(f"{path} {message}" for path, message in findings),
            errors=faults,
        )
    return found


def _changed(supervisor: Supervisor, verb: Verb, name: str, entry: str | None) -> Layers:
    """What the plan would be. What is in the way of a removal is the rest of the plan: a conflict."""
    try:
        reloader = supervisor.reloader
        return layering.changed(reloader.layers, reloader.source.environ, name, entry)
    except PlanError as error:
        said = f"cannot {verb} {name}, and nothing was changed"
        raise _refusal(supervisor, said, error, status=409 if entry is None else 422) from None
    except ValueError as error:
        raise invalid(FieldError(field="process", message=str(error)), status=422) from None


def _refusal(supervisor: Supervisor, said: str, error: PlanError, *, status: int = 422) -> RefusalError:
    redactor = Redactor(supervisor.secrets)
    faults = [FieldError(field=one.path or "plan", message=redactor.text(one.message)) for one in error.findings]
    detail = redactor.text("; ".join(map(str, error.findings)))
    return RefusalError(status, "invalid" if status == 422 else "conflict", f"{said}: {detail}", errors=faults)


async def _answer(
    supervisor: Supervisor, call: Call[Any], verb: Verb, name: str, *, layers: Layers, entry: str | None = None
) -> Answer:
    """Say what it would change, or do it and say what became of it. Nothing else can change the plan in between.

    `entry` is the process as it was sent, so that whoever edits it gets no secret to see but those that came along.
    """
    call.only("wait", "dry_run")
    wait_s = call.integer("wait", most=MAX_WAIT_S)
    _check_tag(supervisor, call)
    reloader = supervisor.reloader
    if call.truth("dry_run"):
        view = difference_view(reloader.compare(layers), number=None, outcome="dry-run")
        return Answer(body=_encode(replace(view, yaml=entry or "")), headers=(("etag", supervisor.tag),))
    if supervisor.keeper.state.ending:
        raise conflict(f"cannot {verb} {name}: the supervisor stops everything")
    number = reloader.change(f"{call.caller} ({verb} {name})", layers)
    view, settled = await outcome(supervisor, number, WAIT_S if wait_s is None else wait_s)
    return _done(supervisor, verb, name, view, settled=settled)


def _done(supervisor: Supervisor, verb: Verb, name: str, view: ReloadView, *, settled: bool) -> Answer:
    if view.outcome == "rolled-back":
        detail = f"cannot {verb} {name}: it was taken back, and the plan before is in force: {view.reason}"
        raise RefusalError(422, "taken-back", detail)
    if view.outcome == "abandoned":
        raise conflict(f"cannot {verb} {name}: {view.reason}")
    tag = ("etag", supervisor.tag)
    if not settled or view.outcome == "superseded":
        return Answer(status=202, body=_encode(view), headers=(tag,))
    if verb == "remove":
        return Answer(status=204, headers=(tag,))
    place = (("location", f"/v1/processes/{name}"),) if verb == "add" else ()
    return Answer(status=201 if verb == "add" else 200, body=_encode(view), headers=(tag, *place))


def _kind(layers: Layers, name: str) -> Literal["added", "changed", "removed"]:
    if layers.removes(name):
        return "removed"
    return "changed" if name in layers.in_files else "added"
