"""A worker, put together: engines, clients, places. Everything concrete is built here."""

import os
import random
import socket
from contextlib import AsyncExitStack

from msgspec import to_builtins

from millrace.blobs.location import open_blobs
from millrace.blobs.values import BlobError, Blobs
from millrace.client import enrolment
from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.errors import UnauthorizedError
from millrace.client.http import Terms, trust
from millrace.config.errors import SettingError
from millrace.config.settings import WorkerSettings
from millrace.outbound.addresses import network
from millrace.process.grounds import close_grounds
from millrace.process.sandbox import Demand
from millrace.programs import ffmpeg
from millrace.programs.cores import usable_cores
from millrace.programs.machine import Machine
from millrace.runtime.clock import SystemClock
from millrace.runtime.service import Service
from millrace.runtime.ticker import Ticker
from millrace.telemetry.logs import logger
from millrace.worker.cache import CacheTerms
from millrace.worker.fetch import FetchLimits
from millrace.worker.worker import Worker, WorkerTerms

log = logger("worker")
MEGABYTE = 10**6
DAY_S = 86400.0
CERTIFICATE_S = 3600.0


def _open_store(location: str) -> Blobs:
    return open_blobs(location, environ=os.environ)


def _shared(location: str) -> Blobs | None:
    """The masters' store. Raises SettingError."""
    try:
        return _open_store(location) if location else None
    except BlobError as error:
        raise SettingError(f"cannot use MILLRACE_BLOBS: {error}") from error


class WorkerProgram(Service):
    """Ready when a master knows the node. :attr:`worker` drains and hurries."""

    def __init__(
        self, settings: WorkerSettings, terms: WorkerTerms | None = None, *, machine: Machine | None = None
    ) -> None:
        """`terms` replaces what the settings would give; who gives it has checked the engines in it. `machine` has a key of its
        own, which goes before that of the settings.

        Raises:
            SettingError: there is no master, or no FFmpeg.
        """
        super().__init__()
        if not settings.masters:
            raise SettingError("cannot work: name a master with --master URL")
        if not settings.slots:
            raise SettingError("cannot work: a worker needs at least one slot")
        self._checked = terms is not None
        self._ffmpeg, self._ffmpeg_sha256, self._sandbox = settings.ffmpeg, settings.ffmpeg_sha256, settings.sandbox
        self._parts = AsyncExitStack()
        chance = random.SystemRandom()
        self._machine, self._clock = machine, SystemClock()
        try:
            # Each has a context of its own: that of the heart is used in another thread.
            terms_of_calls, terms_of_heart = (self._call_terms(settings) for _ in range(2))
            self._client = AsyncClient(settings.masters, terms_of_calls)
            self._heart = Client(settings.masters, terms_of_heart)
        except ValueError as error:
            raise SettingError(str(error)) from error
        self._contexts = [one for one in (terms_of_calls.tls, terms_of_heart.tls) if one is not None]
        self.worker = Worker(
            terms or worker_terms(settings),
            client=self._client,
            heart=self._heart,
            clock=self._clock,
            draw=chance.random,
        )

    def _call_terms(self, settings: WorkerSettings) -> Terms:
        machine = self._machine
        if machine is None:
            return Terms(key=settings.api_key or None, tls=trust(settings.ca))
        certificate, key = machine.certificate(self._clock.now())
        return Terms(key=machine.record.key, tls=trust(settings.ca or machine.ca, certificate, key))

    async def on_start(self) -> None:
        """Prove the encoders and register.

        Raises:
            SettingError: what was named as FFmpeg is none or not the expected one, the required sandbox cannot be had, or the machine's own key is
                none any more.
        """
        if not self._checked:
            self.worker.know(ffmpeg=to_builtins(await ffmpeg.identify(self._ffmpeg, self._ffmpeg_sha256)))
        await ffmpeg.check_sandbox(self._sandbox, self._ffmpeg)
        self._parts.callback(close_grounds)
        self._parts.push_async_callback(self._client.close)
        self._parts.callback(self._heart.close)
        try:
            if self._machine is not None and self._machine.record.ends is not None:
                await self._renew(self._machine)
                await self._parts.enter_async_context(self._renewal(self._machine))
            await self._parts.enter_async_context(self.worker)
        except UnauthorizedError as error:
            if self._machine is None:
                raise
            raise SettingError(
                f"cannot work with the key of this machine ({self._machine.place}): {error}; where it was revoked, let the "
                "machine join again, with a token of `millrace nodes invite`"
            ) from error

    def _renewal(self, machine: Machine) -> Ticker:
        def complain(error: Exception) -> None:
            log.warning("worker.certificate_not_renewed", reason=str(error), ends=str(machine.record.ends))

        return Ticker(
            lambda: self._renew(machine), interval_s=CERTIFICATE_S, clock=self._clock, on_error=complain,
            name="renew the certificate", immediately=False,
        )  # fmt: skip

    async def _renew(self, machine: Machine) -> None:
        """Get the next certificate where it is time, and show it to who is asked from now on."""
        if not machine.due(self._clock.now()):
            return
        machine.keep(await self._client.do(enrolment.certify(machine.record.node, machine.request())))
        certificate, key = machine.certificate(self._clock.now())
        if certificate is not None:
            for context in self._contexts:
                context.load_cert_chain(certificate, key)  # for the same private key, so it is never half done
        log.info("worker.certificate_renewed", ends=str(machine.record.ends))

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
        sessions=dict(settings.sessions),
        cores=max(1, usable_cores(settings.cores) // settings.slots),
        labels=dict(settings.labels),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEGABYTE,
        facts={"cpus": os.cpu_count() or 1, "host": socket.gethostname()},
        keep_free_bytes=settings.min_free_mb * MEGABYTE,
        stall_s=settings.stall_s,
        timeout_s=settings.timeout_s,
        engine_memory_bytes=settings.engine_memory_mb * MEGABYTE or None,
        engine_pids=settings.engine_pids or None,
        input_networks=[network(one) for one in settings.input_allow_networks],
        fetch=FetchLimits(
            largest_bytes=settings.input_max_mb * MEGABYTE,
            deadline_s=settings.input_timeout_s,
            keep_free_bytes=settings.min_free_mb * MEGABYTE,
        ),
        kept_bytes=settings.input_cache_mb * MEGABYTE,
        keep_s=settings.input_cache_s,
        sandbox=Demand(settings.sandbox),
        shared=_shared(settings.blobs),
        open_store=_open_store,
        cache=_cache(settings),
    )


def _cache(settings: WorkerSettings) -> CacheTerms | None:
    """What is kept of finished pieces. It makes room before the disk is so full that work would be handed back."""
    if not settings.cache_mb:
        return None
    return CacheTerms(
        folder=(settings.cache or settings.state / "cache").absolute(),
        most_bytes=settings.cache_mb * MEGABYTE,
        unused_s=settings.cache_days * DAY_S or float("inf"),
        keep_free_bytes=2 * settings.min_free_mb * MEGABYTE,
    )
