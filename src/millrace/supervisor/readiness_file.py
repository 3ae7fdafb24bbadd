"""Keep the readiness file as the state says."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from millrace.supervisor.plan import Plan
from millrace.supervisor.readiness import Bar, Readiness
from millrace.supervisor.state import Phase, State
from millrace.telemetry.logs import logger

log = logger("supervisor")


def is_ready(plan: Plan, state: State) -> bool:
    """Whether everything that the file stands for is ready. Pure. What is being ended is not."""
    return (
        plan.readiness is not None
        and not state.ending
        and all(_counts(plan, state, n) for n in plan.readiness.processes)
    )


def _counts(plan: Plan, state: State, name: str) -> bool:
    wanted = state.wanted.get(name, 0)
    instances = [one for each, one in state.instances.items() if each.process == name and each.index < wanted]
    if not wanted or len(instances) < wanted:
        return False
    if not plan.processes[name].is_service:
        return all(one.phase is Phase.COMPLETED for one in instances)
    lower = plan.readiness is not None and plan.readiness.bar is Bar.RUNNING
    return all(one.phase is Phase.RUNNING and (one.ready or (lower and one.there)) for one in instances)


class ReadinessFile:
    """The file. What cannot be written is said once, and tried again when readiness comes again."""

    def __init__(self, readiness: Readiness) -> None:
        """Take away what an earlier supervisor may have left."""
        self.readiness = readiness
        self._there = True
        self.show(ready=False)

    def show(self, *, ready: bool) -> None:
        """Have it there, or not; does nothing where that is so already."""
        if ready == self._there:
            return
        path = self.readiness.path
        try:
            if ready:
                _write(path, self.readiness.content)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("supervisor.readiness_lost", path=str(path), ready=ready, why=error.strerror or str(error))
        self._there = ready


def _write(path: Path, content: str) -> None:
    """Whole or not at all, under a name of nobody else's; readable for all, as probes may run as another user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
