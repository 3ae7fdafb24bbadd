"""Single values of a plan from the environment, such as `..._PROCESS_WEB_SCALE=3`."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from millrace.supervisor.plans.keys import Key
from millrace.supervisor.plans.reader import nearest
from millrace.supervisor.plans.sources import Sources

_PREFIX = "MILLRACE_SUPERVISE_"
_GLOBAL = f"{_PREFIX}GLOBAL_"
_PROCESS = f"{_PREFIX}PROCESS_"
_TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def override(sources: Sources, environ: Mapping[str, str], keys: Callable[[], Key]) -> None:
    """Put the values of `environ` into the document; what names no process or no key is a finding.

    The longest name of a process that fits is taken, and then the longest key: with processes `web` and `web-max`,
    `..._PROCESS_WEB_MAX_SCALE` is the scale of `web-max`.
    """
    for variable in sorted(environ):
        if variable.startswith(_GLOBAL):
            key = keys().children["global"]
            found = _find(key, variable.removeprefix(_GLOBAL))
            if found is None:
                _unknown(sources, variable, "global", variable.removeprefix(_GLOBAL), key)
            else:
                _set(sources, variable, ("global", *found[0]), value_of(environ[variable], found[1]))
        elif variable.startswith(_PROCESS):
            _of_process(sources, variable, environ[variable], keys())


def without_overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for processes: one that is a supervisor itself must not take these for its own."""
    return {name: value for name, value in environ.items() if not name.startswith((_GLOBAL, _PROCESS))}


def _of_process(sources: Sources, variable: str, text: str, keys: Key) -> None:
    process = keys.children["processes"].entries
    processes = sources.document.get("processes")
    if process is None or not isinstance(processes, Mapping):
        return
    rest = variable.removeprefix(_PROCESS)
    spelled = {str(name): str(name).upper().replace("-", "_") for name in processes}
    fitting = [name for name in spelled if rest.startswith(spelled[name] + "_")]
    if not fitting:
        names = ", ".join(sorted(spelled))
        _refuse(sources, variable, f"names no process of the plan; there are: {names}")
        return
    for name in sorted(fitting, key=lambda one: (-len(one), one)):
        if (found := _find(process, rest[len(spelled[name]) + 1 :])) is None:
            continue
        if twins := [other for other in fitting if other != name and spelled[other] == spelled[name]]:
            _refuse(sources, variable, f"could mean {name} or {twins[0]}; rename one of them")
            return
        _set(sources, variable, ("processes", name, *found[0]), value_of(text, found[1]))
        return
    longest = max(fitting, key=len)
    _unknown(sources, variable, f"processes.{longest}", rest[len(longest) + 1 :], process)


def _find(key: Key, rest: str) -> tuple[tuple[str, ...], Key] | None:
    """The keys that a text such as `HEALTH_CHECK_PERIOD` names, the longest first."""
    for name in sorted(key.children, key=len, reverse=True):
        word = name.upper().replace("-", "_")
        if rest == word:
            return (name,), key.children[name]
        if rest.startswith(word + "_") and (inner := _find(key.children[name], rest[len(word) + 1 :])):
            return (name, *inner[0]), inner[1]
    if key.entries is not None and key.path.endswith(".env") and rest:
        return (rest,), key.entries
    return None


def _refuse(sources: Sources, variable: str, message: str) -> None:
    sources.places[variable] = (variable, 0)
    sources.findings.append((variable, message))


def _unknown(sources: Sources, variable: str, at: str, rest: str, key: Key) -> None:
    hint = nearest(rest, [".".join(path) for path in _paths(key)])
    _refuse(sources, variable, f"names no key of {at}; {hint}allowed: {', '.join(sorted(key.children))}")


def _set(sources: Sources, variable: str, parts: tuple[str, ...], value: object) -> None:
    inner = sources.document
    for part in parts[:-1]:
        there = inner.get(part)
        if not isinstance(there, dict):
            # A word such as `restart: always` gives way to the mapping that the variable speaks of.
            there = {_WORD_KEYS[part]: there} if there is not None and part in _WORD_KEYS else {}
            inner[part] = there
        inner = there
    inner[parts[-1]] = value
    path = ".".join(parts)
    for old in [one for one in sources.places if one.startswith((f"{path}.", f"{path}["))]:
        del sources.places[old]
    sources.places[path] = (variable, 0)
    sources.filled.add(path)


_WORD_KEYS = {"restart": "policy"}


def _paths(key: Key, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in key.children.items():
        yield (*before, name)
        yield from _paths(inner, (*before, name))


def value_of(text: str, key: Key) -> Any:
    """The value that a variable's text stands for, by what may stand at the key; reading judges what fits nothing."""
    kinds = {one.get("type") for one in key.values} | {
        inner.get("type") for one in key.values for inner in one.get("anyOf", ())
    }
    stripped = text.strip()
    lists = bool(kinds & {"array"} or key.item or key.children or key.entries)
    if lists and stripped[:1] in ("[", "{"):
        try:
            return _texts(json.loads(stripped), key)
        except ValueError:
            return text
    if "boolean" in kinds and stripped.lower() in _TRUTHS:
        return _TRUTHS[stripped.lower()]
    if kinds & {"integer", "number"}:
        for kind in (int, float):
            try:
                return kind(stripped)
            except ValueError:
                continue
    return text


def _texts(value: Any, key: Key) -> Any:
    """Arguments are texts, however they look: `[1, "a"]` is `["1", "a"]`."""
    if isinstance(value, list) and key.path.endswith(("command", "depends_on")):
        return [json.dumps(one) if isinstance(one, int | float) else one for one in value]
    return value
