"""How the engines of this worker are shut in: what was asked for, what works here, and what a command may reach."""

from collections.abc import Sequence
from pathlib import Path

from millrace.domain.failures import FailureClass
from millrace.engines.engine import Command
from millrace.process.able import able
from millrace.process.sandbox import Able, Confinement, Demand, Mechanism, Sandbox, confinement
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import scheme_of, shown

log = logger("worker")

REMEDY = "allow user namespaces or install bubblewrap"
_DEVICES = ("nvidia*", "dri/*")
"""Below /dev: encoders on graphics cards."""


class CannotShutIn(Exception):  # noqa: N818  the message begins with these words
    """The sandbox is required, and does not work whole here; the message says why."""


async def way_in(demand: Demand, programs: Sequence[Path], *, clock: Clock) -> Able | None:
    """How to shut in what these programs do, as well as the worst of them allows; None for not at all. Found once in the life of
    a process.

    Raises:
        CannotShutIn: a whole sandbox is required.
    """
    if demand is Demand.OFF or not programs:
        return None
    order = list(Mechanism)
    each = [await able((str(program), "-version"), clock=clock) for program in programs]
    found = max(each, key=lambda one: order.index(one.mechanism))
    if demand is Demand.REQUIRE and not found.whole:
        raise CannotShutIn(
            f"cannot shut engines in: {'; '.join(found.refused)}; {REMEDY}, "
            "or let --sandbox auto or MILLRACE_SANDBOX=auto take what there is"
        )
    return found


def admit(location: str, found: Able | None) -> None:
    """Pass, or refuse what strangers may have made where nothing at all would hold it.

    Folders are the operator's, who names them; what comes by an upload or a URL is whoever's. Without a sandbox it is read where
    somebody said so (`off`), not where it just does not work here.

    Raises:
        TaskFailedError: class `capability`.
    """
    if scheme_of(location) == "file" or found is None or found.mechanism is not Mechanism.NONE:
        return
    raise TaskFailedError(
        FailureClass.CAPABILITY,
        f"cannot take {shown(location)}: no sandbox works on this worker ({'; '.join(found.refused)}), and an upload or a URL may be "
        f"made to do harm; {REMEDY}, or let --sandbox off or MILLRACE_SANDBOX=off take the risk",
    )


def warn_of_gaps(found: Able | None) -> None:
    """Say what is not in force though nobody has switched it off. For who runs engines: who only looks says nothing."""
    if found is not None and not found.whole:
        log.warning("worker.sandbox_not_whole", sandbox=str(record(found)), remedy=REMEDY)


def record(found: Able | None) -> Confinement:
    """What holds for every engine here."""
    return confinement(None if found is None else Sandbox(able=found))


def sandbox_for(command: Command, found: Able, folder: Path) -> Sandbox:
    """What one command may reach; `folder` is that of its attempt."""
    writes = command.writes if command.writes is not None or command.reads else folder
    return Sandbox(
        able=found,
        reads=command.reads,
        writes=() if writes is None else (writes,),
        devices=tuple(sorted(path for pattern in _DEVICES for path in Path("/dev").glob(pattern))),
    )
