"""The logs of a job, of one attempt or of all in order, while they grow and after the end."""

from collections.abc import AsyncIterator, Sequence

from millrace.api.master import Master
from millrace.domain.ids import task_id
from millrace.domain.records import Attempt
from millrace.edge.call import Call, Stream
from millrace.edge.refusal import not_found
from millrace.scheduler.read import find_job
from millrace.store.store import Store
from millrace.wire.v1.base import MOST_ATTEMPTS, MOST_TASKS

_PIECE = 256 << 10


async def show(master: Master, call: Call[None]) -> Stream:
    """The log from an offset in bytes to where it ends now; of all attempts, one after the other, or of some."""
    call.only("task", "attempt", "offset")
    task = call.integer("task", least=1, most=MOST_TASKS)
    number = call.integer("attempt", least=1, most=MOST_ATTEMPTS)
    offset = call.integer("offset") or 0
    attempts = await _attempts(master, call.path["ref"], task, number)
    return Stream(pieces=_from(master, attempts, offset), media="text/plain; charset=utf-8")


async def _attempts(master: Master, ref: str, task: int | None, number: int | None) -> Sequence[Attempt]:
    store = master.farm.store
    job = await find_job(store, ref)
    attempts = await store.attempts(job.id)
    if task is not None:
        wanted = task_id(job.id, task)
        attempts = [one for one in attempts if one.task_id == wanted]
        if not attempts and wanted not in {one.task_id for one in await store.standings(job.id)}:
            raise not_found(f"there is no task {task} of job {job.number}")
    if number is None:
        return attempts
    found = [attempt for attempt in attempts if attempt.attempt == number]
    if not found:
        of = f"job {job.number}" if task is None else f"task {task} of job {job.number}"
        raise not_found(f"there is no attempt {number} of {of}; it has {len(attempts)}")
    return found


async def _from(master: Master, attempts: Sequence[Attempt], offset: int) -> AsyncIterator[bytes]:
    """Up to the first that still runs: what follows it would move on with each of its lines, and no offset would hold."""
    for attempt in attempts:
        length = master.log_lengths.known(attempt)
        if length is not None and offset >= length:
            offset -= length
            continue
        end = offset
        async for piece in log_pieces(master.farm.store, attempt, offset):
            end += len(piece)
            yield piece
        if end == offset and offset > 0:
            # Nothing from there on: the offset lies at or behind the end of this attempt, whose length is to be known.
            end = 0
            async for piece in log_pieces(master.farm.store, attempt, 0):
                end += len(piece)
        master.log_lengths.learn(attempt, end)
        if attempt.ended_at is None:
            return
        offset = max(offset - end, 0)


async def log_pieces(store: Store, attempt: Attempt, offset: int) -> AsyncIterator[bytes]:
    """The log of one attempt from an offset on."""
    while piece := await store.read_log(attempt.task_id, attempt.attempt, offset=offset, limit=_PIECE):
        offset += len(piece)
        yield piece
