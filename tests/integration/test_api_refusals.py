"""Bad input gets a problem that names the field, and leaves nothing behind; strangers get nothing at all."""

import json
import re
import time
from typing import Any

import httpx2
import pytest
from api_serving import KEY, Rig, on_master
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.api.table import TABLE
from millrace.edge.keys import Key, Keys
from millrace.edge.route import Access, Body
from millrace.store.store import Store, StoreFullError, StoreUnavailableError

DEEP = b'{"profile":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}"
BAD_JOBS: list[tuple[bytes, int, str, list[str]]] = [
    (b'{"profile":"nope"}', 422, "profile", ["web-hls"]),
    (b'{"scenario":"9999p-h264"}', 422, "scenario", ["web-hls"]),
    (b'{"profile":"web-hls","scenario":"720p30-h264"}', 422, "scenario", []),
    (b'{"queue":"fast"}', 400, "queue", ["live", "default", "batch"]),
    (b'{"priority":"urgent"}', 400, "priority", ["high", "medium", "low"]),
    (b'{"engine":"vlc"}', 400, "engine", ["auto", "ffmpeg", "gstreamer"]),
    (b'{"classification":"secret"}', 400, "classification", ["production"]),
    (b'{"colour":"red"}', 400, "colour", ["input", "profile", "queue"]),
    (b'{"parameters":{"duration_s":-1}}', 400, "parameters.duration_s", []),
    (b'{"parameters":{"speed":1}}', 400, "parameters.speed", ["duration_s"]),
    (b'{"parameters":{"codec":"mpeg2"}}', 400, "parameters.codec", ["h264"]),
    (
        b'{"profile":{"name":"x","packaging":"mp4","renditions":[{"video":{"height":2160,"level":4.1}}]}}',
        422,
        "profile.renditions[0].video.level",
        [],
    ),
    (b'{"parameters":{"on_damage":"ignore"}}', 400, "parameters.on_damage", ["fail", "conceal", "cut"]),
    (b'{"parameters":{"height":999999}}', 400, "parameters.height", []),
    (b'{"parameters":{"height":71}}', 422, "parameters.height", []),
    (b'{"parameters":{"height":8192}}', 422, "parameters.height", []),
    (b'{"parameters":{"crf":60}}', 422, "parameters.crf", []),
    (
        b'{"profile":{"name":"x","packaging":"mp4","renditions":[{"video":{"height":71}}]}}',
        422,
        "profile.renditions[0].video.height",
        [],
    ),
    (b'{"timeout_s":0}', 400, "timeout_s", []),
    (b'{"timeout_s":1e300}', 400, "timeout_s", []),
    (b'{"timeout_s":1e999}', 400, "timeout_s", []),
    (b'{"max_retries":-1}', 400, "max_retries", []),
    (b'{"max_retries":1000000}', 400, "max_retries", []),
    (b'{"max_retries":1.5}', 400, "max_retries", []),
    (b'{"max_retries":123456789012345678901234567890}', 400, "max_retries", []),
    (b'{"run_after":"tomorrow"}', 400, "run_after", []),
    (b'{"run_after":"2030-01-01T00:00:00"}', 400, "run_after", []),
    (b'{"run_after":"9999-12-31T23:59:59-23:59"}', 422, "run_after", []),
    (b'{"input":5}', 400, "input", []),
    (b'{"input":""}', 400, "input", []),
    (b'{"input":"file:///etc/passwd"}', 422, "input", ["https://..."]),
    (b'{"input":"concat:a|b"}', 422, "input", ["https://..."]),
    (b'{"input":"-i"}', 422, "input", ["an absolute path"]),
    (b'{"input":"/media/../etc/passwd"}', 422, "input", []),
    (b'{"input":"/a\\u0000b"}', 400, "input", []),
    (b'{"input":"upload://nothing"}', 422, "input", []),
    (b'{"input":"upload://"}', 422, "input", []),
    (b'{"input":"upload://u0192f5b7c8d94e2a8f6b1c3d5e7f9a0b"}', 422, "input", []),
    (b'{"input":"upload://u0192f5b7c8d94e2a8f6b1c3d5e7f9a0b/x"}', 422, "input", []),
    (b'{"input":"upload://../jobs"}', 422, "input", []),
    (b'{"output":"ftp://x/y"}', 422, "output", ["s3://..."]),
    (b'{"tenant":"a b"}', 400, "tenant", []),
    (b'{"tenant":"a\\n"}', 400, "tenant", []),
    (b'{"labels":{"a b":"c"}}', 400, "labels", []),
    (b'{"labels":{"a":5}}', 400, "labels.*", []),
    (b'{"labels":{"a":"\\u0000"}}', 400, "labels.a", []),
    (b'{"profile":{"name":"x"}}', 422, "profile", []),
    (b'{"profile":{"name":"x","a":99999999999999999999999999}}', 400, "profile.a", []),
    (b"[]", 400, "", []),
    (b"null", 400, "", []),
    (DEEP, 400, "", []),
]


def problem_of(response: httpx2.Response) -> Any:
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["detail"].startswith(("cannot ", "there is "))
    return problem


@on_master
async def test_every_bad_job_is_refused_by_field_and_leaves_no_row(rig: Rig) -> None:
    for body, status, field, allowed in BAD_JOBS:
        response = await rig.call("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
        problem = problem_of(response)
        assert response.status_code == status, (body[:80], problem)
        errors = problem["errors"]
        assert any(one.get("field", "").startswith(field) for one in errors), (body[:80], problem)
        assert set(allowed) <= {word for one in errors for word in one.get("allowed", [])}, (body[:80], problem)
    assert (await rig.get("/v1/jobs"))["jobs"] == []


@on_master
async def test_what_is_no_json_says_where(rig: Rig) -> None:
    for body, words in (
        (b"", "it is empty"),
        (b'{"queue":\n  NaN}', "line 2, column 3"),
        (b'{"timeout_s":Infinity}', "column 14"),
        (b'{"input":"a"', "too early"),
        (b'{"input":"\\ud800"}', "broken escape"),
        (b'{"input":"\xff"}', "no UTF-8 at byte 10"),
        (b'{"input":"\xed\xa0\x80"}', "no UTF-8"),
        (b'{"input":"a\x00"}', "line 1"),
        (b"{} {}", "trailing"),
        (b"\xef\xbb\xbf{}", "column 1"),
    ):
        response = await rig.call("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, body
        assert words in problem_of(response)["detail"], (body, response.text)


@on_master
async def test_other_bodies_methods_and_paths_are_refused_as_problems(rig: Rig) -> None:
    big = b'{"input":"' + b"a" * (1 << 20) + b'"}'
    response = await rig.call("POST", "/v1/jobs", content=big, headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["connection"]) == (413, "close")
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield b" " * (1 << 16)

    chunked = await rig.call("POST", "/v1/jobs", content=endless(), headers={"content-type": "application/json"})
    assert (chunked.status_code, sent <= 3 << 20) == (413, True)
    for media in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        assert (await rig.call("POST", "/v1/jobs", content=b"{}", headers={"content-type": media})).status_code == 415
    assert (await rig.call("POST", "/v1/jobs", content=b"{}")).status_code == 415
    typed = {"content-type": "application/json; charset=utf-8"}
    assert (await rig.call("POST", "/v1/jobs", content=b"{}", headers=typed)).status_code == 201
    wrong = await rig.call("DELETE", "/v1/jobs")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
    for path in ("/nope", "/v1", "/v1/jobs/", "/v1/jobs/1/nope", "/v1/jobs/%ff", "/v1/jobs/%00"):
        problem_of(response := await rig.call("GET", path))
        assert response.status_code == 404, path
    length = await rig.call("POST", "/v1/jobs", content=b"{}", headers={**typed, "content-length": "-1"})
    assert length.status_code == 400


class Broken:
    """A store whose reads and writes fail as they are told; the rest is real."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        if self.error is not None and name not in ("stop", "listen", "connections"):
            raise self.error
        return getattr(self._store, name)


def test_a_store_that_fails_is_told_apart_from_a_fault_of_ours(tmp_path: Any) -> None:
    import asyncio

    from api_serving import serving

    async def body() -> None:
        broken: list[Broken] = []

        def wrap(store: Store) -> Any:
            broken.append(Broken(store))
            return broken[0]

        async with serving(tmp_path, wrap=wrap) as rig:
            for error, status, slug in (
                (StoreUnavailableError("cannot reach 10.1.2.3: refused"), 503, "unavailable"),
                (StoreFullError("cannot write /var/x: no space"), 507, "store-full"),
                (RuntimeError("the secret of line 7"), 500, "internal"),
            ):
                broken[0].error = error
                response = await rig.call("POST", "/v1/jobs", json={})
                problem = problem_of(response)
                assert (response.status_code, problem["type"].rpartition(":")[2]) == (status, slug)
                assert all(word not in response.text for word in ("10.1.2.3", "/var/x", "secret")), response.text
                assert ("retry-after" in response.headers) == (status == 503)
            broken[0].error = StoreUnavailableError("cannot reach it")
            health = await rig.call("GET", "/health")
            assert (health.status_code, problem_of(health)["type"].rpartition(":")[2]) == (503, "unhealthy")
            assert (await rig.call("GET", "/ready")).status_code == 503
            # What the master knows of itself is told all the same, and nothing else is guessed.
            metrics = await rig.call("GET", "/metrics")
            assert metrics.status_code == 200
            assert {"millrace_store_up 0", "millrace_waiting_claims 0"} <= {*metrics.text.splitlines()}
            assert "millrace_http_requests_total{" in metrics.text
            assert not re.search("^millrace_(jobs|nodes|webhook_messages|tenant_quota)", metrics.text, re.MULTILINE)
            broken[0].error = None
            told = (await rig.call("GET", "/metrics")).text.splitlines()
            assert {"millrace_store_up 1", 'millrace_jobs{state="queued"} 0'} <= {*told}
            assert (await rig.call("GET", "/health")).status_code == 200

    asyncio.run(body())


class Full:
    """A store whose database takes no writes while `full`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = True

    def __getattr__(self, name: str) -> Any:
        if self.full and name in ("add_jobs", "class_of", "heartbeat", "try_write"):
            raise StoreFullError("cannot write to /var/x: no space is left")
        return getattr(self._store, name)


def test_a_master_without_space_wants_no_traffic_until_it_has_some(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import asyncio

    from api_serving import serving

    def said(event: str) -> int:
        return sum(event in record.getMessage() for record in caplog.records)

    async def body() -> None:
        stores: list[Full] = []

        def wrap(store: Store) -> Any:
            stores.append(Full(store))
            return stores[0]

        async with serving(tmp_path, wrap=wrap) as rig:
            assert (await rig.call("GET", "/ready")).status_code == 200
            for _ in range(3):
                assert (await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"})).status_code == 507
                refused = await rig.call("GET", "/ready")
                assert refused.status_code == 503
                assert problem_of(refused)["detail"] == (
                    "cannot take traffic: there is no space left for the database; free some"
                )
                health = await rig.call("GET", "/health")
                assert (health.status_code, health.json()["status"]) == (200, "degraded")
                assert "no space left" in health.json()["store"]
                await rig.farm.space.try_again(rig.farm.store)
                await rig.farm.space.try_again(rig.farm.store)
                assert rig.farm.space.full
            assert (said("store.full"), said("store.has_space")) == (1, 0)
            told = len(rig.log)
            node = await rig.call("POST", "/v1/nodes/n1/heartbeat", json={"epoch": 1})
            assert (node.status_code, len(rig.log)) == (507, told)
            stores[0].full = False
            await rig.farm.space.try_again(rig.farm.store)
            await rig.farm.space.try_again(rig.farm.store)
            assert (await rig.call("GET", "/ready")).status_code == 200
            assert (await rig.call("GET", "/health")).json()["status"] == "healthy"
            assert (said("store.full"), said("store.has_space")) == (1, 1)

    with caplog.at_level("INFO"):
        asyncio.run(body())


def concrete(path: str) -> str:
    return re.sub(r"\{(\w+)\*?\}", "x1", path)


@on_master
async def test_a_stranger_does_not_learn_which_paths_there_are(rig: Rig) -> None:
    unknown = await rig.call("GET", "/nope", headers={"x-api-key": ""})
    assert unknown.status_code == 401
    assert unknown.headers["www-authenticate"].startswith("Bearer")


@on_master
async def test_both_headers_carry_the_key(rig: Rig) -> None:
    for headers in ({"x-api-key": KEY}, {"x-api-key": "", "authorization": f"bearer {KEY}"}):
        assert (await rig.call("GET", "/v1/jobs", headers=headers)).status_code == 200


def test_a_key_opens_what_it_grants_and_nothing_else(tmp_path: Any) -> None:
    import asyncio

    from api_serving import serving

    keys = Keys([Key(secret="reader-key", name="eva", grants=frozenset({Access.READ}))], now_s=time.time)

    async def body() -> None:
        async with serving(tmp_path, keys=keys) as rig:
            rig.client.headers["x-api-key"] = "reader-key"
            for route in TABLE:
                if route.body is Body.NONE and "events" not in route.path:
                    response = await rig.call(route.method, concrete(route.path))
                    forbidden = route.access not in (Access.READ, Access.OPEN)
                    assert (response.status_code == 403) == forbidden, (route.method, route.path)

    asyncio.run(body())


@pytest.mark.parametrize("secret", ["", "short"])
def test_no_server_starts_with_an_empty_key(secret: str) -> None:
    with pytest.raises(ValueError, match="at least 8"):
        Keys([Key(secret=secret)], now_s=time.time)
    with pytest.raises(ValueError, match="at least 8"):
        Keys([], now_s=time.time)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["input", "profile", "scenario", "output", "queue", "priority", "engine", "parameters", "labels", "requires",
     "run_after", "timeout_s", "max_retries", "tenant", "epoch", "request", "limit", "wait_s", "tasks", "node",
     "attempt", "outputs", "facts", "class", "message", "reason", "delay_s", "fingerprint", "boot_id", "name", "slots"]
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(FIELDS, JSON, max_size=5).map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
)
PATHS = [
    (route.method, concrete(route.path).replace("x1", "1" if "jobs" in route.path else "x1"))
    for route in TABLE
    if route.body is not Body.NONE
]


def test_no_body_makes_the_master_stumble(tmp_path: Any) -> None:
    import asyncio

    from api_serving import serving

    async def body() -> None:
        async with serving(tmp_path) as rig:
            node = await rig.register()
            await rig.submit()
            (task,) = await node.claim()
            loop = asyncio.get_running_loop()

            async def ask(method: str, path: str, content: bytes, query: str) -> None:
                path = path.replace("/nodes/x1", f"/nodes/{node.id}").replace("/tasks/x1", f"/tasks/{task['task']}")
                headers = {"content-type": "application/json", "upload-offset": query[:5] or "0"}
                response = await rig.call(method, path + query, content=content, headers=headers)
                assert response.status_code < 500, (method, path, query, content, response.text)

            @settings(
                max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True,
                database=None,
            )  # fmt: skip
            @given(
                st.sampled_from(PATHS),
                BODIES,
                st.sampled_from(
                    ["", "?node=x&attempt=1&offset=0", "?attempt=%00", "?x=%ff", "?attempt=9999999999999999999"]
                ),
            )
            def attack(route: tuple[str, str], content: bytes, query: str) -> None:
                asyncio.run_coroutine_threadsafe(ask(*route, content, query), loop).result()

            await asyncio.to_thread(attack)

    asyncio.run(body())


def test_a_master_answers_to_its_own_names_alone(tmp_path: Any) -> None:
    import asyncio

    from api_serving import serving

    async def body() -> None:
        async with serving(tmp_path, hosts=frozenset({"master"})) as rig:
            assert (await rig.call("GET", "/v1/jobs")).status_code == 200
            for path in ("/", "/health", "/login", "/v1/jobs", "/nowhere"):
                refused = await rig.call("GET", path, headers={"host": "rebound.evil.example"})
                assert (refused.status_code, problem_of(refused)["type"]) == (421, "urn:millrace:problem:misdirected")

    asyncio.run(body())
