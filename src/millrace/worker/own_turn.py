"""One worker of a machine at a time, for what the next finds done when its turn comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from millrace.runtime.clock import Clock
from millrace.runtime.hold import HeldError, Hold
from millrace.telemetry.logs import logger

log = logger("worker")

LOOK_S = 0.1
PATIENCE_S = 60.0
"""How long another worker may take before it is held to hang. One that is killed keeps nobody waiting."""


@asynccontextmanager
async def own_turn(lock: Path, *, clock: Clock) -> AsyncIterator[None]:
    """Enter when no other worker is inside, which the file `lock` tells, or has been for too long.

    Where there can be no such file, everybody enters: that costs time, and nothing else.
    """
    hold = await _take(lock, clock)
    try:
        yield
    finally:
        if hold is not None:
            hold.release()


async def _take(lock: Path, clock: Clock) -> Hold | None:
    began_s, told = clock.monotonic(), False
    while True:
        try:
            return Hold.take(lock)
        except HeldError as error:
            if not told:
                log.info("worker.waits_for_another", reason=str(error), file=str(lock))
                told = True
        except OSError:
            return None
        if clock.monotonic() - began_s >= PATIENCE_S:
            log.warning("worker.waited_in_vain", seconds=PATIENCE_S, file=str(lock))
            return None
        await clock.sleep(LOOK_S)
