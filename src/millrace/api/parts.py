"""Jobs that are divided over several workers: who is free, the division, and what the parts hand on."""

from msgspec.structs import replace

from millrace.api.master import Master
from millrace.api.outputs import sent
from millrace.api.places import attempt_prefix, output_key
from millrace.api.uploads import caught_up, upload_of
from millrace.blobs.values import BlobMissing
from millrace.domain import ids
from millrace.domain.records import Kind, NewPart
from millrace.edge.call import Call, Stream
from millrace.edge.refusal import not_found
from millrace.scheduler import split as scheduler
from millrace.scheduler.split import Skill
from millrace.wire.v1.base import MOST_ATTEMPTS
from millrace.wire.v1.work import (
    HelpersReply,
    HelpersRequest,
    MadeView,
    PartsReply,
    PieceView,
    SplitRequest,
    Taken,
)

_MAX_POSITION_DIGITS = 6


async def helpers(master: Master, call: Call[HelpersRequest]) -> HelpersReply:
    """Who else could make parts of this task now."""
    body = call.body
    free = await scheduler.free_elsewhere(
        master.farm,
        call.path["task"],
        node_id=body.node,
        attempt=body.attempt,
        skill=Skill(engine=body.engine, encoders=tuple(body.encoders)),
    )
    return HelpersReply(slots=free.slots, reason=free.reason)


async def split(master: Master, call: Call[SplitRequest]) -> Taken:
    """The worker divides its task."""
    task, body = call.path["task"], call.body
    parts = [
        NewPart(kind=Kind(one.kind), number=one.number, frames=one.frames, awaits=one.awaits) for one in body.parts
    ]
    upload = await upload_of(master, task) if any(one.awaits for one in parts) else None
    state = await scheduler.split(
        master.farm,
        task,
        node_id=body.node,
        attempt=body.attempt,
        parts=[replace(one, awaits=0) if upload is None or one.awaits <= upload.offset else one for one in parts],
        plan=body.plan,
        skill=Skill(engine=body.engine, encoders=tuple(body.encoders)),
        facts=body.facts,
        upload=("", 0) if upload is None else (upload.id, upload.card.size),
    )
    if upload is not None:
        await caught_up(master, upload.id)
    return Taken(task=task, state=state)


async def made(master: Master, call: Call[None]) -> PartsReply:
    """What the parts have made, for the worker that joins them."""
    call.only("node", "attempt")
    attempt = call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    found = await scheduler.made(master.farm, call.path["task"], node_id=call.one("node") or "", attempt=attempt)
    return PartsReply(
        parts=[
            MadeView(
                position=one.position,
                attempt=one.attempt,
                node_name=one.node_name,
                prefix=attempt_prefix(f"{ids.job_of(call.path['task'])}.{one.position}", one.attempt),
                pieces=[
                    PieceView(name=name, size=piece.size, sha256=piece.sha256) for name, piece in one.pieces.items()
                ],
                beat=one.beat,
            )
            for one in found
        ]
    )


async def piece(master: Master, call: Call[None]) -> Stream:
    """A file that a part has handed on, whole or a range of it."""
    call.only("node", "attempt")
    attempt = call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    position, name = call.path["position"], call.path["name"]
    if not (position.isascii() and position.isdigit()) or len(position) > _MAX_POSITION_DIGITS:
        raise not_found(f"there is no part {position[:64]!r}")
    part = await scheduler.made_by(
        master.farm, call.path["task"], int(position), node_id=call.one("node") or "", attempt=attempt
    )
    arrival = (await master.farm.store.arrivals(part.id, part.attempt)).get(name)
    if arrival is None:
        raise not_found(f"part {part.id} has handed on no {name[:200]!r}")
    key = output_key(part.id, part.attempt, name)
    try:
        return await sent(master, key, arrival, name, call)
    except BlobMissing:
        raise not_found(f"the piece {name[:200]!r} of part {part.id} was deleted") from None
