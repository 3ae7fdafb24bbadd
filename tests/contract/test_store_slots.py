"""What binds a node to its own: its slots, its identity, what it may read, what it has sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from msgspec.structs import replace
from store_samples import NEEDS, a_node, completes, queue_jobs, until_blocked

from millrace.runtime.clock import SystemClock
from millrace.store.open import open_store
from millrace.store.postgres.claims import Claim, claim_all
from millrace.store.postgres.connection import Session
from millrace.store.store import Arrival, Store


async def _claim(farm: Any, node: Any, request: str, *, limit: int = 64, epoch: int = 1) -> Any:
    classes = [await farm.store.class_of(NEEDS)]
    return await farm.store.claim(node_id=node.id, epoch=epoch, request_id=request, classes=classes, limit=limit)


async def _ends(farm: Any, node: Any, task: Any, request: str, *, limit: int) -> Any:
    classes = [await farm.store.class_of(NEEDS)]
    move = completes(task.task_id, task.attempt, node_id=node.id)
    return await farm.store.move_and_claim(move, epoch=1, request_id=request, classes=classes, limit=limit)


def test_no_claim_gives_more_than_the_slots(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 40)
        node, other = await farm.store.register(a_node(slots=3)), await farm.store.register(a_node(slots=1))
        first = await _claim(farm, node, "a")
        assert len(first) == 3
        assert await _claim(farm, node, "b") is None
        assert [one.task_id for one in await _claim(farm, node, "a")] == [one.task_id for one in first]
        assert len(await _claim(farm, other, "c")) == 1
        assert len(await _ends(farm, node, first[0], "d", limit=64)) == 1
        assert (await farm.store.node(node.id)).holding == 3
        # What ended without a claim leaves room.
        assert await farm.store.move([completes(first[1].task_id, 1, node_id=node.id)]) == [True]
        assert len(await _claim(farm, node, "e", limit=9)) == 1
        # In a new epoch what it held before is not its own any more.
        again = await farm.store.register(replace(a_node(slots=2), fingerprint=node.fingerprint, boot_id="boot-2"))
        assert len(await _claim(farm, again, "f", epoch=2)) == 2
        assert await _claim(farm, again, "g", epoch=2) is None

    farm.run(work())


def test_claims_and_reports_that_come_at_once_share_the_slots(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 60)
        node = await farm.store.register(a_node(slots=4))
        claims = await asyncio.gather(*(_claim(farm, node, f"r{number}", limit=3) for number in range(8)))
        taken = [task for given in claims if given for task in given]
        assert len(taken) == (await farm.store.node(node.id)).holding == 4
        # Each report leaves a slot and asks for many, where two are free already.
        assert all(await farm.store.move([completes(task.task_id, 1, node_id=node.id) for task in taken[:2]]))
        given = await asyncio.gather(*(_ends(farm, node, task, f"e{task.number}", limit=9) for task in taken[2:]))
        assert all(one is not None for one in given)
        assert (await farm.store.node(node.id)).holding <= 4
        await _claim(farm, node, "rest")
        assert (await farm.store.node(node.id)).holding == 4

    farm.run(work())


@asynccontextmanager
async def _masters(url: str) -> AsyncIterator[list[Store]]:
    stores = [open_store(url, clock=SystemClock()) for _ in range(2)]
    for store in stores:
        await store.start()
    yield stores
    for store in stores:
        await store.stop()


def test_two_masters_that_serve_one_node_at_once_give_no_more_than_its_slots(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        async with _masters(url) as (store, _):
            classes = [await store.class_of(NEEDS)]
            await queue_jobs(store, 20)
            node = await store.register(a_node(slots=1))

            async def beside_a_rival(request: str, *, ends_well: bool) -> tuple[Any, Any]:
                """What a request gets while another master serves request `a` of the node, and is about to commit."""
                rival = await asyncpg.connect(url)
                transaction = rival.transaction()
                await transaction.start()
                claim = Claim(node_id=node.id, epoch=1, request_id="a", limit=1)
                (given,) = await claim_all(Session(rival), classes, [claim])
                pending = asyncio.ensure_future(
                    store.claim(node_id=node.id, epoch=1, request_id=request, classes=classes, limit=4)
                )
                await until_blocked(rival)
                assert not pending.done()
                await (transaction.commit() if ends_well else transaction.rollback())
                await rival.close()
                return given, await pending

            # What the other master did not commit takes no slot.
            (_,), (task,) = await beside_a_rival("b", ends_well=False)
            assert await store.move([completes(task.task_id, 1)]) == [True]
            # The same request gets the same task.
            (given,), (task,) = await beside_a_rival("a", ends_well=True)
            assert task == given
            assert await store.move([completes(task.task_id, 1)]) == [True]
            # Another finds no slot.
            (_,), none = await beside_a_rival("b", ends_well=True)
            assert none is None
            assert (await store.node(node.id)).holding == 1

    asyncio.run(work())


def test_one_request_at_two_masters_gets_the_same_task_for_the_only_slot(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        async with _masters(url) as stores:
            classes = [await stores[0].class_of(NEEDS)]
            await queue_jobs(stores[0], 100)
            node = await stores[0].register(a_node(slots=1))
            for turn in range(60):
                claim: dict[str, Any] = {"epoch": 1, "request_id": f"r{turn}", "classes": classes, "limit": 1}
                first, second = await asyncio.gather(*(store.claim(node_id=node.id, **claim) for store in stores))
                assert first == second, turn
                (task,) = first or ()
                assert await stores[0].move([completes(task.task_id, 1)]) == [True]

    asyncio.run(work())


def test_claims_and_reports_over_two_masters_share_the_slots(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        async with _masters(url) as stores:
            classes = [await stores[0].class_of(NEEDS)]
            await queue_jobs(stores[0], 400)
            node = await stores[0].register(a_node(slots=3))
            held: dict[str, int] = {}

            async def asks(store: Store, request: str) -> None:
                claim: dict[str, Any] = {"epoch": 1, "request_id": request, "classes": classes, "limit": 2}
                if held and request.endswith("0"):
                    task, attempt = held.popitem()
                    given = await store.move_and_claim(completes(task, attempt, node_id=node.id), **claim)
                    assert given is not None
                else:
                    given = await store.claim(node_id=node.id, **claim)
                held.update({one.task_id: one.attempt for one in given or ()})

            for turn in range(30):
                await asyncio.gather(*(asks(stores[number % 2], f"{turn}-{number}") for number in range(6)))
                # A report that meets a claim at the other master may leave its slot to the next one.
                assert (await stores[0].node(node.id)).holding == len(held) <= 3
                for task, attempt in [held.popitem() for _ in range(min(turn % 3, len(held)))]:
                    assert await stores[0].move([completes(task, attempt)]) == [True]
            for number in range(2):
                await asks(stores[0], f"rest-{number + 1}")
            assert (await stores[0].node(node.id)).holding == len(held) == 3

    asyncio.run(work())


def test_an_earlier_instance_is_taken_back_only_where_the_later_one_does_not_live(farm: Any) -> None:
    async def work() -> None:
        one = a_node(boot_id="boot-1", ttl_s=30.0)
        two = replace(one, boot_id="boot-2", key_id="k2")
        assert (await farm.store.register(one)).epoch == 1
        assert (await farm.store.register(two)).epoch == 2
        assert await farm.store.key_of_node(one.id) == "k2"
        # The later one was not heard of yet.
        await farm.advance(1)
        assert (await farm.store.register(one)).epoch == 3
        assert (await farm.store.register(two)).epoch == 4
        await farm.advance(1)
        assert await farm.store.heartbeat(node_id=one.id, epoch=4, ttl_s=30.0, reports=[]) is not None
        before = await farm.store.node(one.id)
        assert await farm.store.register(one) is None
        assert await farm.store.node(one.id) == before
        assert (await farm.store.register(two)).epoch == 4
        assert (await farm.store.register(replace(one, boot_id="boot-3"))).epoch == 5
        await farm.advance(1)
        assert await farm.store.heartbeat(node_id=one.id, epoch=5, ttl_s=30.0, reports=[]) is not None
        for earlier in (one, two):
            assert await farm.store.register(earlier) is None
        await farm.advance(31)
        assert (await farm.store.register(one)).epoch == 6
        # Thousands of starts do not fill the row.
        for number in range(80):
            await farm.store.register(replace(one, boot_id=f"{number:032d}"))
        assert await farm.store.key_of_node("unknown") is None

    farm.run(work())


def test_an_input_is_held_by_who_runs_a_task_with_it(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 1, spec={"input": "upload://u1"})
        node = await farm.store.register(a_node(ttl_s=30.0, key_id="k1"))
        other = await farm.store.register(a_node(ttl_s=30.0, key_id="k2"))

        async def holders(location: str = "upload://u1") -> list[bool]:
            asked = [(node.id, ""), (other.id, ""), (None, "k1"), (None, "k2"), (None, "")]
            return [await farm.store.holds_input(location, node_id=one, key_id=key) for one, key in asked]

        assert await holders() == [False] * 5
        (task,) = await _claim(farm, node, "r")
        assert await holders() == [True, False, True, False, False]
        assert await holders("upload://u2") == [False] * 5
        await farm.advance(31)
        assert await holders() == [False] * 5
        await farm.store.heartbeat(node_id=node.id, epoch=1, ttl_s=30.0, reports=[])
        assert await holders() == [True, False, True, False, False]
        await farm.store.move([completes(task.task_id, 1)])
        assert await holders() == [False] * 5

    farm.run(work())


def test_what_arrived_of_an_attempt_is_kept_until_its_job_completes_or_goes(farm: Any) -> None:
    async def work() -> None:
        first, second = await queue_jobs(farm.store, 2)
        arrival = Arrival(sha256="0" * 64, size=3)
        for task in (first, second):
            await farm.store.keep_arrival(task, 1, "a.mp4", Arrival(sha256="1" * 64, size=1))
            await farm.store.keep_arrival(task, 1, "a.mp4", arrival)
            await farm.store.keep_arrival(task, 2, "b.mp4", arrival)
        assert await farm.store.arrivals(first, 1) == {"a.mp4": arrival}
        assert await farm.store.arrivals(first, 3) == await farm.store.arrivals("nonsense", 1) == {}
        await farm.store.keep_arrival("nonsense", 1, "a.mp4", arrival)
        await farm.store.forget_arrivals(first.partition(".")[0])
        assert await farm.store.arrivals(first, 1) == {}
        assert await farm.store.arrivals(second, 2) == {"b.mp4": arrival}

    farm.run(work())


def test_workers_that_register_at_the_same_moment_are_all_let_in(farm: Any) -> None:
    async def work() -> None:
        known = await farm.store.register(a_node(slots=2))
        back = a_node(fingerprint=known.fingerprint, boot_id="boot-2", labels={"zone": "b"}, slots=3)
        others = [a_node() for _ in range(300)]
        # The same worker twice, as after a lost answer: both get the one node, and only the first is a new beginning.
        first, again, *found = await asyncio.gather(*(farm.store.register(one) for one in (back, back, *others)))
        assert (first.id, first.epoch, first.slots, first.labels) == (known.id, known.epoch + 1, 3, {"zone": "b"})
        assert (again.id, again.epoch) == (first.id, first.epoch)
        assert [(one.id, one.fingerprint, one.name, one.facts) for one in found] == [
            (one.id, one.fingerprint, one.name, one.facts) for one in others
        ]
        assert len(await farm.store.nodes()) == 301
        # An identity that a later one holds is refused to the earlier one alone, not to those who came with it.
        await farm.advance(1)
        await farm.store.heartbeat(node_id=known.id, epoch=first.epoch, ttl_s=30.0, reports=())
        earlier = replace(back, boot_id="boot-1")
        met = await asyncio.gather(*(farm.store.register(one) for one in (a_node(), earlier, a_node())))
        assert [one is None for one in met] == [False, True, False]

    farm.run(work())
