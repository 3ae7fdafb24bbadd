"""The plan in a file, as often as it is asked for."""

from collections.abc import Mapping
from pathlib import Path

from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import Finding, PlanError, Reading
from millrace.supervisor.plans import saved
from millrace.supervisor.plans.amendments import Amendments
from millrace.supervisor.plans.layers import Layers, layered, read_layers
from millrace.supervisor.plans.sources import Sources, gather


class PlanFile:
    """A file with a plan, the variables that fill it in, the files that it includes, and what was saved beside it."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """The folder of the working directory is taken now: a later change of it changes nothing."""
        self.path = path.absolute()
        self.changes = saved.place_beside(self.path)
        """Where changes over the control API are saved."""
        self._environ = dict(environ)
        self._layers: Layers | None = None

    @property
    def layers(self) -> Layers:
        """As they were read the first time. Raises as `load`."""
        if self._layers is None:
            self._layers = self.load()
        return self._layers

    def read(self) -> Plan:
        """The plan as it stands there now. Raises as `load`."""
        self._layers = self.load()
        return self._layers.plan

    def load(self) -> Layers:
        """What stands there now.

        Raises:
            PlanError: it cannot be read, or could not work.
        """
        return layered(self.sources(), self._environ, saved=self.saved(), saved_in=self.changes.name, unsaved={})

    def reading(self) -> Reading:
        """As `load`, with the places of values instead of the layers."""
        return read_layers(self.sources(), self._environ, saved=self.saved(), saved_in=self.changes.name, unsaved={})

    def sources(self) -> Sources:
        """The document of the plan and what it includes. Raises as `load`, where the plan itself cannot be read."""
        return gather(self._text(), self._environ, self.path.parent)

    def saved(self) -> Amendments:
        """What was saved beside the plan. Raises as `load`."""
        try:
            return saved.load(self.changes, owner=self.path.stat().st_uid)
        except (OSError, ValueError) as error:
            raise PlanError([Finding(self.changes.name, 0, "", str(error))]) from error

    def save(self, amendments: Amendments) -> None:
        """Keep them beside the plan, in the place of what stands there.

        Raises:
            OSError: the file cannot be written.
            ValueError: they are too long.
        """
        saved.keep(self.changes, amendments)

    def files(self) -> list[Path]:
        """Every file that the plan is made of now, and every folder in which one more would count."""
        try:
            sources = self.sources()
        except PlanError:
            return [self.path]
        return [self.path, self.changes, *sources.files, *sources.folders]

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError as error:
            why = error.strerror or str(error)
        except UnicodeDecodeError as error:
            why = f"it is no UTF-8 at byte {error.start}"
        raise PlanError([Finding("", 0, "", f"cannot read {self.path}: {why}")])
