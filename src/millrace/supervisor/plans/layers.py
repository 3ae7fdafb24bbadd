"""What a plan is made of while it is kept: its files, what was saved beside them, and changes that were not saved."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import yaml
from msgspec import Struct
from msgspec.structs import replace

from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import Reading, judged
from millrace.supervisor.plans.amendments import Amendments, amend
from millrace.supervisor.plans.sources import Sources
from millrace.supervisor.yaml_text import node_in, spelled

API = "the API"
"""What findings call changes that were not saved."""


Origin = Literal["plan", "saved", "unsaved"]


class Layers(Struct, frozen=True, kw_only=True):
    """The layers, each on top of the one before, and the plan that they make. `saved_in` is what findings call the file."""

    files: Sources
    environ: Mapping[str, str]
    saved: Amendments
    saved_in: str
    unsaved: Amendments
    plan: Plan

    def with_files(self, files: Sources, saved: Amendments, *, discard: bool = False) -> "Layers":
        """The same unsaved changes, or none, on top of other files. Raises as :func:`layered`."""
        unsaved = {} if discard else self.unsaved
        return layered(files, self.environ, saved=saved, saved_in=self.saved_in, unsaved=unsaved)

    def changed(self, name: str, entry: str | None) -> "Layers":
        """With one process another, or (None) removed. Raises as :func:`layered`."""
        unsaved = {**self.unsaved, name: entry}
        if entry is None and name not in self.saved and not self.is_in_files(name):
            del unsaved[name]
        return layered(self.files, self.environ, saved=self.saved, saved_in=self.saved_in, unsaved=unsaved)

    def to_save(self, there: Amendments) -> Amendments:
        """What is to stand in the file that holds `there` now. The removal of what the plan does not have is no news."""
        both = {**there, **self.unsaved}
        return {name: entry for name, entry in both.items() if entry is not None or self.is_in_files(name)}

    def all_saved(self) -> "Layers":
        """The same plan, once all of it was saved."""
        return replace(self, saved=self.to_save(self.saved), unsaved={})

    def origin(self, name: str) -> Origin:
        """Where a process of the plan comes from: `plan`, `saved` or `unsaved`."""
        return "unsaved" if name in self.unsaved else "saved" if name in self.saved else "plan"

    def entry(self, name: str) -> str | None:
        """The YAML of a process, its variables as they stand; None where there is none."""
        for amendments in (self.unsaved, self.saved):
            if name in amendments:
                return amendments[name]
        return next((entry for text in self.files.texts if (entry := _entry_in(text, name)) is not None), None)

    def is_in_files(self, name: str) -> bool:
        """Whether the plan's own text, or what it includes, has it."""
        processes = self.files.document.get("processes") if isinstance(self.files.document, Mapping) else None
        return isinstance(processes, Mapping) and name in processes


def layered(
    files: Sources, environ: Mapping[str, str], *, saved: Amendments, saved_in: str, unsaved: Amendments
) -> Layers:
    """The layers and their plan.

    Raises:
        PlanError: they make no plan that could work.
    """
    plan = read_layers(files, environ, saved=saved, saved_in=saved_in, unsaved=unsaved).plan
    return Layers(files=files, environ=environ, saved=saved, saved_in=saved_in, unsaved=unsaved, plan=plan)


def read_layers(
    files: Sources, environ: Mapping[str, str], *, saved: Amendments, saved_in: str, unsaved: Amendments
) -> Reading:
    """As :func:`layered`, with the places of values instead of the layers."""
    sources = files.copy()
    amend(sources, saved, environ, source=saved_in)
    amend(sources, unsaved, environ, source=API)
    return judged(sources, environ)


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
