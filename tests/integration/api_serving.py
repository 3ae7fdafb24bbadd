"""A master for tests of its API: real SQLite, real files, the app in process or behind its real server."""

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from ready_made import put_sqlite

from millrace.api.app import App, build_app
from millrace.api.keys import looked_up_in
from millrace.blobs.local import LocalBlobs
from millrace.edge.access import Rates
from millrace.edge.keys import Key, Keys
from millrace.edge.known_keys import KnownKeys
from millrace.edge.server import Served
from millrace.programs.http.listen import listen, url_of
from millrace.programs.http.server import HttpServer
from millrace.runtime.clock import SystemClock
from millrace.scheduler.duties import Duties
from millrace.scheduler.farm import Farm, Rules
from millrace.scheduler.journal import Journal
from millrace.scheduler.offers import Offers
from millrace.store.open import open_store
from millrace.store.store import Store
from millrace.web.astray import with_way_back
from millrace.web.pages import routes
from millrace.web.session import lost

KEY = "test-key-of-the-api"
time_passed = [timedelta()]
"""Added to the time of the store; each master begins at the machine's."""
ENCODERS = {"libx264": "", "aac": ""}


class _ShiftedClock(SystemClock):
    def now(self) -> datetime:
        return super().now() + time_passed[0]


class Rig:
    """A running master, a client with its key, and shorthands."""

    def __init__(self, app: App, farm: Farm, client: httpx2.AsyncClient, log: list[Served]) -> None:
        self.app = app
        self.farm = farm
        self.client = client
        self.log = log

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self.client.request(method, path, **more)

    async def get(self, path: str, **more: Any) -> Any:
        response = await self.client.get(path, **more)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: object = None, *, status: int = 200, **more: Any) -> Any:
        response = await self.client.post(path, json=body, **more)
        assert response.status_code == status, response.text
        return response.json()

    async def submit(self, **fields: object) -> Any:
        return await self.post("/v1/jobs", {"scenario": "720p30-h264", **fields}, status=201)

    async def register(self, name: str = "one", **more: Any) -> "Node":
        body = {
            "fingerprint": f"print-{name.encode().hex()}",
            "boot_id": "boot-0001",
            "name": name,
            "slots": 4,
            "engines": ["ffmpeg"],
            "encoders": ENCODERS,
        }
        reply = await self.post("/v1/nodes", body, **more)
        return Node(self, reply["node"], reply["epoch"])


class Node:
    """A worker, as the API sees it."""

    def __init__(self, rig: Rig, node_id: str, epoch: int) -> None:
        self.rig = rig
        self.id = node_id
        self.epoch = epoch
        self._requests = 0

    async def claim(self, *, wait_s: float = 0, limit: int = 1, request: str = "") -> list[Any]:
        self._requests += 1
        body = {
            "epoch": self.epoch,
            "request": request or f"request-{self._requests}",
            "limit": limit,
            "wait_s": wait_s,
        }
        reply = await self.rig.post(f"/v1/nodes/{self.id}/claim", body)
        return list(reply["tasks"])

    async def report(self, verb: str, task: Any, *, status: int = 200, **more: object) -> Any:
        body = {"node": self.id, "attempt": task["attempt"], **more}
        return await self.rig.post(f"/v1/tasks/{task['task']}/{verb}", body, status=status)


@asynccontextmanager
async def master(
    folder: Path,
    *,
    wrap: Callable[[Store], Store] = lambda store: store,
    keys: Keys | None = None,
    with_pages: bool = False,
    rates: Rates | None = None,
    leadership: Any = None,
    hosts: frozenset[str] | None = None,
    rules: Rules | None = None,
    most_requests: int = 1000,
) -> AsyncIterator[tuple[App, Farm, list[Served]]]:
    store = wrap(open_store(put_sqlite(folder / "farm.db"), clock=_ShiftedClock()))
    time_passed[0] = timedelta()
    await store.start()
    farm = Farm(store, rules=rules or Rules())
    offers = Offers(store)
    log: list[Served] = []

    async def forget(_: object) -> None: ...

    stored = KnownKeys(looked_up_in(store), monotonic_s=farm.clock.monotonic)
    keys = keys or Keys([Key(secret=KEY)], now_s=time.time, stored=stored)
    pages = routes(keys) if with_pages else ()
    journal = Journal(store, clock=farm.clock, chance=farm.chance)
    blobs = LocalBlobs(folder / "blobs")
    app = build_app(
        farm, offers, blobs, keys, pages=pages, lost=lost, served=log.append, journal=journal, rates=rates,
        leadership=leadership, hosts=hosts, most_requests=most_requests,
    )  # fmt: skip
    try:
        async with Duties(farm, offers, complain=print, forget=forget):
            yield app, farm, log
    finally:
        app.stop()
        await journal.stop()
        await store.stop()


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[Rig]:
    """The app in process."""
    async with master(folder, **more) as (app, farm, log):
        served = with_way_back(app) if more.get("with_pages") else app
        transport = httpx2.ASGITransport(app=served, raise_app_exceptions=True)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://master", headers={"x-api-key": KEY}
        ) as client:
            yield Rig(app, farm, client, log)


@asynccontextmanager
async def listening(folder: Path, **more: Any) -> AsyncIterator[Rig]:
    """The app behind its real server on a free port of this machine."""
    async with master(folder, **more) as (app, farm, log):
        opened = listen("127.0.0.1", 0)
        base = url_of(opened, tls=False)
        async with (
            HttpServer(app, opened, certificate=None, key=None, before_stop=app.stop),
            httpx2.AsyncClient(base_url=base, headers={"x-api-key": KEY}, trust_env=False) as client,
        ):
            yield Rig(app, farm, client, log)


def _run(
    serve: Callable[..., Any], test: Callable[..., Awaitable[None]], folder: Path, arguments: dict[str, Any]
) -> None:
    async def body() -> None:
        async with serve(folder) as rig:
            async with asyncio.timeout(30):
                await test(rig, **arguments)

    asyncio.run(body())


def on_master(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with a `Rig` in process."""
    return _decorated(serving, test)


def on_server(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with a `Rig` behind a real server."""
    return _decorated(listening, test)


def on_pages(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test with a `Rig` in process that has the pages too."""
    return _decorated(functools.partial(serving, with_pages=True), test)


def _decorated(serve: Callable[..., Any], test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(tmp_path: Path, **arguments: Any) -> None:
        _run(serve, test, tmp_path, arguments)

    own = list(inspect.signature(test).parameters.values())[1:]
    folder = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Path)
    run.__signature__ = inspect.Signature([folder, *own])  # type: ignore[attr-defined]
    del run.__wrapped__
    return run
