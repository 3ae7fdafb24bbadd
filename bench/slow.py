"""`python -m bench.slow [CONNECTIONS]`: thousands of slow clients of one host against a master, and what others notice of them.

A quarter each sends a head bit by bit, sends a body bit by bit, takes nothing of its answer, and says nothing at all.
"""

import asyncio
import contextlib
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psutil

PATIENCE_S = 150.0
DRIP_S = 1.0
COME_S = 0.001
"""Seconds between two slow clients that come."""
HONEST_S = 0.01
"""Seconds between two honest requests."""


@dataclass
class Figures:
    """What was seen."""

    closed_s: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    honest_s: list[float] = field(default_factory=list)
    refused: int = 0
    cpu_share: float = 0.0
    most_mb: float = 0.0


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    own = socket.socket(proto=socket.IPPROTO_TCP)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    own.setblocking(False)
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=own, limit=1 << 12)


async def _drip(writer: asyncio.StreamWriter, head: bytes) -> None:
    writer.write(head)
    while True:
        await asyncio.sleep(DRIP_S)
        writer.write(b"a")
        await writer.drain()


KINDS = {
    "slow heads": b"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-slow: ",
    "slow bodies": b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000\r\n\r\n",
    "takes nothing": b"GET /assets/page.js HTTP/1.1\r\nhost: localhost\r\n\r\n" * 40,
    "says nothing": b"",
}


async def _slow(port: int, number: int, kind: str, seen: Figures) -> None:
    await asyncio.sleep(number * COME_S)
    try:
        reader, writer = await _connect(port)
    except OSError:
        seen.refused += 1
        return
    began_s = time.monotonic()
    head = KINDS[kind]
    dripping = asyncio.create_task(_drip(writer, head)) if kind.startswith("slow") else None
    try:
        if dripping is None:
            writer.write(head)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                if kind == "takes nothing":
                    # A reset is seen by whoever writes; what is read would be taken.
                    while True:
                        await asyncio.sleep(DRIP_S)
                        writer.write(b"\r\n")
                        await writer.drain()
                while await reader.read(1 << 12):
                    pass
        seen.closed_s[kind].append(time.monotonic() - began_s)
    finally:
        if dripping is not None:
            dripping.cancel()
        writer.transport.abort()


async def _honest(port: int, key: str, seen: Figures) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = f"GET /v1/jobs HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n".encode()
    while True:
        began_s = time.perf_counter()
        writer.write(ask)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        seen.honest_s.append(time.perf_counter() - began_s)
        await asyncio.sleep(HONEST_S)


@contextlib.asynccontextmanager
async def _master() -> AsyncIterator[tuple[int, str, psutil.Process]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "millrace", "master", "--data", folder, "--port", "0", "--json"]
        with subprocess.Popen(  # noqa: ASYNC220  nothing else runs yet
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                ready = json.loads(await asyncio.to_thread(process.stdout.readline))
                yield int(ready["url"].rpartition(":")[2]), ready["api_key"], psutil.Process(process.pid)
            finally:
                process.terminate()


async def main(connections: int) -> None:
    """Measure, and print."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections * 2:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, connections * 2), hard))
    async with _master() as (port, key, process):
        alone = Figures()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_honest(port, key, alone), 5)
        before_mb, before_s, began_s = process.memory_info().rss / 1e6, sum(process.cpu_times()[:2]), time.monotonic()
        seen = Figures()
        honest = asyncio.create_task(_honest(port, key, seen))
        kinds = [*KINDS] * (connections // len(KINDS))
        attacks = [asyncio.create_task(_slow(port, number, kind, seen)) for number, kind in enumerate(kinds)]
        while not all(one.done() for one in attacks):
            seen.most_mb = max(seen.most_mb, process.memory_info().rss / 1e6)
            await asyncio.wait(attacks, timeout=0.5)
        seen.cpu_share = (sum(process.cpu_times()[:2]) - before_s) / (time.monotonic() - began_s)
        assert not honest.done()
        honest.cancel()
    _print(connections, alone, seen, before_mb)


def _print(connections: int, alone: Figures, seen: Figures, before_mb: float) -> None:
    def p99_ms(found: list[float]) -> float:
        return statistics.quantiles(found, n=100)[98] * 1000

    print(f"{connections} slow connections of one host ({seen.refused} not made)")
    print(
        f"  honest requests: {len(seen.honest_s)}, p50 {statistics.median(seen.honest_s) * 1000:.1f} ms, p99 {p99_ms(seen.honest_s):.1f} ms, longest {max(seen.honest_s) * 1000:.0f} ms; alone p99 {p99_ms(alone.honest_s):.1f} ms"
    )
    for kind, times in seen.closed_s.items():
        print(f"  {kind}: {len(times)} closed, the last after {max(times):.1f} s")
    print(
        f"  memory of the master: {before_mb:.0f} MB before, {seen.most_mb:.0f} MB at most; it kept {seen.cpu_share:.0%} of a core busy"
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))
