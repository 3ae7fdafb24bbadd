"""Many requests of one verb in one statement: what arrives while a batch is under way makes up the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar

from millrace.store.store import StoreFullError, StoreUnavailableError

Signature = TypeVar("Signature")
Request = TypeVar("Request")
Answer = TypeVar("Answer")
MAX_BATCH = 128


class Combiner(Generic[Request, Answer]):
    """One batch at a time, so that one connection serves all the callers of a verb."""

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        *,
        gather_s: float,
        always: bool = False,
    ) -> None:
        """Combine what is asked of `run`.

        Args:
            run: answers a batch, one answer or error for each request in order.
            gather_s: how long a batch waits for as many requests as the one before had. So a caller who comes alone
                never waits, and many callers, who come again and again, are not served in dribs and drabs.
            always: wait for others in any case.
        """
        self._run = run
        self._gather_s = gather_s
        self._expected = MAX_BATCH if always else 1
        self._always = always
        self._enough: asyncio.Future[None] | None = None
        self._waiting: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Answer:
        """The answer to one request; errors are those of `run`."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._enough is not None and len(self._waiting) >= self._expected:
            _wake(self._enough)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="store-combiner")
        return await future

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._waiting and (self._worker is None or self._worker.done())

    async def drain(self) -> None:
        """Return when what was submitted is answered."""
        if self._worker is not None:
            await asyncio.wait((self._worker,))

    async def _work(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._expected:
                await self._gather()
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            if not self._always:
                self._expected = len(batch)
            try:
                answers = await self._run([request for request, _ in batch])
            except Exception as error:  # noqa: BLE001  it belongs to the callers
                await self._fail(batch, error)
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    _settle(future, answer)

    async def _gather(self) -> None:
        loop = asyncio.get_running_loop()
        self._enough = loop.create_future()
        timer = loop.call_later(self._gather_s, _wake, self._enough)
        try:
            await self._enough
        finally:
            timer.cancel()
            self._enough = None

    async def _fail(self, batch: Sequence[tuple[Request, "asyncio.Future[Answer]"]], error: Exception) -> None:
        """One bad request must not fail its neighbours: each is tried alone, unless no request can succeed."""
        hopeless = isinstance(error, StoreUnavailableError | StoreFullError)
        for request, future in batch:
            if future.done():
                continue
            if hopeless or len(batch) == 1:
                future.set_exception(error)
                continue
            try:
                (answer,) = await self._run([request])
            except Exception as alone:  # noqa: BLE001  it belongs to the caller
                future.set_exception(alone)
            else:
                _settle(future, answer)


class BySignature(Generic[Signature, Request, Answer]):
    """A combiner for each signature: only what has the same signature can be one statement."""

    def __init__(
        self,
        run: Callable[[Signature, Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        *,
        gather_s: float,
    ) -> None:
        """As :class:`Combiner`."""
        self._run = run
        self._gather_s = gather_s
        self._combiners: dict[Signature, Combiner[Request, Answer]] = {}

    async def submit(self, signature: Signature, request: Request) -> Answer:
        """The answer to one request; errors are those of `run`."""
        combiner = self._combiners.get(signature)
        if combiner is None:
            # Signatures come and go with the farm's nodes; those at rest are forgotten.
            self._combiners = {known: busy for known, busy in self._combiners.items() if not busy.idle}
            combiner = Combiner(partial(self._run, signature), gather_s=self._gather_s)
            self._combiners[signature] = combiner
        return await combiner.submit(request)

    async def drain(self) -> None:
        """Return when what was submitted is answered."""
        for combiner in list(self._combiners.values()):
            await combiner.drain()


def turns(asked: Iterable[tuple[str, object]]) -> list[list[int]]:
    """The places of requests, each (who asks, what), in turns of one statement each, so that nobody asks for two things in one.

    The same thing twice is one request. Pure.
    """
    whats: dict[str, list[object]] = {}
    found: list[list[int]] = []
    for place, (who, what) in enumerate(asked):
        known = whats.setdefault(who, [])
        if what not in known:
            known.append(what)
        turn = known.index(what)
        if turn == len(found):
            found.append([])
        found[turn].append(place)
    return found


def _wake(enough: "asyncio.Future[None]") -> None:
    if not enough.done():
        enough.set_result(None)


def _settle(future: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
