"""How many sessions each family of hardware encoders gives at once on this machine: counted by opening them, or given."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from millrace.domain.sessions import family_of
from millrace.process.child import Child
from millrace.process.sandbox import Able
from millrace.process.values import Batch, CannotStart, Spec
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.worker.own_turn import own_turn
from millrace.worker.proofs import PROOF_TIMEOUT_S, EngineSource, Proven, key_of, remember, remembered, trial

log = logger("worker")

MOST = 16
"""Sessions that are opened at the most. Where all of them open, the number is no bound that a node would reach."""
_BEGUN = re.compile(r"frame=\s*[1-9]")


async def count_sessions(
    source: EngineSource,
    proven: Proven,
    *,
    given: Mapping[str, int],
    cache: Path,
    environment: Mapping[str, str],
    clock: Clock,
    folder: Path,
    able: Able | None = None,
) -> Mapping[str, int]:
    """The sessions of each family that works here; one that has no bound, or is of no use here, is left out.

    `given` is what an operator says, and goes before what would be found. That is remembered in the `cache` for each build and driver, as
    proofs are; workers that share it count one after the other, because each would see what the other leaves. `folder` is where
    trials may write.
    """
    families = {family for encoder in proven.working if (family := family_of(encoder))}
    found = {family: given[family] for family in families & given.keys()}
    if source.session is None or families <= given.keys():
        return found
    key = f"{key_of(source.binary, able)} sessions"
    async with own_turn(cache.with_name(cache.name + ".lock"), clock=clock):
        known = remembered(cache, key)
        fresh = {}
        for family in sorted(families - given.keys() - known.keys()):
            encoder = min(one for one in proven.working if family_of(one) == family)
            spec = trial(source.session(encoder), environment, able, folder)
            fresh[family] = str(await _opened(spec, clock=clock))
        if fresh:
            remember(cache, key, {**known, **fresh})
            log.info("worker.sessions_counted", engine=source.name, **fresh)
    counts = {family: int(count) for family, count in {**known, **fresh}.items() if family in families - given.keys()}
    return {**found, **{family: count for family, count in counts.items() if count < MOST}}


async def _opened(spec: Spec, *, clock: Clock) -> int:
    """How many of these run side by side: one after the other is begun, and all are held, until one is refused."""
    async with AsyncExitStack() as held:
        for number in range(MOST):
            if not await _opens(spec, held, clock=clock):
                return number
    return MOST


async def _opens(spec: Spec, held: AsyncExitStack, *, clock: Clock) -> bool:
    begun = asyncio.Event()

    async def heard(batch: Batch) -> None:
        if any(line.stream == "stdout" and _BEGUN.match(line.text) for line in batch.lines):
            begun.set()

    try:
        child = await Child.start(spec, clock=clock, sink=heard)
    except CannotStart:
        return False
    held.push_async_callback(child.stop, 0.0)
    waits: Sequence[asyncio.Future[object]] = [asyncio.ensure_future(begun.wait()), asyncio.ensure_future(child.wait())]
    try:
        await clock.wait_for(asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED), PROOF_TIMEOUT_S)
    except TimeoutError:
        return False
    finally:
        for one in waits:
            one.cancel()
    return begun.is_set() and not child.ended
