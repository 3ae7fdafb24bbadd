"""Procrastinate driven directly: deferred jobs a second, and finished jobs a second. Run by `bench/peers.py` in its venv.

    python peer_procrastinate.py URL SECONDS JOBS

Prints {"insert": {callers: rate}, "drain": {concurrency: rate}}.
"""

import asyncio
import json
import logging
import sys
import time

import procrastinate

CALLERS = (8, 64)


async def main(url: str, seconds: float, jobs: int) -> None:
    logging.disable(logging.WARNING)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=8))

    @app.task(name="nothing", queue="bench")
    async def nothing(text: str) -> None:
        """A job that takes no time."""

    found: dict[str, dict[int, float]] = {"insert": {}, "drain": {}}
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for callers in CALLERS:
            found["insert"][callers] = await insert(nothing, callers, seconds)
        connector = app.connector
        for concurrency in CALLERS:
            await connector.execute_query_async("DELETE FROM procrastinate_events")
            await connector.execute_query_async("DELETE FROM procrastinate_jobs")
            await asyncio.gather(*(defer(nothing, jobs // 8) for _ in range(8)))
            began = time.perf_counter()
            await app.run_worker_async(
                queues=["bench"],
                concurrency=concurrency,
                wait=False,
                listen_notify=False,
                install_signal_handlers=False,
            )
            took_s = time.perf_counter() - began
            done = await connector.execute_query_one_async(
                "SELECT count(*) AS n FROM procrastinate_jobs WHERE status = 'succeeded'"
            )
            found["drain"][concurrency] = done["n"] / took_s
    print(json.dumps(found))


async def defer(task: "procrastinate.tasks.Task", count: int) -> None:
    for _ in range(count):
        await task.defer_async(text="x" * 300)


async def insert(task: "procrastinate.tasks.Task", callers: int, seconds: float) -> float:
    began, done = time.perf_counter(), 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            await task.defer_async(text="x" * 300)
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
