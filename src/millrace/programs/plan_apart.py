"""The plan in a file, read by a process of its own as often as it is asked for.

What reads plans takes as much memory as what keeps them, and a text that is made to be hard to read keeps it busy: neither is
for a supervisor. What comes back are values of this program's own, in the form of `pickle`.
"""

import os
import sys
from _pickle import dumps, loads
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from millrace.process.capture import capture
from millrace.process.mark import MARKER
from millrace.process.values import CannotStart, CannotStop, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.plans.findings import Finding, PlanError
from millrace.supervisor.plans.layers import Amendments, Layers, Saving
from millrace.supervisor.plans.saved import place_beside

PATIENCE_S = 60.0
"""How long one reading may take; most take a quarter of a second."""
_READER = "millrace.programs.plan_reader"


class PlanApart:
    """A file with a plan, the variables that fill it in, the files that it includes, and what was saved beside it."""

    def __init__(self, path: Path, environ: Mapping[str, str], clock: Clock, *, changes: Path | None = None) -> None:
        """The folder of the working directory is taken now: a later change of it changes nothing.

        `changes` is where changes over the control API are saved; beside the plan where nothing is said.
        """
        self.path = path.absolute()
        self.changes = place_beside(self.path) if changes is None else changes.absolute()
        """Where changes over the control API are saved."""
        self._cwd = Path.cwd()
        self.environ: Mapping[str, str] = dict(environ)
        """What fills in variables."""
        self._clock = clock

    async def read(self, unsaved: Amendments | None = None) -> Layers:
        """The plan as it stands there now, and on top of it what was not saved.

        Raises:
            PlanError: it cannot be read, or could not work.
        """
        return cast("Layers", await self._ask("plan", unsaved or {}))

    async def saving(self, layers: Layers) -> Saving:
        """What to save beside the plan, so that all of these is kept.

        Raises:
            PlanError: with what the files say now, the plan could not work at the next start.
        """
        return cast("Saving", await self._ask("saving", layers.unsaved, layers.in_files))

    async def files(self) -> list[Path]:
        """Every file that the plan is made of now, and every folder in which one more would count."""
        try:
            return cast("list[Path]", await self._ask("files"))
        except PlanError:
            return [self.path]

    async def _ask(self, what: str, *about: object) -> object:
        exchange = os.memfd_create("plan")
        # -P: nothing that lies in the working directory is taken for a module of Python.
        words = (
            *(sys.executable, "-P", "-m", _READER, what, str(self.path), str(self.changes), str(exchange)),
            self.environ.get(MARKER, ""),
        )
        spec = Spec(argv=words, env=self.environ, cwd=self._cwd, pass_fds=(exchange,))
        try:
            os.pwrite(exchange, dumps(about), 0)
            done = await capture(spec, clock=self._clock, timeout_s=PATIENCE_S)
            if not done.exit.ok:
                why = (
                    f"not within {PATIENCE_S:.0f} s" if done.timed_out else done.stderr.rpartition("\n")[0] or done.exit
                )
                raise self._error(f"what reads it did not end well: {why}")
            found = loads(os.pread(exchange, os.fstat(exchange).st_size, 0))
        except (CannotStart, CannotStop) as error:
            raise self._error(str(error)) from error
        finally:
            os.close(exchange)
        if isinstance(found, tuple):
            raise PlanError(found)
        return found

    def _error(self, why: str) -> PlanError:
        return PlanError([Finding("", 0, "", f"cannot read {self.path}: {why}")])
