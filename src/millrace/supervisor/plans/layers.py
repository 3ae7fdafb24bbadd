"""What a plan is made of while it is kept: its files, what was saved beside them, and changes that were not saved.

A value that takes little; what makes one, or another of it, takes all that reads plans (see `layering`).
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from millrace.supervisor.plan import Plan

Amendments = Mapping[str, str | None]
"""Changes of single processes. By the name of each: its YAML, or None where it was removed."""
Origin = Literal["plan", "saved", "unsaved"]


class Layers(Struct, frozen=True, kw_only=True):
    """The layers, each on top of the one before, and the plan that they make.

    `files` are the plan's own text and what it includes, as bytes that `layering` understands; `in_files` are the names of the
    processes there. `saved_in` is what findings call the file with what was saved.
    """

    files: bytes
    in_files: frozenset[str]
    saved: Amendments
    saved_in: str
    unsaved: Amendments
    plan: Plan

    def origin(self, name: str) -> Origin:
        """Where a process of the plan comes from: `plan`, `saved` or `unsaved`."""
        return "unsaved" if name in self.unsaved else "saved" if name in self.saved else "plan"

    def removes(self, name: str) -> bool:
        """Whether what was changed leaves no such process."""
        return {**self.saved, **self.unsaved}.get(name, "") is None

    def all_saved(self) -> "Layers":
        """The same plan, once all of it was saved."""
        return replace(self, saved=to_save(self.saved, self.unsaved, self.in_files), unsaved={})


def to_save(there: Amendments, unsaved: Amendments, in_files: frozenset[str]) -> Amendments:
    """What is to stand in the file that holds `there` now. The removal of what the plan does not have is no news."""
    both = {**there, **unsaved}
    return {name: entry for name, entry in both.items() if entry is not None or name in in_files}


class Saving(Struct, frozen=True, kw_only=True):
    """What can be saved: the text of the file, empty for none, and the names of the processes in it."""

    text: str
    names: tuple[str, ...]
