"""Refusals, as RFC 9457 (`application/problem+json`) has them."""

import msgspec

from millrace.wire.v1.base import Reply


class FieldError(Reply, omit_defaults=True):
    """What is wrong with one field, and what would be right."""

    field: str
    message: str
    allowed: list[str] = []


class Problem(Reply, omit_defaults=True):
    """A refusal: what was refused, why, and what to do. `errors` names the fields at fault."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


CONTENT_TYPE = "application/problem+json"
_ENCODER = msgspec.json.Encoder()


def encode(problem: Problem) -> bytes:
    """The problem as JSON."""
    return _ENCODER.encode(problem)
