"""What the two transports share: terms, headers, and from an error of a connection to `Broken`."""

import os
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import millrace
from millrace.client.calls import Call
from millrace.client.failover import Broken
from millrace.client.http1 import BadAnswer
from millrace.runtime.clock import Clock, SystemClock

CONNECT_TIMEOUT_S = 5.0
FRESH_S = 5.0
"""How long an idle connection is taken for a good one: what stands between us and a master may have closed it without a word."""
KEPT = 20
"""How many idle connections a client keeps."""
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
    """The headers of every request.

    Raises:
        ValueError: the key would end its header. The message does not hold it.
    """
    found = {
        "user-agent": terms.user_agent,
        "accept": "application/json, application/problem+json;q=0.9, */*;q=0.5",
        # Offsets of transfers that are taken up again count the bytes as they are.
        "accept-encoding": "identity",
    }
    if terms.key:
        if not terms.key.isprintable():
            raise ValueError("cannot use the API key: it holds a line break or another character that no key has")
        found["authorization"] = f"Bearer {terms.key}"
    return found


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


def authorities(terms: Terms, addresses: tuple[str, ...]) -> ssl.SSLContext | None:
    """What certificates are verified with; None where every master is plain http."""
    if terms.tls is not None or not any(address.startswith("https:") for address in addresses):
        return terms.tls
    # Loading the well-known ones takes tens of milliseconds, and httpx2, which knows where systems keep them, 75 more.
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context(trust_env=False)


class LineError(Exception):
    """A connection was not made, or broke. `sent`: something may have reached the master."""

    def __init__(self, cause: Exception, *, sent: bool) -> None:
        """`cause` is what the system, TLS or the parser said."""
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


@contextmanager
def breaking(*, sent: bool) -> Iterator[None]:
    """What goes wrong here is the connection's fault. Raises LineError."""
    try:
        yield
    except (OSError, UnicodeError, BadAnswer) as error:  # UnicodeError: a host's name that no system can ask for
        raise LineError(error, sent=sent) from error


def broken(error: LineError, call: Call[object], terms: Terms) -> Broken:
    """Why no answer came, in words, and whether anything can have been sent."""
    cause, sent = error.cause, error.sent
    if isinstance(cause, TimeoutError) and not sent:
        return Broken(reason=f"no connection within {terms.connect_timeout_s:g} s", sent=sent)
    if isinstance(cause, TimeoutError):
        return Broken(reason=f"no answer within {call.silence_s:g} s", sent=sent)
    refused = isinstance(cause, ConnectionRefusedError)
    text = "connection refused; is it running?" if refused else _words(cause)
    return Broken(reason=text, sent=sent, absent=not sent and (refused or _is_absent(cause)))


def _words(cause: Exception) -> str:
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError | socket.gaierror) and cause.errno:
        return os.strerror(cause.errno)  # asyncio puts words of its own in its place
    return (cause.strerror if isinstance(cause, socket.gaierror) else None) or str(cause) or type(cause).__name__


def _is_absent(error: Exception) -> bool:
    """Whether an error stands for a name that nobody has, or for a certificate that is not trusted."""
    if isinstance(error, socket.gaierror):
        return error.errno in _NO_NAME
    return isinstance(error, ssl.SSLCertVerificationError | UnicodeError)
