"""Big bytes between a person and the masters: resumable uploads, resumable downloads."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from millrace.client.calls import Answer, Call, FileSlice, Repeat, get, json_into, post, segment
from millrace.client.client import Client
from millrace.client.errors import ConflictError, InterruptedTransferError, RefusedError, UnreachableError
from millrace.wire.v1.system import UploadRequest, UploadView

PIECE_BYTES = 8 << 20
TRIES = 5
"""Failures in a row, without a byte gained, after which a transfer is given up."""

Progress = Callable[[int, int], None]
"""Told the bytes moved so far and the bytes in all."""


def upload(
    client: Client, path: Path, *, progress: Progress | None = None, piece_bytes: int = PIECE_BYTES
) -> UploadView:
    """Send a file to the masters in the manner of tus 1.0; use `upload://ID` as a job's input afterwards.

    Raises:
        OSError: the file cannot be read.
        InterruptedTransferError: it broke off again and again without progress.
        ClientError: a master refused.
    """
    return send_rest(client, path, announce(client, path), progress=progress, piece_bytes=piece_bytes)


def announce(client: Client, path: Path) -> UploadView:
    """Say that a file is going to come. Raises as :func:`upload`."""
    # A repeated creation would leave an empty upload behind, which the masters clean up.
    return client.do(post("/v1/uploads", UploadView, UploadRequest(name=path.name, size=path.stat().st_size)))


def send_rest(
    client: Client,
    path: Path,
    view: UploadView,
    *,
    progress: Progress | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> UploadView:
    """Send what has not arrived of an upload. What `progress` raises ends it. Raises as :func:`upload`."""
    size, failures = view.size, 0
    while view.offset < size:
        before = view.offset
        try:
            view = client.do(_patch(view.id, path, before, min(piece_bytes, size - before)))
        except (UnreachableError, ConflictError):
            # The piece may have arrived in part, or wholly with its answer lost: only the master knows.
            failures += 1
            if failures >= TRIES:
                raise InterruptedTransferError(
                    f"cannot upload {path}: it broke off {failures} times in a row"
                ) from None
            client.pause(0.2 * failures)
            view = client.do(standing(view.id))
        if view.offset > before:
            failures = 0
        if progress is not None:
            progress(view.offset, size)
    return view


def standing(upload_id: str) -> Call[UploadView]:
    """How much of an upload has arrived."""
    return get(f"/v1/uploads/{segment(upload_id)}", UploadView)


def forget(upload_id: str) -> Call[None]:
    """Delete an upload."""
    return Call(method="DELETE", path=f"/v1/uploads/{segment(upload_id)}", read=_nothing)


def _patch(upload_id: str, path: Path, offset: int, length: int) -> Call[UploadView]:
    return Call(
        method="PATCH",
        path=f"/v1/uploads/{segment(upload_id)}",
        read=json_into(UploadView),
        headers={"content-type": "application/offset+octet-stream", "upload-offset": str(offset)},
        body=FileSlice(path=path, offset=offset, length=length),
        repeat=Repeat.UNSENT,
        silence_s=120.0,
    )


def download_output(client: Client, job: str, name: str, target: Path, *, progress: Progress | None = None) -> int:
    """Fetch one output of a job into `target` (replaced only when whole, and what was recorded); returns its size in bytes.

    Raises:
        InterruptedTransferError: it broke off again and again without progress.
        RefusedError: what came is not what was recorded.
        ClientError: a master refused, such as NotFoundError.
        OSError: the target cannot be written.
    """
    path = f"/v1/jobs/{segment(job)}/outputs/{'/'.join(segment(part) for part in name.split('/'))}"
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        size = _download(client, path, part, progress)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return size


def _download(client: Client, path: str, part: Path, progress: Progress | None) -> int:
    failures, have, total = 0, 0, -1
    digest = ""
    while have != total:
        before = have
        headers = {"range": f"bytes={have}-"} if have else {}
        call = Call(method="GET", path=path, read=_nothing, headers=headers, silence_s=60.0)
        try:
            with client.stream(call) as response, part.open("ab") as file:
                if have and response.status_code != 206:
                    file.truncate(0)
                    have = before = 0
                total = have + int(response.headers.get("content-length", -1 - have))
                digest = response.headers.get("repr-digest", "")
                for piece in response.iter_raw():
                    file.write(piece)
                    have += len(piece)
                    if progress is not None:
                        progress(have, total)
                if total < 0:
                    total = have  # the master did not say; the stream's own end has to do
                file.flush()
                os.fsync(file.fileno())
        except InterruptedTransferError:
            have = part.stat().st_size if part.exists() else 0
        failures = failures + 1 if have == before else 0
        if have != total and failures >= TRIES:
            raise InterruptedTransferError(f"cannot download {path}: it broke off {failures} times in a row")
        if have > total >= 0:
            raise RefusedError(f"cannot download {path}: the master sent more than it announced", status=200)
    if "sha-256=" in digest and _digest(part) not in digest:
        raise RefusedError(
            f"cannot download {path}: what came is not what was recorded; submit the job again", status=200
        )
    return have


def _digest(path: Path) -> str:
    """As a `Repr-Digest` (RFC 9530)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    return f"sha-256=:{base64.b64encode(found).decode()}:"


def _nothing(_: Answer) -> None:
    return None
