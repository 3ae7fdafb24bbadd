"""The network between simulated hosts: requests and answers that are late, lost, doubled or cut off.

What a client may learn is what `httpx2` would tell it: an answer, or that there was none and whether anything can have been
sent. What a server sees are the messages of ASGI. A connection ends for the server when the client gives up or dies.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from millrace.client import http
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Answer, Call, FileSlice
from millrace.client.client import Client
from millrace.client.failover import Broken, Masters
from millrace.client.http import Terms
from millrace.client.replies import refusal
from sim.machines import Host, Process

if TYPE_CHECKING:
    from sim.world import World

T = TypeVar("T")
App = Callable[[Any, Any, Any], Awaitable[None]]
REFUSED = "connection refused; is it running?"


class Weather(Struct, kw_only=True):
    """How bad the network is: chances for each request, and the mean of a delay in seconds."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    reset_request: float = 0.0
    reset_reply: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    delay_s: float = 0.002


class Door(Struct):
    """Where a server answers."""

    process: Process
    app: App


class Network:
    """Which host can reach which, and how well."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world = world
        self.chance = chance
        self.doors: dict[str, Door] = {}
        self.hosts: dict[str, Host] = {}
        self.cut: list[tuple[str, str]] = []  # (from, to), "*" for everybody
        self.weathers: list[tuple[str, Weather]] = []
        self.calm = Weather()
        self.count = 0

    def reaches(self, source: Host, target: Host) -> bool:
        """Whether packets go this way."""
        pairs = ((source.name, target.name), (source.name, "*"), ("*", target.name))
        return not any(pair in self.cut for pair in pairs)

    def weather(self, one: Host, other: Host) -> Weather:
        """The worst that holds between two hosts."""
        for host, weather in reversed(self.weathers):
            if host in ("*", one.name, other.name):
                return weather
        return self.calm

    def delay_s(self, weather: Weather) -> float:
        """One way."""
        return 0.0003 + self.chance.expovariate(1.0) * weather.delay_s

    def ask(
        self, client: Process, base: str, call: Call[Any], headers: Sequence[tuple[bytes, bytes]], body: bytes,
        connect_s: float, done: Callable[[Answer | Broken], None],
    ) -> "Exchange":  # fmt: skip
        """Send a request; `done` is called once, as a step of the client."""
        self.count += 1
        exchange = Exchange(self, self.count, client, base, call, headers, body, done)
        exchange.begin(connect_s)
        return exchange


class Exchange:
    """One request and its answer."""

    def __init__(
        self, network: Network, number: int, client: Process, base: str, call: Call[Any],
        headers: Sequence[tuple[bytes, bytes]], body: bytes, done: Callable[[Answer | Broken], None],
    ) -> None:  # fmt: skip
        self._network = network
        self.number = number
        self._client = client
        self._base = base
        self.call = call
        self._headers = list(headers)
        self.body = body
        self._done = done
        self._settled = False
        self._server: Process | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._servings: list[_Serving] = []
        self._reply_fate = ""

    def begin(self, connect_s: float) -> None:
        network, chance = self._network, self._network.chance
        door = network.doors.get(self._base)
        host = network.hosts[self._base]
        weather = network.weather(self._client.host, host)
        there_s = network.delay_s(weather)
        self._timers.append(
            self._client.later(self._client.host.clock.true_s(self.call.silence_s), self._silent, self.call.silence_s)
        )
        if not network.reaches(self._client.host, host):
            if chance.random() < 0.5:  # the connection was there already, and swallows what is sent
                return
            later_s = self._client.host.clock.true_s(connect_s)
            why = Broken(reason=f"no connection within {connect_s:g} s", sent=False)
            self._timers.append(self._client.later(later_s, self._settle, why))
            return
        if door is None or door.process.dead:
            self._timers.append(
                self._client.later(2 * there_s, self._settle, Broken(reason=REFUSED, sent=False, absent=True))
            )
            return
        self._server = door.process
        fate = self._draw_fate(weather)
        if fate == "lost_request":
            return
        if fate == "reset_request":
            self._client.later(2 * there_s, self._settle, Broken(reason="connection reset", sent=True))
            return
        if fate == "late" and chance.random() < 0.5:
            there_s += chance.uniform(0.5, 40.0)
            fate = "ok"
        self._reply_fate = fate if fate in ("lost_reply", "reset_reply", "late") else ""
        self._send(door, there_s, first=True)
        if fate == "doubled":
            self._send(door, there_s + chance.choice((0.001, 0.5, 8.0, 25.0)) * chance.random(), first=False)

    def _draw_fate(self, weather: Weather) -> str:
        draw = self._network.chance.random()
        for fate in ("lost_request", "lost_reply", "reset_request", "reset_reply", "doubled", "late"):
            draw -= getattr(weather, fate)
            if draw < 0:
                return fate
        return "ok"

    def _send(self, door: Door, delay_s: float, *, first: bool) -> None:
        serving = _Serving(self, door, first=first)
        self._servings.append(serving)
        door.process.later(delay_s, serving.arrive)

    def _silent(self, silence_s: float) -> None:
        self._settle(Broken(reason=f"no answer within {silence_s:g} s", sent=True))

    def answered(self, answer: Answer) -> None:
        """The first serving has its answer; called in the server."""
        network, server = self._network, self._server
        if server is None or self._settled:
            return
        delay_s = network.delay_s(network.weather(server.host, self._client.host))
        if self._reply_fate == "lost_reply" or not network.reaches(server.host, self._client.host):
            return
        if self._reply_fate == "late":
            delay_s += network.chance.uniform(0.5, 8.0)
        if self._reply_fate == "reset_reply":
            self._client.later(delay_s, self._settle, Broken(reason="connection reset", sent=True))
        else:
            self._client.later(delay_s, self._settle, answer)

    def server_died(self) -> None:
        """Its kernel closes the connection, if there is one left to say so."""
        network = self._network
        if not self._settled and network.chance.random() < 0.8:
            self._client.later(0.001, self._settle, Broken(reason="connection reset", sent=True))

    def hang_up(self) -> None:
        """The client does not wait any more."""
        if not self._settled:
            self._settled = True
            self._end()

    def _settle(self, result: Answer | Broken) -> None:
        if self._settled:
            return
        self._settled = True
        self._end()
        status = result.status if isinstance(result, Answer) else result.reason
        self._client.world.history.add(
            "got", self._client.name, self.number, self.call.method, self.call.path, status,
            self._fence() if status == 409 else "",
        )  # fmt: skip
        self._done(result)

    def _fence(self) -> object:
        """The epoch or the attempt that the request named."""
        said = json.loads(self.body) if self.body.startswith(b"{") else {}
        return said.get("epoch", said.get("attempt", ""))

    def _end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for serving in self._servings:
            serving.client_left()


class _Serving:
    """One delivery of a request to a server, as its application sees it."""

    def __init__(self, exchange: Exchange, door: Door, *, first: bool) -> None:
        self._exchange = exchange
        self._door = door
        self._first = first
        self._arrived = False
        self._arrived_s = 0.0
        self._messages: deque[MutableMapping[str, Any]] = deque()
        self._more = asyncio.Event()
        self._left = False
        self._status = 0
        self._answer_headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def arrive(self) -> None:
        exchange, process = self._exchange, self._door.process
        network = exchange._network
        if network.doors.get(exchange._base) is not self._door:
            return
        self._arrived = True
        self._arrived_s = network.world.loop.time()
        call = exchange.call
        network.world.history.add(
            "arrives", process.name, exchange.number, call.method, call.path, "" if self._first else "doubled"
        )
        self._messages.append({"type": "http.request", "body": exchange.body, "more_body": False})
        if self._left:
            self._gone()
        process.at_death.append(self._died)
        network.world.loop.create_task(self._serve(), name=f"serve {exchange.number}")

    async def _serve(self) -> None:
        exchange = self._exchange
        path, _, query = exchange.call.target.partition("?")
        scope = {
            "type": "http",
            "method": exchange.call.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": exchange._headers,
            "client": (exchange._client.host.name, 1),
        }
        try:
            await self._door.app(scope, self.receive, self.send)
        finally:
            if self._died in self._door.process.at_death:
                self._door.process.at_death.remove(self._died)

    async def receive(self) -> MutableMapping[str, Any]:
        while not self._messages:
            self._more.clear()
            await self._more.wait()
        message = self._messages.popleft()
        if message["type"] == "http.disconnect":
            self._messages.append(message)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._answer_headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self._body.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        exchange = self._exchange
        answer = Answer(status=self._status, headers=self._answer_headers, body=b"".join(self._body))
        exchange._network.world.answered(
            self._door.process, exchange, answer, first=self._first, arrived_s=self._arrived_s
        )
        if self._first:
            exchange.answered(answer)

    def client_left(self) -> None:
        """The client hung up, or died."""
        network = self._exchange._network
        process = self._door.process
        weather = network.weather(process.host, self._exchange._client.host)
        process.later(network.delay_s(weather), self._gone)

    def _gone(self) -> None:
        self._left = True
        if self._arrived:
            self._messages.append({"type": "http.disconnect"})
            self._more.set()

    def _died(self) -> None:
        if self._first:
            self._exchange.server_died()


def _headers(terms: Terms, call: Call[Any], length: int) -> list[tuple[bytes, bytes]]:
    found = {**http.headers(terms), **http.request_headers(call, length)}
    return [(name.lower().encode(), value.encode()) for name, value in found.items()]


def _body(call: Call[Any]) -> bytes:
    if isinstance(call.body, FileSlice):
        with call.body.path.open("rb") as file:
            file.seek(call.body.offset)
            return file.read(call.body.length)
    return call.body


def _ask(
    client: Process, base: str, call: Call[Any], terms: Terms, done: Callable[[Answer | Broken], None]
) -> Exchange:
    body = _body(call)
    headers, connect_s = _headers(terms, call, len(body)), http.connect_s(terms, call)
    return client.world.network.ask(client, base, call, headers, body, connect_s, done)


class SimAsyncClient(AsyncClient):
    """The product's asynchronous client, whose requests go through the simulated network."""

    def __init__(self, process: Process, addresses: Sequence[str], terms: Terms) -> None:
        self._process = process
        self._terms = terms
        self._masters = Masters(addresses)

    async def close(self) -> None:
        """There is nothing to close."""

    async def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        answer: asyncio.Future[Answer | Broken] = self._process.world.loop.create_future()

        def done(result: Answer | Broken) -> None:
            if not answer.done():
                answer.set_result(result)

        exchange = _ask(self._process, base, call, self._terms, done)
        try:
            return await answer
        finally:
            exchange.hang_up()

    @asynccontextmanager
    async def stream(self, call: Call[Any]) -> AsyncIterator[Any]:
        """The network delivers answers whole; what breaks off on the way is asked for again from its beginning."""
        answer = await self._converse(call, None, self._perform)
        if not 200 <= answer.status < 300:
            raise refusal(answer)

        async def pieces() -> AsyncIterator[bytes]:
            yield answer.body

        yield SimpleNamespace(status_code=answer.status, headers=answer.headers, aiter_raw=pieces)


class SimClient(Client):
    """The product's synchronous client, for a thread that takes turns with the loop."""

    def __init__(self, process: Process, addresses: Sequence[str], terms: Terms) -> None:
        self._process = process
        self._terms = terms
        self._masters = Masters(addresses)
        self._wait = lambda seconds: process.world.threads.wait(process.host.clock.true_s(seconds))

    def close(self) -> None:
        """There is nothing to close."""

    def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        thread = self._process.world.threads.current
        assert thread is not None
        found: list[Answer | Broken] = []

        def done(result: Answer | Broken) -> None:
            found.append(result)
            thread.step()

        _ask(self._process, base, call, self._terms, done)
        while not found:
            thread.park()
        return found[0]
