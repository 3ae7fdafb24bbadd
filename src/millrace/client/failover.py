"""Which master to ask, and what to do when it does not answer: pure decisions that either transport carries out.

A client stays with a master until it fails, so that what it wrote is read from the same place; then it takes the next
one. When all have failed in a row it waits with exponential back-off and full jitter before the next round. One that
somebody waits for at a terminal does not begin to wait for masters that have never answered it and are not there.

A master that is dead refuses, and the next one is asked at once. One that stands still, or is cut off, says nothing: where there is
another one, a call that may be repeated is patient with it only once all of them have been silent.
"""

from collections.abc import Callable, Generator, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from millrace.client.calls import QUICK_TIMEOUT_S, Answer, Call, FileSlice, Repeat
from millrace.client.errors import UnreachableError, UntrustedError
from millrace.runtime.backoff import Backoff

BACKOFF = Backoff(base_s=0.2, cap_s=5.0)
LONGEST_RETRY_AFTER_S = 30.0
SILENT_S = 3.0
"""After so long in silence another master is asked. A master needs two seconds to find out that its database says nothing, and then
answers."""
_NOT_TAKEN = frozenset({408, 429, 503})
"""Statuses by which a server says that it has done nothing; 408 because the request never came whole."""
_OVER_QUOTA = b'problem:quota-exceeded"'
"""In a 429 that no other master would answer otherwise, and no short wait mends."""
_UNKNOWN = frozenset({500, 502, 504})
"""Statuses after which it is unknown whether anything was done."""


class Send(Struct, frozen=True, kw_only=True):
    """Send the call to this master, which may be silent for so long."""

    base: str
    silence_s: float


class Wait(Struct, frozen=True, kw_only=True):
    """Wait before the next round."""

    seconds: float


class Broken(Struct, frozen=True, kw_only=True):
    """No answer came. `sent` is False where nothing can have reached the master; `absent` tells that it is not there:
    the connection was refused, the name is unknown, or the certificate is not trusted. `untrusted`: TLS failed.
    """

    reason: str
    sent: bool
    absent: bool = False
    untrusted: bool = False


class Masters:
    """The addresses of the masters, and which of them is asked at present."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Addresses such as `http://host:8080`, with or without a path before `/v1`.

        Raises:
            ValueError: there is none, or one is no http address.
        """
        if not addresses:
            raise ValueError("cannot reach a master: no address is given")
        self.addresses = tuple(_checked(address) for address in addresses)
        self.answered = False  # whether one of them ever did
        self._index = 0

    @property
    def current(self) -> str:
        """The master to ask."""
        return self.addresses[self._index]

    def leave(self, base: str) -> None:
        """Go on to the next master, unless somebody else has left `base` already."""
        if self.current == base:
            self._index = (self._index + 1) % len(self.addresses)


def exchange(
    call: Call[object],
    masters: Masters,
    *,
    patience_s: float | None,
    monotonic: Callable[[], float],
    draw: Callable[[], float],
    eager: bool = False,
) -> Generator[Send | Wait, Answer | Broken | None, Answer]:
    """The steps of one call; the driver sends back what each `Send` brought, and None after each `Wait`.

    Args:
        call: what to ask.
        masters: whom to ask; shared by all calls of a client.
        patience_s: how long to go on after a failure; None for ever.
        monotonic: the clock in seconds.
        draw: a number in [0, 1), for the jitter.
        eager: give up at once where no master has ever answered and all of them are absent.

    Returns:
        The first answer that stands, of whatever status.

    Raises:
        UnreachableError: nobody answered in that time, or the call may not be repeated.
    """
    started_s = monotonic()
    tried = absent = 0
    while True:
        base = masters.current
        outcome = yield Send(base=base, silence_s=_silence_s(call, masters, tried))
        if not isinstance(outcome, Answer | Broken):
            raise TypeError("the driver of an exchange must send back an answer after each Send")
        masters.answered = masters.answered or isinstance(outcome, Answer)
        if isinstance(outcome, Answer) and (outcome.status not in _NOT_TAKEN | _UNKNOWN or _OVER_QUOTA in outcome.body):
            return outcome
        masters.leave(base)
        if not _may_repeat(call, outcome):
            return _give_up(call, base, outcome)
        tried += 1
        absent = absent + 1 if isinstance(outcome, Broken) and outcome.absent else 0
        if eager and not masters.answered and absent >= len(masters.addresses):
            return _give_up(call, ", ".join(masters.addresses), outcome)
        round_over = tried % len(masters.addresses) == 0
        wait_s = _wait_s(outcome, tried // len(masters.addresses), draw) if round_over else 0.0
        if patience_s is not None and monotonic() - started_s + wait_s > patience_s:
            return _give_up(call, base, outcome)
        if round_over:
            yield Wait(seconds=wait_s)


def _silence_s(call: Call[object], masters: Masters, tried: int) -> float:
    """A call that takes long by its nature, or that sends a file, is given its whole time by each master."""
    quick = not call.waits and call.silence_s <= QUICK_TIMEOUT_S and not isinstance(call.body, FileSlice)
    elsewhere = tried < len(masters.addresses) > 1
    return min(call.silence_s, SILENT_S) if quick and elsewhere and call.repeat is Repeat.SAFE else call.silence_s


def _may_repeat(call: Call[object], outcome: Answer | Broken) -> bool:
    if call.repeat is Repeat.SAFE:
        return True
    return not outcome.sent if isinstance(outcome, Broken) else outcome.status in _NOT_TAKEN


def _wait_s(outcome: Answer | Broken, rounds: int, draw: Callable[[], float]) -> float:
    asked = outcome.headers.get("retry-after", "") if isinstance(outcome, Answer) else ""
    if not asked.isdecimal():
        return BACKOFF.wait_s(rounds, draw)
    # The master knows when to come again, so the wait does not grow beyond that; a part more spreads those who were told the same.
    asked_s = min(float(asked), LONGEST_RETRY_AFTER_S)
    return asked_s + min(asked_s, BACKOFF.cap_s) * draw()


def _give_up(call: Call[object], where: str, outcome: Answer | Broken) -> Answer:
    if isinstance(outcome, Answer):
        return outcome  # its problem says more than "unreachable" would
    hint = "" if call.repeat is Repeat.SAFE or not outcome.sent else "; it may have been done all the same"
    kind = UntrustedError if outcome.untrusted else UnreachableError
    raise kind(f"cannot reach the master at {where}: {outcome.reason}{hint}")


def _checked(address: str) -> str:
    parts = urlsplit(address.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"cannot use {parts.hostname or address!r} as a master: write http://HOST:PORT or https://HOST"
        )
    if parts.username or parts.password:
        raise ValueError(f"cannot use the master at {parts.hostname}: give the key by itself, not in the address")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
