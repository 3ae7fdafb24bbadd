"""API keys by every store: what is live, whose a secret is, and what a rotation leaves."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from store_samples import NEEDS, a_job

from millrace.domain.keys import NewKey
from millrace.domain.roles import Role


def a_key(number: int, *, name: str = "", lasts_s: float | None = None, role: Role = Role.VIEWER) -> NewKey:
    return NewKey(
        id=f"k{number:032x}", name=name or f"key-{number}", role=role, tenant="acme" if number % 2 else "",
        digest=bytes([number]) * 32, hint=f"mr_{number:04d}", lasts_s=lasts_s,
    )  # fmt: skip


@pytest.mark.parametrize("role", Role)
def test_a_key_is_kept_with_all_that_is_known_of_it(farm: Any, role: Role) -> None:
    async def work() -> None:
        now = await farm.store.now()
        made = await farm.store.add_key(a_key(1, role=role, lasts_s=60.5))
        assert (made.id, made.name, made.role, made.tenant, made.hint) == (
            f"k{1:032x}", "key-1", role, "acme", "mr_0001",
        )  # fmt: skip
        assert made.expires_at - made.created_at == timedelta(seconds=60.5)
        assert timedelta() <= made.created_at - now < timedelta(minutes=1)
        assert (made.used_at, made.revoked_at, made.old_until) == (None, None, None)
        assert await farm.store.key(made.id) == await farm.store.key("key-1") == made
        assert await farm.store.live_key(bytes([1]) * 32) == await farm.store.live_key(made.id) == made
        for other in (bytes([2]) * 32, b"", f"k{2:032x}", "key-1"):
            assert await farm.store.live_key(other) is None
        assert await farm.store.key("key-2") is None

    farm.run(work())


def test_a_name_is_one_live_keys_at_a_time(farm: Any) -> None:
    async def work() -> None:
        first = await farm.store.add_key(a_key(1, name="ci"))
        assert await farm.store.add_key(a_key(2, name="ci")) is None
        assert await farm.store.live_key(bytes([2]) * 32) is None
        await farm.store.revoke_key(first.id)
        assert await farm.store.key("ci") is None
        second = await farm.store.add_key(a_key(3, name="ci", lasts_s=10))
        assert await farm.store.key("ci") == second
        await farm.advance(11)
        # An expired key gives its name away, and stays expired.
        third = await farm.store.add_key(a_key(4, name="ci"))
        assert await farm.store.key("ci") == third
        assert [key.id for key in await farm.store.keys(ended=False)] == [third.id]
        every = await farm.store.keys(ended=True)
        assert [key.id for key in every] == [first.id, second.id, third.id]
        assert [key.revoked_at is None for key in every] == [False, False, True]

    farm.run(work())


def test_of_many_who_want_a_name_at_once_one_gets_it(farm: Any) -> None:
    async def work() -> None:
        made = await asyncio.gather(*(farm.store.add_key(a_key(number, name="ci")) for number in range(1, 9)))
        assert [key is not None for key in made].count(True) == 1

    farm.run(work())


def test_a_key_opens_nothing_after_its_end(farm: Any) -> None:
    async def work() -> None:
        kept = await farm.store.add_key(a_key(1))
        short = await farm.store.add_key(a_key(2, lasts_s=10))
        await farm.advance(9)
        assert await farm.store.live_key(bytes([2]) * 32) == short
        await farm.advance(2)
        for mark in (bytes([2]) * 32, short.id):
            assert await farm.store.live_key(mark) is None
        assert await farm.store.key(short.name) is None
        assert await farm.store.rotate_key(short.id, digest=b"x" * 32, hint="mr_x", grace_s=0) is None
        ended = await farm.store.revoke_key(kept.id)
        assert ended.revoked_at is not None
        for mark in (bytes([1]) * 32, kept.id):
            assert await farm.store.live_key(mark) is None
        await farm.advance(5)
        assert await farm.store.revoke_key(kept.id) == ended  # the moment is that of the first time
        assert await farm.store.rotate_key(kept.id, digest=b"x" * 32, hint="mr_x", grace_s=0) is None
        assert await farm.store.revoke_key(f"k{9:032x}") is None

    farm.run(work())


def test_ended_keys_are_forgotten_after_their_time_and_no_others(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_key(a_key(1))
        await farm.store.add_key(a_key(2, lasts_s=10_000))
        await farm.store.add_key(a_key(3, lasts_s=10))
        revoked = await farm.store.add_key(a_key(4))
        both = await farm.store.add_key(a_key(5, lasts_s=10))
        await farm.store.revoke_key(revoked.id)
        await farm.advance(20)
        await farm.store.revoke_key(both.id)  # it had ended before
        late = await farm.store.add_key(a_key(6))
        await farm.store.revoke_key(late.id)
        ended = late.created_at - timedelta(seconds=5)

        async def left() -> list[int]:
            return sorted(int(key.id[1:], 16) for key in await farm.store.keys(ended=True))

        assert await farm.store.delete_ended_keys(before=revoked.created_at - timedelta(seconds=1), limit=10) == 0
        assert await farm.store.delete_ended_keys(before=ended, limit=2) == 2
        assert await farm.store.delete_ended_keys(before=ended, limit=2) == 1
        assert await left() == [1, 2, 6]
        assert await farm.store.delete_ended_keys(before=ended, limit=2) == 0

    farm.run(work())


def test_the_secret_before_a_rotation_is_good_as_long_as_it_was_told(farm: Any) -> None:
    async def work() -> None:
        key = await farm.store.add_key(a_key(1))
        old, new, newest, last = (bytes([number]) * 32 for number in (1, 21, 22, 23))

        async def open_() -> list[bool]:
            return [await farm.store.live_key(mark) is not None for mark in (old, new, newest, last)]

        changed = await farm.store.rotate_key(key.id, digest=new, hint="mr_new", grace_s=60)
        assert (changed.id, changed.name, changed.role, changed.hint) == (key.id, key.name, key.role, "mr_new")
        assert changed.old_until is not None
        assert await open_() == [True, True, False, False]
        await farm.advance(61)
        assert await open_() == [False, True, False, False]
        # Of two rotations within a grace, the earlier secret ends with the second.
        await farm.store.rotate_key(key.id, digest=newest, hint="mr_n", grace_s=60)
        await farm.store.rotate_key(key.id, digest=last, hint="mr_l", grace_s=60)
        assert await open_() == [False, False, True, True]
        changed = await farm.store.rotate_key(key.id, digest=new, hint="mr_new", grace_s=0)
        assert changed.old_until is None
        assert await open_() == [False, True, False, False]
        await farm.store.rotate_key(key.id, digest=last, hint="mr_l", grace_s=60)
        await farm.store.revoke_key(key.id)
        assert await open_() == [False] * 4

    farm.run(work())


def test_use_is_noted_for_many_keys_at_once(farm: Any) -> None:
    async def work() -> None:
        for number in (1, 2, 3):
            await farm.store.add_key(a_key(number))
        await farm.advance(5)
        await farm.store.note_keys_used({f"k{1:032x}", f"k{3:032x}", f"k{77:032x}"})
        found = await farm.store.keys(ended=False)
        assert [key.used_at is not None and key.used_at > key.created_at for key in found] == [True, False, True]
        await farm.store.note_keys_used(())

    farm.run(work())


def test_events_of_a_tenant_are_its_own_in_order(farm: Any) -> None:
    async def work() -> None:
        from msgspec.structs import replace

        class_id = await farm.store.class_of(NEEDS)
        jobs = [replace(a_job(class_id), tenant=tenant) for tenant in ("acme", "other", "acme", "other")]
        for job in jobs:
            await farm.store.add_jobs([job])
        await farm.events(4)
        found = await farm.store.events(after=None, limit=10, tenant="acme")
        assert [one.job_id for one in found] == [jobs[0].id, jobs[2].id]
        later = await farm.store.events(after=found[0].cursor, limit=10, tenant="acme")
        assert list(later) == list(found[1:])
        assert list(await farm.store.events(after=None, limit=1, tenant="acme")) == list(found[:1])
        assert list(await farm.store.events(after=None, limit=10, tenant="nobody")) == []

    farm.run(work())
