"""A master and a worker in one process: what `millrace transcode` runs on for the length of one job.

They start at the same time. The master's socket listens before there is a master, so that what the worker says first waits
there for an answer; and the master's modules are imported on a thread while the worker waits for its children.
"""

import asyncio
import dataclasses
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.domain.keys import RANDOM_BYTES, spell
from millrace.programs.http.listen import listen, url_of
from millrace.programs.worker import WorkerProgram, worker_terms
from millrace.runtime.service import Service
from millrace.worker.worker import WorkerTerms

if TYPE_CHECKING:
    from millrace.programs.master import MasterProgram


class AllInOne(Service):
    """One master and one worker. Ready when the worker is known to the master; `url` and `key` are how to reach that then."""

    def __init__(
        self,
        master: MasterSettings,
        worker: WorkerSettings,
        *,
        checked: Awaitable[None],
        shape: Callable[[WorkerTerms], WorkerTerms],
    ) -> None:
        """The worker's state lies in the master's data folder. `shape` has the last word on its terms.

        `checked` returns when the engine and its sandbox are found to be good, see `ffmpeg.checked`; nothing runs before.
        """
        super().__init__()
        # Nobody else will ever ask this master, so its key is kept nowhere.
        self.key = spell(secrets.token_bytes(RANDOM_BYTES))
        self.url = ""
        self._master = dataclasses.replace(master, api_key=self.key)
        self._worker = dataclasses.replace(worker, state=master.data.absolute() / "worker", api_key=self.key)
        self._checked = checked
        self._shape = shape
        self._masters = AsyncExitStack()
        self._workers = AsyncExitStack()

    async def on_start(self) -> None:
        """Start both.

        Raises:
            SettingError: what was named as FFmpeg is none, or the required sandbox cannot be had.
        """
        opened = listen(self._master.host, self._master.port)
        self._masters.callback(opened.close)
        self.url = url_of(opened, tls=False)
        starting = (asyncio.create_task(self._start_master(opened.fileno())), asyncio.create_task(self._start_worker()))
        try:
            await asyncio.gather(*starting)
        finally:
            for one in starting:
                one.cancel()
            await asyncio.gather(*starting, return_exceptions=True)

    async def _start_master(self, descriptor: int) -> None:
        program = await asyncio.to_thread(_master_program)
        await self._masters.enter_async_context(program(self._master, descriptor=os.dup(descriptor)))

    async def _start_worker(self) -> None:
        await self._checked
        settings = dataclasses.replace(self._worker, masters=(self.url,))
        worker = WorkerProgram(settings, self._shape(worker_terms(settings)))
        await self._workers.enter_async_context(worker)

    async def on_stop(self) -> None:
        """Stop the worker, then the master."""
        try:
            await self._workers.aclose()
        finally:
            await self._masters.aclose()


def _master_program() -> "type[MasterProgram]":
    from millrace.programs.master import MasterProgram  # noqa: PLC0415  see the module

    return MasterProgram
