"""The asynchronous transport: for the worker, whose long polls and reports must be cancellable."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar, cast

from millrace.client import http
from millrace.client.async_connections import AsyncConnections, AsyncResponse
from millrace.client.calls import Answer, Call
from millrace.client.errors import InterruptedTransferError
from millrace.client.failover import Broken, Masters, Send, exchange
from millrace.client.http import LineError, Terms
from millrace.client.replies import is_success, refusal, result

T = TypeVar("T")
_OWN_PATIENCE_S = -1.0


class AsyncClient:
    """Asks masters; any number of calls at the same time, on one event loop."""

    def __init__(
        self,
        addresses: Sequence[str],
        terms: Terms | None = None,
        *,
        place: Path | None = None,
    ) -> None:
        """`place` is a unix socket behind which all addresses are; waits are those of the terms' clock.

        Raises:
            ValueError: an address is no http address, or the key cannot be sent.
        """
        self._terms = terms or Terms()
        self._masters = Masters(addresses)
        self._lines = AsyncConnections(self._terms, http.authorities(self._terms, self._masters.addresses), place)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._lines.close()

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
    async def stream(self, call: Call[T]) -> AsyncIterator[AsyncResponse]:
        """A successful answer whose body is read bit by bit; connecting to it is repeated like any call.

        Raises:
            ClientError: it was refused, or nobody answered. What breaks off later raises InterruptedTransferError.
        """
        opened: AsyncResponse | None = None

        async def perform(base: str, call: Call[object]) -> Answer | Broken:
            nonlocal opened
            try:
                opened = await self._lines.begin(base, call)
                return opened.head if is_success(opened.status) else await opened.whole()
            except LineError as error:
                return http.broken(error, call, self._terms)

        try:
            answer = await self._converse(call, _OWN_PATIENCE_S, perform)
            if opened is None or not is_success(answer.status):
                raise refusal(answer)
            yield opened
        except LineError as error:
            reason = http.broken(error, cast("Call[object]", call), self._terms).reason
            raise InterruptedTransferError(f"cannot read all of {call.path}: {reason}") from None
        finally:
            if opened is not None:
                opened.close()

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
                    outcome = await perform(step.base, plain)
                else:
                    await self._terms.clock.sleep(step.seconds)
        except StopIteration as end:
            return cast("Answer", end.value)

    async def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        try:
            return await (await self._lines.begin(base, call)).whole()
        except LineError as error:
            return http.broken(error, call, self._terms)
