"""The status page as people see it: in a browser, with its scripts running, over a farm that works."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from outside import FINAL, Running

from browser.visiting import Visit

LIVE = {"scenario": "720p30-h264", "parameters": {"duration_s": 600}}
"""A job that is still at work whenever a test looks."""
TILES = {
    **dict.fromkeys(("assigned", "processing"), "Running"),
    **dict.fromkeys(("queued", "pending", "retrying"), "Queued"),
    "paused": "Paused",
    "completed": "Completed",
    **dict.fromkeys(("failed", "rejected"), "Failed"),
    "canceled": "Canceled",
}
EVIL = "<img src=x onerror=alert(1)>.mp4"


@pytest.fixture
def inside(visit: Visit) -> Visit:
    visit.log_in()
    return visit


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_key_opens_the_page_and_nothing_else_does(visit: Visit) -> None:
    page, farm = visit.page, visit.farm
    page.goto(f"{farm.url}/")
    assert page.title() == "Log in · Millrace"
    page.get_by_label("API key").fill("not the key")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("alert").filter(has_text="This key opens nothing here").wait_for()
    assert all("401" in trouble for trouble in visit.troubles), visit.troubles
    visit.troubles.clear()
    page.get_by_label("API key").fill(farm.key)
    page.get_by_role("button", name="Log in").click()
    visit.is_live()
    assert page.url == f"{farm.url}/"
    assert page.evaluate("document.cookie") == ""  # no script can carry the session away
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API key").wait_for()
    page.goto(f"{farm.url}/")
    page.get_by_label("API key").wait_for()


def test_a_link_to_a_job_survives_the_login(visit: Visit, ladder: dict[str, Any]) -> None:
    visit.log_in(f"/ui/jobs/{ladder['number']}")
    assert visit.page.url == f"{visit.farm.url}/ui/jobs/{ladder['number']}"


def test_the_overview_shows_the_nodes_and_the_jobs_that_there_are(inside: Visit, ladder: dict[str, Any]) -> None:
    page, farm = inside.page, inside.farm
    nodes = farm.http("GET", "/v1/nodes").json()["nodes"]
    assert len(nodes) == 2
    shown = [words(text) for text in page.locator(".nodes li").all_inner_texts()]
    for node, text in zip(nodes, shown, strict=True):
        assert text.startswith(f"{node['name']} ready"), text
        assert f"of {node['slots']} busy" in text
    jobs = farm.http("GET", "/v1/jobs").json()["jobs"]
    tally = Counter(TILES[job["state"]] for job in jobs)
    for tile in {*TILES.values()}:  # what is counted may be a second old; the page mends that by itself
        page.locator(".tile", has_text=re.compile(rf"^\s*{tally[tile]}\s*{tile}\s*$")).wait_for()
    rows = page.locator(".rows .row")
    assert sorted(int(one) for one in rows.locator(".number").all_inner_texts()) == sorted(
        job["number"] for job in jobs
    )
    row = rows.filter(has=page.locator(".number", has_text=re.compile(f"^{ladder['number']}$")))
    assert "web-hls" in row.inner_text()
    assert row.locator(".pill").inner_text() == "completed"
    row.click()
    page.wait_for_url(f"{farm.url}/ui/jobs/{ladder['number']}")


def test_the_page_of_a_finished_job_shows_its_state_its_attempts_and_its_outputs(
    inside: Visit, ladder: dict[str, Any]
) -> None:
    page, farm = inside.page, inside.farm
    page.goto(f"{farm.url}/ui/jobs/{ladder['number']}")
    inside.is_live()
    head = page.locator(".head")
    assert head.locator(".title .pill").inner_text() == "completed"
    assert head.get_by_role("progressbar").evaluate("(bar) => bar.value / bar.max") == 1
    assert ladder["id"] in head.inner_text()
    (attempt,) = page.locator("[data-key=attempts] li").all_inner_texts()
    assert words(attempt).startswith(f"1 on {ladder['attempts'][0]['node_name']} completed")
    history = page.locator("[data-key=transitions] .pill").all_inner_texts()
    assert history == [one["to"] for one in reversed(ladder["transitions"])]
    links = page.locator("[data-key=outputs] a")
    found = links.evaluate_all("(all) => all.map((one) => [one.innerText, one.getAttribute('href')])")
    assert found == [[output["name"], output["url"]] for output in ladder["outputs"]]
    fetched = page.evaluate("async (url) => (await (await fetch(url)).text())", dict(found)["master.m3u8"])
    assert fetched.startswith("#EXTM3U")
    page.locator("#log", has_text="exited with code 0").wait_for()


@pytest.fixture
def live(farm: Running) -> Iterator[int]:
    """The number of a job that is at work; nothing of it outlasts the test."""
    number = farm.submit(**LIVE)["number"]
    yield number
    if farm.job(number)["state"] not in FINAL:
        farm.do("cancel", number)


def test_the_page_of_a_running_job_moves_by_itself_and_steers_it(inside: Visit, live: int) -> None:
    page, farm, number = inside.page, inside.farm, live
    page.goto(f"{farm.url}/ui/jobs/{number}")
    page.evaluate("window.loadedOnce = true")
    page.locator(".head .title .pill.processing").wait_for()
    moved = "(least) => document.querySelector('.head progress.live')?.value > least"
    page.wait_for_function(moved, arg=0)
    page.wait_for_function(moved, arg=page.locator(".head progress").evaluate("(bar) => bar.value"))
    assert words(page.locator("[data-key=attempts] li").inner_text()).startswith("1 on ")
    page.get_by_role("button", name="Pause").click()
    page.locator(".head .title .pill.paused").wait_for()
    assert farm.job(number)["state"] == "paused"
    page.get_by_role("button", name="Resume").click()
    page.locator(".head .title .pill.processing").wait_for()
    farm.do("cancel", number)  # by somebody else: the page hears of it
    page.locator(".head .title .pill.canceled").wait_for()
    page.get_by_role("button", name="Run again").wait_for()
    page.locator("[data-key=attempts] .pill", has_text="canceled").wait_for()
    assert page.evaluate("window.loadedOnce")


def test_an_open_overview_shows_a_batch_as_it_goes_on_and_a_schedule_with_its_next_time(inside: Visit) -> None:
    page, farm = inside.page, inside.farm
    short = {"scenario": "720p30-h264", "parameters": {"duration_s": 1, "height": 90}}
    job = {"name": "some-night", "cron": "0 3 * * *", "job": short}
    assert farm.http("POST", "/v1/schedules", json=job).status_code == 201
    batch = farm.http("POST", "/v1/batches", json={"jobs": [short, short], "name": "two films"}).json()
    card = page.locator("[data-key=batches] li").filter(has_text="two films")
    card.locator("progress.good").wait_for()  # the page hears of it by itself
    assert words(card.inner_text()).startswith("two films 100 % 2 of 2 ended")
    assert card.get_by_role("link").get_attribute("href") == f"/v1/batches/{batch['id']}"
    schedule = page.locator("[data-key=schedules] li").filter(has_text="some-night")
    assert re.match(r"some-night in \d+ (h|min)", words(schedule.inner_text()))
    assert farm.http("DELETE", "/v1/schedules/some-night").status_code == 204


def test_an_open_overview_hears_of_a_failure_and_runs_nothing_of_it(inside: Visit) -> None:
    page, farm = inside.page, inside.farm
    job = farm.submit(profile="mp4-h264", input=str(farm.shell.home / EVIL))
    failure = page.locator("[data-key=failures] li").filter(has_text=EVIL)
    failure.wait_for()
    failure.get_by_role("link").click()
    page.wait_for_url(f"{farm.url}/ui/jobs/{job['number']}")
    assert page.get_by_role("heading", level=1).inner_text() == EVIL
    sentence = farm.ends(job["id"], "failed")["failure"]["message"]
    assert sentence in page.locator("[data-key=failure]").inner_text()
    assert page.locator("img[src=x]").count() == 0
