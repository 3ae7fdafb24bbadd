"""What the two transports share: terms, headers, and from an httpx2 error to `Broken`."""

import random
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import millrace
from millrace.client.calls import Answer, Call
from millrace.client.failover import Broken
from millrace.client.tls_failure import explain
from millrace.runtime.clock import Clock, SystemClock

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_S = 5.0
E = TypeVar("E", bound=BaseException)
LARGEST_REFUSAL_BYTES = 1 << 20
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")
_NO_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a client talks.

    Attributes:
        key: the API key; kept out of every representation.
        patience_s: how long a call goes on after a failure; None for ever.
        eager: do not wait for masters that have never answered and are not there.
        connect_timeout_s: how long one attempt to connect may take.
        tls: for `https` masters; None trusts the well-known authorities.
        user_agent: what the masters see.
        clock: measures patience.
        draw: numbers in [0, 1) for the jitter.
    """

    key: str | None = field(default=None, repr=False)
    patience_s: float | None = 10.0
    eager: bool = False
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    tls: ssl.SSLContext | None = None
    user_agent: str = f"millrace/{millrace.__version__}"
    clock: Clock = field(default_factory=SystemClock)
    draw: Callable[[], float] = random.random


def headers(terms: Terms) -> dict[str, str]:
    """The headers of every request."""
    found = {
        "user-agent": terms.user_agent,
        "accept": "application/json, application/problem+json;q=0.9, */*;q=0.5",
        # Offsets of transfers that are taken up again count the bytes as they are.
        "accept-encoding": "identity",
    }
    if terms.key:
        found["authorization"] = f"Bearer {terms.key}"
    return found


def unverified() -> ssl.SSLContext:
    """For one thing alone: to fetch what is then compared with a hash that came another way. No secret is sent with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trust(ca: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext | None:
    """Trust this certificate authority (a file in PEM) and no other; None for the well-known ones. Show `certificate` with its key.

    Raises:
        ValueError: a file cannot be read, holds no certificate, or is no pair with the other.
    """
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # an ssl.SSLError too
        reason = error.strerror or error
        raise ValueError(f"cannot use the certificate authority {ca}: {reason}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            reason = "they are no pair" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
            raise ValueError(
                f"cannot show the certificate {certificate} with the key {key or certificate}: {reason}"
            ) from error
    return context


def verification(terms: Terms, addresses: tuple[str, ...]) -> ssl.SSLContext | bool:
    """What httpx2 is to verify certificates with."""
    # Loading the authorities takes tens of milliseconds, for nothing where every master is plain http.
    return terms.tls or any(address.startswith("https:") for address in addresses)


def connect_s(terms: Terms, call: Call[object]) -> float:
    """How long one attempt to connect may take: no longer than the silence that the call bears."""
    return min(terms.connect_timeout_s, call.silence_s)


def timeout(terms: Terms, call: Call[object]) -> "httpx2.Timeout":
    """No step of a request waits for ever."""
    import httpx2  # noqa: PLC0415  see the room's docstring

    return httpx2.Timeout(call.silence_s, connect=connect_s(terms, call))


def request_headers(call: Call[object], length: int) -> Mapping[str, str]:
    """The call's own headers; the length is declared, so that a body is never sent in chunks."""
    if call.method == "GET":
        return call.headers
    return {**call.headers, "content-length": str(length)}


def answer(response: "httpx2.Response") -> Answer:
    """A read response as a value."""
    return Answer(status=response.status_code, headers=response.headers, body=response.content)


def broken(error: Exception, call: Call[object], terms: Terms) -> Broken:
    """Why no answer came, in words, and whether anything can have been sent."""
    import httpx2  # noqa: PLC0415  see the room's docstring

    sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    if isinstance(error, httpx2.ConnectTimeout):
        return Broken(reason=f"no connection within {connect_s(terms, call):g} s", sent=sent)
    if isinstance(error, httpx2.TimeoutException):
        return Broken(reason=f"no answer within {call.silence_s:g} s", sent=sent)
    tls = _cause(error, ssl.SSLError)
    if tls is not None and not isinstance(tls, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        verification = isinstance(tls, ssl.SSLCertVerificationError)
        return Broken(reason=explain(tls), sent=sent, absent=verification and not sent, untrusted=True)
    text = _ERRNO.sub("", str(error)) or type(error).__name__
    # httpx2's asynchronous half tells only in these words that the connection was refused.
    refused = "refused" in text.lower() or "all connection attempts failed" in text.lower()
    if refused:
        text = "connection refused; is it running?"
    nobody = _cause(error, socket.gaierror)
    return Broken(
        reason=text, sent=sent, absent=not sent and (refused or (nobody is not None and nobody.errno in _NO_NAME))
    )


def _cause(error: BaseException | None, kind: type[E]) -> E | None:
    """The error of a kind that another one came from."""
    while error is not None:
        if isinstance(error, kind):
            return error
        error = error.__cause__ or error.__context__
    return None
