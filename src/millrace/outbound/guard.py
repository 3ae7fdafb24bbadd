"""Where a request to a URL of a stranger really goes. The name is resolved once, each address judged, and the connection goes
to an address that passed, so that a name that answers differently a second time (DNS rebinding) leads nowhere.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from millrace.outbound.addresses import NOT_PUBLIC, Network, refusal
from millrace.outbound.resolve import Resolver

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, best first. Raises OSError; TimeoutError, which is one, where there was no answer in time."""

MOST_CHARS = 2048
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_BAD_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)
"""Ports from 1024 on where no browser sends a request (https://fetch.spec.whatwg.org/#port-blocking)."""


class ForbiddenTargetError(Exception):
    """A request may not go there; the message says why, and what would be right."""


class UnresolvedError(Exception):
    """The name does not resolve now; it may later."""


class Place(Struct, frozen=True, kw_only=True):
    """One address to connect to, speaking as if to the name: `url` has the address, `host` goes into the header of this name,
    `sni` is whom the certificate must be of.
    """

    url: str
    host: str
    sni: str


class _Target(Struct, frozen=True, kw_only=True):
    scheme: str
    host: str
    port: int
    rest: str

    @property
    def authority(self) -> str:
        usual = {"http": 80, "https": 443}[self.scheme]
        return _bracketed(self.host) + ("" if self.port == usual else f":{self.port}")


class Guard:
    """Judges URLs; `allowed` are networks that are not public and may be reached all the same."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        option: str = "--webhook-allow-network",
        most_chars: int = MOST_CHARS,
        resolve: Resolve | None = None,
    ) -> None:
        """`option` is what an operator allows further networks with; `resolve` replaces the system's."""
        self._allowed = tuple(allowed)
        self._option = option
        self._most_chars = most_chars
        self._resolve = resolve or Resolver()

    async def places(self, url: str) -> Sequence[Place]:
        """The addresses to try, best first; at least one.

        Raises:
            ForbiddenTargetError: the URL is odd, or the name leads to addresses that may not be reached only.
            UnresolvedError: the name does not resolve, or not in time.
        """
        target = _target(url, self._most_chars)
        try:
            addresses = await self._resolve(target.host, target.port)
        except TimeoutError as error:
            raise UnresolvedError(f"the name {target.host} was not resolved in time") from error
        except OSError as error:
            raise UnresolvedError(f"the name {target.host} does not resolve") from error
        why = {address: refusal(address, self._allowed) for address in addresses}
        good = [address for address, refused in why.items() if refused is None]
        if not good:
            reasons = ", ".join(sorted({refused for refused in why.values() if refused})) or "no address"
            hint = f", or have an operator allow its network with {self._option}"
            raise ForbiddenTargetError(
                f"leads to an address that may not be reached ({reasons}); name a public host"
                + (hint if NOT_PUBLIC in reasons else "")
            )
        return [
            Place(
                url=urlunsplit((target.scheme, f"{_bracketed(address)}:{target.port}", target.rest, "", "")),
                host=target.authority,
                sni=target.host,
            )
            for address in good
        ]


def _target(url: str, most_chars: int) -> _Target:
    """The parts of a URL that is plain enough for everybody to read it alike.

    Raises:
        ForbiddenTargetError: it is not.
    """
    if len(url) > most_chars or not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        raise ForbiddenTargetError(f"must be at most {most_chars} plain ASCII characters, with no space or backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenTargetError("is no URL; write it as https://host/path") from None
    if parts.scheme not in ("http", "https"):
        raise ForbiddenTargetError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ForbiddenTargetError("must hold no user and no password; the path may hold a token")
    host = (parts.hostname or "").removesuffix(".")
    if not _HOST.fullmatch(host):
        raise ForbiddenTargetError("must name a host; write an international name in its ASCII form, xn--...")
    port = port if port is not None else {"http": 80, "https": 443}[parts.scheme]
    if port not in (80, 443) and (port < 1024 or port in _BAD_PORTS):
        raise ForbiddenTargetError(f"must not go to port {port}; take 80, 443, or one from 1024 on of no other service")
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(scheme=parts.scheme, host=host, port=port, rest=rest)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
