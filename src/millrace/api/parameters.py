"""The parameters in queries and headers, as the description shows them."""

from millrace.api.jobs import DEFAULT_LIMIT, MAX_LIMIT
from millrace.domain.failures import FailureClass
from millrace.domain.order import Priority, Queue
from millrace.domain.states import State
from millrace.domain.webhooks import DeliveryState
from millrace.edge.route import Param

TEXT = {"type": "string"}
NUMBER = {"type": "integer", "minimum": 0}

FILTERS = (
    Param(
        name="state",
        text="Only jobs in this state.",
        schema={"type": "string", "enum": [*State]},
        repeatable=True,
        example="processing",
    ),
    Param(name="queue", text="Only jobs of this queue.", schema={"type": "string", "enum": [*Queue]}),
    Param(name="priority", text="Only jobs of this priority.", schema={"type": "string", "enum": [*Priority]}),
    Param(name="tenant", text="Only jobs of this tenant.", schema=TEXT),
    Param(name="profile", text="Only jobs with this profile.", schema=TEXT, example="web-hls"),
    Param(
        name="label",
        text="Only jobs with this label, as `key:value`.",
        schema=TEXT,
        repeatable=True,
        example="show:news",
    ),
    Param(
        name="failure_class",
        text="Only jobs that failed, or wait to be retried, for this reason.",
        schema={"type": "string", "enum": [*FailureClass]},
        repeatable=True,
    ),
    Param(
        name="dead",
        text="Only jobs that failed for good although another attempt might have worked.",
        schema={"type": "boolean", "default": False},
    ),
    Param(name="cursor", text="`next` of the page before.", schema=TEXT),
    Param(
        name="limit",
        text="Jobs in a page.",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
)
_CURSOR = Param(name="cursor", text="`next` of the page before.", schema=NUMBER)
BATCHES = (
    Param(name="tenant", text="Only batches of this tenant.", schema=TEXT),
    _CURSOR,
    Param(
        name="limit",
        text="Batches in a page.",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
)
BATCH_JOBS = (
    Param(
        name="state",
        text="Only jobs in this state.",
        schema={"type": "string", "enum": [*State]},
        repeatable=True,
        example="failed",
    ),
    _CURSOR,
    Param(
        name="limit",
        text="Jobs in a page.",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
)
IDEMPOTENCY = (
    Param(
        name="Idempotency-Key",
        where="header",
        text="Makes a repeated submission the same job.",
        schema={"type": "string", "maxLength": 255},
        example="film-42-v1",
    ),
)
LOG = (
    Param(
        name="task",
        text="Only this task of a divided job, by its place: 3 for the task that ends in `.3`.",
        schema={"type": "integer", "minimum": 1},
    ),
    Param(
        name="attempt",
        text="Only attempts of this number; without it all of them, as they were claimed, up to the first that still runs.",
        schema={"type": "integer", "minimum": 1},
    ),
    Param(name="offset", text="Begin at this byte.", schema=NUMBER),
)
FENCE = (
    Param(name="node", text="The node that holds the task.", schema=TEXT, required=True),
    Param(name="attempt", text="The attempt that it holds.", schema={"type": "integer", "minimum": 1}, required=True),
)
OFFSET = (Param(name="offset", text="Where in the log the data begins, in bytes.", schema=NUMBER, required=True),)
RANGE = (Param(name="Range", where="header", text="One range of bytes.", schema=TEXT, example="bytes=0-1023"),)
FOLLOW = (
    Param(
        name="after",
        text="A cursor: what comes after it; `beginning` for all that is kept. Without it, a job's stream has all its transitions, and the stream of all jobs those to come.",
        schema=TEXT,
    ),
    Param(name="job", text="Only this job, by id or number.", schema=TEXT, example="42"),
    Param(
        name="Last-Event-ID",
        where="header",
        text="The cursor as browsers send it when they connect again.",
        schema=TEXT,
    ),
)
PIECE = (
    Param(
        name="Upload-Offset",
        where="header",
        text="How many bytes have arrived; the piece begins there.",
        schema=NUMBER,
        required=True,
        example=0,
    ),
)
ENDED = (
    Param(
        name="ended",
        text="Also those that were revoked or have expired.",
        schema={"type": "boolean", "default": False},
    ),
)
DELIVERIES = (
    Param(
        name="state",
        text="Only messages in this state.",
        schema={"type": "string", "enum": [*DeliveryState]},
        example="dead",
    ),
    Param(name="cursor", text="`next` of the page before.", schema=NUMBER),
    Param(
        name="limit",
        text="Messages in a page.",
        schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
)
AUDIT = (
    Param(name="caller", text="Only what this one did: the name of a key.", schema=TEXT, example="ci"),
    Param(name="path", text="Only what was asked of paths that begin so.", schema=TEXT, example="/v1/keys"),
    Param(name="since", text="Nothing from before this time.", schema={"type": "string", "format": "date-time"}),
    Param(name="cursor", text="`next` of the page before.", schema=TEXT),
    Param(
        name="limit", text="Entries in a page.", schema={"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    ),
)
CHAIN = (
    Param(name="after", text="What comes after the block of this number.", schema=NUMBER),
    Param(
        name="limit",
        text="Blocks in the answer.",
        schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 200},
    ),
)
