"""Probing an input before its task is there, for a worker that is started for one film and knows which.

The probe is the one that the task would do, shut in and bounded like every engine; the task asks for it instead of doing it
again. Where anything is wrong with it the task does it again all the same, so that only time is won or lost.
"""

import asyncio
from pathlib import Path

from millrace.engines.engine import Command, Outcome
from millrace.runtime.clock import Clock
from millrace.worker.attempt_log import Diary, Notes
from millrace.worker.control import Control
from millrace.worker.engine_run import Engines, collect
from millrace.worker.failure import TaskFailedError


class Ahead:
    """One command that was begun ahead of its task."""

    def __init__(self, command: Command, *, engines: Engines, clock: Clock, folder: Path) -> None:
        """Begins at once. `folder` is where it may write, if it writes at all."""
        self._command = command
        self._notes = Notes(clock)
        self._given = False
        self._running = asyncio.create_task(
            collect(command, engines=engines, control=Control(clock), log=self._notes, folder=folder),
            name=f"{command.label} ahead",
        )

    async def outcome(self, command: Command, log: Diary) -> Outcome | None:
        """How it ended, with what was said of it in the log; None where another command is meant, or it came to nothing.

        Only the first who asks gets it. Cancelled, it ends the command first.
        """
        if command != self._command or self._given:
            return None
        self._given = True
        try:
            found = await self._running
        except TaskFailedError:
            return None
        except asyncio.CancelledError:
            await self.drop()
            raise
        log.write(self._notes.text)
        return found

    async def drop(self) -> None:
        """Nobody will ask any more: nothing of it runs when this returns."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
