"""The stream of transitions, as server-sent events (WHATWG HTML, section 9.2) that can be taken up where they broke."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from millrace.api.master import Master
from millrace.api.views import transition_view
from millrace.edge.call import Call, Stream
from millrace.edge.refusal import invalid
from millrace.scheduler.follow import follow
from millrace.scheduler.read import find_job
from millrace.wire.v1.problems import FieldError

BEGINNING = "beginning"
"""As a cursor: from the first transition that is still kept."""
HEARTBEAT_S = 10.0
MEDIA = "text/event-stream"
_encode = msgspec.json.Encoder().encode


async def stream(master: Master, call: Call[None]) -> Stream:
    """Every transition after a cursor.

    Without a cursor the stream of one job begins with its first transition, and that of all jobs with the next one.
    """
    call.only("after", "job")
    ref = call.one("job")
    job_id = None if ref is None else (await find_job(master.farm.store, ref)).id
    after = call.header("last-event-id") or call.one("after")
    if after == BEGINNING or (after is None and job_id is not None):
        after = None
    elif after is None:
        after = await master.farm.store.last_cursor()
    else:
        await _check(master, after)
    return Stream(pieces=_Events(master, call, after, job_id).pieces(), media=MEDIA)


async def _check(master: Master, cursor: str) -> None:
    """Refuse a wrong cursor while there is still a status to say it with."""
    try:
        await master.farm.store.events(after=cursor, limit=1)
    except ValueError:
        raise invalid(FieldError(field="after", message="is no cursor that this API gave")) from None


class _Events:
    """One reader's stream; it ends when the reader hangs up or the master stops."""

    def __init__(self, master: Master, call: Call[None], after: str | None, job_id: str | None) -> None:
        self._master = master
        self._call = call
        self._after = after
        self._job_id = job_id
        self._over = False

    def end(self) -> None:
        """Let the follower look again, so that it sees that it is over."""
        self._over = True
        self._master.farm.changes.ring()

    async def pieces(self) -> AsyncIterator[bytes]:
        watch = asyncio.create_task(self._call.gone(), name="watch the reader of events")
        watch.add_done_callback(lambda _: self.end())
        self._master.long.enter(self, self._call.mark)
        clock = self._master.farm.clock
        follower = follow(self._master.farm, after=self._after, job_id=self._job_id)
        said_s = clock.monotonic()
        try:
            # The first event carries the cursor, so that a reader who loses the line before anything happened knows
            # where it was.
            yield f"retry: 2000\nid: {self._after or BEGINNING}\nevent: hello\ndata: {{}}\n\n".encode()
            async for transition in follower:
                if self._over:
                    return
                if transition is not None:
                    body = _encode(transition_view(transition))
                    yield b"id: %s\nevent: transition\ndata: %s\n\n" % (transition.cursor.encode(), body)
                elif clock.monotonic() - said_s >= HEARTBEAT_S:
                    yield b": still here\n\n"
                else:
                    continue
                said_s = clock.monotonic()
        finally:
            watch.cancel()
            self._master.long.leave(self)
