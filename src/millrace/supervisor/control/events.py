"""The stream of changes. It can be taken up where it broke, as long as the supervisor is the same."""

import asyncio
from collections.abc import AsyncIterator

from millrace.edge.call import Call, Stream
from millrace.edge.refusal import invalid
from millrace.supervisor.control.supervisor import Supervisor
from millrace.wire.v1.problems import FieldError

HEARTBEAT_S = 10.0
MEDIA = "text/event-stream"
_GAP = b"event: gap\ndata: {}\n\n"


async def stream(supervisor: Supervisor, call: Call[None]) -> Stream:
    """Every change after a cursor; without one, those to come.

    Changes that are no longer kept, or were those of another supervisor, stand as one event `gap`: look anew then.
    """
    call.only("after")
    cursor = call.header("last-event-id") or call.one("after")
    changes = supervisor.changes
    try:
        number = changes.count if cursor is None else changes.number(cursor)
    except ValueError:
        raise invalid(FieldError(field="after", message="is no cursor that this API gave")) from None
    return Stream(pieces=_pieces(supervisor, call, number), media=MEDIA)


async def _pieces(supervisor: Supervisor, call: Call[None], number: int | None) -> AsyncIterator[bytes]:
    changes, news = supervisor.changes, supervisor.news
    watch = asyncio.create_task(call.gone(), name="watch the reader of changes")
    watch.add_done_callback(lambda _: news.ring())
    try:
        if number is None:
            number = changes.count
            yield _GAP
        # The first event carries the cursor, so that a reader who loses the line before anything happened knows it.
        yield f"retry: 1000\nid: {changes.cursor(number)}\nevent: hello\ndata: {{}}\n\n".encode()
        while not watch.done():
            found, gap = changes.after(number)
            number = changes.count
            if gap:
                yield _GAP
            if found:
                yield b"".join(found)
            elif news.over:
                return
            elif not await news.until(lambda: watch.done() or changes.count > number, HEARTBEAT_S):  # noqa: B023  awaited here
                yield b": still here\n\n"
    finally:
        watch.cancel()
