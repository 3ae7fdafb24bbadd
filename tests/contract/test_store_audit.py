"""The audit trail by every store: a chain without a gap, whoever writes to it at once."""

import asyncio
from typing import Any

from millrace.domain.chain import FIRST, Block, Check, Head


def an_id(number: int) -> bytes:
    return number.to_bytes(16)


async def chain(store: Any) -> list[Block]:
    return list(await store.audit_after(0, limit=1000))


def fault(head: Head, blocks: list[Block]) -> Any:
    check = Check(head)
    check.take(blocks)
    return check.end()


def test_blocks_follow_each_other(farm: Any) -> None:
    async def work() -> None:
        assert await farm.store.audit_head() == Head(number=0, seal=FIRST, oldest=1)
        assert await chain(farm.store) == []
        now = await farm.store.now()
        for number in (1, 2, 3):
            await farm.store.add_audit(an_id(number), b"entry %d" % number)
        blocks = await chain(farm.store)
        assert [(block.number, block.id, block.body) for block in blocks] == [
            (number, an_id(number), b"entry %d" % number) for number in (1, 2, 3)
        ]
        assert all(0 <= block.at_ms - round(now.timestamp() * 1000) < 60_000 for block in blocks)
        head = await farm.store.audit_head()
        assert (head.number, head.seal, head.oldest) == (3, blocks[-1].seal, 1)
        assert fault(head, blocks) is None
        assert await farm.store.audit_after(1, limit=1) == blocks[1:2]
        assert await farm.store.audit_before(4, limit=2) == [blocks[2], blocks[1]]

    farm.run(work())


def test_a_block_that_is_sent_again_stands_once(farm: Any) -> None:
    async def work() -> None:
        for body in (b"one", b"one"):
            await farm.store.add_audit(an_id(1), body)
        await farm.store.add_audit(an_id(2), b"two")
        assert [block.body for block in await chain(farm.store)] == [b"one", b"two"]

    farm.run(work())


def test_masters_that_write_at_once_make_one_chain(farm: Any) -> None:
    async def work() -> None:
        stores = [farm.store]
        if farm.kind == "postgres":  # SQLite has one master
            stores.append(farm.another())
            await stores[1].start()
        await asyncio.gather(
            *(stores[number % len(stores)].add_audit(an_id(number), b"%d" % number) for number in range(40)),
            stores[-1].add_audit(an_id(7), b"7"),
        )
        blocks = await chain(farm.store)
        assert sorted(int(block.body) for block in blocks) == list(range(40))
        assert fault(await farm.store.audit_head(), blocks) is None
        for other in stores[1:]:
            await other.stop()

    farm.run(work())


def test_the_oldest_blocks_go_without_a_gap_and_the_last_stays(farm: Any) -> None:
    async def work() -> None:
        for number in range(1, 6):
            await farm.store.add_audit(an_id(number), b"old")
        await farm.advance(100)
        middle = await farm.store.now()
        await farm.store.add_audit(an_id(6), b"new")
        await farm.store.forget_audit(before=middle, limit=3)
        blocks = await chain(farm.store)
        assert [block.number for block in blocks] == [4, 5, 6]
        head = await farm.store.audit_head()
        assert head.oldest == 4
        assert fault(head, blocks) is None
        await farm.store.forget_audit(before=middle, limit=100)
        assert [block.number for block in await chain(farm.store)] == [6]
        await farm.advance(100)
        await farm.store.forget_audit(before=await farm.store.now(), limit=100)
        blocks = await chain(farm.store)
        assert [block.number for block in blocks] == [6], "the next one has something to follow"
        await farm.store.add_audit(an_id(7), b"next")
        assert fault(await farm.store.audit_head(), await chain(farm.store)) is None

    farm.run(work())
