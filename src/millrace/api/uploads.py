"""Uploads that can be resumed, in the manner of tus 1.0 (https://tus.io/protocols/resumable-upload).

Each piece becomes one blob, named by its offset and published whole or not at all; what has arrived is the chain of
pieces from 0 on. So any master can take any piece, and a master that dies loses only the piece in its hands.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec import Struct

from millrace.api.master import Master
from millrace.api.outputs import file_headers, large, once
from millrace.api.places import UPLOADS, begun_at, is_upload_id, new_upload_id, upload_prefix
from millrace.api.ranges import asked_range
from millrace.blobs.values import BlobIncomplete, BlobMissing, Blobs
from millrace.domain import ids
from millrace.domain.records import Arriving, InputWait
from millrace.edge.call import Answer, Call, ClientGoneError, Stream, declared_length
from millrace.edge.refusal import RefusalError, invalid, not_found, too_large
from millrace.edge.route import Access
from millrace.scheduler import arrive
from millrace.scheduler.tenants import refuse
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.system import UploadRequest, UploadView

TUS = ("tus-resumable", "1.0.0")
PIECE_MEDIA = "application/offset+octet-stream"
SCHEME = "upload://"
"""What the location of an upload begins with, as a job's input; the rest is its id."""
NOT_ARRIVED = "not-arrived"
"""The kind of problem of who asks for bytes that are still to come."""
_CARD = "upload.json"
_DIGITS = 16


class Card(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was announced; the first blob of an upload."""

    name: str
    size: int
    created: datetime
    tenant: str = ""  # the one that its key is bound to


class Upload(Struct, frozen=True, kw_only=True):
    """An upload as it stands: its card, and the pieces that follow each other from 0 on, as (offset, size)."""

    id: str
    card: Card
    pieces: tuple[tuple[int, int], ...]

    @property
    def offset(self) -> int:
        """How many bytes have arrived."""
        return sum(self.pieces[-1]) if self.pieces else 0

    def view(self) -> UploadView:
        """As it goes out."""
        return UploadView(id=self.id, name=self.card.name, size=self.card.size, offset=self.offset)


async def create(master: Master, call: Call[UploadRequest]) -> Answer:
    """A file is going to come."""
    if call.body.size > master.limits.upload_bytes:
        raise invalid(FieldError(field="size", message=f"is above the limit of {master.limits.upload_bytes} bytes"))
    now = await master.farm.store.now()
    upload_id = master.farm.new_id(new_upload_id, now)
    card = Card(name=call.body.name, size=call.body.size, created=now, tenant=master.tenant)
    await _count(master, upload_id, call.body.size)
    try:
        await master.blobs.put(upload_prefix(upload_id) + _CARD, once(msgspec.json.encode(card)))
    except BaseException:
        await master.farm.store.release_upload(upload_id)
        raise
    return _answer(Upload(id=upload_id, card=card, pieces=()), status=201)


async def _count(master: Master, upload_id: str, size: int) -> None:
    """Count it for its tenant as it is announced, so that no two that come at once are more than the quota allows."""
    farm = master.farm
    if master.tenant:
        await farm.rules_of(master.tenant)  # which has a record from now on, where there are limits by default
    over = await farm.store.add_upload(upload_id, master.tenant, size)
    if over is not None:
        raise refuse(farm, master.tenant, over, what=f"take {size} bytes")


async def show(master: Master, call: Call[None]) -> Answer:
    """How much has arrived; for HEAD, the headers alone."""
    return _answer(await _find(master, call.path["id"]))


async def append(master: Master, call: Call[None]) -> Answer:
    """The next piece."""
    if (call.header("content-type") or "").partition(";")[0].strip().lower() != PIECE_MEDIA:
        raise RefusalError(
            415, "unsupported-media-type", f"cannot take the piece: its Content-Type must be {PIECE_MEDIA}",
            headers={"connection": "close"},
        )  # fmt: skip
    text = call.header("upload-offset") or ""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise invalid(FieldError(field="Upload-Offset", message="must be the number of bytes that have arrived"))
    upload = await _find(master, call.path["id"])
    if int(text) != upload.offset:
        raise RefusalError(
            409, "conflict", f"cannot take the piece: {upload.offset} bytes have arrived, and it begins at {text}",
            headers={"upload-offset": str(upload.offset), "connection": "close"},
        )  # fmt: skip
    room = upload.card.size - upload.offset
    length = declared_length(call.headers)
    if length is not None and length > room:
        raise too_large(room)
    if length == 0:
        return _answer(upload)
    key = f"{upload_prefix(upload.id)}{upload.offset:0{_DIGITS}d}"
    try:
        stored = await master.blobs.put(key, large(_within(call.pieces(), room)), size_bytes=length)
    except BlobIncomplete:
        raise ClientGoneError from None
    if stored.size_bytes == 0:
        await master.blobs.delete(key)  # an empty piece would be mistaken for the first of two at this offset
    whole = Upload(id=upload.id, card=upload.card, pieces=(*upload.pieces, (upload.offset, stored.size_bytes)))
    await arrive.arrived(master.farm, whole.id, whole.offset, whole.card.size)
    return _answer(whole)


async def content(master: Master, call: Call[None]) -> Stream:
    """The whole file, or a range of it, once that has arrived. A worker gets it while it holds a task that wants it."""
    if Access.READ not in call.grants:  # a worker's key
        await _check_wanted(master, call)
    upload = await _find(master, call.path["id"])
    part = asked_range(call, upload.card.size, etag=upload.id)
    start, end = part or (0, upload.card.size)
    if upload.offset < end:
        raise RefusalError(
            409, NOT_ARRIVED, f"cannot send it: {upload.offset} of {upload.card.size} bytes have arrived"
        )
    headers = file_headers(upload.card.name, upload.id)
    if part is not None:
        headers = (*headers, ("content-range", f"bytes {start}-{end - 1}/{upload.card.size}"))
    return Stream(
        pieces=_slices(master, upload, start, end),
        status=200 if part is None else 206,
        length=end - start,
        headers=headers,
    )


async def _check_wanted(master: Master, call: Call[None]) -> None:
    upload_id = call.path["id"]
    node_id = call.machine.node if call.machine is not None else None
    if not await master.farm.store.holds_input(SCHEME + upload_id, node_id=node_id, key_id=call.key_id):
        raise _no_upload(upload_id)


async def delete(master: Master, call: Call[None]) -> None:
    """Forget it."""
    upload = await _find(master, call.path["id"])
    await delete_upload(master, upload.id)


async def delete_upload(master: Master, upload_id: str) -> None:
    """Remove all pieces and at last the card, so that what was begun can be found and ended. Jobs that wait for more of it fail."""
    await arrive.gone(master.farm, upload_id)
    prefix = upload_prefix(upload_id)
    keys = [blob.key async for blob in master.blobs.list(prefix)]
    for key in sorted(keys, key=lambda key: key.endswith(_CARD)):
        await master.blobs.delete(key)
    await master.farm.store.release_upload(upload_id)


async def expire(master: Master, *, before: datetime) -> int:
    """Remove uploads that were begun before a moment, finished or not; returns how many. Any master may do it."""
    old = {
        upload_id
        async for blob in master.blobs.list(UPLOADS)
        if is_upload_id(upload_id := blob.key.split("/")[1]) and begun_at(upload_id) < before
    }
    for upload_id in old:
        await delete_upload(master, upload_id)
    # A master that died in between may have left some that are counted and not there.
    await master.farm.store.release_uploads(below=new_upload_id(int(before.timestamp() * 1000), b""))
    return len(old)


def is_upload(location: str) -> bool:
    """Whether a job's input is an upload."""
    return location.startswith(SCHEME)


async def check_arrived(master: Master, location: str, *, early: bool = False) -> Arriving | None:
    """Pass where an upload has arrived, or, with `early`, has been announced: then what has come of it.

    Raises:
        RefusalError: 422, there is no such upload, or a part of it is missing.
    """
    upload_id = location.removeprefix(SCHEME)
    try:
        upload = await _find(master, upload_id)
    except RefusalError:
        why = f"there is no upload {upload_id[:64]!r}; begin one with POST /v1/uploads"
    else:
        if upload.offset == upload.card.size:
            return None
        if early:
            return Arriving(upload=upload.id, size=upload.card.size, arrived=upload.offset)
        why = (
            f"{upload.offset} of {upload.card.size} bytes of upload {upload.id} have arrived; "
            "send the rest of them before the job, or submit it with `early`"
        )
    raise invalid(FieldError(field="input", message=why), status=422)


async def arrived_of(blobs: Blobs, upload_id: str) -> int | None:
    """How many bytes of an upload have arrived; None where there is none."""
    upload = await _stored(blobs, upload_id)
    return None if upload is None else upload.offset


async def upload_of(master: Master, task_id: str) -> Upload | None:
    """The upload that the job of a task has as its input; None where that is gone, or something else."""
    job = await master.farm.store.job(ids.job_of(task_id))
    location = None if job is None else job.spec.get("input")
    if not isinstance(location, str) or not is_upload(location):
        return None
    try:
        return await _find(master, location.removeprefix(SCHEME))
    except RefusalError:
        return None


async def wait_of(master: Master, task_id: str, count: int, reason: str) -> InputWait | None:
    """The wait of a task for the first `count` bytes of its upload; None where they are here, or will never be."""
    upload = await upload_of(master, task_id)
    if upload is None or upload.offset >= min(count, upload.card.size):
        return None
    return InputWait(
        upload=upload.id,
        size=upload.card.size,
        bytes=min(count, upload.card.size),
        reason=reason if count >= upload.card.size else "",
    )


async def caught_up(master: Master, upload_id: str) -> None:
    """Queue at once what began to wait while the bytes came that it waits for."""
    with suppress(RefusalError):
        upload = await _find(master, upload_id)
        await arrive.arrived(master.farm, upload_id, upload.offset, upload.card.size)


async def _find(master: Master, upload_id: str) -> Upload:
    upload = await _stored(master.blobs, upload_id)
    if upload is None or master.tenant not in ("", upload.card.tenant):
        raise _no_upload(upload_id)
    return upload


async def _stored(blobs: Blobs, upload_id: str) -> Upload | None:
    if not is_upload_id(upload_id):
        return None
    prefix = upload_prefix(upload_id)
    try:
        raw = b"".join([piece async for piece in blobs.get(prefix + _CARD)])
    except BlobMissing:
        return None
    sizes = {
        int(name): blob.size_bytes
        async for blob in blobs.list(prefix)
        if (name := blob.key.removeprefix(prefix)).isdigit()
    }
    return Upload(id=upload_id, card=msgspec.json.decode(raw, type=Card), pieces=chain(sizes))


def _no_upload(upload_id: str) -> RefusalError:
    return not_found(f"there is no upload {upload_id[:64]!r}")


def chain(sizes: dict[int, int]) -> tuple[tuple[int, int], ...]:
    """The pieces that follow each other without a gap from 0 on. Pure."""
    found, offset = [], 0
    while sizes.get(offset, 0) > 0:
        found.append((offset, sizes[offset]))
        offset += sizes[offset]
    return tuple(found)


async def _slices(master: Master, upload: Upload, start: int, end: int) -> AsyncIterator[bytes]:
    for offset, size in upload.pieces:
        first, last = max(start - offset, 0), min(end - offset, size)
        if first < last:
            async for piece in master.blobs.get(
                f"{upload_prefix(upload.id)}{offset:0{_DIGITS}d}", start=first, end=last
            ):
                yield piece


async def _within(pieces: AsyncIterator[bytes], room: int) -> AsyncIterator[bytes]:
    total = 0
    async for piece in pieces:
        total += len(piece)
        if total > room:
            raise too_large(room)
        yield piece


def _answer(upload: Upload, *, status: int = 200) -> Answer:
    return Answer(
        status=status,
        body=msgspec.json.encode(upload.view()),
        headers=(
            TUS,
            ("upload-offset", str(upload.offset)),
            ("upload-length", str(upload.card.size)),
            ("location", f"/v1/uploads/{upload.id}"),
        ),
    )
