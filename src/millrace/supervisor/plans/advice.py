"""What works, and will not please: warnings about what is probably a mistake, and suggestions for what could be better."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePath
from signal import Signals
from urllib.parse import urlsplit

from millrace.supervisor.plan import Condition, Kind, Plan, Policy, ProcessPlan
from millrace.supervisor.plans.sources import Sources
from millrace.supervisor.plans.weight import Advice, Weight
from millrace.supervisor.plans.whole_advice import of_the_whole
from millrace.supervisor.schedule.values import Overlap

SECRET = re.compile(r"passw|secret|token|api_?key|private_?key|credential", re.IGNORECASE)
_POINTER = re.compile(r"_(?:file|path|name|ttl|url|type)\Z", re.IGNORECASE)
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
_MANY = 20
_SHORT_S = 10.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_CREDENTIALS = re.compile(r"authorization|cookie", re.IGNORECASE)


Rule = Callable[[ProcessPlan, Plan, Sources], Iterator[tuple[Weight, str, str]]]


def advise(plan: Plan, sources: Sources, *, as_root: bool = False) -> tuple[Advice, ...]:
    """Everything to think about in a plan that works; `as_root` tells whether it would run as root here."""
    found = [*of_the_whole(plan, as_root=as_root)]
    for name, process in plan.processes.items():
        for rule in _RULES:
            found += [
                Advice(weight, f"processes.{name}{'.' if key else ''}{key}", message)
                for weight, key, message in rule(process, plan, sources)
            ]
    for name, entry in sources.document["processes"].items():
        if name not in plan.processes:
            where = f"processes.{name}.enabled" if "enabled" in entry else f"processes.{name}"
            found.append(
                Advice(Weight.SUGGESTION, where, "is off, so nothing runs it; take it out when it is not needed")
            )
    return tuple(found)


def _command(process: ProcessPlan, _: Plan, __: Sources) -> Iterator[tuple[Weight, str, str]]:
    program = PurePath(process.command[0]).name
    if program in _SHELLS and not (len(process.command) == 3 and process.command[2].startswith("exec ")):
        yield (
            Weight.SUGGESTION,
            "command",
            f"keeps a shell ({program}) beside the program; name the program itself, or write exec before it",
        )
    elif len(process.command) == 1 and " " in process.command[0]:
        yield Weight.WARNING, "command", "is one word with spaces in it; give the program and each argument by itself"


def _secrets(process: ProcessPlan, _: Plan, sources: Sources) -> Iterator[tuple[Weight, str, str]]:
    for name, value in process.env.items():
        path = f"processes.{process.name}.env.{name}"
        if value and SECRET.search(name) and not _POINTER.search(name) and path not in sources.filled:
            yield Weight.WARNING, f"env.{name}", f"looks like a secret in clear; write ${{{name}}} and set the variable"
    check = process.health_check
    for name, value in {} if check is None or check.http is None else check.http.headers.items():
        path = f"processes.{process.name}.health_check.headers.{name}"
        if value and (_CREDENTIALS.search(name) or SECRET.search(name)) and path not in sources.filled:
            variable = name.upper().replace("-", "_")
            message = f"looks like a secret in clear; write ${{{variable}}} and set the variable"
            yield Weight.WARNING, f"health_check.headers.{name}", message


def _shown_secrets(process: ProcessPlan, _: Plan, __: Sources) -> Iterator[tuple[Weight, str, str]]:
    if not process.logging.redaction.known_shapes:
        yield (
            Weight.WARNING,
            "logging.redaction.known_shapes",
            "is false, so passwords and tokens that it prints are kept and shown in clear; leave it out to hide them",
        )


def _scale(process: ProcessPlan, _: Plan, __: Sources) -> Iterator[tuple[Weight, str, str]]:
    if process.scale > _MANY:
        yield Weight.WARNING, "scale", f"is {process.scale}; that many processes need memory and descriptors to match"


def _health(process: ProcessPlan, plan: Plan, _: Sources) -> Iterator[tuple[Weight, str, str]]:
    check = process.health_check
    waiting = [name for name, other in plan.processes.items() if other.depends_on.get(process.name) is Condition.READY]
    if check is None:
        if waiting and process.kind is Kind.SERVICE:
            yield (
                Weight.SUGGESTION,
                "",
                f"has no health_check, so {', '.join(waiting)} starts as soon as it runs; add one if that is too early",
            )
        return
    yield from _target(process, plan)
    if not check.kind.asks:
        return
    if check.timeout_s >= check.period_s:
        yield (
            Weight.WARNING,
            "health_check.timeout",
            f"is {check.timeout_s:g} s and not below the period of {check.period_s:g} s; give less",
        )
    if check.period_s < 1:
        yield (
            Weight.WARNING,
            "health_check.period",
            f"is {check.period_s:g} s; asking that often costs; give 1 s or more",
        )
    patience_s = check.initial_delay_s + check.period_s * check.failure_threshold
    if check.restarts and process.restart.policy is not Policy.NEVER and patience_s < _SHORT_S:
        yield (
            Weight.SUGGESTION,
            "health_check",
            f"restarts what does not answer within {patience_s:g} s of its start; give initial_delay if it may start slowly",
        )


def _target(process: ProcessPlan, plan: Plan) -> Iterator[tuple[Weight, str, str]]:
    """Who answers: this process, or maybe another one."""
    check = process.health_check
    if check is None or not check.target:
        return
    twins = [
        other.name for other in plan.processes.values()
        if other.name < process.name and other.health_check is not None and other.health_check.target == check.target
    ]  # fmt: skip
    if twins:
        yield (
            Weight.WARNING,
            "health_check",
            f"asks {check.target}, as that of {twins[0]} does, so it cannot tell them apart; ask each at its own",
        )
    elif process.scale > 1:
        yield (
            Weight.SUGGESTION,
            "health_check",
            f"asks one address for {process.scale} instances, and so cannot tell them apart; an exec check can",
        )
    if check.http is not None and not check.http.tls.verify and urlsplit(check.target).hostname not in _LOOPBACK:
        yield (
            Weight.WARNING,
            "health_check.tls.verify",
            "is false for another machine, so anybody on the way may answer; give its ca_file",
        )


def _schedule(process: ProcessPlan, _: Plan, __: Sources) -> Iterator[tuple[Weight, str, str]]:
    rule = process.schedule
    if rule is None or rule.timeout_s or rule.overlap is Overlap.REPLACE:
        return
    if rule.max_concurrent:
        harm = "holds up all later ones" if rule.at_once == 1 else "takes one of the places for good"
        yield (
            Weight.SUGGESTION,
            "schedule_timeout",
            f"is missing, so a run that hangs {harm}; give the longest that one may take",
        )
    else:
        yield (
            Weight.WARNING,
            "schedule_timeout",
            f"is missing, so runs that hang pile up to {rule.at_once}; give the longest that one may take",
        )


def _end(process: ProcessPlan, plan: Plan, _: Sources) -> Iterator[tuple[Weight, str, str]]:
    shutdown = process.shutdown
    if shutdown.signal is Signals.SIGKILL:
        yield Weight.WARNING, "shutdown.signal", "is KILL, so it can never end in order; use TERM, INT or QUIT"
    if shutdown.timeout_s > plan.shutdown_timeout_s:
        yield (
            Weight.WARNING,
            "shutdown.timeout",
            f"is {shutdown.timeout_s:g} s, and all ends after {plan.shutdown_timeout_s:g} s; raise global.shutdown_timeout",
        )


def _dependencies(process: ProcessPlan, plan: Plan, _: Sources) -> Iterator[tuple[Weight, str, str]]:
    for name, condition in process.depends_on.items():
        if condition is Condition.STARTED and plan.processes[name].kind is Kind.ONESHOT:
            yield (
                Weight.WARNING,
                "depends_on",
                f"does not wait for the end of {name}, which is a oneshot; use completed",
            )


def _restarts(process: ProcessPlan, _: Plan, __: Sources) -> Iterator[tuple[Weight, str, str]]:
    rule = process.restart
    if rule.policy is not Policy.NEVER and rule.backoff_max_s < 1:
        yield (
            Weight.WARNING,
            "restart.backoff_max",
            "is below 1 s, so a broken program starts all the time; give 10 s or more",
        )


_RULES: tuple[Rule, ...] = (
    _command,
    _secrets,
    _shown_secrets,
    _scale,
    _health,
    _end,
    _dependencies,
    _restarts,
    _schedule,
)
