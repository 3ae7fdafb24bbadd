"""The status page: what the farm does now, and what became of a job. It reads; it steers through the API's own paths."""

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
from millrace.web.reading import RUNNING, Reader
from millrace.web.render import asset, page
from millrace.web.session import Session

TILES = (
    ("Running", RUNNING, "live"),
    ("Queued", (State.QUEUED, State.PENDING, State.RETRYING), "wait"),
    ("Paused", (State.PAUSED,), "held"),
    ("Completed", (State.COMPLETED,), "good"),
    ("Failed", (State.FAILED, State.REJECTED), "bad"),
    ("Canceled", (State.CANCELED,), "off"),
)
"""The tiles on top: a word, the states that it counts, and the tone."""


class Overview:
    """The whole farm on one page."""

    def __init__(self) -> None:
        """Its reader is shared by all who look."""
        self._reader = Reader()

    async def whole(self, master: Master, call: Call[None]) -> Answer:
        """The page."""
        return page("overview.html", await self._values(master, call))

    async def part(self, master: Master, call: Call[None]) -> Answer:
        """What of it changes; the page's script asks for it when something happened."""
        return page("overview_part.html", await self._values(master, call))

    async def _values(self, master: Master, call: Call[None]) -> dict[str, object]:
        chosen = call.one("show") or ""
        states = next((states for word, states, _ in TILES if word.lower() == chosen), ())
        cursor = call.one("cursor")
        only = JobFilter(states=frozenset(states))
        found = await self._reader.read(master.farm.store, master.farm.clock, only, cursor)
        # What runs now stands on top, however many newer jobs wait behind it.
        first = () if chosen or cursor else found.running
        shown = {one.id for one in first}
        return {
            "tiles": [
                (word, sum(found.counts.get(state, 0) for state in states), tone) for word, states, tone in TILES
            ],
            "shared": found.shared,
            "chosen": chosen,
            "cursor": cursor or "",
            "jobs": [*first, *(one for one in found.page.jobs if one.id not in shown)],
            "next": found.page.next_cursor,
            "nodes": [(node, node_view(node)) for node in found.nodes],
            "failures": found.failures,
            "batches": found.batches,
            "schedules": found.schedules,
            "now": found.now,
            "version": master.version,
        }


async def job(master: Master, call: Call[None]) -> Answer:
    """One job: how far, what came of it, why it failed, every attempt and change."""
    try:
        return page("job.html", await _job(master, call))
    except NotFoundError as error:
        path = call.scope["path"]
        return page("missing.html", {"message": _sentence(error), "path": path, "version": master.version}, status=404)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


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
            if fits and Access.SUBMIT in call.grants
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
    session, overview = Session(keys), Overview()
    read, inspect, anybody = Access.READ, Access.INSPECT, Access.OPEN
    table = (
        ("GET", "/", inspect, overview.whole, "The farm on one page."),
        ("GET", "/ui/overview", inspect, overview.part, "What of it changes."),
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
