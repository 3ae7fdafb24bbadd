"""The plan in a file, as often as it is asked for."""

from collections.abc import Mapping
from pathlib import Path

from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import Reading
from millrace.supervisor.plans import saved
from millrace.supervisor.plans.amendments import amendments_from, text_of
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.layering import layered, read_layers
from millrace.supervisor.plans.layers import Amendments, Layers, Saving, to_save
from millrace.supervisor.plans.sources import Sources, gather
from millrace.supervisor.plans.text_file import MAX_CHARS, text_in


class PlanFile:
    """A file with a plan, the variables that fill it in, the files that it includes, and what was saved beside it."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], text: str | None = None, *, changes: Path | None = None
    ) -> None:
        """The folder of the working directory is taken now: a later change of it changes nothing.

        `text` is what stands in the file, where that is known: a pipe gives it once. `changes` is where changes over the
        control API are saved; beside the plan where nothing is said.
        """
        self.path = path.absolute()
        self.changes = saved.place_beside(self.path) if changes is None else changes.absolute()
        """Where changes over the control API are saved."""
        self._changes_name = self.changes.name if changes is None else str(changes)
        self._environ = dict(environ)
        self._known = text

    def read(self) -> Plan:
        """The plan as it stands there now. Raises as `load`."""
        return self.load().plan

    def load(self, unsaved: Amendments | None = None) -> Layers:
        """What stands there now, and on top of it what was not saved.

        Raises:
            PlanError: it cannot be read, or could not work.
        """
        return layered(
            self._sources(), self._environ, saved=self._saved(), saved_in=self._changes_name, unsaved=unsaved or {}
        )

    def reading(self) -> Reading:
        """As `load`, with the places of values instead of the layers."""
        return read_layers(self._sources(), self._environ, saved=self._saved(), saved_in=self._changes_name, unsaved={})

    def saving(self, unsaved: Amendments, in_files: frozenset[str]) -> Saving:
        """What to save beside the plan, so that this is kept, too. `in_files` are the processes of the plan in force.

        Raises:
            PlanError: with what the files say now, the plan could not work at the next start.
        """
        there = to_save(self._saved(), unsaved, in_files)
        layered(self._sources(), self._environ, saved=there, saved_in=self._changes_name, unsaved={})
        try:
            text = saved.HEADER + text_of(there) if there else ""
        except ValueError as error:
            raise self._error(str(error)) from error
        if len(text) > MAX_CHARS:
            raise self._error(f"would be longer than {MAX_CHARS} characters")
        return Saving(text=text, names=tuple(sorted(there)))

    def files(self) -> list[Path]:
        """Every file that the plan is made of now, and every folder in which one more would count."""
        try:
            found = self._sources()
        except PlanError:
            return [self.path]
        return [self.path, self.changes, *found.files, *found.folders]

    def _sources(self) -> Sources:
        return gather(self._text(), self._environ, self.path.parent)

    def _saved(self) -> Amendments:
        try:
            text = saved.load(self.changes, owner=self._owner(), most=MAX_CHARS)
            return {} if text is None else amendments_from(text)
        except (OSError, ValueError) as error:
            raise self._error(str(error)) from error

    def _owner(self) -> int:
        return self.path.stat().st_uid

    def _error(self, why: str) -> PlanError:
        return PlanError([Finding(self._changes_name, 0, "", why)])

    def _text(self) -> str:
        if self._known is not None:
            return self._known
        try:
            return text_in(self.path)
        except OSError as error:
            why = error.strerror or str(error)
        except ValueError as error:
            why = str(error)
        raise PlanError([Finding("", 0, "", f"cannot read {self.path}: {why}")])
