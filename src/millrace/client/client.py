"""The synchronous transport: for commands, and for the worker's heartbeat, which has a thread of its own."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


class Client:
    """Asks masters, one request at a time for each thread that uses it; may be shared between threads."""

    def __init__(
        self,
        addresses: Sequence[str],
        terms: Terms | None = None,
        *,
        wait: Callable[[float], None] = _wait,
        transport: "httpx2.BaseTransport | None" = None,
    ) -> None:
        """`wait` waits some seconds; `transport` replaces the network.

        Raises:
            ValueError: an address is no http address.
        """
        import httpx2  # noqa: PLC0415  see the room's docstring

        self._terms = terms or Terms()
        self._masters = Masters(addresses)
        self._wait = wait
        # The proxies of the environment are meant for the internet, not for the farm's own traffic.
        self._http = httpx2.Client(
            headers=http.headers(self._terms),
            verify=http.verification(self._terms, self._masters.addresses),
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def address(self) -> str:
        """The master that is asked at present."""
        return self._masters.current

    def pause(self, seconds: float) -> None:
        """Wait before something is tried again."""
        self._wait(seconds)

    def do(self, call: Call[T], *, patience_s: float | None = _OWN_PATIENCE_S) -> T:
        """Carry out a call; `patience_s` replaces that of the terms (None: for ever).

        Raises:
            ClientError: see :mod:`millrace.client.errors`.
        """
        return result(call, self._converse(call, patience_s, self._perform))

    @contextmanager
    def stream(self, call: Call[T]) -> Iterator["httpx2.Response"]:
        """A successful answer whose body is read bit by bit; connecting to it is repeated like any call.

        Raises:
            ClientError: it was refused, or nobody answered. What breaks off later raises InterruptedTransferError.
        """
        import httpx2  # noqa: PLC0415  see the room's docstring

        opened: list[httpx2.Response] = []
        plain = cast("Call[object]", call)  # whose time is that between any two of its bytes, also at the first master

        def perform(base: str, _: Call[object]) -> Answer | Broken:
            try:
                response = self._http.send(self._request(base, plain), stream=True)
                opened.append(response)
                if response.is_success:
                    return Answer(status=response.status_code, headers=response.headers, body=b"")
                response.read()
                return http.answer(response)
            except httpx2.TransportError as error:
                return http.broken(error, plain, self._terms)

        try:
            answer = self._converse(call, _OWN_PATIENCE_S, perform)
            if not 200 <= answer.status < 300:
                raise refusal(answer)
            yield opened[-1]
        except httpx2.TransportError as error:
            reason = http.broken(error, plain, self._terms).reason
            raise InterruptedTransferError(f"cannot read all of {call.path}: {reason}") from None
        finally:
            for response in opened:
                response.close()

    def _converse(
        self, call: Call[T], patience_s: float | None, perform: Callable[[str, Call[object]], Answer | Broken]
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
                    outcome = perform(step.base, replace(plain, silence_s=step.silence_s))
                else:
                    self._wait(step.seconds)
        except StopIteration as end:
            return cast("Answer", end.value)

    def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        import httpx2  # noqa: PLC0415  see the room's docstring

        try:
            return http.answer(self._http.send(self._request(base, call)))
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


def _pieces(body: FileSlice) -> Iterator[bytes]:
    with body.path.open("rb") as file:
        file.seek(body.offset)
        left = body.length
        while left > 0:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise InterruptedTransferError(f"cannot send {body.path}: it became shorter while it was read")
            left -= len(piece)
            yield piece
