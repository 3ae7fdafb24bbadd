"""Webhooks and their messages on PostgreSQL: what each request does within its transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from millrace.domain.webhooks import (
    Again,
    Delivered,
    Delivery,
    DeliveryState,
    Follows,
    Message,
    NewWebhook,
    Webhook,
)
from millrace.store import rows
from millrace.store.postgres.connection import Session

_BEYOND = 2**62  # above every number


async def add_webhook(session: Session, webhook: NewWebhook) -> Webhook:
    await session.run("lock_relay")
    await session.run("begin_relay")
    await session.run(
        "add_webhook", webhook.id, webhook.tenant, webhook.url, " ".join(webhook.events), webhook.secret, webhook.actor
    )  # fmt: skip
    return (await _all_of(session, webhook.id))[0]


async def _all_of(session: Session, webhook_id: str) -> Sequence[Webhook]:
    return [rows.webhook(row) for row in await session.all("webhook", webhook_id)]


async def webhooks(session: Session) -> Sequence[Webhook]:
    return [rows.webhook(row) for row in await session.all("webhooks")]


async def webhook(session: Session, webhook_id: str) -> Webhook | None:
    found = await _all_of(session, webhook_id)
    return found[0] if found else None


async def remove_webhook(session: Session, webhook_id: str) -> bool:
    await session.run("remove_messages", webhook_id)
    return await session.one("remove_webhook", webhook_id) is not None


async def rotate_webhook(session: Session, webhook_id: str, secret: str, grace_s: float) -> Webhook | None:
    await session.run("rotate_webhook", webhook_id, secret, round(grace_s * 1000))
    return await webhook(session, webhook_id)


async def disable_webhook(session: Session, webhook_id: str, why: str) -> bool:
    done = await session.one("disable_webhook", webhook_id, why)
    await session.run("end_messages", webhook_id, why)
    return done is not None


async def overfull_webhooks(session: Session, most: int) -> Sequence[str]:
    return [row[0] for row in await session.all("overfull_webhooks", most)]


async def is_behind(session: Session) -> tuple[bool, bool]:
    listened, behind = (await session.all("is_behind"))[0]
    return bool(listened), bool(behind)


async def relay(session: Session, limit: int) -> int:
    position = await session.one("relay_position")
    if position is None:
        return 0
    start = (position[0], position[1])
    end = await session.one("relay_batch", *start, limit)
    if end is None:
        return 0
    await session.run("relay", *start, end[0], end[1])
    await session.run("move_relay", end[0], end[1])
    return int(end[2])


async def next_message_due(session: Session) -> datetime | None:
    row = await session.one("next_message_due")
    return None if row is None or row[0] is None else rows.to_datetime(row[0])


async def take_messages(
    session: Session, busy: Collection[str], each: int, limit: int, lease_s: float
) -> Sequence[Message]:
    found = await session.all("lease_messages", list(busy), each, limit, round(lease_s * 1000))
    seqs = [row[0] for row in found]
    return [rows.message(row) for row in await session.all("leased_messages", seqs)]


async def settle_message(session: Session, seq: int, attempt: int, follows_: Follows) -> bool:
    result = rows.storable(follows_.result)
    if isinstance(follows_, Again):
        due = round(follows_.delay_s * 1000)
        postponed = await session.one("postpone_message", seq, attempt, due, result)
        if postponed is not None:
            await session.run("postpone_others", postponed[0], postponed[1], seq, postponed[2])
        return postponed is not None
    state = DeliveryState.DELIVERED if isinstance(follows_, Delivered) else DeliveryState.DEAD
    ended = await session.one("end_message", seq, attempt, state.value, result)
    return ended is not None


async def deliveries(
    session: Session, webhook_id: str, state: DeliveryState | None, below: int | None, limit: int
) -> Sequence[Delivery]:
    found = await session.all("deliveries", webhook_id, below or _BEYOND, limit, "" if state is None else state.value)
    return [rows.delivery(row) for row in found]


async def replay(session: Session, webhook_id: str, message_id: str | None) -> int:
    if message_id is None:
        return len(await session.all("replay_dead", webhook_id))
    return len(await session.all("replay_one", webhook_id, message_id))


async def forget_messages(session: Session, state: DeliveryState, age_s: float, limit: int) -> int:
    before = round(age_s * 1000)
    return len(await session.all("forget_messages", state.value, before, limit))


async def count_messages(session: Session) -> Mapping[DeliveryState, int]:
    return {DeliveryState(state): count for state, count in await session.all("count_messages")}
