"""Webhooks, as people ask for them."""

from msgspec.structs import replace

from millrace.api.jobs import DEFAULT_LIMIT, MAX_LIMIT
from millrace.api.master import Master
from millrace.api.query import choice
from millrace.domain.webhooks import Delivery, DeliveryState, Webhook
from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.outbound.guard import ForbiddenTargetError, Guard, UnresolvedError
from millrace.scheduler import webhooks
from millrace.scheduler.webhooks import CheckTarget
from millrace.telemetry.logs import logger
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.webhooks import (
    DeliveryList,
    DeliveryView,
    GraceRequest,
    ReplayReply,
    ReplayRequest,
    WebhookList,
    WebhookMade,
    WebhookRequest,
    WebhookView,
)

log = logger("api")


def checked_by(guard: Guard) -> CheckTarget:
    """A name that does not resolve now may resolve later; it is judged anew for each message."""

    async def check(url: str) -> str | None:
        try:
            await guard.places(url)
        except ForbiddenTargetError as error:
            return str(error)
        except UnresolvedError:
            return None
        return None

    return check


async def create(master: Master, call: Call[WebhookRequest]) -> WebhookMade:
    """Subscribe; the reply is the only one that holds the secret."""
    request = call.body
    if master.tenant and request.tenant not in ("", master.tenant):
        why = f"must be {master.tenant!r}, to which this API key is bound; leave it out"
        raise invalid(FieldError(field="tenant", message=why, allowed=[master.tenant]), status=422)
    if master.tenant:
        request = replace(request, tenant=master.tenant)
    made, secret = await webhooks.create(master.farm, request, actor=call.caller, check=checked_by(master.guard))
    log.info("webhooks.created", webhook=made.id, tenant=made.tenant, by=call.caller)
    return WebhookMade(secret=secret, webhook=_view(made))


async def show_all(master: Master, call: Call[None]) -> WebhookList:
    """Every subscription."""
    call.only()
    return WebhookList(webhooks=[_view(one) for one in await master.farm.store.webhooks()])


async def remove(master: Master, call: Call[None]) -> None:
    """End a subscription."""
    await webhooks.remove(master.farm, call.path["id"])
    log.info("webhooks.removed", webhook=call.path["id"], by=call.caller)


async def rotate(master: Master, call: Call[GraceRequest | None]) -> WebhookMade:
    """Another secret."""
    grace_s = (call.body or GraceRequest()).grace_s
    changed, secret = await webhooks.rotate(master.farm, call.path["id"], grace_s=grace_s)
    log.info("webhooks.rotated", webhook=changed.id, grace_s=grace_s, by=call.caller)
    return WebhookMade(secret=secret, webhook=_view(changed))


async def deliveries(master: Master, call: Call[None]) -> DeliveryList:
    """The log of a subscription."""
    call.only("state", "cursor", "limit")
    limit = call.integer("limit", least=1, most=MAX_LIMIT) or DEFAULT_LIMIT
    found = await webhooks.log_of(
        master.farm,
        call.path["id"],
        state=choice("state", call.one("state"), DeliveryState),
        below=call.integer("cursor", least=1),
        limit=limit + 1,  # one more tells whether there is a next page
    )
    page = found[:limit]
    return DeliveryList(
        deliveries=[_delivery(one) for one in page], next=str(page[-1].seq) if len(found) > limit else None
    )


async def replay(master: Master, call: Call[ReplayRequest | None]) -> ReplayReply:
    """Send messages again."""
    message = call.body.message if call.body is not None else None
    return ReplayReply(replayed=await webhooks.replay(master.farm, call.path["id"], message))


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(
        id=webhook.id,
        tenant=webhook.tenant,
        url=webhook.url,
        events=list(webhook.events),
        created=webhook.created_at,
        actor=webhook.actor,
        old_until=webhook.old_until,
        disabled=webhook.disabled_at,
        disabled_why=webhook.disabled_why,
        pending=webhook.pending,
        dead=webhook.dead,
    )


def _delivery(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        event=f"job.{delivery.target}",
        job=delivery.job_id,
        number=delivery.number,
        to=delivery.target,
        state=delivery.state,
        attempts=delivery.attempts,
        created=delivery.created_at,
        due=delivery.due_at,
        ended=delivery.ended_at,
        result=delivery.result,
    )
