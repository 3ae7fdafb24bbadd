"""Whether this master leads: it says every second that it lives, and hears who else does, and who leads."""

from collections.abc import Callable

from millrace.domain.masters import RENEW_S, TERM_S, Attendance, MasterSeen, Presence, Term
from millrace.runtime.clock import Clock
from millrace.runtime.service import Service
from millrace.runtime.ticker import Ticker
from millrace.store.store import Store, StoreError
from millrace.telemetry.logs import logger

log = logger("scheduler")


class Leadership(Service):
    """The term of one master. A master that has its store for itself leads as long as it runs, and asks nobody."""

    def __init__(
        self, store: Store, clock: Clock, presence: Presence, *, alone: bool, complain: Callable[[Exception], None]
    ) -> None:
        """`complain` hears of a store that did not answer; the term runs out meanwhile."""
        super().__init__()
        self._store = store
        self._clock = clock
        self._presence = presence
        self._alone = alone
        self._term = Term(presence.id)
        self._ticker = Ticker(
            self._attend, interval_s=RENEW_S, clock=clock, on_error=complain, name="attend", immediately=False
        )

    @property
    def id(self) -> str:
        """This master's own."""
        return self._presence.id

    @property
    def leads(self) -> bool:
        """Whether this master leads at this moment."""
        return self._term.leads(self._clock.monotonic())

    @property
    def attendance(self) -> Attendance | None:
        """Who was there when the store was asked last; None before the first answer."""
        return self._term.attendance

    @property
    def present(self) -> Attendance | None:
        """The same, where it was asked within a term."""
        return self._term.attendance if self._term.is_true(self._clock.monotonic()) else None

    async def on_start(self) -> None:
        """Lead at once, or ask for the first time and go on asking."""
        if self._alone:
            now = self._clock.now()
            me = self._presence
            seen = MasterSeen(id=me.id, name=me.name, version=me.version, started_at=now, seen_at=now)
            only = Attendance(leader=me.id, epoch=1, masters=(seen,))
            self._term.heard(only, asked_s=self._clock.monotonic(), term_s=float("inf"))
        else:
            await self._ticker.start()
            await self._ticker.tick_now()

    async def on_stop(self) -> None:
        """Let another one lead at once."""
        if self._alone:
            return
        await self._ticker.stop()
        try:
            await self._store.leave(self._presence.id)
        except StoreError as error:
            log.warning("master.leaves_unheard", reason=str(error))

    async def _attend(self) -> None:
        # From before the question: the store's term began after it.
        asked_s = self._clock.monotonic()
        attendance = await self._store.attend(self._presence, ttl_s=TERM_S)
        if self._term.heard(attendance, asked_s=asked_s, term_s=TERM_S):
            log.info("master.leads", epoch=attendance.epoch, masters=len(attendance.masters))
