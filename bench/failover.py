"""How long a farm is without its database or its leader, with real masters and a real standby.

    make failover ROUNDS=20

Prints for each fault the seconds from it to what is awaited: median, 99th percentile (nearest rank) and worst of the rounds.
"""

import argparse
import asyncio
import contextlib
import json
import math
import random
import secrets
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from bench.postgres_pair import Pair, Server, scratch
from bench.servers import Master, master
from millrace.client import people
from millrace.client.client import Client
from millrace.client.http import Terms
from millrace.wire.v1.jobs import JobRequest

LOOK_S = 0.01
LIMIT_S = 60.0


class Relay:
    """Between one master and its database, in a thread of its own. Cut, it takes what is sent and passes nothing on."""

    def __init__(self, port: int) -> None:
        """Nothing is open yet; `port` is the database's."""
        self._to = port
        self._passes = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0

    @contextlib.contextmanager
    def open(self) -> Iterator["Relay"]:
        """Relay as long as the block lasts."""
        self.cut(now=False)
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        self._ready.wait()
        yield self
        self._loop.call_soon_threadsafe(self._loop.stop)
        thread.join()

    def cut(self, *, now: bool) -> None:
        """Pass nothing on any more, or everything again."""
        if now:
            self._passes.clear()
        else:
            self._passes.set()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._to)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass(reader, away), self._pass(there, writer))
        for end in (writer, away):
            end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            while not self._passes.is_set():  # noqa: ASYNC110  it is set in another thread
                await asyncio.sleep(LOOK_S)
            writer.write(data)
            await writer.drain()
        writer.close()


def ask(one: Master, path: str, body: object = None) -> tuple[int, Any]:
    """Status and document of one request; 0 where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {one.key}", "content-type": "application/json"}
    request = Request(f"http://{one.address[0]}:{one.address[1]}{path}", data=data, headers=headers)
    try:
        with urlopen(request, timeout=LIMIT_S) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")
    except OSError:
        return 0, {}


def seconds_until(look: Callable[[], bool], since_s: float) -> float:
    """How long after that moment it was so."""
    while not look():
        if time.monotonic() - since_s > LIMIT_S:
            raise SystemExit(f"cannot measure: not so after {LIMIT_S:.0f} s")
        time.sleep(LOOK_S)
    return time.monotonic() - since_s


def _leads(one: Master) -> bool:
    status, found = ask(one, "/v1/masters")
    return status == 200 and any(seen["leads"] and seen["id"] == found["here"] for seen in found["masters"])


def _register(one: Master) -> Any:
    node = {"fingerprint": f"print-{secrets.token_hex(8)}", "boot_id": "boot-0001", "name": "w", "slots": 1}
    return ask(one, "/v1/nodes", {**node, "engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": ""}})[1]


def primary_killed(found: dict[str, list[float]]) -> None:
    """Kill the primary, promote the standby, and claim."""
    with scratch() as folder, TemporaryDirectory() as home, Pair(folder, synchronous=True) as pair:
        key = secrets.token_hex(16)
        with contextlib.ExitStack() as stack:
            masters = [stack.enter_context(master(Path(home) / name, pair.url(), key)) for name in ("one", "two")]
            node = _register(masters[0])
            for _ in range(2):
                ask(masters[0], "/v1/jobs", {"scenario": "720p30-h264"})
            killed_s = time.monotonic()
            pair.primary.kill()
            found["primary killed: a write is answered 503"].append(
                seconds_until(lambda: ask(masters[0], "/v1/jobs", {"scenario": "720p30-h264"})[0] == 503, killed_s)
            )
            found["primary killed: /ready says no"].append(
                seconds_until(lambda: ask(masters[1], "/ready")[0] == 503, killed_s)
            )
            time.sleep(random.uniform(1.0, 4.0))  # as long as whoever promotes needs to be sure
            pair.promote()
            promoted_s = time.monotonic()
            for number, one in enumerate(masters):
                claim = {"epoch": node["epoch"], "request": f"request-{number:04}", "limit": 1, "wait_s": 0}
                path = f"/v1/nodes/{node['node']}/claim"
                found["standby promoted: first claim"].append(
                    seconds_until(lambda one=one, path=path, claim=claim: ask(one, path, claim)[0] == 200, promoted_s)
                )


def stands_still(found: dict[str, list[float]], rounds: int) -> None:
    """Stop the server with SIGSTOP, and let it go on."""
    with scratch() as folder, TemporaryDirectory() as home:
        server = Server(folder / "a", "a")
        server.initialize()
        server.start()
        try:
            with master(Path(home) / "one", server.url(), secrets.token_hex(16)) as one:
                for _ in range(rounds):
                    time.sleep(random.uniform(0.0, 0.5))
                    server.pause()
                    at_s = time.monotonic()
                    status, _ = ask(one, "/v1/jobs", {"scenario": "720p30-h264"})
                    if status != 503:
                        raise SystemExit(f"cannot measure: {status} instead of 503")
                    found["server stopped: the request under way is answered 503"].append(time.monotonic() - at_s)
                    at_s = time.monotonic()
                    ask(one, "/v1/jobs", {"scenario": "720p30-h264"})
                    found["server stopped: the next request is answered 503"].append(time.monotonic() - at_s)
                    server.resume()
                    at_s = time.monotonic()
                    found["server goes on: a job is accepted"].append(
                        seconds_until(lambda: ask(one, "/v1/jobs", {"scenario": "720p30-h264"})[0] == 201, at_s)
                    )
        finally:
            server.stop()


def leader_cut_off(found: dict[str, list[float]], rounds: int) -> None:
    """Cut the leader from its database, in silence."""
    with scratch() as folder, TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        server = Server(folder / "a", "a")
        server.initialize()
        server.start()
        stack.callback(server.stop)
        relays = [stack.enter_context(Relay(server.port).open()) for _ in range(2)]
        urls = [f"postgresql://postgres@127.0.0.1:{relay.port}/postgres" for relay in relays]
        key = secrets.token_hex(16)
        masters = [stack.enter_context(master(Path(home) / str(n), url, key)) for n, url in enumerate(urls)]
        for _ in range(rounds):
            seconds_until(lambda: any(map(_leads, masters)), time.monotonic())
            leader = next(number for number, one in enumerate(masters) if _leads(one))
            other = masters[1 - leader]
            time.sleep(random.uniform(0.0, 1.0))
            relays[leader].cut(now=True)
            cut_s = time.monotonic()
            found["leader cut off: it answers 503"].append(
                seconds_until(lambda one=masters[leader]: ask(one, "/ready")[0] == 503, cut_s)
            )
            found["leader cut off: the other one leads"].append(seconds_until(lambda one=other: _leads(one), cut_s))
            relays[leader].cut(now=False)
            healed_s = time.monotonic()
            found["leader healed: it is ready, and does not lead"].append(
                seconds_until(lambda one=masters[leader]: ask(one, "/ready")[0] == 200, healed_s)
            )
            if _leads(masters[leader]):
                raise SystemExit("cannot measure: two masters lead")


def master_gone(found: dict[str, list[float]], rounds: int) -> None:
    """Take the master away that a client talks to, in the midst of its calls; there is another one."""
    with scratch() as folder, TemporaryDirectory() as home:
        server = Server(folder / "a", "a")
        server.initialize()
        server.start()
        key = secrets.token_hex(16)
        try:
            with master(Path(home) / "stays", server.url(), key) as stays:
                for number in range(rounds):
                    for what, how in (("killed", signal.SIGKILL), ("stands still", signal.SIGSTOP)):
                        with master(Path(home) / f"{number}-{how}", server.url(), key) as goes:
                            _gone_in_the_midst(found, what, how, goes, stays)
        finally:
            server.stop()


def _gone_in_the_midst(
    found: dict[str, list[float]], what: str, how: signal.Signals, goes: Master, stays: Master
) -> None:
    gone_s: list[float] = []

    def fell() -> None:
        goes.process.send_signal(how)
        gone_s.append(time.monotonic())

    timer = threading.Timer(random.uniform(0.3, 0.8), fell)
    urls = [f"http://{one.address[0]}:{one.address[1]}" for one in (goes, stays)]
    calls = {
        f"master {what}: GET goes on with another": lambda: people.jobs(limit=1),
        f"master {what}: POST goes on with another": lambda: people.submit(JobRequest(scenario="720p30-h264")),
    }
    try:
        with Client(urls, Terms(key=goes.key)) as client:
            timer.start()
            took_s: dict[str, float] = dict.fromkeys(calls, 0.0)
            after = 0
            while after < len(calls):  # until each was asked once more when it was over
                for name, make in calls.items():
                    after += bool(gone_s)
                    began_s = time.monotonic()
                    client.do(make())
                    if gone_s and time.monotonic() > gone_s[0]:
                        took_s[name] = max(took_s[name], time.monotonic() - began_s)
        # Who stands still is met by the call that was under way, and by none after it.
        for name, longest_s in took_s.items():
            if how is signal.SIGKILL or longest_s == max(took_s.values()):
                found[name].append(longest_s)
    finally:
        timer.join()
        goes.process.send_signal(signal.SIGCONT)


def row(what: str, times_s: Sequence[float]) -> str:
    """One line of the table."""
    ordered = sorted(times_s)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    fault, _, awaited = what.partition(": ")
    return f"| {fault} | {awaited} | {median(ordered):.2f} | {p99:.2f} | {ordered[-1]:.2f} of {len(ordered)} |"


def measure(rounds: int) -> Mapping[str, Sequence[float]]:
    """Run all of them: seconds by what they are of."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(max(1, rounds // 2)):
        primary_killed(found)
    stands_still(found, rounds)
    master_gone(found, rounds)
    leader_cut_off(found, rounds)
    return found


def table(found: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """As Markdown, in seconds."""
    yield "| from | until | median | p99 | worst |"
    yield "|---|---|---|---|---|"
    for what, times_s in found.items():
        yield row(what, times_s)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    print(*table(measure(parser.parse_args().rounds)), sep="\n")


if __name__ == "__main__":
    main()
