"""Whether a process has come to rest: what was asked of it is done, or cannot be done. Pure."""

from collections.abc import Iterable

from millrace.supervisor.state import AT_REST, Id, Instance, Phase, State


def instances_of(state: State, process: str) -> list[tuple[Id, Instance]]:
    """The instances of a process, in order."""
    return sorted((each, instance) for each, instance in state.instances.items() if each.process == process)


def is_settled(state: State, process: str) -> bool:
    """Whether every wanted instance is ready or at rest, and every other one is gone or at rest; or replacing has halted."""
    wanted = state.wanted.get(process, 0)
    found = instances_of(state, process)
    roll = state.rolls.get(process)
    if roll is not None:
        return bool(roll.halted)
    if len([each for each, _ in found if each.index < wanted]) < wanted:
        return False
    return all(
        instance.phase in AT_REST
        or instance.phase is Phase.SCHEDULED
        or (each.index < wanted and instance.phase is Phase.RUNNING and instance.ready)
        for each, instance in found
    )


_URGENCY = (
    Phase.FAILED, Phase.BACKING_OFF, Phase.STOPPING, Phase.CLEANING, Phase.WAITING, Phase.STARTING, Phase.RUNNING,
    Phase.SCHEDULED, Phase.COMPLETED, Phase.STOPPED,
)  # fmt: skip


def foremost(phases: Iterable[Phase]) -> Phase:
    """The phase that needs attention most; stopped where there is none."""
    return min(phases, key=_URGENCY.index, default=Phase.STOPPED)


def is_ready(state: State) -> bool:
    """Whether everything that is wanted is ready, or has completed."""
    return not state.ending and all(
        (found := state.instances.get(Id(process, index))) is not None
        and ((found.phase is Phase.RUNNING and found.ready) or found.phase in (Phase.COMPLETED, Phase.SCHEDULED))
        for process, count in state.wanted.items()
        for index in range(count)
    )
