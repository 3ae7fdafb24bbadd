"""When a database that was full has space again."""

import asyncio

from millrace.scheduler.space import Space
from millrace.store.store import StoreFullError


class Disk:
    """All of a store that is needed here: it counts the trials."""

    def __init__(self) -> None:
        self.full = False
        self.trials = 0

    async def try_write(self) -> None:
        self.trials += 1
        if self.full:
            raise StoreFullError("cannot write: no space is left")


def test_a_trial_comes_only_after_a_while_in_which_nobody_was_refused() -> None:
    space, disk = Space(), Disk()

    def look() -> bool:
        asyncio.run(space.try_again(disk))  # type: ignore[arg-type]
        return space.full

    assert not look()
    for _ in range(3):
        space.refused(StoreFullError("cannot write: no space is left"))
        assert look()  # the little that a trial takes may be there
    assert disk.trials == 0
    assert not look()
    assert disk.trials == 1


def test_a_trial_that_is_refused_is_followed_by_another() -> None:
    space, disk = Space(), Disk()
    space.refused(StoreFullError("cannot write: no space is left"))
    disk.full = True
    for _ in range(6):
        asyncio.run(space.try_again(disk))  # type: ignore[arg-type]
    assert space.full
    assert disk.trials >= 2
