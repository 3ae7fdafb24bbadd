"""The plan in force, as it may be shown: what a secret could be is masked. Pure."""

from collections.abc import Iterable, Mapping
from enum import Enum, IntEnum
from re import Pattern
from urllib.parse import urlsplit

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from millrace.supervisor.plan import Plan
from millrace.telemetry.redact import MASK, Redactor


def plan_view(plan: Plan, secrets: Iterable[str] = ()) -> dict[str, object]:
    """Everything that is not as it would be by itself. `secrets` are texts that stand nowhere in it.

    Values of environments are masked whatever they are called, wherever they turn up again; so is the path of a heartbeat's
    URL, which is what protects it.
    """
    values = {value for process in plan.processes.values() for value in process.env.values()}
    shown = _of(plan, Redactor([*secrets, *values]))
    return shown if isinstance(shown, dict) else {}


def process_plan_view(plan: Plan, name: str, secrets: Iterable[str] = ()) -> object:
    """One process of it in the same way; None where there is none."""
    found = plan.processes.get(name)
    if found is None:
        return None
    shown = plan_view(Plan(processes={name: found}), secrets)["processes"]
    return shown.get(name) if isinstance(shown, dict) else None


def _of(value: object, redactor: Redactor, name: str = "") -> object:
    if isinstance(value, Struct):
        return {
            field.name: _of(inner, redactor, field.name)
            for field in fields(value)
            if not _is_default(inner := getattr(value, field.name), field.default, field.default_factory)
        }
    if isinstance(value, Mapping):
        if name == "env":
            return dict.fromkeys(map(str, value), MASK)
        # The name of a process is no name of a secret, whatever it is called.
        return {redactor.text(_word(key)): _of(inner, redactor) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        if all(isinstance(one, str) for one in value):
            return redactor.value(value)
        return [_of(one, redactor) for one in value]
    return _leaf(value, redactor, name)


def _leaf(value: object, redactor: Redactor, name: str) -> object:
    if isinstance(value, frozenset | set):
        return sorted(map(_word, value))
    if value is None or (isinstance(value, bool | int | float) and not isinstance(value, Enum)):
        return value
    text = _word(value)
    return _masked_url(text) if name.endswith("_url") else redactor.value(text, name)


def _is_default(value: object, default: object, factory: object) -> bool:
    if default is not NODEFAULT:
        return value == default
    return callable(factory) and value == factory()


def _word(value: object) -> str:
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, Enum):
        return str(value.value)
    return value.pattern if isinstance(value, Pattern) else str(value)


def _masked_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/{MASK}" if parts.hostname else url
