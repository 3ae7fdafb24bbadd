"""Send a message to a URL of a stranger: guarded, in bounded time, and with nothing kept of the answer but its status."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millrace.domain.webhooks import Answer
from millrace.outbound.connect import Connector, NoConnectionError
from millrace.outbound.guard import ForbiddenTargetError, Guard, UnresolvedError
from millrace.runtime.clock import Clock

if TYPE_CHECKING:
    import ssl

TOTAL_S = 15.0
"""For the whole exchange, from the look-up of the name on."""
_MOST_READ = 64 << 10
"""Bytes of an answer's body that are taken off the line, so that the receiver can finish; they are thrown away."""


class Sender:
    """Sends messages over http(s), each on a connection of its own."""

    def __init__(
        self, guard: Guard, *, clock: Clock, tls: "ssl.SSLContext | None" = None, total_s: float = TOTAL_S
    ) -> None:
        """`tls` None: well-known authorities; `total_s` bounds each exchange."""
        self._connector = Connector(guard, tls=tls)
        self._clock = clock
        self._total_s = total_s

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()

    async def __call__(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """POST it. Redirects are not followed: what they lead to would have to be trusted, too."""
        try:
            return await self._clock.wait_for(self._send(url, headers, content), self._total_s)
        except TimeoutError:
            return Answer(status=None, why=f"no whole answer within {self._total_s:g} s")
        except ForbiddenTargetError as error:
            return Answer(status=None, why=f"not sent: the URL {error}")
        except (UnresolvedError, NoConnectionError) as error:
            return Answer(status=None, why=str(error))

    async def _send(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        import httpx2  # noqa: PLC0415  a master without webhooks does not pay for the import

        try:
            response = await self._connector.send(
                "POST", url, headers=headers, content=content, silence_s=self._total_s
            )
            try:
                taken = 0
                async for piece in response.aiter_raw():
                    taken += len(piece)
                    if taken >= _MOST_READ:
                        break
                return Answer(status=response.status_code)
            finally:
                await response.aclose()
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            return Answer(status=None, why=f"no whole answer ({type(error).__name__})")
