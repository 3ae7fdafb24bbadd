"""Workers that wait for work in a long poll, and who is woken when some arrives.

One runnable task wakes one waiter that can run it, in the order in which they came; a woken waiter that gets what it
asked for wakes the next, so that a herd never runs for one task (the wake-one cascade of camunda #48998).
"""

import asyncio
from collections.abc import Set as AbstractSet

from msgspec import Struct, field


class Waiter(Struct, eq=False):
    """One parked claim: the requirement classes that its node satisfies, and the event that ends the wait."""

    classes: AbstractSet[int]
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Visit:
    """One claim's stay, from its first look to its last. Ended early, the claim goes home with no work."""

    def __init__(self) -> None:
        """It goes on until somebody ends it."""
        self.over = False
        self._waiter: Waiter | None = None

    def begin(self, waiter: Waiter) -> None:
        """The claim looked, found nothing, and is about to wait (again)."""
        self._waiter = waiter

    def end(self) -> None:
        """Nobody waits for the answer any more: the client hung up, or the master stops."""
        self.over = True
        if self._waiter is not None:
            self._waiter.woken.set()


class WaitingRoom:
    """Parked claims of this master, first come, first woken."""

    def __init__(self) -> None:
        self._waiters: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def enter(self, classes: AbstractSet[int]) -> Waiter:
        """Park a claim; :meth:`leave` must follow."""
        waiter = Waiter(classes)
        self._waiters[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """End the wait, whether it was woken or not."""
        self._waiters.pop(waiter, None)

    def wake(self, class_id: int) -> bool:
        """Wake the first waiter that can run this class; False where there is none."""
        for waiter in self._waiters:
            if class_id in waiter.classes and not waiter.woken.is_set():
                waiter.woken.set()
                return True
        return False

    def wake_all(self) -> None:
        """Wake everybody: the master stops, or new requirement classes have come."""
        for waiter in self._waiters:
            waiter.woken.set()


class Bell:
    """Rings for everybody who listens at that moment: somebody changed something, go and look."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._rung.set()
        self._rung = asyncio.Event()

    @property
    def next_ring(self) -> asyncio.Event:
        """The event that the next ring sets."""
        return self._rung
