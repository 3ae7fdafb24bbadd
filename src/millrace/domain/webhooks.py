"""Webhooks: what is told to whom, how it is signed, and what follows an answer. Pure.

Messages, headers and signatures are those of Standard Webhooks 1.0 (https://www.standardwebhooks.com), so that receivers
can use a library that is there already.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

import msgspec
from msgspec import Struct, field

from millrace.domain.failures import FailureClass
from millrace.domain.states import FINAL, State

EVERY = "*"
EVENTS: Mapping[str, State] = {f"job.{state}": state for state in State}
"""What can be subscribed to: a job came into a state."""
ENDS = tuple(f"job.{state}" for state in State if state in FINAL)
"""What is subscribed to where nothing is said."""

SECRET_PREFIX = "whsec_"  # noqa: S105  how each begins
SECRET_BYTES = 32
MOST_WAITING = 100_000
"""Messages that may wait for one receiver; with more it is taken to be gone."""

MAX_ATTEMPTS = 24
BACKOFF_BASE_S = 5.0
BACKOFF_CAP_S = 7200.0
"""With these, a receiver that fails is tried for a day, 27 hours on average."""
GONE = 410


class DeliveryState(StrEnum):
    """Where a message stands."""

    PENDING = "pending"  # waits for its turn, its next attempt, or an answer
    DELIVERED = "delivered"
    DEAD = "dead"  # given up; `replay` sends it again


class NewWebhook(Struct, frozen=True, kw_only=True):
    """A subscription to be kept. `tenant` is empty where it hears of everybody's jobs; `events` as in `EVENTS`, or `*`."""

    id: str
    tenant: str
    url: str
    events: tuple[str, ...]
    secret: str
    actor: str


class Webhook(Struct, frozen=True, kw_only=True):
    """A subscription without its secret."""

    id: str
    tenant: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    actor: str
    old_until: datetime | None  # until when messages are signed with the secret before, too
    disabled_at: datetime | None
    disabled_why: str
    pending: int
    dead: int


class Delivery(Struct, frozen=True, kw_only=True):
    """One message to one receiver, as its log shows it. `result` is what came of the last attempt."""

    id: str
    seq: int
    job_id: str
    number: int
    target: State
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    result: str


class Message(Struct, frozen=True, kw_only=True):
    """A message that this master has just taken to deliver, with all that goes into it.

    Attributes:
        attempt: counts the attempts, from 1; it fences the result as a task's attempt does.
        secrets: those that are valid, the newest first.
        sequence: grows with each message of a job.
        tenant, profile, labels: the job's; empty where the job is deleted already.
    """

    webhook: str
    url: str
    secrets: tuple[str, ...]
    id: str
    sequence: int
    attempt: int
    job_id: str
    number: int
    source: State | None
    target: State
    at: datetime
    reason: str
    job_attempt: int
    failure_class: FailureClass | None
    tenant: str = ""
    profile: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Answer(Struct, frozen=True, kw_only=True):
    """What came of a request. `status` is None where there was no answer, and `why` says in a few words what there was."""

    status: int | None
    why: str = ""


class Delivered(Struct, frozen=True):
    """The receiver has it."""

    result: str


class Again(Struct, frozen=True):
    """Try again after `delay_s` seconds."""

    delay_s: float
    result: str


class Dead(Struct, frozen=True):
    """Given up."""

    result: str


class Gone(Struct, frozen=True):
    """The receiver wants no more messages, now or later."""

    result: str


Follows = Delivered | Again | Dead | Gone


def follows(answer: Answer, *, attempt: int, jitter: float) -> Follows:
    """What follows an answer: 2xx delivers, 410 ends the subscription, all else is tried again, up to a bound.

    Args:
        answer: what came. Redirects are not followed, so they count as failures.
        attempt: which attempt this was, from 1.
        jitter: a random number from 0 to 1; the wait is drawn around the exponential back-off, by a quarter either way.
    """
    result = answer.why if answer.status is None else f"answered {answer.status}"
    if answer.status is not None and 200 <= answer.status < 300:
        return Delivered(result)
    if answer.status == GONE:
        return Gone(result)
    if attempt >= MAX_ATTEMPTS:
        return Dead(f"{result}; all {MAX_ATTEMPTS} attempts are spent")
    ceiling_s = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** (attempt - 1))
    return Again(ceiling_s * (0.75 + 0.5 * jitter), result)


def new_secret(random: bytes) -> str:
    """The secret for 32 random bytes."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"cannot make a secret: it takes {SECRET_BYTES} random bytes, not {len(random)}")
    return SECRET_PREFIX + b64encode(random).decode()


def body(message: Message) -> bytes:
    """The message as JSON. Every attempt sends the same bytes."""
    told = {
        "type": f"job.{message.target}",
        "timestamp": message.at.isoformat(),
        "data": {
            "job": message.job_id,
            "number": message.number,
            "sequence": message.sequence,
            "from": message.source,
            "to": message.target,
            "reason": message.reason,
            "attempt": message.job_attempt,
            "failure_class": message.failure_class,
            "tenant": message.tenant,
            "profile": message.profile,
            "labels": message.labels,
        },
    }
    return msgspec.json.encode(told)


def headers(message: Message, content: bytes, *, now: datetime) -> Mapping[str, str]:
    """Who it is from, and the signatures, one for each valid secret."""
    timestamp = str(int(now.timestamp()))
    signatures = (signature(secret, message.id, timestamp, content) for secret in message.secrets)
    return {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def signature(secret: str, message_id: str, timestamp: str, content: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body` with the decoded secret, as Standard Webhooks has it.

    Raises:
        ValueError: the secret is none.
    """
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"cannot sign: the secret does not begin with {SECRET_PREFIX}")
    key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + content
    return "v1," + b64encode(hmac.new(key, signed, sha256).digest()).decode()


def unknown_events(events: Iterable[str]) -> Sequence[str]:
    """Those that nobody can subscribe to."""
    return [event for event in events if event != EVERY and event not in EVENTS]
