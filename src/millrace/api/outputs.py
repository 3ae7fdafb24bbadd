"""Outputs that the master keeps: workers put them, people fetch them."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import quote

from msgspec.structs import replace

from millrace.api.master import Master
from millrace.api.places import KEPT, check_name, is_kept, output_key
from millrace.api.ranges import asked_range
from millrace.api.views import output_url
from millrace.blobs.values import CHUNK_BYTES, BlobMissing
from millrace.domain import ids
from millrace.domain.records import Output
from millrace.edge.call import Call, Stream, declared_length
from millrace.edge.refusal import RefusalError, invalid, not_found
from millrace.scheduler.read import find_job
from millrace.scheduler.report import check_holder
from millrace.store.store import Arrival
from millrace.telemetry.logs import logger
from millrace.wire.v1.base import MOST_ATTEMPTS
from millrace.wire.v1.jobs import OutputView
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.work import OutputReport

log = logger("api")

_MEDIA = {
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
    "mp4": "video/mp4",
    "m4s": "video/iso.segment",
    "m4a": "audio/mp4",
    "ts": "video/mp2t",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "vtt": "text/vtt; charset=utf-8",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}


async def put(master: Master, call: Call[None]) -> OutputView:
    """Keep one output of a running attempt. Nobody can read it before the attempt is recorded as completed."""
    call.only("node", "attempt")
    task = call.path["task"]
    attempt = call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    name = check_name(call.path["name"])
    check = partial(check_holder, master.farm, task, node_id=call.one("node") or "", attempt=attempt)
    await check()
    size = declared_length(call.headers)
    stored = await master.blobs.put(
        output_key(task, attempt, name), _checked(large(call.pieces()), check), size_bytes=size
    )
    arrival = Arrival(sha256=stored.sha256, size=stored.size_bytes)
    await master.farm.store.keep_arrival(task, attempt, name, arrival)
    return OutputView(
        name=name,
        size=stored.size_bytes,
        sha256=stored.sha256,
        streams=[],
        url=output_url(ids.job_of(task), name),
    )


async def _checked(pieces: AsyncIterator[bytes], check: Callable[[], Awaitable[object]]) -> AsyncIterator[bytes]:
    """The same bytes, and at their end another look: what the attempt has completed with is not to be replaced afterwards."""
    async for piece in pieces:
        yield piece
    await check()


async def recorded(master: Master, task: str, attempt: int, reports: Sequence[OutputReport]) -> tuple[Output, ...]:
    """The outputs as they are recorded. Those that the master keeps must really be there, whole, and be what the worker says.

    Raises:
        RefusalError: a kept output never arrived, or its size or its SHA-256 is another one.
    """
    found = []
    job_id = ids.job_of(task)
    kept = any(one.location == output_url(job_id, one.name) for one in reports)
    arrived = await master.farm.store.arrivals(task, attempt) if kept else {}
    for index, one in enumerate(reports):
        output = Output(
            name=one.name, location=one.location, sha256=one.sha256, size=one.size, streams=tuple(one.streams)
        )
        if one.location == output_url(job_id, one.name):
            key = output_key(task, attempt, check_name(one.name))
            await _check_arrived(master, key, one, index, arrived.get(one.name))
            output = replace(output, location=KEPT + key)
        elif is_kept(one.location):
            raise invalid(FieldError(field=f"outputs[{index}].location", message="is no place that a worker may name"))
        found.append(output)
    return tuple(found)


async def _check_arrived(master: Master, key: str, report: OutputReport, index: int, arrival: Arrival | None) -> None:
    try:
        size = (await master.blobs.stat(key)).size_bytes
    except BlobMissing:
        raise invalid(
            FieldError(field=f"outputs[{index}].location", message="never arrived here in this attempt"), status=422
        ) from None
    if size != report.size:
        raise invalid(FieldError(field=f"outputs[{index}].size", message=f"is not {size}, as stored"), status=422)
    # None: it came to an older master, or this report has come before.
    if arrival is not None and arrival.sha256 != report.sha256:
        raise invalid(
            FieldError(field=f"outputs[{index}].sha256", message=f"is not {arrival.sha256}, as stored"), status=422
        )


async def get(master: Master, call: Call[None]) -> Stream:
    """One recorded output of a job, whole or a range of it."""
    job = await find_job(master.farm.store, call.path["ref"])
    name = call.path["name"]
    output = next((one for one in await master.farm.store.outputs(job.id) if one.name == name), None)
    if output is None:
        raise not_found(f"there is no output {name[:200]!r} of job {job.number}")
    if not is_kept(output.location):
        raise RefusalError(409, "conflict", f"cannot send it: the job delivered it to {output.location}")
    key = output.location.removeprefix(KEPT)
    try:
        return await sent(master, key, Arrival(sha256=output.sha256, size=output.size), name, call)
    except BlobMissing:
        raise not_found(f"the output {name[:200]!r} of job {job.number} was deleted") from None


async def large(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about a megabyte: every piece that is stored costs a change of threads."""
    held, size = [], 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def media_of(name: str) -> str:
    """The content type of a file by its name. Nothing that a browser would run: anything else is just bytes."""
    return _MEDIA.get(name.rpartition(".")[2].lower(), "application/octet-stream")


async def sent(master: Master, key: str, recorded: Arrival, name: str, call: Call[None]) -> Stream:
    """A file that is kept as a reply, or the range of it that was asked for.

    Raises:
        RefusalError: it is not what was recorded of it.
        BlobMissing: it was deleted.
    """
    digest = base64.b64encode(bytes.fromhex(recorded.sha256)).decode()
    # Of the whole file, also with a range of it (RFC 9530, 3).
    headers = (*file_headers(key.rpartition("/")[2], recorded.sha256), ("repr-digest", f"sha-256=:{digest}:"))
    size, media = recorded.size, media_of(name)
    part = asked_range(call, size, etag=recorded.sha256)
    start, end = part or (0, size)
    pieces = await _pieces(master, key, recorded, start, end)
    if part is None:
        return Stream(pieces=pieces, length=size, media=media, headers=headers)
    ranged = ("content-range", f"bytes {start}-{end - 1}/{size}")
    return Stream(pieces=pieces, status=206, length=end - start, media=media, headers=(*headers, ranged))


async def _pieces(master: Master, key: str, recorded: Arrival, start: int, end: int) -> AsyncIterator[bytes]:
    """Those bytes of a file, compared with what was recorded where all of it is read: what is asked for whole, and what is small.
    Of other ranges only the reader can tell, by the digest that goes with them.
    """
    if (await master.blobs.stat(key)).size_bytes != recorded.size:
        raise _damaged(key, recorded)
    if recorded.size <= CHUNK_BYTES:
        data = b"".join([piece async for piece in _compared(master, key, recorded)])
        return once(data[start:end])
    if (start, end) == (0, recorded.size):
        return _compared(master, key, recorded)
    return master.blobs.get(key, start=start, end=end)


async def _compared(master: Master, key: str, recorded: Arrival) -> AsyncIterator[bytes]:
    """All bytes of a file, the last of them only when all are what was recorded: without them the answer is no whole one."""
    found, held = hashlib.sha256(), b""
    async for piece in master.blobs.get(key):
        if held:
            yield held
        held = piece
        await asyncio.to_thread(found.update, piece)
    if found.hexdigest() != recorded.sha256:
        raise _damaged(key, recorded)
    if held:
        yield held


async def once(data: bytes) -> AsyncIterator[bytes]:
    """All of it in one piece."""
    yield data


def _damaged(key: str, recorded: Arrival) -> RefusalError:
    log.error("outputs.damaged", key=key, recorded=recorded.sha256)
    return RefusalError(
        410,
        "damaged",
        f"cannot send {key.rpartition('/')[2][:200]!r}: what is stored is not what was recorded of it, so a disk has changed it; submit the"
        " job again",
    )


def file_headers(name: str, etag: str) -> tuple[tuple[str, str], ...]:
    """What goes with a file that somebody else made: it may be shown and saved, and never run as a page of ours."""
    return (
        ("accept-ranges", "bytes"),
        ("etag", f'"{etag}"'),
        ("content-disposition", f"inline; filename*=UTF-8''{quote(name, safe='')}"),
        ("content-security-policy", "default-src 'none'; sandbox"),
    )
