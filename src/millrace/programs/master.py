"""A master, put together: store, blobs, verbs, duties, server. Everything concrete is built here."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import millrace
from millrace.api.app import App, build_app
from millrace.api.audit_recovery import LOOK_S, Survivors, recover
from millrace.api.cache import CacheBounds, trim
from millrace.api.keys import looked_up_in
from millrace.api.master import WorkerAuth
from millrace.api.places import job_prefix, position_in
from millrace.api.uploads import arrived_of
from millrace.blobs.location import open_blobs
from millrace.blobs.values import BlobError, Blobs
from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings
from millrace.domain import ids
from millrace.domain.keys import FIRST
from millrace.domain.masters import Presence
from millrace.domain.tenants import Quotas
from millrace.edge.access import Rate, Rates
from millrace.edge.keys import Key, Keys
from millrace.edge.known_keys import GOOD_FOR_S, KnownKeys
from millrace.outbound.addresses import network
from millrace.outbound.guard import Guard
from millrace.outbound.post import Sender
from millrace.programs import api_key, data_folder
from millrace.programs.exhausted import is_exhausted
from millrace.programs.http.door import most_connections
from millrace.programs.http.listen import adopt, check_certificate, host_of, hosts_of, is_loopback, listen, url_of
from millrace.programs.http.own_tls import FOLDER, Authority, OwnTls, names_for, open_authority
from millrace.programs.http.protocol import HttpProtocol
from millrace.programs.http.server import HttpServer
from millrace.programs.http.subject_protocol import SubjectProtocol
from millrace.programs.http.tls import LiveTls
from millrace.runtime.clock import SystemClock
from millrace.runtime.service import Service, Services
from millrace.runtime.ticker import Ticker
from millrace.scheduler.duties import Duties
from millrace.scheduler.farm import Farm, Rules
from millrace.scheduler.journal import Journal
from millrace.scheduler.leadership import Leadership
from millrace.scheduler.offers import Offers
from millrace.scheduler.outbox import Outbox
from millrace.store.open import is_server, open_store
from millrace.store.store import SchemaTooNewError, Store, StoreError, StoreUnavailableError
from millrace.telemetry.logs import logger
from millrace.web.astray import with_way_back
from millrace.web.pages import routes
from millrace.web.session import lost

log = logger("master")
DATABASE = "millrace.db"
BLOBS = "blobs"
UPLOAD_SWEEP_S = 3600.0
CACHE_TRIM_S = 300.0
MEGABYTE = 10**6
KEY_USE_S = 60.0
CERTIFICATE_S = 3600.0


class _StoreService(Service):
    """The store under the contract of services."""

    def __init__(self, store: Store, *, embedded: bool) -> None:
        super().__init__()
        self._store = store
        self._embedded = embedded

    async def on_start(self) -> None:
        try:
            await self._store.start()
        except StoreUnavailableError as error:
            # A server may come back; a file stays what it is, unless the machine has run out of something.
            if not self._embedded or is_exhausted(error.__cause__):
                raise
            raise SettingError(str(error)) from error

    async def on_stop(self) -> None:
        await self._store.stop()


class MasterProgram(Service):
    """Ready when it answers requests; `url` and `key` are how to reach it then."""

    def __init__(self, settings: MasterSettings, *, descriptor: int | None = None, new_ca: bool = False) -> None:
        """Checks the settings; nothing is opened yet. `descriptor` is a listening socket to serve on, instead of a new one;
        with `new_ca` the farm gets a new authority.

        Raises:
            SettingError: the settings would open the farm to the network without protection.
            ListenError: the descriptor is of no use.
        """
        super().__init__()
        self._listening = None if descriptor is None else adopt(descriptor)
        settings = settings if self._listening is None else replace(settings, host=host_of(self._listening))
        _refuse_unprotected(settings)
        self._settings = settings
        self._new_ca = new_ca
        self._own_tls = OwnTls(settings.data / FOLDER)
        self._broken = asyncio.Event()
        self._why_broken: StoreError | None = None
        self._parts = AsyncExitStack()
        self.url = ""
        self.key = settings.api_key
        self.key_file: Path | None = None
        self.ca: Path | None = None
        """The authority by which to know it; None where that is none of its own."""

        self.shows: LiveTls | None = None
        """The certificate that it shows; None for plain HTTP."""

    async def on_start(self) -> None:
        """Open the store, begin the duties, serve.

        Raises:
            SettingError: the data folder, the database in it or the certificate cannot be used.
            StoreError: the store cannot be opened.
            ListenError: the port cannot be listened on.
            ExhaustedError: the data folder's disk is full.
            BlobError: the place for uploads and outputs cannot be used.
        """
        settings = self._settings
        opened = self._listening
        if opened is None and not (settings.data / DATABASE).exists():
            # A master that runs on this database is worth more words than its port. Where there is no database yet, a taken
            # port leaves none behind.
            opened = listen(settings.host, settings.port)
        if opened is not None:
            self._parts.callback(opened.close)  # also where nothing comes of it
        data_folder.make(settings.data)
        store = open_store(
            settings.store or settings.data / DATABASE,
            connections=settings.store_connections,
            may_lose=settings.store_may_lose,
            on_broken=self._heard_broken,
        )
        blobs = open_blobs(settings.blobs or settings.data / BLOBS, environ=os.environ)
        farm = Farm(store=store, clock=SystemClock(), rules=_rules(settings))
        offers = Offers(store)
        leadership = _leadership(farm, settings, self._attend_failed)
        duties = _duties(farm, offers, blobs, leadership)
        # The store comes first: it holds the lock on the data folder, and a second master ends here.
        await self._parts.enter_async_context(_StoreService(store, embedded=not is_server(settings.store)))
        self.key, self.key_file, made = api_key.find_or_make(settings.api_key, settings.data)
        api_key.check(self.key, self.key_file)
        if made:
            log.info("master.key_made", file=str(self.key_file))
        stored = KnownKeys(looked_up_in(store), monotonic_s=farm.clock.monotonic)
        keys = Keys([Key(secret=self.key, name=FIRST)], now_s=time.time, stored=stored)
        authority = await self._authority(farm)
        guard = Guard(allowed=[network(one) for one in settings.webhook_allow_networks])
        journal = Journal(store, clock=farm.clock, chance=farm.chance)
        self._parts.push_async_callback(journal.stop)
        if not is_server(settings.store):
            await _recover_audit(store)
        app = build_app(
            farm,
            offers,
            blobs,
            keys,
            pages=routes(keys),
            lost=lost,
            guard=guard,
            journal=journal,
            leadership=leadership,
            rates=_rates(settings),
            hosts=hosts_of(settings.host, settings.hosts),
            most_requests=most_connections(),
            authority=authority,
            worker_auth=WorkerAuth(settings.worker_auth),
        )
        app.master.keeps_pieces = settings.cache_mb > 0
        await self._parts.enter_async_context(leadership)
        if is_server(settings.store):
            survivors = Survivors(store, lambda: leadership.attendance, lambda: leadership.leads)
            await self._parts.enter_async_context(_ticker(survivors.look, LOOK_S, farm, "recover_audit"))
        await self._parts.enter_async_context(duties)
        sender = Sender(guard, clock=farm.clock)
        self._parts.push_async_callback(sender.close)
        await self._parts.enter_async_context(Outbox(farm, sender, complain=_complain))
        await self._parts.enter_async_context(_KeyDuties(app, farm, stored))
        await self._parts.enter_async_context(_cache_trim(farm, blobs, settings, leadership))
        if settings.keep_uploads_days:
            await self._parts.enter_async_context(_upload_sweep(app, farm, timedelta(days=settings.keep_uploads_days)))
        listening = opened or listen(settings.host, settings.port)
        self.url = url_of(listening, tls=serves_tls(settings))
        own = self.ca is not None
        server = HttpServer(
            with_way_back(app),
            listening,
            certificate=self._own_tls.shown if own else settings.tls_certificate,
            key=self._own_tls.shown if own else settings.tls_key,
            client_ca=self._own_tls.authority if authority is not None else None,
            client_ca_required=False,
            before_stop=app.stop,
            protocol=SubjectProtocol if authority is not None else HttpProtocol,
        )
        self.shows = app.master.shows = server.tls
        await self._parts.enter_async_context(server)
        log.info("master.ready", url=self.url, store=_place(settings.store) or str(settings.data / DATABASE))

    async def _authority(self, farm: Farm) -> Authority | None:
        """The farm's own authority, where this master shows a certificate of it, or signs for workers with it."""
        settings, files = self._settings, self._own_tls
        self.ca = own_ca(settings)
        if self.ca is None and not (serves_tls(settings) and (files.has_authority() or self._new_ca)):
            if settings.worker_auth == WorkerAuth.MTLS:
                raise SettingError(
                    "cannot ask workers for certificates: this farm has no authority that signs them; "
                    + ("start once with --new-ca" if serves_tls(settings) else "that takes TLS")
                )
            return None
        authority = await open_authority(
            files, farm.store, farm.clock.now, new=self._new_ca, vouches=self.ca is not None
        )
        if self.ca is not None:
            names = names_for(settings.host, settings.tls_names)
            authority.keep_certificate(names)

            async def renew() -> None:
                authority.keep_certificate(names)

            await self._parts.enter_async_context(_ticker(renew, CERTIFICATE_S, farm, "renew_certificate"))
        return authority

    async def wait_broken(self) -> None:
        """Return never, unless the database cannot be trusted any more, or belongs to a newer Millrace.

        Raises:
            StoreError: it cannot, and this program has to end.
        """
        await self._broken.wait()
        if self._why_broken is not None:
            raise self._why_broken

    def _attend_failed(self, error: Exception) -> None:
        if isinstance(error, SchemaTooNewError):
            self._heard_broken(error)
        else:
            _complain("attend", error)

    def _heard_broken(self, error: StoreError) -> None:
        log.error("master.database_broken", reason=str(error))
        self._why_broken = error
        self._broken.set()

    async def on_stop(self) -> None:
        """Stop serving, end the duties, close the store."""
        await self._parts.aclose()


def _leadership(farm: Farm, settings: MasterSettings, complain: Callable[[Exception], None]) -> Leadership:
    presence = Presence(
        id=farm.new_id(ids.master_id, farm.clock.now()),
        name=f"{socket.gethostname()}:{settings.port or os.getpid()}",
        version=millrace.__version__,
    )
    return Leadership(
        farm.store,
        farm.clock,
        presence,
        alone=not is_server(settings.store),
        complain=complain,
    )


def _rates(settings: MasterSettings) -> Rates:
    def rate(given: tuple[float, int] | None) -> Rate | None:
        return None if given is None else Rate(per_s=given[0], burst=given[1])

    return Rates(
        strangers=rate(settings.rate_strangers),
        changes=rate(settings.rate_changes),
        reads=rate(settings.rate_reads),
        machines=rate(settings.rate_machines),
    )


def _rules(settings: MasterSettings) -> Rules:
    return Rules(
        lease_ttl_s=settings.lease_ttl_s,
        heartbeat_s=settings.heartbeat_s,
        max_retries=settings.max_retries,
        ageing_s=settings.ageing_s,
        reject_after_s=settings.reject_after_s,
        split=settings.split,
        hedge=settings.hedge,
        keep_finished=timedelta(days=settings.keep_days) if settings.keep_days else None,
        keep_audit=timedelta(days=settings.keep_audit_days) if settings.keep_audit_days else None,
        quotas=Quotas(
            concurrent=settings.tenant_concurrent,
            queued=settings.tenant_queued,
            per_day=settings.tenant_per_day,
            storage_bytes=settings.tenant_storage_bytes,
        ),
    )


def _refuse_unprotected(settings: MasterSettings) -> None:
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingError("cannot serve TLS: give both a certificate and its key")
    if settings.heartbeat_s * 2 > settings.lease_ttl_s:
        raise SettingError("cannot keep leases: the lease must last at least two heartbeats")
    if settings.tls_certificate is not None and settings.tls_key is not None:
        check_certificate(settings.tls_certificate, settings.tls_key)
    if not is_loopback(settings.host) and not serves_tls(settings):
        log.warning("master.plain_http", host=settings.host, why="keys cross the network in the clear")


def serves_tls(settings: MasterSettings) -> bool:
    """Whether a master speaks TLS: with a certificate that it was given, or off loopback with one of its own."""
    return settings.tls_certificate is not None or not (is_loopback(settings.host) or settings.plain_http)


def own_ca(settings: MasterSettings) -> Path | None:
    """The authority by which to know a master that makes its certificate itself; None where it makes none."""
    own = serves_tls(settings) and settings.tls_certificate is None
    return OwnTls(settings.data / FOLDER).authority if own else None


def _upload_sweep(app: App, farm: Farm, keep: timedelta) -> Ticker:
    async def sweep() -> None:
        if count := await app.expire_uploads(before=await farm.store.now() - keep):
            log.info("master.uploads_expired", count=count)

    return _ticker(sweep, UPLOAD_SWEEP_S, farm, "expire_uploads")


def _cache_trim(farm: Farm, blobs: Blobs, settings: MasterSettings, leadership: Leadership) -> Ticker:
    unused = timedelta(days=settings.cache_days) if settings.cache_days else None
    bounds = CacheBounds(most_bytes=settings.cache_mb * MEGABYTE, unused=unused)

    async def trim_if_leading() -> None:
        if leadership.leads and (count := await trim(blobs, bounds, now=await farm.store.now())):
            log.info("master.pieces_expired", count=count)

    return _ticker(trim_if_leading, CACHE_TRIM_S, farm, "trim_cache")


class _KeyDuties(Service):
    """Ends what waits for keys that have ended, and notes now and then which keys were used, for all of them at once."""

    def __init__(self, app: App, farm: Farm, stored: KnownKeys[Key]) -> None:
        super().__init__()
        self._farm = farm
        self._stored = stored
        self._tickers = Services(
            _ticker(app.heed_keys, GOOD_FOR_S, farm, "heed_keys"),
            _ticker(self._note, KEY_USE_S, farm, "note_keys_used"),
        )

    async def on_start(self) -> None:
        await self._tickers.start()

    async def on_stop(self) -> None:
        """The uses of the last minute are kept too, unless the store is gone."""
        await self._tickers.stop()
        try:
            await self._note()
        except StoreError as error:
            _complain("note_keys_used", error)

    async def _note(self) -> None:
        if used := self._stored.take_used():
            await self._farm.store.note_keys_used(used)


async def _recover_audit(store: Store) -> None:
    """What the master before owed; a full disk must not keep this one from showing what there is."""
    try:
        await recover(store)
    except StoreError as error:
        _complain("recover_audit", error)


def _ticker(duty: Callable[[], Awaitable[None]], interval_s: float, farm: Farm, name: str) -> Ticker:
    return Ticker(
        duty,
        interval_s=interval_s,
        clock=farm.clock,
        on_error=lambda error: _complain(name, error),
        name=name,
        immediately=False,
    )


def _complain(duty: str, error: Exception) -> None:
    log.warning("master.duty_failed", duty=duty, reason=str(error))


def _place(store: str) -> str:
    """The database's place without user and password."""
    parts = urlsplit(store)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if store else ""


def _duties(farm: Farm, offers: Offers, blobs: Blobs, leadership: Leadership) -> Duties:
    forgetter = _Forgetter(blobs)
    return Duties(
        farm,
        offers,
        complain=_complain,
        forget=forgetter,
        forget_pieces=forgetter.pieces,
        look=partial(arrived_of, blobs),
        leads=lambda: leadership.leads,
    )


class _Forgetter:
    """Deletes what the master kept for jobs that are gone."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def __call__(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            await self._delete(job_id, lambda _: True)

    async def pieces(self, job_id: str, last: int) -> bool:
        """What the tasks behind the first, up to this position, have handed on; whether it is gone."""
        return await self._delete(job_id, lambda key: 1 < position_in(key) <= last)

    async def _delete(self, job_id: str, chosen: Callable[[str], bool]) -> bool:
        try:
            async for info in self._blobs.list(job_prefix(job_id)):
                if chosen(info.key):
                    await self._blobs.delete(info.key)
        except BlobError as error:
            log.warning("master.outputs_not_deleted", job=job_id, reason=str(error))
            return False
        return True
