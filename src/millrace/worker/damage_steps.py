"""The steps of a task whose input is damaged: find out where, and fail with that or go on without it."""

from pathlib import Path

from msgspec.structs import replace

from millrace.domain.media.damage import Damage, OnDamage
from millrace.domain.media.probe import Probe
from millrace.worker.failure import DamagedError, TaskFailedError
from millrace.worker.media_steps import MediaSteps


async def looked_into(
    steps: MediaSteps, source: Path, error: DamagedError, *, probe: Probe | None, on_damage: OnDamage
) -> tuple[Probe, Damage]:
    """What is known of a source that the engine could not read to its end, and where it is damaged. `probe` is None where the probe
    itself has failed.

    Only who has failed pays for it: the source is decoded once more, from the beginning to the end.

    Raises:
        TaskFailedError: class `input`, with the places; the job wants no damaged film, or nothing more can be known of this one, or it
            is not damaged but another one by now.
    """
    await steps.unchanged()
    known = error.probe or probe
    try:
        if known is None:
            known = await steps.probe(source)
        places = steps.engine.read_damage(known, await steps.collect_all(steps.engine.damage(source, known)))
    except TaskFailedError as failed:
        steps.log.say(f"damage: cannot tell where it is: {failed}")
        raise error from None
    damage = replace(error.damage, places=places)
    steps.log.say(f"damage: {damage.sentence or 'no decoder says where it is'}")
    if on_damage is OnDamage.FAIL:
        raise TaskFailedError(
            error.failure.failure_class,
            f"{error.failure.message} {damage.sentence}".strip(),
            facts={"damage": {"on_damage": str(on_damage), **damage.document}},
        ) from error
    return known, damage
