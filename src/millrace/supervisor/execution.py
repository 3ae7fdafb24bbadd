"""As whom a process of a plan runs, with what limits, and which signals of ours it gets: what it means, and how it is read."""

import re
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import Any

from msgspec import Struct, field

from millrace.domain.document import shown
from millrace.process.cgroup import Resources
from millrace.process.identity import identity
from millrace.process.values import Limits, Spec
from millrace.supervisor.plans.reader import Reader

FORWARDED = ("HUP", "USR1", "USR2", "WINCH", "ALRM", "TTIN", "TTOU", "CONT")
"""What a supervisor may be sent for its processes; the others mean something to itself, or cannot be caught."""
SENT = (*FORWARDED, "TERM", "INT", "QUIT", "PIPE", "STOP", "KILL")

_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?\Z")
_UMASK = re.compile(r"(?:0o?)?([0-7]{1,3})\Z")
_SIZE = re.compile(r"(\d{1,12})([kKmMgGtT]?)\Z")
_AMOUNT_PATTERN = r"^(\d{1,12}[kKmMgGtT]?|unlimited)$"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MOST_ID = 2**32 - 2  # the last one means nobody at all, setresuid(2)
_MOST_BYTES = 1 << 50
# The name in the plan (that of ulimit and limits.conf), ours, and the bounds.
_LIMITS = {
    "cpu": ("cpu_s", 1, 366 * 86_400),
    "nofile": ("open_files", 16, 1 << 30),
    "nproc": ("processes", 1, 1 << 22),
    "as": ("address_space_bytes", 16 << 20, _MOST_BYTES),
    "data": ("data_bytes", 1 << 20, _MOST_BYTES),
    "stack": ("stack_bytes", 128 << 10, _MOST_BYTES),
    "fsize": ("file_size_bytes", 0, _MOST_BYTES),
    "core": ("core_bytes", 0, _MOST_BYTES),
    "memlock": ("locked_memory_bytes", 0, _MOST_BYTES),
}
UNLIMITED = -1


class Execution(Struct, frozen=True, kw_only=True):
    """How a process runs. None leaves what the supervisor has; `forward` maps a signal of ours to what the process gets."""

    user: str | None = None
    group: str | None = None
    umask: int | None = None
    nice: int = 0
    oom_score_adj: int | None = None
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)
    forward: Mapping[Signals, Signals] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    """Descriptors of ours that it inherits; only plans that a program makes have some."""

    @property
    def limited(self) -> bool:
        """Whether anything is said of its limits."""
        return self.limits != Limits()


def execution_from(reader: Reader) -> Execution:
    """Read the keys `user`, `group`, `umask`, `nice`, `oom_score_adj`, `limits` and `forward_signals` of a process."""
    limits, resources = _limits(reader)
    return Execution(
        user=account_from(reader, "user"),
        group=account_from(reader, "group"),
        umask=_umask(reader),
        nice=reader.whole("nice", -20, 19, 0),
        oom_score_adj=reader.whole("oom_score_adj", -1000, 1000, None),
        limits=limits,
        resources=resources,
        forward=_forward(reader),
    )


def spec_of(
    execution: Execution, *, command: tuple[str, ...], cwd: Path, environ: Mapping[str, str], own: Mapping[str, str]
) -> Spec:
    """What is to be started. `environ` is inherited, `own` is what the plan says and wins over the account's HOME.

    Raises:
        CannotStart: there is no such user or group.
    """
    who = None
    if execution.user is not None or execution.group is not None:
        who = identity(execution.user, execution.group)
    return Spec(
        argv=command,
        cwd=cwd,
        env={**environ, **(who.env if who is not None else {}), **own},
        nice=execution.nice,
        limits=execution.limits,
        # A control group of its own costs each start 10 ms, in which the kernel waits for all processors.
        resources=execution.resources if execution.resources.wanted else None,
        run_as=who.change if who is not None else None,
        umask=execution.umask,
        oom_score_adj=execution.oom_score_adj,
        pass_fds=execution.pass_fds,
    )


def account_from(reader: Reader, key: str) -> str | None:
    """The name or number of a `user` or `group`; None where the key is missing."""
    value = reader.raw(key)
    if value is None:
        return None
    text = str(value)
    if not _ACCOUNT.match(text) or (text.isdecimal() and int(text) > _MOST_ID):
        reader.report(key, f"is {shown(value)}; give the name or the number of a {key}")
        return None
    return text


def _umask(reader: Reader) -> int | None:
    value = reader.raw("umask")
    if value is None:
        return None
    found = _UMASK.match(str(value))
    if not found:
        reader.report("umask", f"is {shown(value)}; give three octal digits, such as 027")
        return None
    return int(found[1], 8)


def _limits(reader: Reader) -> tuple[Limits, Resources]:
    """Those of each process, and those of the whole tree together."""
    if not reader.has("limits"):
        return Limits(), Resources()
    inner = reader.inner("limits")
    found: dict[str, Any] = {}
    for name, (field_name, low, high) in _LIMITS.items():
        amount = _amount(inner, name, low, high)
        if amount is not None:
            found[field_name] = amount
    resources = Resources(
        memory_bytes=_amount(inner, "memory", 1 << 20, _MOST_BYTES, unlimited=None),
        cpus=inner.number("cpus", 0.01, 4096.0, None),
        pids=_amount(inner, "pids", 1, 1 << 22, unlimited=None),
    )
    inner.done()
    return Limits(exact=bool(found), **found), resources


def _amount(reader: Reader, key: str, low: int, high: int, *, unlimited: int | None = UNLIMITED) -> int | None:
    text = {"type": "string", "pattern": _AMOUNT_PATTERN}
    reader.note(key, anyOf=[{"type": "integer", "minimum": low, "maximum": high}, text])
    value = reader.raw(key)
    if value is None:
        return None
    if value == "unlimited":
        return unlimited
    match = None if isinstance(value, bool) else _SIZE.match(str(value))
    amount = int(match[1]) * _UNITS[match[2].lower()] if match else -1
    if not low <= amount <= high:
        reader.report(key, f"is {shown(value)}; allowed: {low} to {high}, also as 512M or 2G, or unlimited")
        return None
    return amount


def _forward(reader: Reader) -> dict[Signals, Signals]:
    key = "forward_signals"
    reader.note(key, type="array", items={"type": "string"})
    value = reader.raw(key, [])
    if isinstance(value, Mapping):
        inner = reader.inner(key)
        for name in inner.document:
            inner.note(name, type="string")
    if isinstance(value, list):
        value = {word: word for word in value if isinstance(word, str)} if _words(value) else None
    if not isinstance(value, Mapping) or not _words(list(value.values())):
        reader.report(key, "must be a list of signals, such as [HUP, USR1], or a mapping, such as {HUP: USR2}")
        return {}
    found = {}
    for got, given in value.items():
        ours, theirs = str(got).removeprefix("SIG"), given.removeprefix("SIG")
        if ours not in FORWARDED:
            reader.report(key, f"names {shown(got)}; allowed: {', '.join(FORWARDED)}")
        elif theirs not in SENT:
            reader.report(key, f"turns {ours} into {shown(given)}; allowed: {', '.join(SENT)}")
        else:
            found[Signals[f"SIG{ours}"]] = Signals[f"SIG{theirs}"]
    return found


def _words(values: list[object]) -> bool:
    return all(isinstance(value, str) for value in values)
