"""The synchronous transport: for commands, and for the worker's heartbeat, which has a thread of its own."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar, cast

from millrace.client import http
from millrace.client.calls import Answer, Call
from millrace.client.connections import Connections, Response
from millrace.client.errors import InterruptedTransferError
from millrace.client.failover import Broken, Masters, Send, exchange
from millrace.client.http import LineError, Terms
from millrace.client.replies import is_success, refusal, result

T = TypeVar("T")
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
        place: Path | None = None,
    ) -> None:
        """`wait` waits some seconds; `place` is a unix socket behind which all addresses are.

        Raises:
            ValueError: an address is no http address, or the key cannot be sent.
        """
        self._terms = terms or Terms()
        self._masters = Masters(addresses)
        self._wait = wait
        self._lines = Connections(self._terms, http.authorities(self._terms, self._masters.addresses), place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._lines.close()

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
    def stream(self, call: Call[T]) -> Iterator[Response]:
        """A successful answer whose body is read bit by bit; connecting to it is repeated like any call.

        Raises:
            ClientError: it was refused, or nobody answered. What breaks off later raises InterruptedTransferError.
        """
        opened: Response | None = None

        def perform(base: str, call: Call[object]) -> Answer | Broken:
            nonlocal opened
            try:
                opened = self._lines.begin(base, call)
                return opened.head if is_success(opened.status) else opened.whole()
            except LineError as error:
                return http.broken(error, call, self._terms)

        try:
            answer = self._converse(call, _OWN_PATIENCE_S, perform)
            if opened is None or not is_success(answer.status):
                raise refusal(answer)
            yield opened
        except LineError as error:
            reason = http.broken(error, cast("Call[object]", call), self._terms).reason
            raise InterruptedTransferError(f"cannot read all of {call.path}: {reason}") from None
        finally:
            if opened is not None:
                opened.close()

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
                    outcome = perform(step.base, plain)
                else:
                    self._wait(step.seconds)
        except StopIteration as end:
            return cast("Answer", end.value)

    def _perform(self, base: str, call: Call[object]) -> Answer | Broken:
        try:
            return self._lines.begin(base, call).whole()
        except LineError as error:
            return http.broken(error, call, self._terms)
