"""The JSON Schema of plans, for editors."""

from typing import Any

from millrace.supervisor.plans.keys import Key
from millrace.supervisor.plans.sentences import SENTENCES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE = {"$ref": "#/$defs/variable"}


def schema(keys: Key) -> dict[str, Any]:
    """The schema of a plan with these keys."""
    return {
        "$schema": DIALECT,
        "title": "A plan of millrace supervise",
        "$defs": {"variable": {"type": "string", "pattern": r"\$\{", "description": "A value that holds ${VARIABLE}."}},
        **_of(keys),
    }


def _of(key: Key) -> dict[str, Any]:
    forms = [_plain(one) for one in key.values]
    if key.children or key.entries:
        forms.append(_mapping(key))
    if key.item is not None:
        forms = [one for one in forms if one.get("type") != "array"]
        forms.append({"type": "array", "items": _of(key.item)})
    if not forms:
        # What is read without any reader's help: a variable of a process may be written as a number, too.
        forms.append({"type": ["string", "number", "boolean"]})
    if any(kind in _scalars(one) for one in forms for kind in ("integer", "number", "boolean", "enum")):
        forms.append(_VARIABLE)
    found = forms[0] if len(forms) == 1 else {"anyOf": [_bare(one) for one in forms]}
    described = {"description": SENTENCES[key.path]} if key.path in SENTENCES else {}
    default = [one["default"] for one in key.values if one.get("default") not in (None, "", [])]
    return {**described, **_bare(found), **({"default": default[0]} if default else {})}


def _mapping(key: Key) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object"}
    if key.children:
        found["properties"] = {name: _of(inner) for name, inner in key.children.items()}
    found["additionalProperties"] = _of(key.entries) if key.entries is not None else False
    if key.required:
        found["required"] = key.required
    return found


def _plain(one: dict[str, Any]) -> dict[str, Any]:
    return {name: _exact(value) for name, value in one.items()}


def _exact(value: object) -> object:
    """30.0 as 30."""
    if isinstance(value, list):
        return [_exact(one) for one in value]
    if isinstance(value, dict):
        return _plain(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bare(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "default"}


def _scalars(one: dict[str, Any]) -> set[str]:
    kinds = {str(inner.get("type")) for inner in (one, *one.get("anyOf", ()))}
    return kinds | ({"enum"} if "enum" in one else set())
