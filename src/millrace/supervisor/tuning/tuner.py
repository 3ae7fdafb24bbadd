"""Size the pools of processes when they start, and say what came of it."""

from collections.abc import Callable, Mapping

from millrace.process.values import CannotStart
from millrace.supervisor.plan import ProcessPlan
from millrace.supervisor.tuning.catalogue import profiles
from millrace.supervisor.tuning.limits import resources
from millrace.supervisor.tuning.sizing import size
from millrace.supervisor.tuning.values import CannotTune, Resources, Sizing
from millrace.telemetry.logs import logger

log = logger("supervisor")


class Tuner:
    """Limits are read at each start, so a changed one counts from the next start of a process."""

    def __init__(self, environ: Mapping[str, str], *, look: Callable[[], Resources] = resources) -> None:
        """What `environ` already holds was set by a person, and stays."""
        self._environ = environ
        self._look = look
        self._told: dict[str, Sizing] = {}

    def variables(self, process: ProcessPlan) -> Mapping[str, str]:
        """What a process gets for its pool; empty where its plan asks for nothing.

        Raises:
            CannotStart: no size fits.
        """
        tune = process.tune
        if tune is None:
            return {}
        try:
            found = size(tune, profiles()[tune.profile], self._look())
        except CannotTune as error:
            raise CannotStart(str(error)) from error
        if self._told.get(process.name) != found:
            self._told[process.name] = found
            log.info(
                "supervisor.tuned", process=process.name, profile=tune.profile, workers=found.workers,
                bound=found.bound.value, used_mb=found.used_mb, warnings=list(found.warnings),
            )  # fmt: skip
        return {name: value for name, value in found.variables.items() if name not in self._environ}
