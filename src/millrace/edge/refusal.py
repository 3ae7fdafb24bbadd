"""Refusals as values that travel as exceptions, and how they are written down (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from millrace.wire.v1.problems import CONTENT_TYPE, FieldError, Problem, QuotaProblem, encode

TYPE_PREFIX = "urn:millrace:problem:"
"""What a problem's `type` begins with; its last part is the slug that programs look at."""


class RefusalError(Exception):
    """The request is answered with a problem. `detail` is a sentence for the user, `errors` names the fields at fault."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        over: QuotaProblem | None = None,
    ) -> None:
        """`headers` are sent with the problem, `over` is the quota that is used up."""
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.over = over

    def body(self) -> bytes:
        """The problem as JSON."""
        return encode(
            Problem(
                type=TYPE_PREFIX + self.slug,
                title=HTTPStatus(self.status).phrase,
                status=self.status,
                detail=self.detail,
                errors=list(self.errors),
                over=self.over,
            )
        )


def invalid(*errors: FieldError, status: int = 400) -> RefusalError:
    """The request is wrong in these fields."""
    detail = "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)
    return RefusalError(status, "invalid", f"cannot accept the request: {detail}", errors=errors)


def not_found(detail: str) -> RefusalError:
    """There is no such thing."""
    return RefusalError(404, "not-found", detail)


def too_large(limit: int) -> RefusalError:
    """The body is over the limit (bytes). The connection is closed, so that the rest need not be read."""
    return RefusalError(
        413,
        "too-large",
        f"cannot take the body: it is larger than {limit} bytes",
        headers={"connection": "close"},
    )


PROBLEM_CONTENT_TYPE = CONTENT_TYPE
