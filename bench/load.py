"""The load client: one process, many keep-alive connections, no framework, so that it is not what is measured.

    python bench/load.py '{"kind": "submit", "addresses": [["127.0.0.1", 8080]], "key": "...", "clients": 64, "seconds": 3}'

Prints one JSON object: how many operations were done in how many seconds, the latencies, and the CPU that the client and
the processes in `watch` (with their children) took meanwhile. Kinds:

    submit     POST /v1/jobs, again and again
    pairs      complete one task, which claims the next, again and again: a worker whose engine takes no time
    apart      the same in two requests: claim one task, complete it
    pickup     one worker parked in a long poll, one client that submits: from just before the POST to the claim's reply
    parked     `clients` workers parked in long polls, nothing happens
    beats      `clients` nodes, each with one task, beat every `every_s` seconds

A connection is a generator: it yields the request that it sends (bytes) or the seconds that it waits (float), and gets
the body of the reply. Requests are never pipelined.
"""

import heapq
import json
import os
import resource
import secrets
import select
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Steps = Generator[bytes | float, bytes, None]

JOB = b'{"input":"/media/film.mp4","output":"/media/out/film","profile":"web-hls"}'
ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "aac", "libopus", "mjpeg", "flac", "libmp3lame")
_HURRY_S = 60.0
"""How long the preparations before the measured time may take."""


@dataclass(slots=True)
class Tally:
    """What was done in the measured time."""

    began_s: float = float("inf")
    ends_s: float = float("inf")
    done: int = 0
    dry: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def add(self, began_s: float) -> None:
        """One operation ended now."""
        now = time.perf_counter()
        if self.began_s <= began_s and now <= self.ends_s:
            self.done += 1
            self.latencies_s.append(now - began_s)


class Connection:
    """One keep-alive connection and what it has to do."""

    __slots__ = ("_buffer", "socket", "steps")

    def __init__(self, address: tuple[str, int], steps: Steps) -> None:
        self.steps = steps
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._buffer = b""

    def send(self, request: bytes) -> None:
        """Requests are smaller than any socket's buffer, so that one call takes them whole."""
        if self.socket.send(request) != len(request):
            raise SystemExit("cannot measure: a request did not fit into the socket's buffer")

    def receive(self) -> bytes | None:
        """The body of the reply, or None while it is not whole."""
        piece = self.socket.recv(65536)
        if not piece:
            raise SystemExit("cannot measure: the master hung up")
        data = self._buffer = self._buffer + piece if self._buffer else piece
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = data.find(b"content-length:", 0, head)
        length = int(data[at + 15 : data.find(b"\r\n", at)]) if at >= 0 else 0
        if len(data) < head + 4 + length:
            return None
        self._buffer = data[head + 4 + length :]
        if data[9:10] != b"2":
            raise SystemExit(f"cannot measure: {data[:15]!r} {data[head + 4 :][:300]!r}")
        return data[head + 4 : head + 4 + length]


class Loop:
    """Sends and receives for all connections, in one thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._alarms: list[tuple[float, int, Connection]] = []

    def add(self, connection: Connection) -> None:
        """Let a connection begin."""
        number = connection.socket.fileno()
        self._connections[number] = connection
        self._poll.register(number, select.EPOLLIN)
        self._go(connection, None)

    def _go(self, connection: Connection, body: bytes | None) -> None:
        try:
            todo = next(connection.steps) if body is None else connection.steps.send(body)
        except StopIteration:
            self._poll.unregister(connection.socket.fileno())
            del self._connections[connection.socket.fileno()]
            connection.socket.close()
            return
        if isinstance(todo, bytes):
            connection.send(todo)
        else:
            at = time.perf_counter() + todo
            heapq.heappush(self._alarms, (at, connection.socket.fileno(), connection))

    def run(self, until: Callable[[], bool]) -> None:
        """Serve until `until` says so, or nobody has anything to do."""
        connections, poll = self._connections, self._poll.poll
        while connections and not until():
            now = time.perf_counter()
            while self._alarms and self._alarms[0][0] <= now:
                self._go(heapq.heappop(self._alarms)[2], None)
            wait_s = min(0.05, max(0.0, self._alarms[0][0] - now)) if self._alarms else 0.05
            for number, _ in poll(wait_s):
                connection = connections[number]
                body = connection.receive()
                if body is not None:
                    self._go(connection, body)


class Speaker:
    """Builds requests."""

    def __init__(self, key: str, host: str) -> None:
        self._head = (
            f"HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            "content-length: "
        ).encode()

    def post(self, path: str, body: bytes) -> bytes:
        """One POST."""
        return b"POST %s %s%d\r\n\r\n%s" % (path.encode(), self._head, len(body), body)

    def register(self) -> bytes:
        """A new node that can run everything that asks for no label."""
        body = {
            "fingerprint": secrets.token_hex(16),
            "boot_id": secrets.token_hex(16),
            "name": "bench",
            "slots": 1,
            "engines": ["ffmpeg"],
            "encoders": dict.fromkeys(ENCODERS, ""),
            "memory_mb": 4096,
        }
        return self.post("/v1/nodes", json.dumps(body).encode())

    def claim(self, node: "Registered", wait_s: int) -> bytes:
        """Ask for one task."""
        node.asked += 1
        request = b"%s-%x" % (node.token, node.asked)
        body = b'{"epoch":%d,"request":"%s","limit":1,"wait_s":%d}' % (node.epoch, request, wait_s)
        return self.post(f"/v1/nodes/{node.id}/claim", body)

    def complete(self, node: "Registered", task: str, attempt: int) -> bytes:
        """The task is done; it had no outputs."""
        return self.post(f"/v1/tasks/{task}/complete", b'{"node":"%s","attempt":%d}' % (node.id.encode(), attempt))

    def complete_and_claim(self, node: "Registered", task: str, attempt: int) -> bytes:
        """The same, asking for the next task."""
        node.asked += 1
        claim = b'{"epoch":%d,"request":"%s-%x"}' % (node.epoch, node.token, node.asked)
        body = b'{"node":"%s","attempt":%d,"claim":%s}' % (node.id.encode(), attempt, claim)
        return self.post(f"/v1/tasks/{task}/complete", body)

    def beat(self, node: "Registered", task: str | None, attempt: int, fraction: float) -> bytes:
        """One heartbeat, with the progress of the task if there is one."""
        progress = {"fraction": fraction, "phase": "encode", "frame": 100, "fps": 25.0, "speed": 1.0, "eta_s": 9.0}
        tasks = [] if task is None else [{"task": task, "attempt": attempt, **progress}]
        return self.post(f"/v1/nodes/{node.id}/heartbeat", json.dumps({"epoch": node.epoch, "tasks": tasks}).encode())


@dataclass(slots=True)
class Registered:
    """What a worker knows of itself."""

    id: str
    epoch: int
    token: bytes = field(default_factory=lambda: secrets.token_hex(6).encode())
    asked: int = 0


def registered(body: bytes) -> Registered:
    """The reply to a registration."""
    reply = json.loads(body)
    return Registered(reply["node"], reply["epoch"])


def given(body: bytes) -> tuple[str, int] | None:
    """Task and attempt that a claim was given; only these two are read, for a real worker's parsing is not measured."""
    at = body.find(b'"task":"', body.find(b'"tasks":['))
    if at < 0:
        return None
    task = body[at + 8 : body.index(b'"', at + 8)]
    number = body.index(b'"attempt":', at) + 10
    return task.decode(), int(body[number : body.index(b",", number)])


class Gate:
    """Opens when all clients are prepared."""

    def __init__(self, clients: int) -> None:
        self.missing = clients

    def enter(self) -> None:
        """One more is prepared."""
        self.missing -= 1


def submitter(say: Speaker, tally: Tally, gate: Gate) -> Steps:
    """Submits, one job after the other's reply."""
    gate.enter()
    request = say.post("/v1/jobs", JOB)
    while True:
        began = time.perf_counter()
        yield request
        tally.add(began)


def puller(say: Speaker, tally: Tally, gate: Gate) -> Steps:
    """A worker whose engine takes no time: each report claims the next task, as the real worker's does."""
    node = registered((yield say.register()))
    gate.enter()
    task = None
    while True:
        began = time.perf_counter()
        if task is None:
            task = given((yield say.claim(node, 0)))
            if task is None:
                tally.dry += 1
                yield 0.01
            continue
        task = given((yield say.complete_and_claim(node, *task)))
        tally.add(began)


def asker(say: Speaker, tally: Tally, gate: Gate) -> Steps:
    """A worker that claims and reports apart."""
    node = registered((yield say.register()))
    gate.enter()
    while True:
        began = time.perf_counter()
        task = given((yield say.claim(node, 0)))
        if task is None:
            tally.dry += 1
            yield 0.01
            continue
        yield say.complete(node, *task)
        tally.add(began)


def picker(say: Speaker, tally: Tally, gate: Gate, posted: list[float]) -> Steps:
    """A worker that is parked when the job comes."""
    node = registered((yield say.register()))
    while (task := given((yield say.claim(node, 0)))) is not None:  # what others left
        yield say.complete(node, *task)
    gate.enter()
    while True:
        task = given((yield say.claim(node, 30)))
        if task is not None:
            tally.add(posted[0])
            posted[0] = 0.0
            yield say.complete(node, *task)


def single(say: Speaker, gate: Gate, posted: list[float]) -> Steps:
    """Submits a job when the one before was picked up and its worker is parked again."""
    gate.enter()
    while gate.missing:
        yield 0.01
    request = say.post("/v1/jobs", JOB)
    while True:
        yield 0.05
        if posted[0]:
            continue
        posted[0] = time.perf_counter()
        yield request


def parked(say: Speaker, tally: Tally, gate: Gate) -> Steps:
    """A worker that waits for work that never comes."""
    node = registered((yield say.register()))
    gate.enter()
    while True:
        began = time.perf_counter()
        yield say.claim(node, 60)
        tally.add(began)


def beater(say: Speaker, tally: Tally, gate: Gate, every_s: float, first_s: float) -> Steps:
    """A node with one task, for as long as it lasts."""
    node = registered((yield say.register()))
    task, attempt = given((yield say.claim(node, 0))) or (None, 0)
    tally.dry += task is None
    gate.enter()
    due, fraction = time.perf_counter() + first_s, 0.0
    while True:
        yield max(0.0, due - time.perf_counter())
        began, fraction = time.perf_counter(), min(1.0, fraction + 0.01)
        yield say.beat(node, task, attempt, fraction)
        tally.add(began)
        due += every_s


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of these processes and all below them."""
    parents: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    total, todo = 0.0, list(pids)
    while todo:
        pid = todo.pop()
        total += used.get(pid, 0.0)
        todo += parents.get(pid, [])
    return total


def busy_s() -> float:
    """CPU seconds that the machine was busy with anything."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return (sum(map(int, fields[:8])) - int(fields[3]) - int(fields[4])) / os.sysconf("SC_CLK_TCK")


def own_cpu_s() -> float:
    """CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rss_mb(pid: int) -> float:
    """Resident memory of one process in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def steps_of(task: dict[str, Any], say: Speaker, tally: Tally, gate: Gate) -> list[Steps]:
    """What the connections do."""
    kind, count = task["kind"], task["clients"]
    if kind == "submit":
        return [submitter(say, tally, gate) for _ in range(count)]
    if kind == "pairs":
        return [puller(say, tally, gate) for _ in range(count)]
    if kind == "apart":
        return [asker(say, tally, gate) for _ in range(count)]
    if kind == "parked":
        return [parked(say, tally, gate) for _ in range(count)]
    if kind == "beats":
        every_s = task["every_s"]
        return [beater(say, tally, gate, every_s, every_s * place / count) for place in range(count)]
    posted = [0.0]
    return [picker(say, tally, gate, posted), single(say, gate, posted)]


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Prepare, warm up, measure."""
    tally, loop = Tally(), Loop()
    addresses = [(host, port) for host, port in task["addresses"]]
    say = Speaker(task["key"], f"{addresses[0][0]}:{addresses[0][1]}")
    masters = task["masters"]
    rss_before = [rss_mb(pid) for pid in masters]
    gate = Gate(2 if task["kind"] == "pickup" else task["clients"])
    for place, steps in enumerate(steps_of(task, say, tally, gate)):
        loop.add(Connection(addresses[place % len(addresses)], steps))
    hurry = time.perf_counter() + _HURRY_S
    loop.run(lambda: gate.missing == 0 or time.perf_counter() > hurry)
    if gate.missing:
        raise SystemExit("cannot measure: the clients were not prepared in time")
    warm = time.perf_counter() + task["warm_s"]
    loop.run(lambda: time.perf_counter() > warm)
    before = own_cpu_s(), [cpu_s([pid]) for pid in masters], cpu_s(task["databases"]), busy_s()
    began = time.perf_counter()
    tally.began_s, tally.ends_s = began, began + task["seconds"]
    loop.run(lambda: time.perf_counter() > tally.ends_s)
    seconds = time.perf_counter() - began
    own, machine = own_cpu_s() - before[0], busy_s() - before[3]
    of_masters = [cpu_s([pid]) - was for pid, was in zip(masters, before[1], strict=True)]
    of_databases = cpu_s(task["databases"]) - before[2]
    ours = own + sum(of_masters) + of_databases
    latencies = sorted(tally.latencies_s) or [0.0]
    return {
        "done": tally.done,
        "dry": tally.dry,
        "seconds": seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[len(latencies) * 99 // 100],
        "client_cpu_s": own,
        "master_cpu_s": sum(of_masters),
        "database_cpu_s": of_databases,
        "other_load": max(0.0, machine - ours) / seconds / (os.cpu_count() or 1),
        "rss_before_mb": rss_before,
        "rss_mb": [rss_mb(pid) for pid in masters],
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
