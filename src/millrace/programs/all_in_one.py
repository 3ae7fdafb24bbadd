"""Master and workers in one process: `millrace up`, and what `millrace transcode` runs on for the length of one job."""

import dataclasses
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec

from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.programs import ffmpeg
from millrace.programs.master import MasterProgram
from millrace.programs.worker import WorkerProgram, worker_terms
from millrace.runtime.service import Service
from millrace.worker.worker import Worker, WorkerTerms


class AllInOne(Service):
    """One master and `count` workers on this machine. Ready when every worker is known to the master."""

    def __init__(
        self,
        master: MasterSettings,
        worker: WorkerSettings,
        *,
        count: int,
        shape: Callable[[WorkerTerms], WorkerTerms] = lambda terms: terms,
    ) -> None:
        """The workers' state lies in the master's data folder. `shape` has the last word on each worker's terms."""
        super().__init__()
        self._master = MasterProgram(master)
        self._settings = worker
        self._data = master.data.absolute()
        self._count = count
        self._shape = shape
        self._parts = AsyncExitStack()
        self._programs: list[WorkerProgram] = []

    @property
    def master(self) -> MasterProgram:
        """The master, with its address and key once it is ready."""
        return self._master

    @property
    def workers(self) -> list[Worker]:
        """The workers that run."""
        return [program.worker for program in self._programs]

    async def on_start(self) -> None:
        """Start the master, then the workers.

        Raises:
            SettingError: what was named as FFmpeg is none; nothing was made in the data folder.
        """
        await ffmpeg.check(self._settings.ffmpeg)
        await self._parts.enter_async_context(self._master)
        for number in range(1, self._count + 1):
            name = self._settings.name or socket.gethostname()
            settings = dataclasses.replace(
                self._settings,
                masters=(self._master.url,),
                api_key=self._master.key,
                state=self._data / f"worker-{number}",
                name=f"{name}-{number}" if self._count > 1 else name,
            )
            terms = worker_terms(settings)
            terms = msgspec.structs.replace(
                terms, proofs=self._data / "proofs.json", cores=max(1, terms.cores // self._count)
            )
            program = WorkerProgram(settings, self._shape(terms))
            await self._parts.enter_async_context(program)
            self._programs.append(program)

    async def on_stop(self) -> None:
        """Stop the workers, then the master."""
        await self._parts.aclose()
        self._programs.clear()
