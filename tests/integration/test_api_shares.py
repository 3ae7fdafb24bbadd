"""No key takes all the requests that a master may have under way, and the server hears who is known."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from api_serving import KEY, Rig, listening, master

from millrace.edge.access import KNOWN

MOST = 4


def test_of_all_streams_one_key_has_its_part_and_others_are_served(tmp_path: Path) -> None:
    async def follow(rig: Rig, key: dict[str, str], until: AsyncExitStack) -> int:
        answer = await until.enter_async_context(rig.client.stream("GET", "/v1/events", headers=key, timeout=None))
        return answer.status_code

    async def body() -> None:
        async with asyncio.timeout(60), listening(tmp_path, most_requests=MOST) as rig, AsyncExitStack() as others:
            made = [
                await rig.post("/v1/keys", {"name": name, "role": "viewer"}, status=201) for name in ("greedy", "b")
            ]
            greedy, b = ({"x-api-key": one["secret"]} for one in made)
            async with AsyncExitStack() as one:
                assert await follow(rig, greedy, one) == 200
                assert [await follow(rig, greedy, others) for _ in range(2)] == [200, 200]
                refused = await rig.client.get("/v1/jobs", headers=greedy)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
                assert refused.json()["type"] == "urn:millrace:problem:too-many-connections"
                assert refused.json()["detail"].startswith("cannot answer: key 'greedy' has 3 requests under way")
                for _ in range(3):
                    assert (await rig.client.get("/v1/jobs", headers=b)).status_code == 200
                assert (await rig.client.get("/health")).status_code == 200
            # The master notices that the stream has ended, and the place is free.
            while (await rig.client.get("/v1/jobs", headers=greedy)).status_code == 429:
                pass

    asyncio.run(body())


def test_a_server_hears_once_somebody_whom_it_knows_has_asked(tmp_path: Path) -> None:
    async def state_after(app: Any, path: str, key: str) -> dict[str, object]:
        state: dict[str, object] = {}
        scope = {
            "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"x-api-key", key.encode())],
            "client": ("127.0.0.1", 1), "state": state,
        }  # fmt: skip

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: object) -> None: ...

        await app(scope, receive, send)
        return state

    async def body() -> None:
        async with asyncio.timeout(60), master(tmp_path) as (app, _, _):
            assert await state_after(app, "/v1/jobs", "guessed") == {}
            assert await state_after(app, "/health", KEY) == {}  # whoever asks that needs none, and it is not looked at
            assert await state_after(app, "/v1/jobs", KEY) == {KNOWN: True}

    asyncio.run(body())
