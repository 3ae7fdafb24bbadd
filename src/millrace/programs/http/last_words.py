"""What a server says to a client before it hangs up, where no application could answer: whole refusals on the wire."""

import json
from http import HTTPStatus

from millrace.programs.http.sweep import PROGRESS_S, REQUEST_S

HEAD_LIMIT = 64 << 10
"""Bytes of a request line with its headers; nginx and Apache allow half of that or less."""


def _problem(status: HTTPStatus, slug: str, detail: str, *, header: str = "connection: close") -> bytes:
    body = json.dumps(
        {"type": f"urn:millrace:problem:{slug}", "title": status.phrase, "status": status.value, "detail": detail}
    ).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{header}\r\n"
        f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


NO_HTTP = _problem(
    HTTPStatus.BAD_REQUEST, "malformed", "cannot read the request: it is no plain HTTP/1.1, or its address is no URL"
)
TOO_LARGE = _problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers-too-large",
    f"cannot take the request: its path and headers are longer than {HEAD_LIMIT} bytes",
)
SLOW_HEAD = _problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: the request's headers were not whole within {REQUEST_S:g} s",
)
SLOW_BODY = _problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: the request's body was not whole within {REQUEST_S:g} s",
)
NO_PROGRESS = _problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    f"cannot wait any longer: nothing of the file came for {PROGRESS_S:g} s; go on where it broke off",
)
FAILED = _problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal",
    "cannot answer: something is wrong inside this server; its log has more",
)
FULL = _problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too-many-connections",
    "cannot take another connection: this master has as many as it may; try again soon, or ask another master",
    header="connection: close\r\nretry-after: 2",
)
CROWDED = _problem(
    HTTPStatus.TOO_MANY_REQUESTS,
    "too-many-connections",
    "cannot take another connection from this address: it has three times as many as are left to all; close some, or try again soon",
    header="connection: close\r\nretry-after: 2",
)
