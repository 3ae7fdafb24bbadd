"""The OpenAPI 3.1 description of a supervisor."""

from millrace.edge import openapi
from millrace.supervisor.control.table import TABLE

_ABOUT = (
    "A supervisor keeps processes as a plan says. On its unix socket the same user and root need no key. "
    "Replies tell with `RateLimit` (draft-ietf-httpapi-ratelimit-headers) what is left of the caller's share. Every refusal is "
    "`application/problem+json` (RFC 9457): the last part of its `type` tells programs what it is, `detail` tells people."
)


def document(version: str) -> bytes:
    """The document as it is served and kept in `docs/reference/supervise-openapi.json`."""
    found = openapi.describe(TABLE, title="Millrace supervisor", version=version, about=_ABOUT, examples={})
    return openapi.written(found)
