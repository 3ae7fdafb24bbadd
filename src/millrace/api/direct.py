"""Files that a worker stores among the masters' blobs by itself, because it reaches the same store: where, and that they are there."""

from millrace.api.master import Master
from millrace.api.places import attempt_prefix, check_name, output_key
from millrace.api.views import output_url
from millrace.blobs.values import BlobMissing
from millrace.domain import ids
from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.scheduler.report import check_holder
from millrace.store.store import Arrival
from millrace.wire.v1.base import MOST_ATTEMPTS
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.work import PlaceReply, StoredReply, StoredRequest


async def place(master: Master, call: Call[None]) -> PlaceReply:
    """Where a running attempt may store its files."""
    call.only("node", "attempt")
    task, attempt = call.path["task"], call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    await check_holder(master.farm, task, node_id=call.one("node") or "", attempt=attempt)
    return PlaceReply(prefix=attempt_prefix(task, attempt))


async def stored(master: Master, call: Call[StoredRequest]) -> StoredReply:
    """Take note of files that the attempt has stored; each must be there.

    Raises:
        RefusalError: 422, one is not: the worker's store is another one than the masters'.
    """
    task, body = call.path["task"], call.body
    await check_holder(master.farm, task, node_id=body.node, attempt=body.attempt)
    for index, one in enumerate(body.files):
        key = output_key(task, body.attempt, check_name(one.name))
        try:
            size = (await master.blobs.stat(key)).size_bytes
        except BlobMissing:
            size = -1
        if size != one.size:
            what = "is not among the blobs of the masters" if size < 0 else f"has {size} bytes there"
            raise invalid(FieldError(field=f"files[{index}]", message=what), status=422)
    for one in body.files:
        arrival = Arrival(sha256=one.sha256, size=one.size)
        await master.farm.store.keep_arrival(task, body.attempt, one.name, arrival)
    return StoredReply(locations=[output_url(ids.job_of(task), one.name) for one in body.files])
