"""The status page: who sees it, what it says, and that nothing of a job can run in it."""

import asyncio
import itertools
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_serving import KEY, Rig, on_pages, serving

from millrace.domain.states import State
from millrace.edge.keys import SESSION_COOKIE, SESSION_S, Key, Keys
from millrace.runtime.clock import VirtualClock
from millrace.store.store import JobFilter, JobPage, Store
from millrace.web import reading
from millrace.web.reading import Reader

BESIDE = {
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

EVIL = "/media/<img src=x onerror=alert(1)>&\"'.mp4"


async def log_in(rig: Rig, **fields: str) -> httpx2.Response:
    del rig.client.headers["x-api-key"]
    return await rig.call("POST", "/login", data={"key": KEY, **fields})


@on_pages
async def test_a_stranger_is_led_to_the_form_and_in_with_the_key(rig: Rig) -> None:
    rig.client.headers["accept"] = "text/html"
    stranger = {"x-api-key": ""}
    lost = await rig.call("GET", "/ui/jobs/1", headers=stranger)
    assert (lost.status_code, lost.headers["location"]) == (303, "/login?next=/ui/jobs/1")
    assert (await rig.call("GET", "/v1/jobs", headers=stranger)).status_code == 401
    lost = await rig.call("GET", "/nowhere?show=failed", headers=stranger)
    assert (lost.status_code, lost.headers["location"]) == (303, "/login?next=/nowhere%3Fshow%3Dfailed")
    assert (await rig.call("GET", "/nowhere", headers={**stranger, "accept": "*/*"})).status_code == 401
    assert (await rig.call("POST", "/nowhere", headers=stranger)).status_code == 401
    form = await rig.call("GET", "/login?next=/ui/jobs/1", headers=stranger)
    assert 'value="/ui/jobs/1"' in form.text
    wrong = await log_in(rig, key="wrong-key-entirely")
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    right = await rig.call("POST", "/login", data={"key": KEY, "next": "/ui/jobs/1"})
    assert (right.status_code, right.headers["location"]) == (303, "/ui/jobs/1")
    cookie = right.headers["set-cookie"]
    assert all(flag in cookie for flag in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert KEY not in cookie
    assert (await rig.call("GET", "/")).status_code == 200
    assert (await rig.call("GET", "/v1/jobs")).status_code == 200
    out = await rig.call("POST", "/logout")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await rig.call("GET", "/")).status_code == 303


@on_pages
async def test_a_stored_key_has_sessions_that_end_with_it_where_the_pages_are_for_it(rig: Rig) -> None:
    async def log_in(**key: str) -> httpx2.Response:
        made = await rig.post("/v1/keys", key, status=201)
        del rig.client.headers["x-api-key"]
        response = await rig.call("POST", "/login", data={"key": made["secret"], "next": "/"})
        rig.client.headers["x-api-key"] = KEY
        return response

    good = await log_in(name="eva", role="viewer")
    assert good.status_code == 303
    cookie = {"cookie": good.headers["set-cookie"].partition(";")[0], "x-api-key": ""}
    assert (await rig.call("GET", "/ui/overview", headers=cookie)).status_code == 200
    assert (await rig.call("POST", "/v1/jobs", json={}, headers=cookie)).status_code == 403
    await rig.post("/v1/keys/eva/revoke")
    assert (await rig.call("GET", "/ui/overview", headers=cookie)).status_code == 401
    for number, key in enumerate(({"role": "worker"}, {"role": "viewer", "tenant": "acme"})):
        refused = await log_in(name=f"key-{number}", **key)
        assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
        assert "These pages show the whole farm" in refused.text


@on_pages
async def test_the_form_leads_nowhere_else(rig: Rig) -> None:
    for target in ("//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "/a\nb"):
        assert (await rig.call("POST", "/login", data={"key": KEY, "next": target})).headers["location"] == "/"


@on_pages
async def test_a_session_is_no_use_to_another_site(rig: Rig) -> None:
    await log_in(rig)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        response = await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"}, headers=headers)
        assert response.status_code == 403, headers
        assert (await rig.call("POST", "/logout", headers=headers)).status_code == 403
    own = {"origin": "http://master", "sec-fetch-site": "same-origin"}
    assert (await rig.call("POST", "/v1/jobs", json={"scenario": "720p30-h264"}, headers=own)).status_code == 201


def test_a_session_ends_and_cannot_be_forged() -> None:
    now = [1000.0]
    key = Key(secret=KEY)
    keys = Keys([key, Key(secret="another-key")], now_s=lambda: now[0])
    token = keys.session(key)

    def who(value: str) -> object:
        caller = keys.identify({b"cookie": f"a=b; {SESSION_COOKIE}={value}".encode()})
        return caller.key if caller else None

    until, _, seal = token.partition(".")
    assert who(token) is key
    for forged in (f"{int(until) + 1}.{seal}", f"{until}.{seal[:-1]}0", f"{until}.", f".{seal}", "", f"{until}.é", KEY):
        assert who(forged) is None, forged
    now[0] += SESSION_S + 1
    assert who(token) is None
    assert Keys([Key(secret="other-secret")], now_s=lambda: 1000.0).identify({b"cookie": token.encode()}) is None


@on_pages
async def test_the_page_of_a_job_says_why_an_attempt_was_handed_back(rig: Rig) -> None:
    await rig.submit()
    node = await rig.register()
    (task,) = await node.claim()
    await node.report("hand-back", task, reason="there is too little room")
    assert '<p class="why">there is too little room</p>' in (await rig.call("GET", "/ui/jobs/1")).text


@on_pages
async def test_pages_show_jobs_nodes_and_failures_and_run_nothing_of_them(rig: Rig) -> None:
    await rig.submit(scenario=None, profile="mp4-h264", input=EVIL)
    node = await rig.register("encoder <b>")
    (task,) = await node.claim()
    await node.report("start", task)
    sentence = "cannot read <script>the input</script>: it is empty"
    await node.report("fail", task, **{"class": "input", "message": sentence})
    await rig.submit()
    for path in (
        "/",
        "/?show=failed",
        "/?show=nope&cursor=nope",
        "/ui/overview",
        "/ui/jobs/1",
        "/ui/jobs/1/part",
        "/ui/jobs/2",
    ):
        response = await rig.call("GET", path)
        assert response.status_code == 200, path
        policy = {part.strip() for part in response.headers["content-security-policy"].split(";")}
        assert policy == {
            "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'", "form-action 'self'",
            "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types page",
        }  # fmt: skip
        assert {name: response.headers[name] for name in BESIDE} == BESIDE
        assert "<img src=x" not in response.text
        assert "<script>the" not in response.text
        assert "encoder <b>" not in response.text
        assert not re.search(r"<script(?! type=\"module\" src=\"/assets/)|<[^>]*\s(on\w+|style)=", response.text), path
    assert "cannot read &lt;script&gt;the input" in (await rig.call("GET", "/")).text
    assert "cannot read &lt;script&gt;the input" in (await rig.call("GET", "/ui/jobs/1")).text
    assert 'data-verb="' in (await rig.call("GET", "/ui/jobs/2")).text
    viewer = (await rig.post("/v1/keys", {"name": "eva", "role": "viewer"}, status=201))["secret"]
    looked = await rig.call("GET", "/ui/jobs/2", headers={"x-api-key": viewer})
    assert (looked.status_code, 'data-verb="' in looked.text) == (200, False)  # no buttons that would be refused
    missing = await rig.call("GET", "/ui/jobs/77")
    assert (missing.status_code, "There is no job" in missing.text) == (404, True)


@on_pages
async def test_the_overview_shows_how_far_batches_are_and_when_schedules_come_next(rig: Rig) -> None:
    empty = (await rig.call("GET", "/ui/overview")).text
    assert "Batches" not in empty
    assert "Schedules" not in empty
    jobs = [{"scenario": "720p30-h264"} for _ in range(4)]
    batch = await rig.post("/v1/batches", {"jobs": jobs, "name": "<b>spring</b>"}, status=201)
    node = await rig.register()
    done, failed = await node.claim(limit=2)
    await node.report("complete", done)
    await node.report("fail", failed, **{"class": "input", "message": "cannot read the input: it is empty"})
    schedule = {"cron": "0 3 * * *", "job": {"scenario": "720p30-h264"}}
    await rig.post("/v1/schedules", {"name": "nightly", **schedule}, status=201)
    await rig.post("/v1/schedules", {"name": "resting", "paused": True, **schedule}, status=201)
    text = (await rig.call("GET", "/ui/overview")).text
    card = text.partition('data-key="batches"')[2].partition("</section>")[0]
    assert "&lt;b&gt;spring&lt;/b&gt;" in card
    assert f'href="/v1/batches/{batch["id"]}"' in card
    assert 'value="500"' in card
    assert "2 of 4 ended" in card
    assert "1 failed" in card
    card = text.partition('data-key="schedules"')[2].partition("</section>")[0]
    nightly, resting = re.findall(r"<li.*?</li>", card, re.DOTALL)
    assert "<b>nightly</b>" in nightly
    assert re.search(r">in \d+ (h|min)", nightly)
    assert "paused" not in nightly
    assert "<b>resting</b>" in resting
    assert '<span class="pill paused">' in resting


@on_pages
async def test_the_files_of_the_page_are_served_and_no_others(rig: Rig) -> None:
    for name, media in (("page.css", "text/css"), ("page.js", "text/javascript"), ("mark.svg", "image/svg+xml")):
        response = await rig.call("GET", f"/assets/{name}", headers={"x-api-key": ""})
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, media)
    for name in ("nope.css", "..%2Frender.py", "%2e%2e", "page.css%00"):
        assert (await rig.call("GET", f"/assets/{name}")).status_code == 404


@on_pages
async def test_a_browser_that_lost_its_way_gets_a_page_and_a_program_its_problem(rig: Rig) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path in ("/nowhere", "/ui", "/ui/", "/ui/jobs", "/ui/jobs/1/more", "/assets/nope.css", "/%FF", "/<img src=x>"):
        shown = await rig.call("GET", path, headers=browser)
        assert (shown.status_code, shown.headers["content-type"]) == (404, "text/html; charset=utf-8"), path
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        assert shown.headers["x-request-id"]
        assert int(shown.headers["content-length"]) == len(shown.content)
        assert 'id="line"' not in shown.text  # there are no events to wait for
        assert "<img src=x>" not in shown.text
        for way in ("/", "/ui/jobs/1", "/v1/openapi.json", "/metrics"):
            assert f'href="{way}"' in shown.text
        bare = await rig.call("GET", path)
        assert (bare.status_code, bare.headers["content-type"]) == (404, "application/problem+json"), path
    assert (await rig.call("GET", "/v1/nowhere", headers=browser)).headers["content-type"] == "application/problem+json"
    assert (await rig.call("POST", "/nowhere", headers=browser)).headers["content-type"] == "application/problem+json"
    form = await rig.call("GET", "/logout", headers=browser)
    assert (form.status_code, form.headers["allow"], "only forms" in form.text) == (405, "POST", True)
    head = await rig.call("HEAD", "/nowhere", headers=browser)
    assert (head.status_code, head.content) == (404, b"")
    assert (await rig.call("GET", "/metrics", headers=browser)).status_code == 200


async def figures(rig: Rig) -> tuple[dict[str, int], list[str]]:
    """What the tiles count, and the states of the jobs that are listed."""
    text = (await rig.call("GET", "/ui/overview")).text
    tiles = re.findall(r'<b class="num">(\d+)</b><span>(\w+)</span>', text)
    rows = text.partition('class="rows"')[2].partition("</ol>")[0]
    return {word: int(count) for count, word in tiles}, re.findall(r'<span class="pill \w+">(\w+)</span>', rows)


@on_pages
async def test_the_figures_are_those_of_the_list_at_any_moment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_COSTLY_S", math.inf)  # a machine that is busy with other tests may count slowly
    node = await rig.register()
    await rig.submit()
    await rig.submit()
    assert await figures(rig) == (EMPTY | {"Queued": 2}, ["queued", "queued"])
    (task,) = await node.claim()
    await node.report("start", task)
    assert await figures(rig) == (EMPTY | {"Queued": 1, "Running": 1}, ["processing", "queued"])
    await node.report("fail", task, **{"class": "input", "message": "cannot read the input: it is empty"})
    assert await figures(rig) == (EMPTY | {"Queued": 1, "Failed": 1}, ["queued", "failed"])


EMPTY = dict.fromkeys(["Running", "Queued", "Paused", "Completed", "Failed", "Canceled"], 0)


def test_what_happens_while_the_overview_reads_is_in_all_of_it_or_in_nothing(tmp_path: Path) -> None:
    happen: list[Callable[[], Awaitable[object]]] = []

    class Changing:
        """A store in which something happens between the counting and the listing."""

        def __init__(self, store: Store) -> None:
            self._store = store
            self._happened = asyncio.Event()

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        async def count_jobs(self) -> Mapping[State, int]:
            counts = await self._store.count_jobs()
            if happen:
                await happen.pop()()
            self._happened.set()
            return counts

        async def jobs(self, *arguments: Any, **named: Any) -> JobPage:
            await self._happened.wait()
            return await self._store.jobs(*arguments, **named)

    async def scene() -> None:
        async with serving(tmp_path, wrap=Changing, with_pages=True) as rig:
            await rig.submit()
            happen.append(lambda: rig.post("/v1/jobs/1/cancel"))
            assert await figures(rig) == (EMPTY | {"Canceled": 1}, ["canceled"])
            assert happen == []

    asyncio.run(scene())


def test_where_something_happens_all_the_time_the_overview_is_shown_all_the_same(tmp_path: Path) -> None:
    class Busy:
        def __init__(self, store: Store) -> None:
            self._store = store
            self._count = itertools.count()

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        async def last_cursor(self) -> str:
            return str(next(self._count))

    async def scene() -> None:
        async with serving(tmp_path, wrap=Busy, with_pages=True) as rig:
            assert await figures(rig) == (EMPTY, [])

    asyncio.run(scene())


def test_only_where_counting_takes_its_time_is_it_shared_between_those_who_look() -> None:
    async def scene(takes_s: float) -> tuple[int, bool]:
        clock = VirtualClock()
        counted = 0

        class Slow:
            def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
                async def answer(*_: object, **__: object) -> object:
                    return JobPage(jobs=(), next_cursor=None) if name == "jobs" else ()

                return answer

            async def count_jobs(self) -> Mapping[State, int]:
                nonlocal counted
                counted += 1
                await clock.advance(takes_s)
                return {State.QUEUED: counted}

        reader = Reader()
        for _ in range(3):
            found = await reader.read(Slow(), clock, JobFilter(), None)  # type: ignore[arg-type]
        within = counted, found.shared
        await clock.advance(20 * takes_s)
        found = await reader.read(Slow(), clock, JobFilter(), None)  # type: ignore[arg-type]
        assert (found.counts, found.shared) == ({State.QUEUED: counted}, False)
        return within

    assert asyncio.run(scene(0.01)) == (3, False)
    assert asyncio.run(scene(0.1)) == (1, True)


@on_pages
async def test_a_form_that_is_none_is_refused(rig: Rig) -> None:
    for content in (b"a&" * 200, b"key=%ff", b"key=\xff", b"key=a%00b", b"=" * 300):
        response = await rig.call("POST", "/login", content=content, headers={"x-api-key": ""})
        assert response.status_code in (400, 401), content
