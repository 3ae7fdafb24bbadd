"""A worker, put together: engines, clients, places. Everything concrete is built here."""

import os
import random
import socket
from contextlib import AsyncExitStack

from millrace.blobs.location import open_blobs
from millrace.blobs.values import Blobs
from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.http import Terms, trust
from millrace.config.errors import SettingError
from millrace.config.settings import WorkerSettings
from millrace.process.grounds import close_grounds
from millrace.process.sandbox import Demand
from millrace.programs import ffmpeg
from millrace.programs.cores import usable_cores
from millrace.runtime.clock import SystemClock
from millrace.runtime.service import Service
from millrace.worker.worker import Worker, WorkerTerms

MEGABYTE = 10**6


def _open_store(location: str) -> Blobs:
    return open_blobs(location, environ=os.environ)


class WorkerProgram(Service):
    """Ready when a master knows the node. :attr:`worker` drains and hurries."""

    def __init__(self, settings: WorkerSettings, terms: WorkerTerms | None = None) -> None:
        """`terms` replaces what the settings would give; who gives it has checked the engines in it.

        Raises:
            SettingError: there is no master, or no FFmpeg.
        """
        super().__init__()
        if not settings.masters:
            raise SettingError("cannot work: name a master with --master URL")
        if not settings.slots:
            raise SettingError("cannot work: a worker needs at least one slot")
        self._given_ffmpeg = settings.ffmpeg if terms is None else None
        self._ffmpeg, self._sandbox = settings.ffmpeg, settings.sandbox
        self._parts = AsyncExitStack()
        chance = random.SystemRandom()
        try:
            call_terms = Terms(key=settings.api_key or None, tls=trust(settings.ca))
            self._client = AsyncClient(settings.masters, call_terms)
            self._heart = Client(settings.masters, call_terms)
        except ValueError as error:
            raise SettingError(str(error)) from error
        self.worker = Worker(
            terms or worker_terms(settings),
            client=self._client,
            heart=self._heart,
            clock=SystemClock(),
            draw=chance.random,
        )

    async def on_start(self) -> None:
        """Prove the encoders and register.

        Raises:
            SettingError: what was named as FFmpeg is none, or the required sandbox cannot be had.
        """
        await ffmpeg.check(self._given_ffmpeg)
        await ffmpeg.check_sandbox(self._sandbox, self._ffmpeg)
        self._parts.callback(close_grounds)
        self._parts.push_async_callback(self._client.close)
        self._parts.callback(self._heart.close)
        await self._parts.enter_async_context(self.worker)

    async def on_stop(self) -> None:
        """Hand everything back and let go."""
        await self._parts.aclose()


def worker_terms(settings: WorkerSettings) -> WorkerTerms:
    """What the settings make of a worker."""
    # Engines run in folders of their own, so no path may depend on where the worker was started.
    state = settings.state.absolute()
    return WorkerTerms(
        name=settings.name or socket.gethostname(),
        state=state,
        scratch=state / "scratch",
        roots=settings.media_roots,
        proofs=settings.proofs and settings.proofs.absolute(),
        engines=(ffmpeg.source(ffmpeg.binary(settings.ffmpeg)),),
        slots=settings.slots,
        cores=max(1, usable_cores(settings.cores) // settings.slots),
        labels=dict(settings.labels),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEGABYTE,
        facts={"cpus": os.cpu_count() or 1, "host": socket.gethostname()},
        keep_free_bytes=settings.min_free_mb * MEGABYTE,
        stall_s=settings.stall_s,
        engine_memory_bytes=settings.engine_memory_mb * MEGABYTE or None,
        allow_private_inputs=settings.allow_private_inputs,
        sandbox=Demand(settings.sandbox),
        open_store=_open_store,
    )
