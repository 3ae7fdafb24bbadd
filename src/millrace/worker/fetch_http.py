"""Inputs by http(s): limited redirects, limited size and time, resumption by Range (RFC 9110, section 14).

The address that a name resolves to is judged, and the connection goes to exactly that address, so that a name cannot
answer differently a second time. Addresses that no media server has (link-local, where clouds keep their credentials,
multicast, unspecified) are always refused; private ones and loopback unless allowed.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit, urlunsplit

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.runtime.clock import Clock
from millrace.worker.download import BrokenOffError, Opened, download
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching, shown

if TYPE_CHECKING:
    import httpx2

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, best first. Raises OSError."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 425, 429})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d*/(\d+|\*)")


class Place(Struct, frozen=True, kw_only=True):
    """Where a request really goes: to an address, speaking as if to a name."""

    url: str
    host: str
    sni: str


class HttpFetch:
    """Fetches over http(s). One connection pool for a worker."""

    def __init__(
        self,
        *,
        clock: Clock,
        draw: Callable[[], float],
        allow_private: bool = True,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`allow_private`: inputs may lie on private networks and this machine; `tls` None: well-known authorities."""
        self._clock = clock
        self._draw = draw
        self._allow_private = allow_private
        self._resolve = resolve or _resolve
        self._tls = tls
        self._http: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def __call__(self, fetching: Fetching) -> None:
        """Fill the target; see `download` for what it raises."""
        validators: list[str] = []

        @asynccontextmanager
        async def source(offset: int) -> AsyncIterator[Opened]:
            async with self._opened(fetching, offset, validators) as response:
                yield _opened(response, offset)

        await download(fetching, source, clock=self._clock, draw=self._draw)

    @asynccontextmanager
    async def _opened(self, fetching: Fetching, offset: int, validators: list[str]) -> AsyncIterator["httpx2.Response"]:
        """A successful response, after all redirects. `validators` keeps the ETag of the first one."""
        import httpx2  # noqa: PLC0415  only workers that fetch by http pay for the import

        url = fetching.location
        # Compressed transfer would make offsets meaningless.
        headers = {"accept-encoding": "identity", "user-agent": "millrace"}
        if offset and validators:
            headers |= {"range": f"bytes={offset}-", "if-range": validators[0]}
        try:
            for _ in range(fetching.limits.redirects + 1):
                response = await self._send(url, headers, fetching)
                try:
                    if response.status_code not in _REDIRECTS:
                        _judge(response, fetching)
                        tag = response.headers.get("etag", "")
                        # A weak tag says nothing about bytes (RFC 9110, 13.1.5).
                        validators[:] = [tag] if tag.startswith('"') else []
                        yield response
                        return
                    url = urljoin(url, response.headers.get("location", ""))
                finally:
                    await response.aclose()
            raise TaskFailedError(
                FailureClass.INPUT,
                f"cannot fetch {shown(fetching.location)}: more than {fetching.limits.redirects} redirects",
            )
        except httpx2.TransportError as error:
            raise BrokenOffError(str(error) or type(error).__name__) from None
        except httpx2.InvalidURL as error:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot fetch {shown(fetching.location)}: {error}") from None

    async def _send(self, url: str, headers: dict[str, str], fetching: Fetching) -> "httpx2.Response":
        import httpx2  # noqa: PLC0415  see above

        if self._http is None:
            self._http = httpx2.AsyncClient(trust_env=False, verify=self._tls or True, follow_redirects=False)
        place = await self._place(url, fetching)
        silence = httpx2.Timeout(fetching.limits.silence_s, connect=min(10.0, fetching.limits.silence_s))
        request = self._http.build_request("GET", place.url, headers={**headers, "host": place.host}, timeout=silence)
        request.extensions["sni_hostname"] = place.sni
        return await self._http.send(request, stream=True)

    async def _place(self, url: str, fetching: Fetching) -> Place:
        """Resolve the host once and judge where it leads."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise TaskFailedError(FailureClass.REQUEST, f"cannot fetch {shown(url)}: {error}") from None
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host:
            raise TaskFailedError(
                FailureClass.REQUEST,
                f"cannot fetch {shown(fetching.location)}: it leads to {shown(url)}, which is no http address",
            )
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise BrokenOffError(f"the name {host} does not resolve: {error.strerror or error}") from None
        address = next((address for address in addresses if self._allowed(address)), None)
        if address is None:
            hint = "; a worker with MILLRACE_ALLOW_PRIVATE_INPUTS=1 takes it" if any(map(_has_media, addresses)) else ""
            raise TaskFailedError(
                FailureClass.REQUEST,
                f"cannot fetch {shown(url)}: {host} leads to an address that inputs may not come from{hint}",
            )
        literal = f"[{address}]" if ":" in address else address
        pinned = urlunsplit((parts.scheme, f"{literal}:{port}", parts.path or "/", parts.query, ""))
        return Place(url=pinned, host=parts.netloc.rpartition("@")[2], sni=host)

    def _allowed(self, text: str) -> bool:
        return _has_media(text) and (self._allow_private or _address(text).is_global)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped: ipaddress.IPv4Address | None = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _has_media(text: str) -> bool:
    """Whether a media server may have this address at all."""
    address = _address(text)
    return not (address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _judge(response: "httpx2.Response", fetching: Fetching) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    what = f"the server answered {status} {response.reason_phrase}".rstrip()
    if status in _MAY_PASS or status >= 500:
        raise BrokenOffError(what)
    raise TaskFailedError(FailureClass.INPUT, f"cannot fetch {shown(fetching.location)}: {what}; check the address")


def _opened(response: "httpx2.Response", wanted: int) -> Opened:
    """Where the body begins and ends, by its own word; anything but the range that was asked for begins at 0."""
    length = response.headers.get("content-length", "")
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code == 206:
        if found is None or int(found[1]) != wanted:
            raise BrokenOffError("the server answered with another range than was asked for")
        total = int(found[2]) if found[2] != "*" else None
        return Opened(offset=wanted, total=total, pieces=response.aiter_raw())
    total = int(length) if length.isdecimal() else None
    # Raw pieces, as they come: gathered into larger ones, those before a break would be lost with it.
    return Opened(offset=0, total=total, pieces=response.aiter_raw())
