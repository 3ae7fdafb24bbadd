"""The asynchronous transport: for the worker, whose long polls and reports must be cancellable."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, TypeVar, cast

from msgspec.structs import replace

from millrace.client import http
from millrace.client.calls import Answer, Call, FileSlice
from millrace.client.errors import InterruptedTransferError
from millrace.client.failover import Broken, Masters, Send, exchange
from millrace.client.http import Terms
from millrace.client.replies import refusal, result

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
_PIECE_BYTES = 1 << 20
_OWN_PATIENCE_S = -1.0


class AsyncClient:
    """Asks masters; any number of calls at the same time, on one event loop."""

    def __init__(
        self,
        addresses: Sequence[str],
        terms: Terms | None = None,
        *,
        transport: "httpx2.AsyncBaseTransport | None" = None,
    ) -> None:
        """`transport` replaces the network; waits are those of the terms' clock.

        Raises:
            ValueError: an address is no http address.
        """
        import httpx2  # noqa: PLC0415  see the room's docstring

        self._terms = terms or Terms()
        self._masters = Masters(addresses)
        # The proxies of the environment are meant for the internet, not for the farm's own traffic.
        self._http = httpx2.AsyncClient(
            headers=http.headers(self._terms),
            verify=http.verification(self._terms, self._masters.addresses),
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def address(self) -> str:
        """The master that is asked at present."""
        return self._masters.current

    async def do(self, call: Call[T], *, patience_s: float | None = _OWN_PATIENCE_S) -> T:
        """Carry out a call; `patience_s` replaces that of the terms (None: for ever).

        Raises:
            ClientError: see :mod:`millrace.client.errors`.
        """
        return result(call, await self._converse(call, patience_s, self._perform))

    @asynccontextmanager
    async def stream(self, call: Call[T]) -> AsyncIterator["httpx2.Response"]:
        """A successful answer whose body is read bit by bit; connecting to it is repeated like any call.

        Raises:
            ClientError: it was refused, or nobody answered. What breaks off later raises InterruptedTransferError.
        """
        import httpx2  # noqa: PLC0415  see the room's docstring

        opened: list[httpx2.Response] = []
        plain = cast("Call[object]", call)  # whose time is that between any two of its bytes, also at the first master

        async def perform(base: str, _: Call[object]) -> Answer | Broken:
            try:
                response = await self._http.send(self._request(base, plain), stream=True)
                opened.append(response)
                if response.is_success:
                    return Answer(status=response.status_code, headers=response.headers, body=b"")
                await response.aread()
                return http.answer(response)
            except httpx2.TransportError as error:
                return http.broken(error, plain, self._terms)

        try:
            answer = await self._converse(call, _OWN_PATIENCE_S, perform)
            if not 200 <= answer.status < 300:
                raise refusal(answer)
            yield opened[-1]
        except httpx2.TransportError as error:
            reason = http.broken(error, plain, self._terms).reason
            raise InterruptedTransferError(f"cannot read all of {call.path}: {reason}") from None
        finally:
            for response in opened:
                await response.aclose()

    async def _converse(
        self,
        call: Call[T],
        patience_s: float | None,
        perform: Callable[[str, Call[object]], Awaitable[Answer | Broken]],
    ) -> Answer:
        plain = cast("Call[object]", call)
        steps = exchange(
            plain,
            self._masters,
            patience_s=self._terms.patience_s if patience_s == _OWN_PATIENCE_S else patience_s,
            monotonic=self._terms.clock.monotonic,
            draw=self._terms.draw,
            eager=self._terms.eager,
        )
        outcome: Answer | Broken | None = None
        try:
            while True:
                step = steps.send(outcome)
                outcome = None
                if isinstance(step, Send):
                    outcome = await perform(step.base, replace(plain, silence_s=step.silence_s))
                else:
                    await self._terms.clock.sleep(step.seconds)
        except StopIteration as end:
            return cast("Answer", end.value)

    async def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        import httpx2  # noqa: PLC0415  see the room's docstring

        try:
            return http.answer(await self._http.send(self._request(base, call)))
        except httpx2.TransportError as error:
            return http.broken(error, call, self._terms)

    def _request(self, base: str, call: Call[object]) -> "httpx2.Request":
        body = call.body
        content = _pieces(body) if isinstance(body, FileSlice) else body
        length = body.length if isinstance(body, FileSlice) else len(body)
        return self._http.build_request(
            call.method,
            base + call.target,
            content=content or None,
            headers=http.request_headers(call, length),
            timeout=http.timeout(self._terms, call),
        )


async def _pieces(body: FileSlice) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(body.path.open, "rb") as file:
        await asyncio.to_thread(file.seek, body.offset)
        left = body.length
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(left, _PIECE_BYTES))
            if not piece:
                raise InterruptedTransferError(f"cannot send {body.path}: it became shorter while it was read")
            left -= len(piece)
            yield piece
