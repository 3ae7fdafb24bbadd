"""How the engines of this worker are shut in: what was asked for, what works here, and what a command may reach."""

from collections.abc import Sequence
from pathlib import Path

from millrace.engines.engine import Command
from millrace.process.able import able
from millrace.process.sandbox import Able, Confinement, Demand, Mechanism, Sandbox, confinement
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger

log = logger("worker")

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
    if not found.whole:
        why = "; ".join(found.refused)
        if demand is Demand.REQUIRE:
            raise CannotShutIn(
                f"cannot shut engines in: {why}; allow user namespaces or install bubblewrap, "
                "or let --sandbox auto or MILLRACE_SANDBOX=auto take what there is"
            )
        log.warning("worker.sandbox_not_whole", record=str(record(found)), remedy="allow user namespaces; see docs")
    return found


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
