"""A plan from a YAML text, read strictly: every finding is reported at once, with its path, its line and what is allowed."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from signal import Signals

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.document import kind_of
from millrace.supervisor.change.document import autoscale_of, changing_of, reloading_of, rolling_of
from millrace.supervisor.execution import execution_from
from millrace.supervisor.graph import cycle
from millrace.supervisor.health.document import health_check_of
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.hooks_document import hooks_of
from millrace.supervisor.logs.document import read_logging
from millrace.supervisor.logs.settings import LogForm, Logging
from millrace.supervisor.plan import (
    MAX_SCALE,
    NAME,
    Condition,
    Kind,
    Plan,
    Policy,
    ProcessPlan,
    Recipient,
    Restart,
    Shutdown,
)
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.keys import Key, explore
from millrace.supervisor.plans.overrides import override
from millrace.supervisor.plans.reader import NUL, Reader, nearest
from millrace.supervisor.plans.sources import Sources, gather
from millrace.supervisor.readiness_document import readiness_of, settled
from millrace.supervisor.schedule.reading import schedule_of
from millrace.supervisor.tuning.document import tune_of
from millrace.supervisor.yaml_text import Findings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL")
_OWN_WORDS = ("policy", "max_attempts", "backoff_initial", "backoff_max")
_GLOBAL_WORDS = ("restart_policy", "max_restart_attempts", "restart_backoff_initial", "restart_backoff_max")


class Reading(Struct, frozen=True):
    """A plan that could be read, and where each part of it stood."""

    plan: Plan
    sources: Sources

    def finding(self, path: str, message: str) -> Finding:
        """Something to say about the value at a path."""
        return _found(self.sources, path, message)


def plan_from(text: str, environ: Mapping[str, str], folder: Path | None = None) -> Plan:
    """The plan in a YAML text, with variables and overrides of `environ`, and with what it includes from `folder`.

    Raises:
        PlanError: it is no YAML, or no plan that could work.
    """
    return reading(text, environ, folder).plan


def reading(text: str, environ: Mapping[str, str], folder: Path | None = None) -> Reading:
    """As :func:`plan_from`, with the places of its values."""
    return judged(gather(text, environ, folder), environ)


def judged(sources: Sources, environ: Mapping[str, str]) -> Reading:
    """The plan that sources make, with the overrides of `environ`, which are put into them. Raises as :func:`plan_from`."""
    findings = sources.findings
    plan = None
    if isinstance(sources.document, Mapping):
        override(sources, environ, keys)
    if sources.document is not None:
        plan = _plan(sources.document, findings)
    if findings or plan is None:
        raise PlanError(_found(sources, path, message) for path, message in findings)
    return Reading(plan, sources)


@functools.cache
def keys() -> Key:
    """Every key that a plan may have: the reading itself is asked."""
    return explore(_plan)


def _found(sources: Sources, path: str, message: str) -> Finding:
    source, line = sources.place(path)
    return Finding(source, line, path, message)


def _plan(document: object, findings: Findings) -> Plan:
    root = Reader(document, "", findings)
    _version(root)
    root.texts_or_text("include")  # what they hold has been taken in already
    settings = Reader(root.mapping("global"), "global", findings)
    usual = _restart(settings, _GLOBAL_WORDS, Restart())
    shutdown_timeout_s = settings.duration("shutdown_timeout", 30.0, 0.1)
    log_format = LogForm(settings.word("log_format", LogForm, LogForm.TEXT))
    readiness = readiness_of(settings)
    reloading = reloading_of(settings)
    changes = changing_of(settings)
    most = settings.whole("max_process_scale", 1, MAX_SCALE, MAX_SCALE)
    settings.done()
    hooks = hooks_of(root, _env)
    processes = {}
    for name, entry in root.mapping("processes").items():
        reader = Reader(entry, f"processes.{name}", findings)
        if not NAME.match(name):
            findings.append(
                (reader.path, "is no name; allowed: letters, digits, - and _, beginning with a letter, at most 64")
            )
        if not isinstance(entry, Mapping):
            continue
        process = _process(name, reader, usual, most)
        enabled = reader.flag("enabled", True)
        reader.done()
        if enabled:
            processes[name] = process
    if not processes and not findings:
        findings.append(("processes", "holds no enabled process; name at least one"))
    root.done()
    _check_dependencies(processes, findings)
    readiness = settled(readiness, processes, findings)
    return Plan(
        processes=processes,
        shutdown_timeout_s=shutdown_timeout_s,
        log_format=log_format,
        hooks=hooks,
        readiness=readiness,
        reloading=reloading,
        changes=changes,
    )


def _version(root: Reader) -> None:
    """Any text; who writes the number 1 means `"1"`."""
    if root.raw("version") != 1:
        root.text("version", "1")


def _process(name: str, reader: Reader, usual: Restart, most: int) -> ProcessPlan:
    command = reader.command()
    schedule = schedule_of(reader)
    kind = _kind(reader, schedule is not None)
    once = kind is not Kind.SERVICE
    bare = once and not reader.has("restart")
    own = reader.whole("max_scale", 1, MAX_SCALE, MAX_SCALE)
    most = 1 if once else min(most, own)
    if kind is Kind.SCHEDULED:
        usual = replace(usual, policy=Policy.NEVER)
    restart = Restart(policy=Policy.NEVER) if bare else _restart_of(reader, usual)
    if kind is Kind.ONESHOT and restart.policy is Policy.ALWAYS:
        reader.report("restart", "is always, and a oneshot runs once; allowed: on-failure, never")
    elif kind is Kind.SCHEDULED and restart.policy is not Policy.NEVER:
        reader.report("restart", f"is {restart.policy}, and a scheduled process runs at its times; allowed: never")
    health_check = health_check_of(reader)
    if kind is Kind.SCHEDULED and health_check is not None:
        reader.report("health_check", "is for what keeps running, and a scheduled process ends by itself; take it out")
    logging = read_logging(reader)
    _check_streams(reader, health_check, logging)
    working_dir = reader.text("working_dir", "", 4096)
    return ProcessPlan(
        name=name,
        command=command,
        kind=kind,
        scale=reader.whole("scale", 1, most, 1),
        max_scale=most,
        autostart=reader.word("initial_state", ("running", "stopped"), "running") == "running",
        depends_on=_depends_on(reader),
        env=_env(reader),
        working_dir=Path(working_dir) if working_dir else None,
        restart=restart,
        shutdown=_shutdown(reader),
        execution=execution_from(reader),
        logging=logging,
        health_check=health_check,
        schedule=schedule,
        hooks=hooks_of(reader, _env),
        rolling=rolling_of(reader),
        autoscale=autoscale_of(reader, is_service=kind is Kind.SERVICE, most=most),
        tune=tune_of(reader),
    )


def _kind(reader: Reader, scheduled: bool) -> Kind:
    """`longrun` is the predecessor's word for a service; its type says nothing of a process that has a schedule."""
    word = reader.word("type", (*Kind, "longrun"), Kind.SCHEDULED if scheduled else Kind.SERVICE)
    if scheduled:
        if word == Kind.SERVICE:
            reader.report("type", "is service, and it has a schedule; take one of them out")
        return Kind.SCHEDULED
    if word == Kind.SCHEDULED:
        reader.report("schedule", "is missing; give one such as */5 * * * *, or another type")
    return Kind.ONESHOT if word == Kind.ONESHOT else Kind.SERVICE


def _depends_on(reader: Reader) -> dict[str, Condition]:
    """A list of names, or a mapping from name to `started`, `ready` or `completed`, or to `{condition: ...}`."""
    value = reader.raw("depends_on", [])
    if isinstance(value, list):
        return dict.fromkeys(reader.words("depends_on"), Condition.READY)
    inner = reader.inner("depends_on")
    return {name: _condition(inner, name) for name in inner.document}


def _condition(reader: Reader, name: str) -> Condition:
    if not isinstance(reader.raw(name), Mapping):
        return Condition(reader.word(name, Condition, Condition.READY))
    inner = Reader(reader.raw(name), reader.at(name), reader.findings)
    found = Condition(inner.word("condition", Condition, Condition.READY))
    inner.done()
    return found


def _env(reader: Reader) -> dict[str, str]:
    found = {}
    inner = reader.inner("env")
    for name in inner.document:
        value = inner.raw(name, "")
        if not _VARIABLE.match(name):
            inner.report(name, "is no name of a variable; allowed: letters, digits and _")
        elif not isinstance(value, str):
            inner.report(name, f"must be a text, not {kind_of(value)}")
        elif "\0" in value:
            inner.report(name, NUL)
        else:
            found[name] = value
    return found


def _restart_of(reader: Reader, usual: Restart) -> Restart:
    value = reader.raw("restart")
    if not isinstance(value, Mapping):
        policy = Policy(reader.word("restart", Policy, usual.policy))
        return Restart(
            policy=policy, backoff_initial_s=usual.backoff_initial_s, backoff_max_s=usual.backoff_max_s,
            max_attempts=usual.max_attempts,
        )  # fmt: skip
    inner = Reader(value, reader.at("restart"), reader.findings)
    found = _restart(inner, _OWN_WORDS, usual)
    inner.done()
    return found


def _restart(reader: Reader, words: tuple[str, str, str, str], usual: Restart) -> Restart:
    policy, attempts, initial, most = words
    initial_s = reader.duration(initial, usual.backoff_initial_s)
    most_s = reader.duration(most, max(usual.backoff_max_s, initial_s))
    if most_s < initial_s:
        reader.report(most, f"is below {initial}; the longest wait cannot be shorter than the first")
    return Restart(
        policy=Policy(reader.word(policy, Policy, usual.policy)),
        backoff_initial_s=initial_s,
        backoff_max_s=max(most_s, initial_s),
        max_attempts=reader.whole(attempts, 0, 1_000_000, usual.max_attempts),
        stable_s=reader.duration("stable_after", usual.stable_s),
        success_codes=frozenset(reader.wholes("success_codes", 0, 255, sorted(usual.success_codes))),
    )


def _shutdown(reader: Reader) -> Shutdown:
    inner = reader.inner("shutdown")
    word = inner.word("signal", (*SIGNALS, *(f"SIG{name}" for name in SIGNALS)), "TERM")
    found = Shutdown(
        signal=Signals[f"SIG{word.removeprefix('SIG')}"],
        timeout_s=inner.duration("timeout", 10.0),
        to=Recipient(inner.word("to", Recipient, Recipient.ALL)),
    )
    inner.done()
    return found


def _check_streams(reader: Reader, check: HealthCheck | None, logging: Logging) -> None:
    """A line can be seen only where it is taken."""
    if check is None or check.kind is not ProbeKind.LOG:
        return
    taken = [name for name, is_taken in (("stdout", logging.stdout), ("stderr", logging.stderr)) if is_taken]
    if not (taken if check.stream == "" else check.stream in taken):
        dropped = check.stream or "stdout and stderr"
        reader.report("health_check.stream", f"waits for a line on {dropped}, and that is false; set it to true")


def _check_dependencies(processes: Mapping[str, ProcessPlan], findings: Findings) -> None:
    fitting: dict[str, ProcessPlan] = {}  # without what is refused already, so that a circle beside it is found as well
    for name, process in processes.items():
        needs = {
            other: condition for other, condition in process.depends_on.items() if other != name and other in processes
        }
        fitting[name] = replace(process, depends_on=needs)
        for other, condition in process.depends_on.items():
            path = f"processes.{name}.depends_on"
            if other == name:
                findings.append((path, f"names {name} itself; take it out"))
            elif other not in processes:
                enabled = f"{nearest(other, processes)}enabled: {', '.join(processes)}"
                findings.append((path, f"names {other}, and no enabled process is called that; {enabled}"))
            elif processes[other].kind is Kind.SCHEDULED:
                findings.append(
                    (path, f"names {other}, which runs at its times, so that nothing can wait for it; take it out")
                )
            elif condition is Condition.COMPLETED and processes[other].kind is not Kind.ONESHOT:
                findings.append((path, f"waits for {other} to complete, and only a oneshot does; use started or ready"))
    if ring := cycle(fitting):
        findings.append((f"processes.{ring[0]}.depends_on", f"is a circle: {' -> '.join(ring)}; cut it somewhere"))
