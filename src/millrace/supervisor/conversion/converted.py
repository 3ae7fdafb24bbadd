"""A converted plan with the report of what became of it."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.plans.findings import PlanError
from millrace.supervisor.plans.keys import Key
from millrace.supervisor.yaml_text import written

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")


class What(StrEnum):
    """What became of a part."""

    CHANGED = "changed"
    LEFT_OUT = "not converted"


class Note(Struct, frozen=True):
    """One thing that a person should know."""

    what: What
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where} {self.message}"


class Conversion(Struct):
    """A plan's document while it is made."""

    processes: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def changed(self, where: str, message: str) -> None:
        """Something means or is called otherwise now."""
        self.notes.append(Note(What.CHANGED, where, message))

    def left_out(self, where: str, message: str) -> None:
        """Something has no counterpart."""
        self.notes.append(Note(What.LEFT_OUT, where, message))

    def name(self, other: str) -> str:
        """The name of a process here; the same for the same name there."""
        if other not in self._names:
            found = re.sub(r"[^A-Za-z0-9_-]", "-", other)[:60]
            found = found if re.match(r"[A-Za-z]", found) else f"p-{found}"
            taken, number, stem = set(self._names.values()), 1, found
            while found in taken:
                number += 1
                found = f"{stem}-{number}"
            self._names[other] = found
            if found != other:
                self.changed(f"processes.{found}", f"was called {other}")
        return self._names[other]

    def give_time_to_stop(self) -> None:
        """No process is cut short: elsewhere the time of the whole bounds nothing. Those that depend on others stop first."""
        whole_s = self.settings.get("shutdown_timeout", 30)
        longest_s = max((self._stopping_s(name, ()) for name in self.processes), default=0)
        if isinstance(whole_s, int) and whole_s < longest_s:
            self.settings["shutdown_timeout"] = longest_s
            self.changed(
                "global.shutdown_timeout",
                f"is {longest_s} s, as processes may take that long one after the other; there nothing bounded it",
            )

    def _stopping_s(self, name: str, above: tuple[str, ...]) -> int:
        """How long a process and what it depends on may take to stop; of a circle, which is refused later, once round."""
        process = self.processes.get(name, {})
        if name in above or process.get("enabled", True) is False:
            return 0
        own_s = process.get("shutdown", {}).get("timeout", 10)
        below = [self._stopping_s(str(other), (*above, name)) for other in process.get("depends_on", ())]
        return (own_s if isinstance(own_s, int) else 0) + max(below, default=0)

    def document(self) -> dict[str, Any]:
        """The plan."""
        settings = {"global": self.settings} if self.settings else {}
        return {"version": "1", **settings, **self.others, "processes": self.processes}


def settled(conversion: Conversion) -> str:
    """The plan's text. What the plan cannot hold is taken out, and reported with the reason.

    Raises:
        ValueError: nothing is left that could work.
    """
    document = conversion.document()
    for _ in range(1000):
        try:
            plan_from(written(document), {})
        except PlanError as error:
            faults = [(one.path, one.message) for one in error.findings if not _waits(document, one.path)]
            if not faults:
                break
            taken = [_take_out(document, path) for path, _ in faults]
            if not any(taken):
                raise ValueError("; ".join(f"{path} {message}" for path, message in faults)) from error
            for path, message in faults:
                conversion.left_out(path, message)
            continue
        break
    return written(document)


def _waits(document: dict[str, Any], path: str) -> bool:
    """True where the value holds a variable: what it stands for is known when the plan is read."""
    value: Any = document
    for part in _parts(path):
        value = _inside(value, part)
    return isinstance(value, str) and bool(_REFERENCE.search(value))


def _take_out(document: dict[str, Any], path: str) -> bool:
    """Remove what stands at a path, or the nearest thing around it, down to a process."""
    parts = _parts(path)
    while len(parts) > 1:
        inner: Any = document
        for part in parts[:-1]:
            inner = _inside(inner, part)
        if _inside(inner, parts[-1]) is not None:
            del inner[parts[-1]]
            return True
        # Something is missing there, so the whole cannot be.
        parts = parts[:-1]
    return False


def _parts(path: str) -> list[str | int]:
    """`hooks.pre-start[0].name` is four parts."""
    return [int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)]


def _inside(value: Any, part: str | int) -> Any:
    """What stands at a part; None where nothing does."""
    if isinstance(part, int):
        return value[part] if isinstance(value, list) and part < len(value) else None
    return value.get(part) if isinstance(value, dict) else None


def literal(text: str) -> str:
    """A text that stands for itself in a plan: no dollar of it begins a variable."""
    return re.sub(r"\$(?=[\${]|\Z)", "$$", text)


def keeping_references(text: str) -> str:
    """A text in which `${NAME}` and `${NAME:-word}` are variables and every other dollar stands for itself."""
    parts = re.split(f"({_REFERENCE.pattern})", text)
    return "".join(part if _REFERENCE.fullmatch(part) else literal(part) for part in parts)


def as_text(value: Any) -> str:
    """A value as the text that it was, its dollars kept as they were meant."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return keeping_references(value) if isinstance(value, str) else str(value)


def knows(key: Key, path: Iterable[str]) -> Key | None:
    """The key at a path of names, where plans have one."""
    found: Key | None = key
    for part in path:
        found = None if found is None else found.children.get(part, found.entries)
    return found
