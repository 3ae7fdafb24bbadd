"""A plan from a YAML text, read strictly: every finding is reported at once, with its path, its line and what is allowed."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from signal import Signals
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from millrace.domain.document import DocumentReader, kind_of, shown
from millrace.supervisor.execution import execution_from
from millrace.supervisor.graph import cycle
from millrace.supervisor.logs.document import read_logging
from millrace.supervisor.logs.settings import LogForm
from millrace.supervisor.plan import (
    Condition,
    HealthCheck,
    Kind,
    Plan,
    Policy,
    ProbeKind,
    ProbeMode,
    ProcessPlan,
    Restart,
    Shutdown,
)
from millrace.supervisor.yaml_text import Findings, read

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?\Z")
_DAY_S = 86_400.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL")
MAX_SCALE = 1000
_OWN_WORDS = ("policy", "max_attempts", "backoff_initial", "backoff_max")
_GLOBAL_WORDS = ("restart_policy", "max_restart_attempts", "restart_backoff_initial", "restart_backoff_max")


class Finding(Struct, frozen=True, order=True):
    """One thing that is wrong. `line` counts from 1; 0 where none is meant."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.path} {self.message}".strip()


class PlanError(Exception):
    """A plan cannot be used; `findings` says all that is wrong with it."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        """Keep every finding; the message joins them."""
        self.findings = tuple(sorted(findings))
        super().__init__("cannot use this plan: " + "; ".join(map(str, self.findings)))


def plan_from(text: str, environ: Mapping[str, str]) -> Plan:
    """The plan in a YAML text, with variables of `environ` filled in.

    Raises:
        PlanError: it is no YAML, or no plan that could work.
    """
    document, lines, findings = read(text, environ)
    plan = None if document is None else _plan(document, findings)
    if findings or plan is None:
        raise PlanError(Finding(_line(lines, path), path, message) for path, message in findings)
    return plan


def _line(lines: Mapping[str, int], path: str) -> int:
    """The line of a path, or of the nearest thing around it."""
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path, 0) if path else 0


class _Reader(DocumentReader):
    """Reads what only plans hold."""

    def duration(self, key: str, default: float, low: float = 0.0, high: float = _DAY_S) -> float:
        """Seconds: a number, or a text such as `1m30s` or `250ms`."""
        value = self.raw(key)
        seconds: float | None = None
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
        elif isinstance(value, str) and value and (found := _DURATION.match(value)):
            hours, minutes, rest, thousandths = (float(part or 0) for part in found.groups())
            seconds = 3600 * hours + 60 * minutes + rest + thousandths / 1000
        if seconds is None or not low <= seconds <= high:
            self.report(key, f"is {shown(value)}; allowed: {low:g} to {high:g} seconds, or a text such as 1m30s")
            return default
        return seconds

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {shown(value)}")
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
            self.report(key, f'must be a list of texts, such as ["nginx", "-g", "daemon off;"], not {shown(value)}')
            return ()
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping, empty where it is missing."""
        value = self.raw(key, {})
        if not isinstance(value, Mapping):
            self.report(key, f"must be a mapping, not {kind_of(value)}")
            return {}
        return {str(name): inner for name, inner in value.items()}


def _plan(document: object, findings: Findings) -> Plan:
    root = _Reader(document, "", findings)
    root.text("version", "1")
    settings = _Reader(root.mapping("global"), "global", findings)
    usual = _restart(settings, _GLOBAL_WORDS, Restart())
    shutdown_timeout_s = settings.duration("shutdown_timeout", 30.0, 0.1)
    log_format = LogForm(settings.word("log_format", LogForm, LogForm.TEXT))
    settings.done()
    processes = {}
    for name, entry in root.mapping("processes").items():
        reader = _Reader(entry, f"processes.{name}", findings)
        if not NAME.match(name):
            findings.append((reader.path, "is no name: letters, digits, - and _, beginning with a letter, at most 64"))
        if not isinstance(entry, Mapping):
            continue
        process = _process(name, reader, usual)
        enabled = reader.flag("enabled", True)
        reader.done()
        if enabled:
            processes[name] = process
    if not processes and not findings:
        findings.append(("processes", "holds no enabled process; name at least one"))
    root.done()
    _check_dependencies(processes, findings)
    return Plan(processes=processes, shutdown_timeout_s=shutdown_timeout_s, log_format=log_format)


def _process(name: str, reader: _Reader, usual: Restart) -> ProcessPlan:
    command = reader.words("command")
    if not command and isinstance(reader.raw("command"), list | None):
        reader.report("command", "is missing; give a list: the program and its arguments")
    # `longrun` is the predecessor's word.
    kind = reader.word("type", (*Kind, "longrun"), Kind.SERVICE)
    oneshot = kind == Kind.ONESHOT
    bare = oneshot and not reader.has("restart")
    restart = Restart(policy=Policy.NEVER) if bare else _restart_of(reader, usual)
    if oneshot and restart.policy is Policy.ALWAYS:
        reader.report("restart", "is always, and a oneshot runs once; allowed: on-failure, never")
    working_dir = reader.text("working_dir", "", 4096)
    return ProcessPlan(
        name=name,
        command=command,
        kind=Kind.ONESHOT if oneshot else Kind.SERVICE,
        scale=reader.whole("scale", 1, 1 if oneshot else MAX_SCALE, 1),
        autostart=reader.word("initial_state", ("running", "stopped"), "running") == "running",
        depends_on=_depends_on(reader),
        env=_env(reader),
        working_dir=Path(working_dir) if working_dir else None,
        restart=restart,
        shutdown=_shutdown(reader),
        health_check=_health_check(reader),
        execution=execution_from(reader),
        logging=read_logging(reader),
    )


def _depends_on(reader: _Reader) -> dict[str, Condition]:
    """A list of names, or a mapping from name to `started`, `ready` or `completed`, or to `{condition: ...}`."""
    value = reader.raw("depends_on", [])
    if isinstance(value, list):
        return dict.fromkeys(reader.words("depends_on"), Condition.READY)
    inner = _Reader(reader.mapping("depends_on"), reader.at("depends_on"), reader.findings)
    return {name: _condition(inner, name) for name in inner.document}


def _condition(reader: _Reader, name: str) -> Condition:
    if not isinstance(reader.raw(name), Mapping):
        return Condition(reader.word(name, Condition, Condition.READY))
    inner = _Reader(reader.raw(name), reader.at(name), reader.findings)
    found = Condition(inner.word("condition", Condition, Condition.READY))
    inner.done()
    return found


def _env(reader: _Reader) -> dict[str, str]:
    found = {}
    for name, value in reader.mapping("env").items():
        if not _VARIABLE.match(name):
            reader.report(f"env.{name}", "is no name of a variable: letters, digits and _")
        elif not isinstance(value, str) or "\0" in value:
            reader.report(f"env.{name}", f"must be a text, not {kind_of(value)}")
        else:
            found[name] = value
    return found


def _restart_of(reader: _Reader, usual: Restart) -> Restart:
    value = reader.raw("restart")
    if not isinstance(value, Mapping):
        policy = Policy(reader.word("restart", Policy, usual.policy))
        return Restart(
            policy=policy, backoff_initial_s=usual.backoff_initial_s, backoff_max_s=usual.backoff_max_s,
            max_attempts=usual.max_attempts,
        )  # fmt: skip
    inner = _Reader(value, reader.at("restart"), reader.findings)
    found = _restart(inner, _OWN_WORDS, usual)
    inner.done()
    return found


def _restart(reader: _Reader, words: tuple[str, str, str, str], usual: Restart) -> Restart:
    policy, attempts, initial, most = words
    initial_s = reader.duration(initial, usual.backoff_initial_s)
    most_s = reader.duration(most, max(usual.backoff_max_s, initial_s))
    if most_s < initial_s:
        reader.report(most, f"is below {initial}; the longest wait cannot be shorter than the first")
    usually = ", ".join(map(str, sorted(usual.success_codes)))
    codes = reader.raw("success_codes", list(usual.success_codes))
    if not isinstance(codes, list) or any(not isinstance(c, int) or not 0 <= c <= 255 for c in codes):
        reader.report("success_codes", f"must be a list of exit codes from 0 to 255, such as [{usually}]")
        codes = list(usual.success_codes)
    return Restart(
        policy=Policy(reader.word(policy, Policy, usual.policy)),
        backoff_initial_s=initial_s,
        backoff_max_s=max(most_s, initial_s),
        max_attempts=reader.whole(attempts, 0, 1_000_000, usual.max_attempts),
        stable_s=reader.duration("stable_after", usual.stable_s),
        success_codes=frozenset(codes),
    )


def _shutdown(reader: _Reader) -> Shutdown:
    inner = _Reader(reader.mapping("shutdown"), reader.at("shutdown"), reader.findings)
    word = inner.text("signal", "TERM").removeprefix("SIG")
    if word not in SIGNALS:
        inner.report("signal", f"is {shown(word)}; allowed: {', '.join(SIGNALS)}")
        word = "TERM"
    found = Shutdown(signal=Signals[f"SIG{word}"], timeout_s=inner.duration("timeout", 10.0))
    inner.done()
    return found


def _health_check(reader: _Reader) -> HealthCheck | None:
    if not reader.has("health_check"):
        return None
    inner = _Reader(reader.mapping("health_check"), reader.at("health_check"), reader.findings)
    kind = ProbeKind(inner.word("type", ProbeKind, ProbeKind.TCP))
    command: tuple[str, ...] = ()
    target = ""
    if kind is ProbeKind.EXEC:
        command = inner.words("command")
        if not command:
            inner.report("command", "is missing; give a list: the program and its arguments")
    else:
        key = "address" if kind is ProbeKind.TCP else "url"
        target = inner.text(key, "", 2000)
        _check_target(inner, key, kind, target)
    found = HealthCheck(
        kind=kind,
        target=target,
        command=command,
        mode=ProbeMode(inner.word("mode", ProbeMode, ProbeMode.BOTH)),
        expected_status=inner.whole("expected_status", 100, 599, 200) if kind is ProbeKind.HTTP else 200,
        initial_delay_s=inner.duration("initial_delay", 0.0),
        period_s=inner.duration("period", 10.0, 0.01),
        timeout_s=inner.duration("timeout", 3.0, 0.01),
        success_threshold=inner.whole("success_threshold", 1, 100, 1),
        failure_threshold=inner.whole("failure_threshold", 1, 100, 3),
    )
    inner.done()
    return found


def _check_target(reader: _Reader, key: str, kind: ProbeKind, target: str) -> None:
    try:
        parts = urlsplit(target if kind is ProbeKind.HTTP else f"tcp://{target}")
        usable = bool(parts.hostname) and (kind is ProbeKind.HTTP or parts.port is not None)
        usable = usable and (kind is not ProbeKind.HTTP or parts.scheme in ("http", "https"))
    except ValueError:
        usable = False
    if not usable:
        example = "http://127.0.0.1:8080/health" if kind is ProbeKind.HTTP else "127.0.0.1:6379"
        reader.report(key, f"is {shown(target)}; give one such as {example}")


def _check_dependencies(processes: Mapping[str, ProcessPlan], findings: Findings) -> None:
    known = True
    for name, process in processes.items():
        for other, condition in process.depends_on.items():
            path = f"processes.{name}.depends_on"
            if other == name:
                findings.append((path, f"names {name} itself; take it out"))
            elif other not in processes:
                known = False
                findings.append((path, f"names {other}, and no enabled process is called that"))
            elif condition is Condition.COMPLETED and processes[other].kind is not Kind.ONESHOT:
                findings.append((path, f"waits for {other} to complete, and only a oneshot does; use started or ready"))
    if known and (ring := cycle(processes)):
        findings.append((f"processes.{ring[0]}.depends_on", f"is a circle: {' -> '.join(ring)}; cut it somewhere"))
