"""The status page: who sees it, what it says, and that nothing of a job can run in it."""

import re

import httpx2
from api_serving import KEY, Rig, on_pages

from millrace.edge.keys import SESSION_COOKIE, SESSION_S, Key, Keys

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
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "<img src=x" not in response.text
        assert "<script>the" not in response.text
        assert "encoder <b>" not in response.text
        assert not re.search(r"<script(?! type=\"module\" src=\"/assets/)|<[^>]*\s(on\w+|style)=", response.text), path
    assert "cannot read &lt;script&gt;the input" in (await rig.call("GET", "/")).text
    assert "cannot read &lt;script&gt;the input" in (await rig.call("GET", "/ui/jobs/1")).text
    missing = await rig.call("GET", "/ui/jobs/77")
    assert (missing.status_code, "there is no job" in missing.text) == (404, True)


@on_pages
async def test_the_files_of_the_page_are_served_and_no_others(rig: Rig) -> None:
    for name, media in (("page.css", "text/css"), ("page.js", "text/javascript"), ("mark.svg", "image/svg+xml")):
        response = await rig.call("GET", f"/assets/{name}", headers={"x-api-key": ""})
        assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, media)
    for name in ("nope.css", "..%2Frender.py", "%2e%2e", "page.css%00"):
        assert (await rig.call("GET", f"/assets/{name}")).status_code == 404
