"""What a master does by itself, again and again. Every duty is idempotent, so any number of masters may run it."""

from collections.abc import Awaitable, Callable, Sequence

from millrace.runtime.service import Service, Services
from millrace.runtime.ticker import Ticker
from millrace.scheduler.after import release_waiting
from millrace.scheduler.arrive import Look, look_after
from millrace.scheduler.clean import clean, clean_audit, clean_pieces
from millrace.scheduler.expire import Expiry
from millrace.scheduler.farm import Farm
from millrace.scheduler.hedge import hedge_stragglers
from millrace.scheduler.offers import Offers
from millrace.scheduler.promote import promote_due
from millrace.scheduler.reject import reject_impossible
from millrace.scheduler.schedules import run_due
from millrace.scheduler.space import TRIAL_S
from millrace.scheduler.wake import listener, wake_for_queued
from millrace.store.store import StoreFullError

Complain = Callable[[str, Exception], None]
"""Called with a duty's name and what went wrong; the duty comes again at its next time."""

Forget = Callable[[Sequence[str]], Awaitable[None]]
"""Called with the ids of deleted jobs, so that the files kept for them go too."""

ForgetPieces = Callable[[str, int], Awaitable[bool]]
"""Called with a job that has ended and the position of its last task; whether what its parts handed on is gone."""


async def _nothing_kept(_: str, __: int) -> bool:
    return True


class Duties(Service):
    """Expires leases, queues what is due or has waited for others, runs schedules, rejects the impossible, gives slow parts to a second worker, looks after uploads that jobs wait for, deletes the old, wakes who waits, and sees when there is space again."""

    def __init__(
        self,
        farm: Farm,
        offers: Offers,
        *,
        complain: Complain,
        forget: Forget,
        forget_pieces: ForgetPieces = _nothing_kept,
        look: Look | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """Nothing runs before the start. `look` says how much of an upload has arrived; `leads`: whether this master does what one is
        enough for.
        """
        super().__init__()
        self._farm = farm
        self._offers = offers
        self._complain = complain
        self._forget = forget
        self._forget_pieces = forget_pieces
        self._look = look
        self._leads = leads
        self._unlisten: Callable[[], None] = lambda: None
        self._expiry = Expiry(farm)
        self._rest_until_s = 0.0
        self._tickers = Services(
            self._ticker("expire_leases", self._expiry.run, 1.0, one_is_enough=True),
            self._ticker("promote_due", self._promote, 0.5, one_is_enough=True),
            self._ticker("release_waiting", self._release, 0.5, one_is_enough=True),
            self._ticker("run_schedules", self._run_schedules, 0.5, one_is_enough=True),
            self._ticker("reject_impossible", self._reject, 5.0, one_is_enough=True),
            self._ticker("hedge_stragglers", self._hedge, 1.0, one_is_enough=True),
            self._ticker("look_after_uploads", self._look_after_uploads, 2.0, one_is_enough=True),
            self._ticker("clean", self._clean, 60.0, one_is_enough=True),
            self._ticker("clean_pieces", self._clean_pieces, 10.0, one_is_enough=True),
            self._ticker("clean_audit", lambda: clean_audit(farm), 600.0, one_is_enough=True),
            self._ticker("wake_for_queued", self._wake, 1.0),
            self._ticker("try_space", lambda: farm.space.try_again(farm.store), TRIAL_S),
        )

    def _ticker(
        self, name: str, duty: Callable[[], Awaitable[None]], interval_s: float, *, one_is_enough: bool = False
    ) -> Ticker:
        async def if_leading() -> None:
            if self._leads():
                await duty()

        return Ticker(
            if_leading if one_is_enough else duty,
            interval_s=interval_s,
            clock=self._farm.clock,
            on_error=lambda error: self._failed(name, error),
            name=name,
        )

    def _failed(self, name: str, error: Exception) -> None:
        if isinstance(error, StoreFullError):
            self._farm.space.refused(error)
        else:
            self._complain(name, error)

    async def on_start(self) -> None:
        """Listen to the store and begin."""
        self._expiry.begin()
        self._unlisten = self._farm.store.listen(listener(self._farm, self._offers))
        await self._tickers.start()

    async def on_stop(self) -> None:
        """End what runs; whoever waits for work goes home with none."""
        self._unlisten()
        await self._tickers.stop()

    async def _promote(self) -> None:
        await promote_due(self._farm)

    async def _release(self) -> None:
        began_s = self._farm.clock.monotonic()
        if began_s >= self._rest_until_s:
            await release_waiting(self._farm)
            ended_s = self._farm.clock.monotonic()
            # It reads every row of a job that waits: however many there are, a tenth of the time at the most.
            self._rest_until_s = ended_s + 9 * (ended_s - began_s)

    async def _run_schedules(self) -> None:
        await run_due(self._farm)

    async def _wake(self) -> None:
        await wake_for_queued(self._farm, self._offers)

    async def _reject(self) -> None:
        await reject_impossible(self._farm)

    async def _hedge(self) -> None:
        await hedge_stragglers(self._farm)

    async def _look_after_uploads(self) -> None:
        if self._look is not None:
            await look_after(self._farm, self._look)

    async def _clean_pieces(self) -> None:
        await clean_pieces(self._farm, self._forget_pieces)

    async def _clean(self) -> None:
        if deleted := await clean(self._farm):
            await self._forget(deleted)
