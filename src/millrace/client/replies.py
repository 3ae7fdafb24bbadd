"""From an answer to a result, or to the error that its caller can react to."""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from millrace.client.calls import Answer, Call
from millrace.client.errors import (
    ConflictError,
    NotFoundError,
    RefusedError,
    StaleError,
    SupersededError,
    UnauthorizedError,
)
from millrace.wire.v1.problems import Problem

T = TypeVar("T")

STALE_ATTEMPT = "stale-attempt"
STALE_KINDS = frozenset({STALE_ATTEMPT, "stale-epoch"})
_CONFLICTS: Mapping[str, type[ConflictError]] = {
    **dict.fromkeys(STALE_KINDS, StaleError),
    "superseded": SupersededError,
}
_PROBLEM = msgspec.json.Decoder(Problem)
_LAST_PART = re.compile(r"[/:#]")


def result(call: Call[T], answer: Answer) -> T:
    """The call's result.

    Raises:
        UnauthorizedError: 401 or 403.
        NotFoundError: 404 or 410.
        StaleError, SupersededError, ConflictError: 409, told apart by the problem's type.
        RefusedError: any other answer outside 2xx, or a body that is none of ours.
    """
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    try:
        return call.read(answer)
    except msgspec.MsgspecError as error:
        message = f"cannot read the answer to {call.method} {call.path}: {error}; is this address a Millrace master?"
        raise RefusedError(message, status=answer.status) from None


def refusal(answer: Answer) -> RefusedError | UnauthorizedError:
    """The error that an answer outside 2xx stands for."""
    problem = _problem(answer)
    kind = _LAST_PART.split(problem.type)[-1]
    message = problem.detail or problem.title
    # Where the detail does not say which fields are meant, the fields do.
    message += "".join(f"; {error.field}: {error.message}" for error in problem.errors if error.field not in message)
    if answer.status in (401, 403):
        return UnauthorizedError(message)
    shape: type[RefusedError] = RefusedError
    if answer.status in (404, 410):
        shape = NotFoundError
    elif answer.status == 409:
        shape = _CONFLICTS.get(kind, ConflictError)
    return shape(message, status=answer.status, kind=kind, errors=tuple(problem.errors))


def _problem(answer: Answer) -> Problem:
    try:
        return _PROBLEM.decode(answer.body)
    except msgspec.MsgspecError:
        text = answer.body[:200].decode(errors="replace").strip()
        detail = f"the master answered {answer.status}" + (f": {text}" if text and not text.startswith("<") else "")
        return Problem(type="about:blank", title="", status=answer.status, detail=detail)
