"""Make the layers of a plan, and others of them. It needs all that reads plans, which a supervisor has only once it is used."""

from _pickle import dumps, loads
from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import yaml

from millrace.supervisor.plan_document import Reading, judged
from millrace.supervisor.plans.amendments import amend
from millrace.supervisor.plans.layers import Amendments, Layers
from millrace.supervisor.plans.sources import Sources
from millrace.supervisor.yaml_text import node_in, spelled

API = "the API"
"""What findings call changes that were not saved."""


def layered(
    files: Sources, environ: Mapping[str, str], *, saved: Amendments, saved_in: str, unsaved: Amendments
) -> Layers:
    """The layers and their plan. `files` are used up by it.

    Raises:
        PlanError: they make no plan that could work.
    """
    packed, names = dumps(files), _names(files)
    plan = read_layers(files, environ, saved=saved, saved_in=saved_in, unsaved=unsaved).plan
    return Layers(files=packed, in_files=names, saved=saved, saved_in=saved_in, unsaved=unsaved, plan=plan)


def read_layers(
    files: Sources, environ: Mapping[str, str], *, saved: Amendments, saved_in: str, unsaved: Amendments
) -> Reading:
    """As :func:`layered`, with the places of values instead of the layers."""
    amend(files, saved, environ, source=saved_in)
    amend(files, unsaved, environ, source=API)
    return judged(files, environ)


def changed(layers: Layers, environ: Mapping[str, str], name: str, entry: str | None) -> Layers:
    """With one process another, or (None) removed. Raises as :func:`layered`."""
    unsaved = {**layers.unsaved, name: entry}
    if entry is None and name not in layers.saved and name not in layers.in_files:
        del unsaved[name]
    return layered(_files(layers), environ, saved=layers.saved, saved_in=layers.saved_in, unsaved=unsaved)


def entry_of(layers: Layers, name: str) -> str | None:
    """The YAML of a process, its variables as they stand; None where there is none."""
    for amendments in (layers.unsaved, layers.saved):
        if name in amendments:
            return amendments[name]
    return next((entry for text in _files(layers).texts if (entry := _entry_in(text, name)) is not None), None)


def _files(layers: Layers) -> Sources:
    """A copy of the files' own, to be changed."""
    return cast("Sources", loads(layers.files))


def _names(files: Sources) -> frozenset[str]:
    processes = files.document.get("processes") if isinstance(files.document, Mapping) else None
    return frozenset(map(str, processes)) if isinstance(processes, Mapping) else frozenset()


@lru_cache(maxsize=8)
def _entry_in(text: str, name: str) -> str | None:
    """A form asks for the same with every key that is typed, and a large plan takes half a second to be read."""
    processes = _child(node_in(text), "processes")
    found = None if processes is None else _child(processes, name)
    return None if found is None else spelled(found)


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if str(key.value) == name), None)
