"""Webhooks: subscribe, list, rotate, remove, read the log, send again."""

from collections.abc import Awaitable, Callable, Sequence

from millrace.domain import ids
from millrace.domain.webhooks import (
    ENDS,
    EVENTS,
    EVERY,
    SECRET_BYTES,
    Delivery,
    DeliveryState,
    NewWebhook,
    Webhook,
    new_secret,
    unknown_events,
)
from millrace.scheduler.errors import ConflictError, Finding, InvalidError, NotFoundError
from millrace.scheduler.farm import Farm
from millrace.wire.v1.webhooks import WebhookRequest

MOST = 1000
MOST_OF_A_TENANT = 50
"""Webhooks. They bound what each transition is compared with; two that come at once may make one more."""

CheckTarget = Callable[[str], Awaitable[str | None]]
"""Why messages may not go to a URL, as the end of a sentence that begins with it; None where they may."""


async def create(farm: Farm, request: WebhookRequest, *, actor: str, check: CheckTarget) -> tuple[Webhook, str]:
    """A new subscription and the secret with which its messages are signed.

    Raises:
        InvalidError: the URL or an event cannot be.
        ConflictError: there are too many.
    """
    events = tuple(dict.fromkeys(request.events)) or ENDS
    if unknown := unknown_events(events):
        raise InvalidError(Finding("events", f"has no {unknown[0]!r}", (*EVENTS, EVERY)))
    if (why := await check(request.url)) is not None:
        raise InvalidError(Finding("url", why))
    known = await farm.store.webhooks()
    if len(known) >= MOST or sum(one.tenant == request.tenant for one in known) >= MOST_OF_A_TENANT:
        raise ConflictError("cannot make another webhook: there are too many already; remove some")
    secret = new_secret(farm.chance.randbytes(SECRET_BYTES))
    made = await farm.store.add_webhook(
        NewWebhook(
            id=farm.new_id(ids.webhook_id, farm.clock.now()),
            tenant=request.tenant,
            url=request.url,
            events=(EVERY,) if EVERY in events else events,
            secret=secret,
            actor=actor,
        )
    )
    return made, secret


async def rotate(farm: Farm, webhook_id: str, *, grace_s: float) -> tuple[Webhook, str]:
    """Another secret; for `grace_s` more, messages are signed with both.

    Raises:
        NotFoundError: there is no such webhook.
    """
    await find(farm, webhook_id)
    secret = new_secret(farm.chance.randbytes(SECRET_BYTES))
    changed = await farm.store.rotate_webhook(webhook_id, secret=secret, grace_s=grace_s)
    if changed is None:
        raise NotFoundError(_nobody(webhook_id))
    return changed, secret


async def remove(farm: Farm, webhook_id: str) -> None:
    """Forget a subscription and its log. Raises as :func:`rotate`."""
    await find(farm, webhook_id)
    await farm.store.remove_webhook(webhook_id)


async def log_of(
    farm: Farm, webhook_id: str, *, state: DeliveryState | None, below: int | None, limit: int
) -> Sequence[Delivery]:
    """The messages of a subscription, newest first. Raises as :func:`rotate`."""
    await find(farm, webhook_id)
    return await farm.store.deliveries(webhook_id, state=state, below=below, limit=limit)


async def replay(farm: Farm, webhook_id: str, message_id: str | None) -> int:
    """Send one message again, or all that were given up; how many.

    Raises:
        NotFoundError: there is no such webhook, or no such message that has ended.
        ConflictError: the webhook is disabled.
    """
    found = await find(farm, webhook_id)
    if found.disabled_at is not None:
        raise ConflictError(
            f"cannot send anything again: webhook {webhook_id} is disabled ({found.disabled_why}); add a new one"
        )
    count = await farm.store.replay_messages(webhook_id, message_id)
    if message_id is not None and not count:
        raise NotFoundError(f"there is no message {message_id[:64]!r} of this webhook that has ended")
    return count


async def find(farm: Farm, webhook_id: str) -> Webhook:
    """One subscription, or :class:`NotFoundError`."""
    found = await farm.store.webhook(webhook_id)
    if found is None:
        raise NotFoundError(_nobody(webhook_id))
    return found


def _nobody(webhook_id: str) -> str:
    return f"there is no webhook {webhook_id[:64]!r}; `millrace webhooks list` shows those there are"
