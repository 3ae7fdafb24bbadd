"""A request to a place that the guard has judged, on a connection of its own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millrace.outbound.guard import Guard, Place

if TYPE_CHECKING:
    import ssl

    import httpx2

CONNECT_S = 5.0
MOST_PLACES = 3


class NoConnectionError(Exception):
    """None of the addresses takes a connection now."""


class Connector:
    """Asks over http(s). Nothing is carried from one request to the next: no cookie, no connection, no setting of a proxy.

    A connection was judged for one name, and its certificate was that name's: another name may have the same address.
    """

    def __init__(self, guard: Guard, *, tls: "ssl.SSLContext | None" = None) -> None:
        """`tls` None: well-known authorities."""
        self._guard = guard
        self._tls = tls
        self._http: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close what is open."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], silence_s: float, content: bytes | None = None
    ) -> "httpx2.Response":
        """The head of the answer, from the first address that takes a connection; whoever asked closes it. Redirects are the
        caller's to judge, and a body is never unpacked here: read it raw.

        Raises:
            ForbiddenTargetError, UnresolvedError: as `Guard.places`.
            NoConnectionError: nobody is there.
            httpx2.TransportError, httpx2.InvalidURL: the exchange broke off.
        """
        import httpx2  # noqa: PLC0415  who asks nobody does not pay for the import

        why = "cannot connect"
        for place in (await self._guard.places(url))[:MOST_PLACES]:
            try:
                return await self._ask(method, place, headers, silence_s, content)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                # Which of several addresses failed how is nothing that a stranger should learn; a certificate anybody can see.
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    why = "cannot connect, for its certificate is none of this name, has ended, or is not trusted here"
        raise NoConnectionError(why)

    async def _ask(
        self, method: str, place: Place, headers: Mapping[str, str], silence_s: float, content: bytes | None
    ) -> "httpx2.Response":
        import httpx2  # noqa: PLC0415  see above

        client = self._opened()
        sent = {**headers, "host": place.host, "user-agent": "millrace", "accept-encoding": "identity"}
        timeout = httpx2.Timeout(silence_s, connect=min(CONNECT_S, silence_s))
        request = client.build_request(method, place.url, headers=sent, content=content, timeout=timeout)
        request.extensions["sni_hostname"] = place.sni
        return await client.send(request, stream=True)

    def _opened(self) -> "httpx2.AsyncClient":
        from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415  see above

        import httpx2  # noqa: PLC0415  see above

        if self._http is None:
            self._http = httpx2.AsyncClient(
                trust_env=False,
                verify=self._tls or True,
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                limits=httpx2.Limits(max_keepalive_connections=0),
            )
        return self._http
