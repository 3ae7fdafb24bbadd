"""A server that gets bytes which no honest client sends: it answers or hangs up, keeps nothing of it, and goes on serving others."""

import asyncio
import contextlib
import gc
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from api_serving import KEY, Rig, listening, master
from control_rig import Rig as ControlRig
from control_rig import play
from strangers.budget import SEED, rounds, tell
from strangers.matrix import CONTROL, FARM, Ask, Entry
from strangers.raw_bytes import Target, Thrower
from strangers.test_matrix import Nothing, fill
from test_control_access import door

from millrace.edge.access import Rules
from millrace.edge.keys import Key, Keys
from millrace.programs.http.protocol import Crowd, HttpProtocol

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_ROUND, WARM = 200, 10
_LAST = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
_QUIET_S = 0.05
"""Who is waited for by the server longer than that has sent less than he said, and hangs up."""
HANG_S = 30.0
"""Far beyond what any answer takes: a machine that is busy is no hang."""
MORE_OBJECTS = 20_000
MORE_MB = 200.0
"""What a server may keep of any number of requests; caches fill, the allocator keeps pages, and neither goes on for ever."""


async def targets(table: dict[str, Entry] | Any, *real: str) -> Sequence[Target]:
    """Every route, filled with names of what never was, or is (`real`: its first job)."""
    found = []
    for operation, entry in table.items():
        method, _, path = operation.partition(" ")
        ask: Ask = await entry.ask(Nothing())
        for names in (ask.path, *({**ask.path, name: one} for one in real for name in ask.path)):
            query = "&".join(f"{name}={value}" for name, value in ask.query.items())
            body = _json(ask) if ask.content is None else ask.content
            found.append(Target(method.encode(), f"{fill(path, names)}?{query}".rstrip("?").encode(), body))
    return found


def _json(ask: Ask) -> bytes:
    import json

    return b"" if ask.json is None else json.dumps(ask.json).encode()


class Wire(asyncio.Transport):
    """A connection without a socket: it keeps what was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...

    resume_reading = pause_reading


def refused(answer: bytes) -> list[int]:
    """The statuses of an answer; none is a fault of ours."""
    statuses = [int(found) for found in _STATUS.findall(answer)]
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:200]
    assert not re.search(rb"\r\n(?i:set-cookie): a=b", answer), answer[:500]
    return statuses


async def settled(crowd: Crowd) -> None:
    async with asyncio.timeout(HANG_S):
        while crowd.answering:
            await asyncio.sleep(0)


@pytest.mark.fuzz
def test_the_protocol_answers_or_ends_whatever_comes_and_keeps_nothing(tmp_path: Path) -> None:
    seen: Counter[int] = Counter()

    async def body() -> None:
        async with master(tmp_path, with_pages=True) as (app, _, served):
            crowd = Crowd(app)
            throw = Thrower(random.Random(SEED), await targets(FARM), KEY.encode())
            own = asyncio.all_tasks()
            count, before = 0, Kept(0, 0.0)
            for number in rounds(15):
                for _ in range(_ROUND):
                    data = throw.draw()
                    await _throw(crowd, data, throw.dice, seen)
                count += _ROUND
                await settled(crowd)
                assert not crowd.connections
                served.clear()
                assert await _honest(crowd) == [200, 200]
                if number == WARM:
                    before = kept()
            if journal := [task for task in asyncio.all_tasks() if task.get_name() == "audit-journal"]:
                await asyncio.wait(journal, timeout=HANG_S)  # it ends when all is written
            assert asyncio.all_tasks() <= own | {asyncio.current_task()}
            tell("bytes in process", requests=count, answers=dict(sorted(seen.items())), **kept_since(before))

    asyncio.run(body())
    assert seen[200]
    assert seen[400]


async def _throw(crowd: Crowd, data: bytes, dice: random.Random, seen: Counter[int]) -> None:
    protocol, wire = HttpProtocol(crowd), Wire()
    protocol.connection_made(wire)
    at = dice.randrange(len(data) + 1) if dice.random() < 0.3 else len(data)
    for piece in (data[:at], data[at:]):
        if piece and not wire.closed:
            protocol.data_received(piece)
            await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    statuses = refused(bytes(wire.sent))
    assert not [one for one in statuses if one >= 500 and one != 503], (data[:2000], bytes(wire.sent)[:500])
    seen.update(statuses)


async def _honest(crowd: Crowd) -> list[int]:
    protocol, wire = HttpProtocol(crowd), Wire()
    protocol.connection_made(wire)
    for path in (b"/health", b"/v1/jobs"):
        protocol.data_received(b"GET %s HTTP/1.1\r\nhost: a\r\nx-api-key: %s\r\n\r\n" % (path, KEY.encode()))
    await settled(crowd)
    async with asyncio.timeout(HANG_S):
        while len(_STATUS.findall(wire.sent)) < 2:
            await asyncio.sleep(0)
    protocol.connection_lost(None)
    return refused(bytes(wire.sent))


class Kept(NamedTuple):
    """What this process keeps."""

    objects: int
    mb: float


def kept() -> Kept:
    gc.collect()
    return Kept(len(gc.get_objects()), psutil.Process().memory_info().rss / 1e6)


def kept_since(before: Kept) -> dict[str, object]:
    """The figures; a leak of one object a request, or of a kilobyte, is seen in a long run."""
    now = kept()
    assert now.objects - before.objects < MORE_OBJECTS
    assert now.mb - before.mb < MORE_MB
    return {"more_objects": now.objects - before.objects, "more_MB": round(now.mb - before.mb, 1)}


def _descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


class Sockets:
    """Throws at a server that listens, some at a time, and notes what comes back."""

    def __init__(self, port: int, throw: Thrower) -> None:
        self._port = port
        self._throw = throw
        self.seen: Counter[int] = Counter()
        self.count = 0
        self.longest_s = 0.0

    async def round(self, count: int, at_once: int = 16) -> None:
        attacks = [self._throw.draw() for _ in range(count)]
        gate = asyncio.Semaphore(at_once)

        async def one(data: bytes) -> None:
            async with gate:
                await self._attack(data)

        await asyncio.gather(*map(one, attacks))
        self.count += count

    async def _attack(self, data: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        began_s = time.monotonic()
        answer = b""
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data + _LAST)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_S):
                        while piece := await reader.read(1 << 16):
                            answer += piece
                with contextlib.suppress(OSError):  # it has hung up already
                    writer.write_eof()
                async with asyncio.timeout(HANG_S):
                    while piece := await reader.read(1 << 16):
                        answer += piece
        finally:
            writer.transport.abort()
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        statuses = refused(answer)
        assert not [one for one in statuses if one >= 500 and one != 503], (data[:2000], answer[:500])
        self.seen.update(statuses)


@pytest.mark.fuzz
def test_a_server_that_listens_outlives_it_and_leaks_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with listening(tmp_path, with_pages=True) as rig:
            sockets = Sockets(_port(rig.client), Thrower(random.Random(SEED), await targets(FARM), KEY.encode()))
            await _go_on(sockets, rig, few=4)

    asyncio.run(body())


@pytest.mark.fuzz
def test_the_control_api_of_a_supervisor_outlives_it_too(tmp_path: Path) -> None:
    plan = "processes:\n  web: {command: [sleep, '1000']}\n  cron: {command: ['true'], schedule: '0 0 1 1 *'}\n"

    async def body(rig: ControlRig) -> None:
        async with door(rig, [rules_of()]) as asking:
            asking.headers["x-api-key"] = KEY
            await asking.get("/v1/resources")  # from now on, somebody looks after them
            some = {name: entry for name, entry in CONTROL.items() if "shutdown" not in name and "signal" not in name}
            throw = Thrower(random.Random(SEED), await targets(some, "web", "cron"), KEY.encode())
            await _go_on(Sockets(_port(asking), throw), asking, few=3)

    play(tmp_path, body, plan)


def rules_of() -> Rules:
    """One key that opens everything, as often as one likes."""
    return Rules(keys=Keys([Key(secret=KEY)], now_s=time.time))


async def _go_on(sockets: Sockets, honest: Any, *, few: int) -> None:
    path = "/v1/jobs" if isinstance(honest, Rig) else "/v1/processes"
    client = honest.client if isinstance(honest, Rig) else honest
    # The store opens as many readers as are needed at once.
    assert {one.status_code for one in await asyncio.gather(*[client.get(path) for _ in range(64)])} == {200}
    own, descriptors, before = asyncio.all_tasks(), _descriptors(), kept()
    for number in rounds(few):
        await sockets.round(_ROUND)
        assert (await client.get(path)).status_code == 200
        if isinstance(honest, Rig):
            honest.log.clear()
        if number == WARM:
            before = kept()
    try:
        async with asyncio.timeout(HANG_S):
            while _descriptors() > descriptors or len(asyncio.all_tasks()) > len(own):
                await asyncio.sleep(0)
    except TimeoutError:
        pytest.fail(f"left: {_descriptors() - descriptors} descriptors, tasks {asyncio.all_tasks() - own}")
    tell(
        f"bytes over sockets ({path})", requests=sockets.count, answers=dict(sorted(sockets.seen.items())),
        s_the_longest=round(sockets.longest_s, 2), **kept_since(before),
    )  # fmt: skip


def _port(client: Any) -> int:
    return int(client.base_url.port)
