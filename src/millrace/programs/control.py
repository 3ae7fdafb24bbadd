"""The control of a supervisor, put together: what is seen of the keeper, who changed what, and the doors to ask at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from millrace.config.errors import SettingError
from millrace.programs.control_doors import ControlDoors
from millrace.programs.control_settings import ControlSettings
from millrace.runtime.clock import Clock
from millrace.supervisor.audit_trail import Trail
from millrace.supervisor.change.reloader import Reloader
from millrace.supervisor.control.supervisor import Kept, Supervisor
from millrace.supervisor.happenings import Happening
from millrace.supervisor.listener import Listener
from millrace.supervisor.logs.entry import Entry
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id, Instance, Reloaded, Rescaled, Rolled
from millrace.telemetry.redact import MASK, Redactor


class Control(Listener):
    """Hears what the keeper says, and answers while it is entered as a context; at the end, `close`."""

    def __init__(self, settings: ControlSettings, environ: Mapping[str, str], clock: Clock) -> None:
        """Take the sockets, and open the audit trail.

        Raises:
            SettingError: the control API cannot be served as it was asked for.
        """
        self._supervisor = Supervisor(clock, secrets=_secrets(environ), trail=_trail(settings.audit))
        try:
            self._doors = ControlDoors(self._supervisor, settings, environ)
        except BaseException:
            self._supervisor.trail.close()
            raise

    def attach(self, keeper: Kept, reloader: Reloader | None) -> None:
        """This keeper is told what to do; `reloader` reads its plan again."""
        self._supervisor.attach(keeper, reloader)

    async def __aenter__(self) -> Self:
        """Return when requests are answered."""
        await self._doors.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Return when every connection is closed."""
        await self._doors.stop()
        await self._supervisor.resources.close()

    def close(self) -> None:
        """Let go of the path of the socket, and of the audit trail."""
        self._doors.close()
        self._supervisor.trail.close()

    def changed(self, each: Id, instance: Instance | None) -> None:
        """An instance has changed, or (None) was scaled away."""
        self._supervisor.heard(each, instance)

    def happened(self, one: Happening) -> None:
        """Something is over."""
        self._supervisor.ledger.note(one)

    def adopted(self, plan: Plan) -> None:
        """Another plan is in force."""
        self._supervisor.adopted(plan)

    def told(self, news: Reloaded | Rolled | Rescaled) -> None:
        """A change that takes its time has begun, or this became of it."""
        self._supervisor.told(news)

    def printed(self, each: Id, entries: Sequence[Entry]) -> None:
        """An instance has printed lines."""
        self._supervisor.printed(each, entries)


def _secrets(environ: Mapping[str, str]) -> list[str]:
    """Values of the environment, which a plan may have taken in, whose names say that they are secrets."""
    redactor = Redactor()
    return [value for name, value in environ.items() if redactor.value(value, name) == MASK]


def _trail(path: Path | None) -> Trail:
    try:
        return Trail(path)
    except OSError as error:
        raise SettingError(
            f"cannot write the audit trail to {path}: {error.strerror}; name another file with --audit-log"
        ) from error
