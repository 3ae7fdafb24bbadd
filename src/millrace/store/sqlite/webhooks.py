"""Webhooks and their messages on SQLite: what each request does within its transaction."""

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
from millrace.store.sqlite.connection import Session

_BEYOND = 2**62  # above every number


def add_webhook(session: Session, webhook: NewWebhook) -> Webhook:
    session.run("lock_relay")
    session.run("begin_relay")
    session.run(
        "add_webhook", webhook.id, webhook.tenant, webhook.url, " ".join(webhook.events), webhook.secret, webhook.actor, session.now_ms
    )  # fmt: skip
    return (_all_of(session, webhook.id))[0]


def _all_of(session: Session, webhook_id: str) -> Sequence[Webhook]:
    return [rows.webhook(row) for row in session.all("webhook", webhook_id)]


def webhooks(session: Session) -> Sequence[Webhook]:
    return [rows.webhook(row) for row in session.all("webhooks")]


def webhook(session: Session, webhook_id: str) -> Webhook | None:
    found = _all_of(session, webhook_id)
    return found[0] if found else None


def remove_webhook(session: Session, webhook_id: str) -> bool:
    session.run("remove_messages", webhook_id)
    return session.one("remove_webhook", webhook_id) is not None


def rotate_webhook(session: Session, webhook_id: str, secret: str, grace_s: float) -> Webhook | None:
    session.run("rotate_webhook", webhook_id, secret, round(grace_s * 1000), session.now_ms)
    return webhook(session, webhook_id)


def disable_webhook(session: Session, webhook_id: str, why: str) -> bool:
    done = session.one("disable_webhook", webhook_id, why, session.now_ms)
    session.run("end_messages", webhook_id, why, session.now_ms)
    return done is not None


def overfull_webhooks(session: Session, most: int) -> Sequence[str]:
    return [row[0] for row in session.all("overfull_webhooks", most)]


def is_behind(session: Session) -> tuple[bool, bool]:
    listened, behind = (session.all("is_behind"))[0]
    return bool(listened), bool(behind)


def relay(session: Session, limit: int) -> int:
    position = session.one("relay_position")
    if position is None:
        return 0
    (start,) = position
    end, count = session.all("relay_batch", start, limit)[0]
    if count:
        session.run("relay", start, end, session.now_ms)
        session.run("move_relay", end)
    return int(count)


def next_message_due(session: Session) -> datetime | None:
    row = session.one("next_message_due")
    return None if row is None or row[0] is None else rows.to_datetime(row[0])


def take_messages(session: Session, busy: Collection[str], each: int, limit: int, lease_s: float) -> Sequence[Message]:
    until = session.now_ms + round(lease_s * 1000)
    found = session.all("lease_messages", rows.to_text(sorted(busy)), session.now_ms, each, limit, until)
    seqs = [row[0] for row in found]
    return [rows.message(row) for row in session.all("leased_messages", rows.to_text(seqs), session.now_ms)]


def settle_message(session: Session, seq: int, attempt: int, follows_: Follows) -> bool:
    result = rows.storable(follows_.result)
    if isinstance(follows_, Again):
        due = session.now_ms + round(follows_.delay_s * 1000)
        postponed = session.one("postpone_message", seq, attempt, due, result)
        if postponed is not None:
            session.run("postpone_others", postponed[0], postponed[1], seq, postponed[2])
        return postponed is not None
    state = DeliveryState.DELIVERED if isinstance(follows_, Delivered) else DeliveryState.DEAD
    ended = session.one("end_message", seq, attempt, state.value, result, session.now_ms)
    return ended is not None


def deliveries(
    session: Session, webhook_id: str, state: DeliveryState | None, below: int | None, limit: int
) -> Sequence[Delivery]:
    found = session.all("deliveries", webhook_id, below or _BEYOND, limit, "" if state is None else state.value)
    return [rows.delivery(row) for row in found]


def replay(session: Session, webhook_id: str, message_id: str | None) -> int:
    if message_id is None:
        return len(session.all("replay_dead", webhook_id, session.now_ms))
    return len(session.all("replay_one", webhook_id, message_id, session.now_ms))


def forget_messages(session: Session, state: DeliveryState, age_s: float, limit: int) -> int:
    before = session.now_ms - round(age_s * 1000)
    return len(session.all("forget_messages", state.value, before, limit))


def count_messages(session: Session) -> Mapping[DeliveryState, int]:
    return {DeliveryState(state): count for state, count in session.all("count_messages")}
