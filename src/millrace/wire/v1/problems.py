"""Refusals, as RFC 9457 (`application/problem+json`) has them."""

import msgspec

from millrace.domain.tenants import Quota
from millrace.wire.v1.base import Reply


class FieldError(Reply, omit_defaults=True):
    """What is wrong with one field, and what would be right."""

    field: str
    message: str
    allowed: list[str] = []


class QuotaProblem(Reply):
    """The quota of a tenant that is used up."""

    tenant: str
    quota: Quota
    limit: int
    used: int


class Problem(Reply, omit_defaults=True):
    """A refusal: what was refused, why, and what to do. `errors` names the fields at fault, `over` a quota."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
    over: QuotaProblem | None = None


CONTENT_TYPE = "application/problem+json"
_ENCODER = msgspec.json.Encoder()


def encode(problem: Problem) -> bytes:
    """The problem as JSON."""
    return _ENCODER.encode(problem)
