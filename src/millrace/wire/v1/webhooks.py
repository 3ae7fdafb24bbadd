"""Webhooks: who is told of jobs, and the log of what they were told."""

from datetime import datetime
from typing import Annotated

import msgspec

from millrace.domain.states import State
from millrace.domain.webhooks import DeliveryState
from millrace.wire.v1.base import Reply, Request

MOST_GRACE_S = 30 * 86_400


class WebhookRequest(Request):
    """Tell this URL of jobs."""

    url: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=2048,
            description="`https://` or `http://`, without user and password, at a public address.",
            examples=["https://example.com/hooks/millrace"],
        ),
    ]
    events: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=64)]],
        msgspec.Meta(
            max_length=32,
            description="Such as `job.completed`, or `*` for every change. Without any: the four ends of a job.",
            examples=[["job.completed", "job.failed"]],
        ),
    ] = []
    tenant: Annotated[
        str,
        msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$(?!\n)", description="Only jobs of this tenant; empty for all."),
    ] = ""


class GraceRequest(Request):
    """For how many seconds messages are signed with the secret before, too."""

    grace_s: Annotated[float, msgspec.Meta(ge=0, le=MOST_GRACE_S)] = 86_400.0


class WebhookView(Reply):
    """A subscription without its secret; `pending` messages wait, `dead` were given up."""

    id: str
    tenant: str
    url: str
    events: list[str]
    created: datetime
    actor: str
    old_until: datetime | None
    disabled: datetime | None
    disabled_why: str
    pending: int
    dead: int


class WebhookMade(Reply):
    """A subscription and its secret, which nobody can show again."""

    secret: str
    webhook: WebhookView


class WebhookList(Reply):
    """Subscriptions, oldest first."""

    webhooks: list[WebhookView]


class DeliveryView(Reply):
    """One message. `due` is when it is tried next, `result` what came of the last attempt: of an answer only its status."""

    id: str
    event: str
    job: str
    number: int
    to: State
    state: DeliveryState
    attempts: int
    created: datetime
    due: datetime | None
    ended: datetime | None
    result: str


class DeliveryList(Reply):
    """A page of the log, newest first; `next` is the cursor of the next page."""

    deliveries: list[DeliveryView]
    next: str | None


class ReplayRequest(Request):
    """Send one message again; without it, all that were given up."""

    message: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class ReplayReply(Reply):
    """How many messages are sent again."""

    replayed: int
