"""How often callers may ask a farm, by what they ask for; workers are never slowed down."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from api_serving import Rig, serving

from millrace.domain.masters import Attendance, MasterSeen
from millrace.edge.access import Rate, Rates
from millrace.runtime.clock import VIRTUAL_EPOCH

SLOW = Rate(per_s=0.001, burst=4)
GUESS = {"x-api-key": "guessed-it"}


def run(folder: Path, rates: Rates, body: Callable[[Rig], Coroutine[Any, Any, None]], **more: Any) -> None:
    async def work() -> None:
        async with serving(folder, rates=rates, **more) as rig:
            await body(rig)

    asyncio.run(asyncio.wait_for(work(), 60))


def test_strangers_are_slowed_down_and_nobody_else(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        answers = [await rig.client.get("/v1/jobs", headers=GUESS) for _ in range(6)]
        assert [one.status_code for one in answers] == [401, 401, 401, 401, 429, 429]
        assert answers[3].headers["ratelimit"] == '"strangers";r=0;t=4000'
        assert answers[0].headers["ratelimit-policy"] == '"strangers";q=4;w=4000'
        assert 900 < int(answers[4].headers["retry-after"]) <= 1000
        assert answers[4].json()["detail"].startswith("cannot answer so many requests: try again in ")
        # Another path is no way around, nor is a path that is not there.
        assert (await rig.client.post("/v1/keys", headers=GUESS, json={})).status_code == 429
        assert (await rig.client.get("/v1/nothing", headers=GUESS)).status_code == 429
        # Who has a key, and who only asks whether the master lives, comes from the same address.
        for _ in range(10):
            assert (await rig.client.get("/v1/jobs")).status_code == 200
            assert (await rig.client.get("/health", headers=GUESS)).status_code == 200
        assert 'millrace_rate_limited_total{rate="strangers"} 4' in (await rig.client.get("/metrics")).text

    run(tmp_path, Rates(strangers=SLOW), body)


def test_each_key_has_a_share_of_changes_and_one_of_reads(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        made = [await rig.post("/v1/keys", {"name": name, "role": "submitter"}, status=201) for name in ("a", "b")]
        a, b = ({"x-api-key": one["secret"]} for one in made)
        job = {"scenario": "720p30-h264"}
        assert [(await rig.client.post("/v1/jobs", json=job, headers=a)).status_code for _ in range(5)] == [
            201, 201, 201, 201, 429,
        ]  # fmt: skip
        assert (await rig.client.post("/v1/jobs", json=job, headers=b)).status_code == 201
        assert [(await rig.client.get("/v1/jobs", headers=a)).status_code for _ in range(3)] == [200, 200, 429]

    run(tmp_path, Rates(changes=SLOW, reads=Rate(per_s=0.001, burst=2)), body)


def test_workers_are_never_slowed_down(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        node = await rig.register()
        for _ in range(20):
            assert await node.claim() == []

    run(tmp_path, Rates(strangers=SLOW, changes=SLOW, reads=SLOW), body)


class Leadership:
    """What a master heard of the others."""

    id = "m1"
    leads = True

    def __init__(self, masters: int) -> None:
        self.attendance = self.of(masters)

    @staticmethod
    def of(masters: int) -> Attendance:
        seen = [
            MasterSeen(id=f"m{number}", name="m", version="1", started_at=VIRTUAL_EPOCH, seen_at=VIRTUAL_EPOCH)
            for number in range(masters)
        ]
        return Attendance(leader="m1", epoch=1, masters=seen)


def test_masters_share_what_may_pass(tmp_path: Path) -> None:
    others = Leadership(2)

    async def body(rig: Rig) -> None:
        async def passed(name: str) -> int:
            key = await rig.post("/v1/keys", {"name": name, "role": "viewer"}, status=201)
            count = 0
            while (await rig.client.get("/v1/jobs", headers={"x-api-key": key["secret"]})).status_code == 200:
                count += 1
            return count

        assert await passed("a") == 2, "half of the burst of four"
        others.attendance = Leadership.of(1)
        assert await passed("b") == 4

    run(tmp_path, Rates(reads=SLOW), body, leadership=others)
