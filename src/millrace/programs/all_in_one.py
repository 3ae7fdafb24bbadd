"""A master and a worker in one process: what `millrace transcode` runs on for the length of one job."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack

from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.programs import ffmpeg
from millrace.programs.master import MasterProgram
from millrace.programs.worker import WorkerProgram, worker_terms
from millrace.runtime.service import Service
from millrace.worker.worker import WorkerTerms


class AllInOne(Service):
    """One master and one worker. Ready when the worker is known to the master."""

    def __init__(
        self, master: MasterSettings, worker: WorkerSettings, *, shape: Callable[[WorkerTerms], WorkerTerms]
    ) -> None:
        """The worker's state lies in the master's data folder. `shape` has the last word on its terms."""
        super().__init__()
        self._master = MasterProgram(master)
        self._settings = dataclasses.replace(worker, state=master.data.absolute() / "worker")
        self._shape = shape
        self._parts = AsyncExitStack()

    @property
    def master(self) -> MasterProgram:
        """The master, with its address and key once it is ready."""
        return self._master

    async def on_start(self) -> None:
        """Start the master, then the worker.

        Raises:
            SettingError: what was named as FFmpeg is none, or the required sandbox cannot be had.
        """
        # FFmpeg answers while the programs are put together: one after the other would take the sum of both.
        checking = asyncio.create_task(self._check_engine())
        self._parts.push_async_callback(_settle, checking)
        await self._parts.enter_async_context(self._master)
        settings = dataclasses.replace(self._settings, masters=(self._master.url,), api_key=self._master.key)
        worker = WorkerProgram(settings, self._shape(worker_terms(settings)))
        await checking
        await self._parts.enter_async_context(worker)

    async def _check_engine(self) -> None:
        await ffmpeg.check(self._settings.ffmpeg)
        await ffmpeg.check_sandbox(self._settings.sandbox, self._settings.ffmpeg)

    async def on_stop(self) -> None:
        """Stop the worker, then the master."""
        await self._parts.aclose()


async def _settle(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
