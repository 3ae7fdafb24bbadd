"""What a store keeps of webhooks: who listens, and the messages for them.

The transitions are the outbox: each is written in the transaction that makes the change. What is told of them is made by a
relay that reads them in the order of `Store.events` and moves on in the transaction that writes the messages, so nothing
is left out and nothing is made twice, however masters die. The hot verbs know nothing of it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from millrace.domain.webhooks import Delivery, DeliveryState, Follows, Message, NewWebhook, Webhook


class Outbox(Protocol):
    """Webhooks and messages. Every method is one transaction, durable when it returns; time is the store's."""

    async def add_webhook(self, webhook: NewWebhook) -> Webhook:
        """Keep a subscription; it hears of what happens from now on."""

    async def webhooks(self) -> Sequence[Webhook]:
        """Every one, oldest first."""

    async def webhook(self, webhook_id: str) -> Webhook | None:
        """One of them."""

    async def remove_webhook(self, webhook_id: str) -> bool:
        """Forget it with its messages; whether it was there."""

    async def rotate_webhook(self, webhook_id: str, *, secret: str, grace_s: float) -> Webhook | None:
        """Sign with this secret from now on, and for `grace_s` more with the one before, too. None where it is unknown."""

    async def disable_webhook(self, webhook_id: str, *, why: str) -> bool:
        """Tell it nothing more; what waits for it is given up. Whether it was not disabled before."""

    async def overfull_webhooks(self, *, most: int) -> Sequence[str]:
        """The ids of those for which so many messages wait, or more."""

    async def relay_messages(self, *, limit: int) -> int | None:
        """Make the messages of the next transitions, up to `limit`; how many of these there were. 0 also where another master
        is at it; None where nobody listens.
        """

    async def next_message_due(self) -> datetime | None:
        """When the next message is to be sent, or the lease of one that is under way ends."""

    async def take_messages(self, *, busy: Collection[str], each: int, limit: int, lease_s: float) -> Sequence[Message]:
        """Take due messages to deliver, for `lease_s`: until then nobody else takes them, after that somebody may. At most
        `each` of a webhook and none of those that are `busy`; of a job only the oldest that waits.
        """

    async def settle_message(self, seq: int, *, attempt: int, follows: Follows) -> bool:
        """Write down what came of an attempt; False, and nothing is changed, where it is not the last one taken. `Gone`
        gives the message up; disabling the webhook is another step.
        """

    async def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None, below: int | None, limit: int
    ) -> Sequence[Delivery]:
        """The log of a webhook, newest first, with a `seq` below a number."""

    async def replay_messages(self, webhook_id: str, message_id: str | None) -> int:
        """Send a message again that was delivered or given up, or (None) all that were given up; how many."""

    async def forget_messages(self, state: DeliveryState, *, age_s: float, limit: int) -> int:
        """Delete messages that ended in this state so long ago; how many."""

    async def count_messages(self) -> Mapping[DeliveryState, int]:
        """How many wait, and how many were given up."""
