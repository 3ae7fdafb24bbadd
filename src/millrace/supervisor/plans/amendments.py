"""Changes of single processes on top of a plan's own text: what the control API has added, changed and removed.

Each is kept as YAML with its variables as they stand, so that what was sent as `${DB_PASSWORD}` is saved as that.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from millrace.supervisor.plans.layers import Amendments
from millrace.supervisor.plans.sources import Sources
from millrace.supervisor.yaml_text import node_in, read, spelled

_MAP, _TEXT, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq"
_KEYS = ("version", "processes", "removed")


def text_of(amendments: Amendments) -> str:
    """All of them as one YAML text.

    Raises:
        ValueError: one of them cannot be written.
    """
    parts: list[tuple[yaml.Node, yaml.Node]] = []
    entries = [(_text(name), node_in(text)) for name, text in sorted(amendments.items()) if text is not None]
    removed: list[yaml.Node] = [_text(name) for name, text in sorted(amendments.items()) if text is None]
    if entries:
        parts.append((_text("processes"), yaml.MappingNode(_MAP, entries, flow_style=False)))
    if removed:
        parts.append((_text("removed"), yaml.SequenceNode(_LIST, removed, flow_style=True)))
    return spelled(yaml.MappingNode(_MAP, parts, flow_style=not parts))


def amendments_from(text: str) -> Amendments:
    """What :func:`text_of` has written, also after somebody has edited it.

    Raises:
        ValueError: it is something else; a phrase.
    """
    root = node_in(text)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("must be a mapping; allowed: processes, removed, version")  # noqa: TRY004  a fault of a text
    found: dict[str, str | None] = {}

    def add(name: str, entry: str | None) -> None:
        if name in found:
            raise ValueError(f"names {name} twice; keep one")
        found[name] = entry

    for key, value in root.value:
        if key.value not in _KEYS:
            raise ValueError(f"holds {str(key.value)[:80]!r}; allowed: processes, removed, version")
        if key.value == "processes":
            for name, node in _pairs(value):
                add(name, spelled(node))
        elif key.value == "removed":
            for name in _names(value):
                add(name, None)
    return found


def amend(sources: Sources, amendments: Amendments, environ: Mapping[str, str], *, source: str) -> None:
    """Put them into the document of a plan, each whole in the place of what was there. `source` is what findings call them.

    What is wrong with the variables of one is a finding of the plan.
    """
    if not amendments or not isinstance(sources.document, dict):
        return
    processes = sources.document.get("processes")
    if processes is None:
        sources.document["processes"] = processes = {}
    if not isinstance(processes, dict):
        return  # reading says so
    part = read(text_of(amendments), environ)
    changed: Mapping[str, Any] = (part.document or {}).get("processes") or {}
    for name in amendments:
        within = _Within(f"processes.{name}")
        sources.places = {path: place for path, place in sources.places.items() if not within(path)}
        sources.filled = {path for path in sources.filled if not within(path)}
        processes.pop(name, None)
        if name in changed:
            processes[name] = changed[name]
            sources.places |= {path: (source, 0) for path in part.lines if within(path)}
            sources.filled |= {path for path in part.filled if within(path)}
    sources.findings += part.findings


class _Within:
    """Whether a path is this one, or one inside it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._inside = (f"{path}.", f"{path}[")

    def __call__(self, path: str) -> bool:
        return path == self._path or path.startswith(self._inside)


def _text(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode(_TEXT, value)


def _pairs(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("has no mapping under processes; write names with what each is")  # noqa: TRY004  a fault of a text
    return [(str(key.value), value) for key, value in node.value]


def _names(node: yaml.Node) -> list[str]:
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(one, yaml.ScalarNode) for one in node.value):
        raise ValueError("has no list of names under removed; write one such as [web]")
    return [str(one.value) for one in node.value]
