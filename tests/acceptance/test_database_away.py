"""Masters whose PostgreSQL is killed and followed by its standby, stands still, or has few connections to give."""

import asyncio
import collections
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from outside import Farm, Running, Shell, eventually, running

from bench.postgres_pair import Pair, Server, scratch

KEY = "mr_one-key-for-all-masters"
TERMS = {"MILLRACE_HEARTBEAT": "1", "MILLRACE_LEASE_TTL": "30", "MILLRACE_API_KEY": KEY}
NODE = {"boot_id": "boot-0001", "slots": 1, "engines": ["ffmpeg"], "encoders": {"libx264": "", "aac": ""}}
JOB = {"scenario": "720p30-h264"}
WORKERS, JOBS = 50, 150


@pytest.fixture
def start(shell: Shell) -> Iterator[Callable[[str, str], Running]]:
    """Starts a master on a database."""
    with ExitStack() as stack:

        def start(name: str, store: str) -> Running:
            own = shell.having(**TERMS, MILLRACE_STORE=store)
            return stack.enter_context(running(own, "master", "--data", name, "--port", 0))

        yield start


def post(farm: Farm, path: str, body: dict[str, object]) -> Any:
    return farm.http("POST", path, json=body)


def claim(farm: Farm, node: dict[str, Any], request: str) -> list[Any]:
    answer = post(farm, f"/v1/nodes/{node['node']}/claim", {"epoch": node["epoch"], "request": request, "limit": 1})
    assert answer.status_code in (200, 503), answer.text
    return list(answer.json().get("tasks", ()))


def test_masters_follow_the_primary(start: Callable[[str, str], Running]) -> None:
    with scratch() as folder, Pair(folder, synchronous=True) as pair:
        masters = one, two = start("one", pair.url()), start("two", pair.url())
        jobs = {one.submit(key=f"k{number}", **JOB)["id"] for number in range(3)}
        node = post(one, "/v1/nodes", {"fingerprint": "print-0001", "name": "w", **NODE}).json()
        (first,) = claim(one, node, "request-0001")
        watcher = one.cli("keys", "create", "prometheus", "--role", "viewer").out.strip()
        scrapers = [Farm(master.shell, master.url, watcher) for master in masters]
        assert ["millrace_store_up 1\n" in one.http("GET", "/metrics").text for one in scrapers] == [True] * 2
        pair.primary.kill()
        for master in masters:
            eventually(lambda at=master: at.http("GET", "/ready").status_code == 503, "it is not ready")
            health = master.http("GET", "/health")
            assert health.status_code == 503
            assert "none of its servers takes writes" in health.text
            refused = master.http("POST", "/v1/jobs", json=JOB, headers={"Idempotency-Key": "k9"})
            assert (refused.status_code, refused.headers["retry-after"].isdigit()) == (503, True), refused.text
            assert "127.0.0.1" not in health.text + refused.text
        for scraper in scrapers:
            told = scraper.http("GET", "/metrics")
            assert (told.status_code, "\nmillrace_store_up 0\n" in "\n" + told.text, "millrace_jobs{" in told.text) == (
                200,
                True,
                False,
            )
        pair.promote()
        for master in masters:
            eventually(lambda at=master: at.http("GET", "/ready").status_code == 200, "it is ready")
        # What was answered stays, what is repeated is the same, and who holds a task holds it still.
        assert {two.submit(key=f"k{number}", **JOB)["id"] for number in range(3)} == jobs
        jobs.add(two.submit(key="k9", **JOB)["id"])
        assert claim(two, node, "request-0001") == [first]
        done = {"node": node["node"], "attempt": 1, "outputs": []}
        assert post(two, f"/v1/tasks/{first['task']}/complete", done).status_code == 200
        assert post(one, f"/v1/tasks/{first['task']}/complete", done).status_code == 200
        assert len(claim(one, node, "request-0002")) == 1
        listed = one.http("GET", "/v1/jobs").json()["jobs"]
        assert sorted(job["id"] for job in listed) == sorted(jobs)
        assert collections.Counter(job["state"] for job in listed) == {"completed": 1, "assigned": 1, "queued": 2}
        eventually(lambda: one.cli("masters", "list").out.count(" yes") >= 1, "one of them leads again")


async def _work(masters: list[Running], number: int, done: collections.Counter[str], ended: asyncio.Event) -> None:
    """A worker whose engine takes no time, with one master or another."""
    headers = {"Authorization": f"Bearer {KEY}"}
    requests = iter(range(10**6))
    async with httpx2.AsyncClient(headers=headers, timeout=120) as client:

        async def ask(path: str, body: dict[str, object]) -> Any:
            master = masters[(number + next(requests)) % len(masters)]
            while True:
                answer = await client.post(master.url + path, json=body)
                if answer.status_code != 503:
                    break
                await asyncio.sleep(float(answer.headers["retry-after"]) / 10)
            assert answer.is_success, answer.text
            return answer.json()

        node = await ask("/v1/nodes", {"fingerprint": f"print-{number:04}", "name": f"w{number}", **NODE})
        for _ in range(JOBS // WORKERS):
            await ask("/v1/jobs", JOB)
        while not ended.is_set():
            body = {"epoch": node["epoch"], "request": f"request-{next(requests):04}", "limit": 1, "wait_s": 1}
            for task in (await ask(f"/v1/nodes/{node['node']}/claim", body))["tasks"]:
                await ask(
                    f"/v1/tasks/{task['task']}/complete",
                    {"node": node["node"], "attempt": task["attempt"], "outputs": []},
                )
                done[task["task"]] += 1
                if len(done) == JOBS:
                    ended.set()


def test_four_masters_and_fifty_workers_share_twenty_connections(start: Callable[[str, str], Running]) -> None:
    with scratch() as folder:
        server = Server(folder / "a", "a", {"max_connections": "20"})
        try:
            server.initialize()
            server.start()
            masters = [start(name, server.url()) for name in ("one", "two", "three", "four")]
            done: collections.Counter[str] = collections.Counter()

            async def work() -> None:
                ended = asyncio.Event()
                async with asyncio.TaskGroup() as workers:
                    for number in range(WORKERS):
                        workers.create_task(_work(masters, number, done, ended))

            asyncio.run(work())
            assert (len(done), set(done.values())) == (JOBS, {1})
            for master in masters:
                said = master.http("GET", "/metrics").text
                assert "millrace_store_connections_most 2\n" in said, said
                assert 'millrace_jobs{state="completed"} 150' in said
        finally:
            server.stop()
