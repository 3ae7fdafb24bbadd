"""Send a message to a URL of a stranger: guarded, in bounded time, and with nothing kept of the answer but its status."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millrace.domain.webhooks import Answer
from millrace.outbound.guard import ForbiddenTargetError, Guard, Place, UnresolvedError
from millrace.runtime.clock import Clock

if TYPE_CHECKING:
    import ssl

    import httpx2

TOTAL_S = 15.0
"""For the whole exchange, from the look-up of the name on."""
CONNECT_S = 5.0
MOST_PLACES = 3
_MOST_READ = 64 << 10
"""Bytes of an answer's body that are taken off the line, so that the receiver can finish; they are thrown away."""


class Sender:
    """Sends messages over http(s), each on a connection of its own."""

    def __init__(
        self, guard: Guard, *, clock: Clock, tls: "ssl.SSLContext | None" = None, total_s: float = TOTAL_S
    ) -> None:
        """`tls` None: well-known authorities; `total_s` bounds each exchange."""
        self._guard = guard
        self._clock = clock
        self._tls = tls
        self._total_s = total_s
        self._http: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def __call__(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """POST it. Redirects are not followed: what they lead to would have to be trusted, too."""
        try:
            return await self._clock.wait_for(self._send(url, headers, content), self._total_s)
        except TimeoutError:
            return Answer(status=None, why=f"no whole answer within {self._total_s:g} s")
        except ForbiddenTargetError as error:
            return Answer(status=None, why=f"not sent: the URL {error}")
        except UnresolvedError as error:
            return Answer(status=None, why=str(error))

    async def _send(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        import httpx2  # noqa: PLC0415  a master without webhooks does not pay for the import

        answer = Answer(status=None, why="no connection")
        for place in (await self._guard.places(url))[:MOST_PLACES]:
            try:
                return await self._exchange(place, headers, content)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                # Which of several addresses failed how is nothing that a stranger should learn.
                answer = Answer(status=None, why="cannot connect")
            except (httpx2.TransportError, httpx2.InvalidURL) as error:
                return Answer(status=None, why=f"no whole answer ({type(error).__name__})")
        return answer

    async def _exchange(self, place: Place, headers: Mapping[str, str], content: bytes) -> Answer:
        client = self._opened()
        sent = {**headers, "host": place.host, "user-agent": "millrace", "accept-encoding": "identity"}
        request = client.build_request("POST", place.url, headers=sent, content=content)
        request.extensions["sni_hostname"] = place.sni
        response = await client.send(request, stream=True)
        try:
            taken = 0
            async for piece in response.aiter_raw():
                taken += len(piece)
                if taken >= _MOST_READ:
                    break
            return Answer(status=response.status_code)
        finally:
            await response.aclose()

    def _opened(self) -> "httpx2.AsyncClient":
        from http.cookiejar import CookieJar, DefaultCookiePolicy  # noqa: PLC0415  see above

        import httpx2  # noqa: PLC0415  see above

        if self._http is None:
            self._http = httpx2.AsyncClient(
                trust_env=False,
                verify=self._tls or True,
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # nobody's, for nobody else
                timeout=httpx2.Timeout(self._total_s, connect=min(CONNECT_S, self._total_s)),
                # A connection to an address was checked for one name, and another name may have the same address.
                limits=httpx2.Limits(max_keepalive_connections=0),
            )
        return self._http
