"""Whether the database has space left, by the last word of those that write to it."""

from millrace.store.store import Store, StoreFullError
from millrace.telemetry.logs import logger

log = logger("scheduler")

TRIAL_S = 2.0
"""How often :meth:`Space.try_again` is called."""


class Space:
    """Full from the first write that found no space until a trial goes through. The log hears of both, once.

    Reads go on meanwhile, and every write is still tried: only `/ready` sends new work elsewhere.
    """

    def __init__(self) -> None:
        """There is space, as far as anybody knows."""
        self.full = False
        self._fresh = False  # a write was refused since the last look

    def refused(self, error: StoreFullError) -> None:
        """A write found no space."""
        if not self.full:
            log.error("store.full", reason=str(error))
        self.full = self._fresh = True

    async def try_again(self, store: Store) -> None:
        """Where writes were refused, but none since the last call, see whether one goes through.

        The trial is small: it would find the last bit of space that is too little for all others, so they count more.

        Raises:
            StoreError: the store fails otherwise.
        """
        if not self.full or self._fresh:
            self._fresh = False
            return
        try:
            await store.try_write()
        except StoreFullError as error:
            self.refused(error)
        else:
            self.full = self._fresh  # somebody may have been refused meanwhile
            if not self.full:
                log.info("store.has_space")
