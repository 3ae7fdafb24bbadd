"""Machines that join, by every store: a token is good once, and what it gave ends with the node."""

import asyncio
from typing import Any

from store_samples import a_node

from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import ApiKey, Machine
from millrace.domain.records import NodeState
from millrace.domain.roles import Role

TOKEN = b"t" * 32


def a_machine(number: int, *, token: bytes = TOKEN, fingerprint: str = "", secret: int = 0) -> Enrolment:
    return Enrolment(
        token=token, public=bytes([number]) * 32, fingerprint=fingerprint or f"fingerprint-{number}",
        node_id=f"n{number:032x}", key_id=f"k{number:016x}{secret:016x}", digest=bytes([number, secret]) * 16, hint="mr_abcd",
    )  # fmt: skip


async def invite(farm: Any, token: bytes = TOKEN, *, lasts_s: float = 900) -> None:
    now = await farm.store.now()
    ends = await farm.store.add_invitation(NewInvitation(digest=token, by="api", lasts_s=lasts_s))
    assert -1 < (ends - now).total_seconds() - lasts_s < 60


def test_a_token_gives_one_machine_a_key_of_its_own(farm: Any) -> None:
    async def work() -> None:
        assert await farm.store.enrol(a_machine(1)) is None
        await invite(farm)
        assert await farm.store.is_invited(TOKEN, bytes([1]) * 32)
        key = await farm.store.enrol(a_machine(1))
        assert (key.name, key.role, key.tenant) == (f"n{1:032x}", Role.WORKER, "")
        assert key.machine == Machine(f"n{1:032x}", "fingerprint-1")
        assert await farm.store.live_key(bytes([1, 0]) * 16) == await farm.store.live_key(key.id) == key
        assert await farm.store.enrol(a_machine(2)) is None
        assert not await farm.store.is_invited(TOKEN, bytes([2]) * 32)
        assert await farm.store.live_key(bytes([2, 0]) * 16) is None

    farm.run(work())


def test_of_many_that_come_with_one_token_at_once_one_gets_in(farm: Any) -> None:
    async def work() -> None:
        await invite(farm)
        found = await asyncio.gather(*(farm.store.enrol(a_machine(number)) for number in range(1, 9)))
        assert [key is not None for key in found].count(True) == 1
        assert len(await farm.store.keys(ended=True)) == 1

    farm.run(work())


def test_two_masters_give_one_token_to_one_machine(farm: Any) -> None:
    if farm.kind == "sqlite":
        return  # it has one master

    async def work() -> None:
        other = farm.another()
        await other.start()
        try:
            for round_ in range(5):
                token = bytes([round_]) * 32
                await invite(farm, token)
                found = await asyncio.gather(
                    *(
                        (farm.store if number % 2 else other).enrol(a_machine(round_ * 10 + number, token=token))
                        for number in range(1, 7)
                    )
                )
                assert [key is not None for key in found].count(True) == 1
        finally:
            await other.stop()

    farm.run(work())


def test_a_token_ends(farm: Any) -> None:
    async def work() -> None:
        await invite(farm, lasts_s=10)
        await farm.advance(11)
        assert not await farm.store.is_invited(TOKEN, bytes([1]) * 32)
        assert await farm.store.enrol(a_machine(1)) is None
        await farm.advance(2 * 86_400)
        await invite(farm, b"u" * 32)  # forgets the other, so that its name is free
        await invite(farm, TOKEN)

    farm.run(work())


def test_who_did_not_get_the_answer_asks_again_and_is_the_same_machine(farm: Any) -> None:
    async def work() -> None:
        await invite(farm)
        first = await farm.store.enrol(a_machine(1, secret=1))
        second = await farm.store.enrol(a_machine(1, secret=2))
        assert (first.id, first.machine) == (second.id, second.machine)
        assert await farm.store.live_key(bytes([1, 1]) * 16) is None
        assert await farm.store.live_key(bytes([1, 2]) * 16) == second
        await farm.store.revoke_key(first.id)
        assert await farm.store.enrol(a_machine(1, secret=3)) is None
        assert await farm.store.live_key(bytes([1, 3]) * 16) is None

    farm.run(work())


def test_a_machine_that_joins_again_is_the_same_node_and_its_old_key_ends(farm: Any) -> None:
    async def work() -> None:
        node = await farm.store.register(a_node())
        await invite(farm)
        first = await farm.store.enrol(a_machine(1, fingerprint=node.fingerprint))
        assert first.machine == Machine(node.id, node.fingerprint)
        await invite(farm, b"u" * 32)
        second = await farm.store.enrol(a_machine(2, token=b"u" * 32, fingerprint=node.fingerprint))
        assert second.machine == first.machine
        assert await farm.store.live_key(first.id) is None
        # Also one that has not come as a node yet.
        for number, token in ((3, b"v" * 32), (4, b"w" * 32)):
            await invite(farm, token)
            found = await farm.store.enrol(a_machine(number, token=token, fingerprint="fingerprint-new"))
            assert found.machine == Machine(f"n{3:032x}", "fingerprint-new")

    farm.run(work())


def test_a_node_that_is_expelled_loses_its_key_and_its_lease(farm: Any) -> None:
    async def work() -> None:
        node = await farm.store.register(a_node())
        await invite(farm)
        key = await farm.store.enrol(a_machine(1, fingerprint=node.fingerprint))
        await farm.store.expel(node.id)
        assert await farm.store.live_key(key.id) is None
        lost = await farm.store.node(node.id)
        assert (lost.state, lost.epoch) == (NodeState.LOST, node.epoch + 1)
        await farm.store.expel(node.id)
        assert (await farm.store.node(node.id)).epoch == node.epoch + 1
        ended: list[ApiKey] = list(await farm.store.keys(ended=True))
        assert [one.revoked_at is not None for one in ended] == [True]

    farm.run(work())


def test_the_key_of_a_node_ends_with_the_node(farm: Any) -> None:
    async def work() -> None:
        node = await farm.store.register(a_node())
        await invite(farm)
        key = await farm.store.enrol(a_machine(1, fingerprint=node.fingerprint))
        assert await farm.store.remove_node(node.id)
        assert await farm.store.live_key(key.id) is None
        assert await farm.store.node(node.id) is None

    farm.run(work())


def test_the_first_authority_that_is_noted_stays_until_it_is_replaced(farm: Any) -> None:
    async def work() -> None:
        assert await farm.store.authority() is None
        found = await asyncio.gather(*(farm.store.note_authority(f"{number:064x}") for number in range(4)))
        assert len({*found}) == 1
        assert await farm.store.authority() == found[0]
        assert await farm.store.note_authority("a" * 64, replace=True) == "a" * 64 == await farm.store.authority()

    farm.run(work())
