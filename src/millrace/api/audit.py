"""The audit trail: what goes into it about a farm, and how it is read."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from millrace.api.master import Master
from millrace.domain.chain import Block, unpack
from millrace.domain.records import Job
from millrace.edge.audit import AuditEntry
from millrace.edge.call import Answer, Call
from millrace.edge.refusal import invalid
from millrace.scheduler.errors import ConflictError, NotFoundError
from millrace.scheduler.nodes import find_node
from millrace.scheduler.read import find_job
from millrace.scheduler.schedules import find as find_schedule
from millrace.store.store import StoreError
from millrace.telemetry.logs import logger
from millrace.wire.v1.audit import AuditEntryView, AuditPage, BlockView, ChainView
from millrace.wire.v1.batches import BatchDetail, BatchRequest
from millrace.wire.v1.jobs import JobDetail
from millrace.wire.v1.keys import KeyMade
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.schedules import ScheduleDetail
from millrace.wire.v1.system import UploadView
from millrace.wire.v1.webhooks import WebhookMade
from millrace.wire.v1.work import RegisterReply, RegisterRequest

log = logger("api")
LIMIT, MOST = 50, 500
BLOCKS, MOST_BLOCKS = 200, 1000
_decode = msgspec.json.Decoder(AuditEntry).decode


# What goes into it ------------------------------------------------------------------------------------------------------


async def watch_job(master: Master, call: Call[None]) -> Mapping[str, object] | None:
    """The job that a request names, as far as a request can change it."""
    with suppress(NotFoundError, StoreError):
        job = await find_job(master.farm.store, call.path["ref"])
        return {"job": job.id, "number": job.number, "state": job.state.value}
    return None


async def watch_node(master: Master, call: Call[None]) -> Mapping[str, object] | None:
    """The node that a request names."""
    with suppress(NotFoundError, StoreError):
        node = await find_node(master.farm, call.path["ref"])
        return {"node": node.id, "name": node.name, "state": node.state.value}
    return None


async def watch_key(master: Master, call: Call[None]) -> Mapping[str, object] | None:
    """The API key that a request names."""
    with suppress(StoreError):
        key = await master.farm.store.key(call.path["ref"])
        if key is not None:
            return {
                "key": key.id,
                "name": key.name,
                "hint": key.hint,
                "revoked": key.revoked_at,
                "old_until": key.old_until,
            }
    return None


async def watch_webhook(master: Master, call: Call[None]) -> Mapping[str, object] | None:
    """The webhook that a request names."""
    with suppress(StoreError):
        found = await master.farm.store.webhook(call.path["id"])
        if found is not None:
            return {"webhook": found.id, "tenant": found.tenant, "old_until": found.old_until}
    return None


async def watch_batch(master: Master, call: Call[object]) -> Mapping[str, object] | None:
    """The batch that a request names, and how its jobs stand."""
    with suppress(StoreError):
        found = await master.farm.store.batch(call.path["id"])
        if found is not None:
            return {"batch": found.id, "counts": {state.value: count for state, count in found.counts.items()}}
    return None


async def watch_schedule(master: Master, call: Call[None]) -> Mapping[str, object] | None:
    """The schedule that a request names."""
    with suppress(NotFoundError, ConflictError, StoreError):
        found = await find_schedule(master.farm, call.path["ref"])
        return {"schedule": found.id, "name": found.name, "due": found.due_at, "last_job": found.last_job}
    return None


def told_batch(body: BatchRequest) -> Mapping[str, object]:
    """Of a batch that was refused, how large it was."""
    return {"name": body.name, "jobs": len(body.jobs)}


def made_batch(reply: BatchDetail) -> Mapping[str, object]:
    """Of a new batch, what finds it; its jobs name who submitted them."""
    return {"batch": reply.id, "name": reply.name, "jobs": reply.total, "tenant": reply.tenant}


def made_schedule(reply: ScheduleDetail) -> Mapping[str, object]:
    """Of a new schedule, what it is; its job stands in it."""
    return {"schedule": reply.id, "name": reply.name, "cron": reply.cron, "zone": reply.zone, "tenant": reply.tenant}


def made_webhook(reply: WebhookMade) -> Mapping[str, object]:
    """Of a new webhook, all but its secret, and of its URL no token."""
    webhook = reply.webhook
    host = urlsplit(webhook.url).hostname
    return {"webhook": webhook.id, "host": host, "events": webhook.events, "tenant": webhook.tenant}


def made_job(reply: JobDetail | Job) -> Mapping[str, object]:
    """Of a new job, what finds it; the rest stands in the job."""
    return {"job": reply.id, "number": reply.number, "profile": reply.profile, "tenant": reply.tenant}


def made_key(reply: KeyMade) -> Mapping[str, object]:
    """Of a new key, all but its secret."""
    key = reply.key
    return {"key": key.id, "name": key.name, "role": key.role.value, "tenant": key.tenant, "expires": key.expires}


def made_upload(reply: Answer) -> Mapping[str, object]:
    """Of a new upload, what it is."""
    made = msgspec.json.decode(reply.body, type=UploadView)
    return {"upload": made.id, "name": made.name, "size": made.size}


def told_registration(body: RegisterRequest) -> Mapping[str, object]:
    """Of a worker that was turned away, its name: whoever knows its fingerprint is that node."""
    return {"name": body.name}


def made_registration(reply: RegisterReply) -> Mapping[str, object]:
    """Of a worker that was taken, the node that it is, and in which epoch."""
    return {"node": reply.node, "epoch": reply.epoch}


# How it is read ---------------------------------------------------------------------------------------------------------


async def show(master: Master, call: Call[None]) -> AuditPage:
    """A page of entries, newest first. A page ends after so many blocks, too, whatever was found in them."""
    call.only("caller", "path", "since", "cursor", "limit")
    caller, path, since = call.one("caller"), call.one("path"), _moment(call, "since")
    limit = call.integer("limit", least=1, most=MOST) or LIMIT
    number, skip = _cursor(call)
    found: list[AuditEntryView] = []
    blocks = await master.farm.store.audit_before(number, limit=BLOCKS)
    for block in blocks:
        number = block.number
        if since is not None and block.at_ms < since.timestamp() * 1000:
            return AuditPage(entries=found, next=None)
        for place, entry in enumerate(reversed(entries_of(block))):
            if place < skip:
                continue
            if (caller is None or entry.caller == caller) and (path is None or entry.path.startswith(path)):
                found.append(_view(entry))
                if len(found) == limit:
                    return AuditPage(entries=found, next=f"{block.number + 1}-{place + 1}")
        skip = 0
    return AuditPage(entries=found, next=f"{number}-0" if len(blocks) == BLOCKS else None)


async def chain(master: Master, call: Call[None]) -> ChainView:
    """Blocks as they are kept, for whoever checks them."""
    call.only("after", "limit")
    after = call.integer("after") or 0
    limit = call.integer("limit", least=1, most=MOST_BLOCKS) or BLOCKS
    head = await master.farm.store.audit_head()
    blocks = await master.farm.store.audit_after(after, limit=limit)
    return ChainView(
        number=head.number,
        seal=head.seal,
        oldest=head.oldest,
        blocks=[
            BlockView(number=one.number, at_ms=one.at_ms, id=one.id, body=one.body, before=one.before, seal=one.seal)
            for one in blocks
        ],
    )


def entries_of(block: Block) -> list[AuditEntry]:
    """What stands in a block; nothing where it is damaged, of which the log tells."""
    try:
        return [_decode(line) for line in unpack(block.body)]
    except (ValueError, msgspec.DecodeError):
        log.error("audit.damaged", block=block.number)  # noqa: TRY400  `millrace audit verify` says more
        return []


def _cursor(call: Call[None]) -> tuple[int, int]:
    """Below which block to go on, and how many of the newest entries of the first one to pass over."""
    text = call.one("cursor")
    if text is None:
        return 2**62, 0
    number, dash, skip = text.partition("-")
    if not (dash and all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (number, skip))):
        raise invalid(FieldError(field="cursor", message="is no cursor that this API gave"))
    return int(number), int(skip)


def _moment(call: Call[None], name: str) -> datetime | None:
    text = call.one(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(FieldError(field=name, message="must be a time such as 2026-01-31T12:00:00Z")) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _view(entry: AuditEntry) -> AuditEntryView:
    return AuditEntryView(**{name: getattr(entry, name) for name in AuditEntryView.__struct_fields__})
