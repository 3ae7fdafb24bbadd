"""The status page: what the farm does now, and what became of a job. It reads; it steers through the API's own paths."""

import asyncio

from millrace.api import jobs as job_handlers
from millrace.api.master import Master
from millrace.api.views import node_view
from millrace.domain.states import FINAL, State
from millrace.edge.call import Answer, Call
from millrace.edge.keys import Keys
from millrace.edge.refusal import not_found
from millrace.edge.route import Access, Route
from millrace.scheduler.errors import NotFoundError
from millrace.store.store import JobFilter
from millrace.web.render import asset, page
from millrace.web.session import Session

RUNNING = (State.ASSIGNED, State.PROCESSING)
TILES = (
    ("Running", RUNNING, "live"),
    ("Queued", (State.QUEUED, State.PENDING, State.RETRYING), "wait"),
    ("Paused", (State.PAUSED,), "held"),
    ("Completed", (State.COMPLETED,), "good"),
    ("Failed", (State.FAILED, State.REJECTED), "bad"),
    ("Canceled", (State.CANCELED,), "off"),
)
"""The tiles on top: a word, the states that it counts, and the tone."""

PAGE_JOBS = 30
_FAILURES = 5
_COUNTED_FOR_S = 1.0


async def overview(master: Master, call: Call[None]) -> Answer:
    """The whole farm on one page."""
    return page("overview.html", await _overview(master, call))


async def overview_part(master: Master, call: Call[None]) -> Answer:
    """What of it changes; the page's script asks for it when something happened."""
    return page("overview_part.html", await _overview(master, call))


async def _overview(master: Master, call: Call[None]) -> dict[str, object]:
    store = master.farm.store
    chosen = call.one("show") or ""
    states = next((states for word, states, _ in TILES if word.lower() == chosen), ())
    only = JobFilter(states=frozenset(states))
    try:
        jobs = await store.jobs(only, cursor=call.one("cursor"), limit=PAGE_JOBS)
    except ValueError:
        jobs = await store.jobs(only, cursor=None, limit=PAGE_JOBS)
    failed = JobFilter(states=frozenset({State.FAILED, State.REJECTED}))
    counts, nodes, failures, running, now = await asyncio.gather(
        _counts(master),
        store.nodes(),
        store.jobs(failed, cursor=None, limit=_FAILURES),
        store.jobs(JobFilter(states=frozenset(RUNNING)), cursor=None, limit=PAGE_JOBS),
        store.now(),
    )
    # What runs now stands on top, however many newer jobs wait behind it.
    first = () if chosen or call.one("cursor") else running.jobs
    shown = {one.id for one in first}
    return {
        "tiles": [(word, sum(counts.get(state, 0) for state in states), tone) for word, states, tone in TILES],
        "chosen": chosen,
        "cursor": call.one("cursor") or "",
        "jobs": [*first, *(one for one in jobs.jobs if one.id not in shown)],
        "next": jobs.next_cursor,
        "nodes": [(node, node_view(node)) for node in nodes],
        "failures": failures.jobs,
        "waiting": len(master.farm.waiting),
        "now": now,
        "version": master.version,
    }


async def _counts(master: Master) -> dict[State, int]:
    """Counted once for all who look at the same moment."""
    now_s = master.farm.clock.monotonic()
    if master.counted is None or now_s - master.counted[0] > _COUNTED_FOR_S:
        master.counted = (now_s, await master.farm.store.count_jobs())
    return dict(master.counted[1])


async def job(master: Master, call: Call[None]) -> Answer:
    """One job: how far, what came of it, why it failed, every attempt and change."""
    try:
        return page("job.html", await _job(master, call))
    except NotFoundError as error:
        return page("missing.html", {"message": str(error), "version": master.version}, status=404)


async def job_part(master: Master, call: Call[None]) -> Answer:
    """What of it changes."""
    return page("job_part.html", await _job(master, call))


async def _job(master: Master, call: Call[None]) -> dict[str, object]:
    detail = await job_handlers.show(master, call)
    state = detail.state
    return {
        "job": detail,
        "now": await master.farm.store.now(),
        "version": master.version,
        "final": state in FINAL,
        "names": {attempt.node: attempt.node_name for attempt in detail.attempts},
        "verbs": [
            (verb, word)
            for verb, word, fits in (
                ("pause", "Pause", state not in FINAL and state is not State.PAUSED),
                ("resume", "Resume", state is State.PAUSED),
                ("cancel", "Cancel", state not in FINAL),
                ("retry", "Run again", state in FINAL and state is not State.COMPLETED),
            )
            if fits
        ],
    }


async def own_file(_: Master, call: Call[None]) -> Answer:
    """Style and script of the page itself."""
    found = asset(call.path["name"])
    if found is None:
        raise not_found("there is no such file")
    body, media = found
    return Answer(body=body, media=media, cache="no-cache")


def routes(keys: Keys) -> tuple[Route[Master], ...]:
    """What to hand to `build_app` as `pages`; `lost` of `web.session` shows strangers the way."""
    session = Session(keys)
    read, anybody = Access.READ, Access.OPEN
    table = (
        ("GET", "/", read, overview, "The farm on one page."),
        ("GET", "/ui/overview", read, overview_part, "What of it changes."),
        ("GET", "/ui/jobs/{ref}", read, job, "One job."),
        ("GET", "/ui/jobs/{ref}/part", read, job_part, "What of it changes."),
        ("GET", "/assets/{name}", anybody, own_file, "Style and script."),
        ("GET", "/login", anybody, session.form, "The form for the key."),
        ("POST", "/login", anybody, session.log_in, "Begin a session."),
        ("POST", "/logout", anybody, session.log_out, "End it."),
    )
    return tuple(
        Route(
            method=method,
            path=path,
            access=access,
            handler=handler,
            summary=summary,
            media="text/html",
            limit=8192,
            quiet=path.startswith(("/ui/", "/assets/")),
        )
        for method, path, access, handler, summary in table
    )
