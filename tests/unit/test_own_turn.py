"""One worker at a time, and nobody waits for the dead or for ever."""

import asyncio
from pathlib import Path

from millrace.runtime.clock import VirtualClock
from millrace.runtime.hold import Hold
from millrace.worker.own_turn import PATIENCE_S, own_turn


async def entering(lock: Path, clock: VirtualClock, inside: list[float]) -> None:
    async with own_turn(lock, clock=clock):
        inside.append(clock.monotonic())


def test_the_next_enters_when_the_first_has_left(tmp_path: Path) -> None:
    async def main() -> None:
        clock, inside = VirtualClock(), []
        began_s = clock.monotonic()
        first = Hold.take(tmp_path / "lock")
        waiting = asyncio.create_task(entering(tmp_path / "lock", clock, inside))
        await clock.advance(5)
        assert inside == []
        first.release()
        await clock.advance(1)
        await waiting
        assert 5 <= inside[0] - began_s < 6
        Hold.take(tmp_path / "lock").release()  # it has left, too

    asyncio.run(main())


def test_who_hangs_keeps_nobody_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        clock, inside = VirtualClock(), []
        hold = Hold.take(tmp_path / "lock")
        waiting = asyncio.create_task(entering(tmp_path / "lock", clock, inside))
        await clock.advance(PATIENCE_S - 1)
        assert inside == []
        await clock.advance(2)
        assert len(inside) == 1
        await waiting
        hold.release()

    asyncio.run(main())


def test_where_there_can_be_no_lock_everybody_enters(tmp_path: Path) -> None:
    inside: list[float] = []
    asyncio.run(entering(tmp_path / "no" / "lock", VirtualClock(), inside))
    assert len(inside) == 1
