"""Every key that a plan may have, found by asking the reading itself: there is no second list that could disagree.

The reading is run over small documents, and each key that it looks up is noted with what may stand there. Whatever it looked up
for the first time is then tried as a mapping, as a list of mappings, as a mapping by names, and as each of its words, until
nothing new is asked for.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

from msgspec import Struct, field

from millrace.supervisor.plans.reader import Noted

NAME = "NAME"
"""Stands for a name that the author of a plan chooses."""
_PART = re.compile(r"[^.\[\]]+|\[0\]")


class Key(Struct):
    """One key: the JSON Schemas of the plain values that may stand there, and what may stand inside.

    `entries` is what stands under a name that the author chooses, `item` what stands in a list.
    """

    path: str = ""
    values: list[dict[str, Any]] = field(default_factory=list)
    children: dict[str, "Key"] = field(default_factory=dict)
    entries: "Key | None" = None
    item: "Key | None" = None
    required: list[str] = field(default_factory=list)

    def walk(self) -> Iterator["Key"]:
        """Every key below this one, each before what stands inside it."""
        for one in (*self.children.values(), self.entries, self.item):
            if one is not None:
                yield one
                yield from one.walk()


def explore(read: Callable[[object, Noted], object]) -> Key:
    """The keys that a reading knows."""
    root = Key()
    asked: dict[str, Key] = {"": root}
    missing: set[tuple[str, str]] = set()
    waiting: deque[tuple[dict[str, Any], str]] = deque([({}, "")])
    while waiting:
        document, tried = waiting.popleft()
        notes = Noted()
        read(document, notes)
        for path, schemas in notes.asked.items():
            key = asked.get(path)
            if key is None:
                asked[path] = key = _add(root, path)
                forms = [{}, [{}], {NAME: {}}, *(word for one in schemas for word in one.get("enum", ()))]
                waiting.extend((_with(document, path, form), path) for form in forms)
            for schema in schemas:
                _take(key, schema)
        for path, message in notes:
            outer, _, name = path.rpartition(".")
            if outer in (tried, f"{tried}.{NAME}", f"{tried}[0]") and message.startswith("is missing"):
                missing.add((outer, name))
    for one in root.walk():
        one.required = sorted(name for outer, name in missing if outer == one.path)
    return root


def _take(key: Key, schema: dict[str, Any]) -> None:
    """Keep what may stand there; where two readings differ in their bounds, the wider."""
    if schema == {"type": "object"}:
        return
    for one in key.values:
        if one.get("type") == schema.get("type") and one.get("enum") == schema.get("enum") and "anyOf" not in one:
            for bound, choose in (("minimum", min), ("maximum", max)):
                if bound in one and bound in schema:
                    one[bound] = choose(one[bound], schema[bound])
            return
        if "anyOf" in one and "anyOf" in schema:
            return
    key.values.append(dict(schema))


def _add(root: Key, path: str) -> Key:
    key = root
    for part in _PART.findall(path):
        inside = f"{key.path}{part}" if part == "[0]" or not key.path else f"{key.path}.{part}"
        if part == "[0]":
            key.item = key.item or Key(path=inside)
            key = key.item
        elif part == NAME:
            key.entries = key.entries or Key(path=inside)
            key = key.entries
        else:
            key = key.children.setdefault(part, Key(path=inside))
    return key


def _with(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of the document with a value at a path."""
    copy: Any = deepcopy(document)
    inner = copy
    parts: list[str | int] = [0 if part == "[0]" else part for part in _PART.findall(path)]
    for part, following in pairwise(parts):
        if isinstance(part, str) and not isinstance(inner.get(part), list if following == 0 else dict):
            inner[part] = [{}] if following == 0 else {}
        inner = inner[part]
    inner[parts[-1]] = deepcopy(value)
    return copy  # type: ignore[no-any-return]  # it began as the same document
