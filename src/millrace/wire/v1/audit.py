"""The audit trail: of a farm, whose entries stand in sealed blocks, and of a supervisor."""

from datetime import datetime

from millrace.wire.v1.base import Reply


class AuditEntryView(Reply):
    """One change, or somebody turned away. `caller` is a key's name, `uid:N`, or a certificate's subject; empty for a stranger.

    `before` and `after` are what was changed; `detail` is why it was refused. `key` is the id of a key that the farm keeps, and
    `tenant` the only one that it sees; `left_out` counts the entries of strangers that there was no room for before this one.
    """

    at: datetime
    request_id: str
    caller: str
    role: str
    client: str
    method: str
    route: str
    path: str
    status: int
    request: object
    before: object
    after: object
    detail: str
    key: str = ""
    tenant: str = ""
    left_out: int = 0


class AuditPage(Reply):
    """Entries of a farm, newest first. `next` is the cursor of the page after, null at the beginning of the trail."""

    entries: list[AuditEntryView]
    next: str | None


class BlockView(Reply):
    """A block as it is kept: `seal` is the SHA-256 of `before`, `number` and `at_ms` (8 bytes each, big-endian), `id` and `body`.

    `body` are entries as JSON, one a line, compressed with zlib; `before` is the seal of the block before.
    """

    number: int
    at_ms: int
    id: bytes
    body: bytes
    before: bytes
    seal: bytes


class ChainView(Reply):
    """Blocks in their order, the first that is kept, and the number and seal of the last."""

    number: int
    seal: bytes
    oldest: int
    blocks: list[BlockView]
