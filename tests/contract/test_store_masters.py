"""Masters by every store: who is there, and that one of them leads, by the store's time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from millrace.domain.masters import Presence
from millrace.runtime.clock import SystemClock
from millrace.store.open import open_store
from millrace.store.postgres.connection import Session

TTL_S = 4.0


def a_master(number: int) -> Presence:
    return Presence(id=f"m{number:032x}", name=f"master-{number}", version="1")


def test_the_first_leads_and_goes_on_leading(farm: Any) -> None:
    async def work() -> None:
        first = await farm.store.attend(a_master(1), ttl_s=TTL_S)
        assert (first.leader, first.epoch) == (a_master(1).id, 1)
        second = await farm.store.attend(a_master(2), ttl_s=TTL_S)
        assert (second.leader, second.epoch) == (a_master(1).id, 1)
        assert [one.name for one in second.masters] == ["master-1", "master-2"]
        for _ in range(3):
            await farm.advance(3)
            again = await farm.store.attend(a_master(1), ttl_s=TTL_S)
            assert (again.leader, again.epoch) == (a_master(1).id, 1)
        assert again == await farm.store.attendance(ttl_s=TTL_S)
        assert [one.name for one in again.masters] == ["master-1"], "the other was not seen for longer than a term"

    farm.run(work())


def test_another_leads_when_the_term_has_passed_and_not_before(farm: Any) -> None:
    async def work() -> None:
        await farm.store.attend(a_master(1), ttl_s=TTL_S)
        await farm.advance(3)
        assert (await farm.store.attend(a_master(2), ttl_s=TTL_S)).leader == a_master(1).id
        await farm.advance(2)
        assert (await farm.store.attendance(ttl_s=TTL_S)).leader == ""
        after = await farm.store.attend(a_master(2), ttl_s=TTL_S)
        assert (after.leader, after.epoch) == (a_master(2).id, 2)
        late = await farm.store.attend(a_master(1), ttl_s=TTL_S)
        assert (late.leader, late.epoch) == (a_master(2).id, 2), "who stood still comes back as one of the others"

    farm.run(work())


def test_who_leaves_makes_room_at_once(farm: Any) -> None:
    async def work() -> None:
        await farm.store.attend(a_master(1), ttl_s=TTL_S)
        await farm.store.attend(a_master(2), ttl_s=TTL_S)
        await farm.store.leave(a_master(2).id)
        assert (await farm.store.attendance(ttl_s=TTL_S)).leader == a_master(1).id
        await farm.store.leave(a_master(1).id)
        await farm.store.leave(a_master(1).id)
        assert (await farm.store.attendance(ttl_s=TTL_S)).masters == []
        after = await farm.store.attend(a_master(3), ttl_s=TTL_S)
        assert (after.leader, after.epoch) == (a_master(3).id, 2)

    farm.run(work())


def test_of_many_that_come_at_once_one_leads(farm: Any) -> None:
    async def work() -> None:
        stores = [farm.store]
        if farm.kind == "postgres":  # SQLite has one master
            stores += [farm.another() for _ in range(3)]
            for other in stores[1:]:
                await other.start()
        for turn in range(1, 4):
            found = await asyncio.gather(
                *(
                    stores[number % len(stores)].attend(a_master(turn * 100 + number), ttl_s=TTL_S)
                    for number in range(12)
                )
            )
            now = await farm.store.attendance(ttl_s=TTL_S)
            assert {one.leader for one in found} == {now.leader}
            assert now.epoch == turn
            await farm.advance(5)
        for other in stores[1:]:
            await other.stop()

    farm.run(work())


def test_masters_that_are_long_gone_are_forgotten(farm: Any) -> None:
    async def work() -> None:
        await farm.store.attend(a_master(1), ttl_s=TTL_S)
        await farm.advance(TTL_S * 1001)
        await farm.store.attend(a_master(2), ttl_s=TTL_S)
        assert [one.name for one in (await farm.store.attendance(ttl_s=10 * 86_400)).masters] == ["master-2"]

    farm.run(work())


def test_a_leader_that_stands_still_while_it_asks_keeps_nobody_waiting(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    url, run = new_database(), Session.run

    async def standing_still(session: Session, name: str, *args: object) -> None:
        await run(session, name, *args)
        if name == "take_term" and args[0] == a_master(1).id:
            asked.set()
            await go_on.wait()

    async def work() -> None:
        store = open_store(url, clock=SystemClock())
        await store.start()
        monkeypatch.setattr(Session, "run", standing_still)
        first = asyncio.create_task(store.attend(a_master(1), ttl_s=TTL_S))
        await asked.wait()
        async with asyncio.timeout(60):
            assert (await store.attend(a_master(2), ttl_s=TTL_S)).leader == a_master(1).id
        go_on.set()
        # Had the other one waited for it, the database would have ended its silent transaction first.
        assert (await first).leader == a_master(1).id
        await store.stop()

    asyncio.run(work())
