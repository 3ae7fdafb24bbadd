"""The plan in a file, as often as it is asked for."""

from collections.abc import Mapping
from pathlib import Path

from millrace.supervisor.plan import Plan
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.sources import gather


class PlanFile:
    """A file with a plan, the variables that fill it in, and the files that it includes."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        """The folder of the working directory is taken now: a later change of it changes nothing."""
        self.path = path.absolute()
        self._environ = dict(environ)

    def read(self) -> Plan:
        """The plan as it stands there now.

        Raises:
            PlanError: it cannot be read, or could not work.
        """
        return plan_from(self._text(), self._environ, self.path.parent)

    def files(self) -> list[Path]:
        """Every file that the plan is made of now, and every folder in which one more would count."""
        try:
            found = gather(self._text(), self._environ, self.path.parent)
        except PlanError:
            return [self.path]
        return [self.path, *found.files, *found.folders]

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError as error:
            why = error.strerror or str(error)
        except UnicodeDecodeError as error:
            why = f"it is no UTF-8 at byte {error.start}"
        raise PlanError([Finding("", 0, "", f"cannot read {self.path}: {why}")])
