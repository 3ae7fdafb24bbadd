"""Tenants: the counts that quotas are judged by are exact in every race, and each tenant gets its share of the queue."""

import asyncio
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from store_samples import GPU_NEEDS, NEEDS, a_job, a_move, a_node, completes, queue_jobs, until_blocked

from millrace.domain.records import Outcome, Output
from millrace.domain.states import State
from millrace.domain.tenants import Over, Quota, Quotas, Rules, Use
from millrace.runtime.clock import SystemClock
from millrace.store.open import open_store
from millrace.store.store import Added, Store

DAY_S = 86_400


async def limit(store: Store, tenant: str = "acme", **quotas: int) -> None:
    await store.set_tenant(tenant, Rules(quotas=Quotas(**quotas)))


async def use(store: Store, tenant: str = "acme") -> Use:
    """What is counted; the same as what is there."""
    found = await store.tenant(tenant)
    assert found is not None
    # Said anew from nothing, everything is counted anew.
    await store.remove_tenant(tenant)
    again = await store.set_tenant(tenant, found.rules)
    assert again.use == found.use
    return found.use


async def submit(store: Store, count: int = 1, **changes: object) -> list[Added]:
    class_id = await store.class_of(NEEDS)
    return list(await asyncio.gather(*(_one(store, a_job(class_id, **changes)) for _ in range(count))))


async def _one(store: Store, job: Any) -> Added:
    (added,) = await store.add_jobs([job])
    return added


async def claim(store: Store, node: Any, request: str, number: int = 1, classes: tuple[int, ...] = (1, 2)) -> list[str]:
    found = await store.claim(node_id=node.id, epoch=node.epoch, request_id=request, classes=classes, limit=number)
    assert found is not None
    return [one.task_id for one in found]


def test_a_tenant_is_what_was_said_of_it(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        assert await store.tenant("acme") is None
        assert list(await store.tenants()) == []
        rules = Rules(
            quotas=Quotas(queued=1, storage_bytes=2**53), weight=7, inputs=("/a", "s3://b/c"), outputs=("/o",)
        )
        made = await store.set_tenant("acme", rules)
        assert (made.name, made.rules, made.use, made.by_default) == ("acme", rules, Use(), False)
        assert await store.tenant("acme") == made
        await store.set_tenant("zeta", Rules(), by_default=True)
        # What is by default does not replace what somebody said; what somebody says replaces it.
        assert (await store.set_tenant("acme", Rules(), by_default=True)).rules == rules
        assert (await store.set_tenant("zeta", rules)).by_default is False
        assert [one.name for one in await store.tenants()] == ["acme", "zeta"]
        assert (await store.remove_tenant("acme"), await store.remove_tenant("acme")) == (True, False)
        assert await store.tenant("acme") is None

    farm.run(work())


@pytest.mark.parametrize(("quota", "word"), [(Quota.QUEUED, "queued"), (Quota.PER_DAY, "per_day")])
def test_of_many_jobs_at_once_as_many_are_accepted_as_the_quota_says(farm: Any, quota: Quota, word: str) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, **{word: 10})
        answers = await submit(store, 1000)
        accepted = [one for one in answers if one.refused is None]
        assert len(accepted) == 10
        assert {one.refused for one in answers} == {None, Over(quota, 10, 10)}
        assert len({one.number for one in accepted}) == 10
        assert (await store.count_jobs()) == {State.QUEUED: 10}
        assert await use(store) == Use(queued=10, per_day=10)
        # Others are not limited by it.
        assert (await submit(store, tenant="other"))[0].refused is None

    farm.run(work())


def test_over_two_masters_as_many_are_accepted_as_the_quota_says(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        stores = [open_store(url, clock=SystemClock()) for _ in range(2)]
        for store in stores:
            await store.start()
        await limit(stores[0], queued=10)
        await limit(stores[1], "zeta", per_day=7)
        turns = [(tenant, store) for tenant in ("acme", "zeta") for store in stores]
        found = await asyncio.gather(*(submit(store, 250, tenant=tenant) for tenant, store in turns))
        by_tenant = {tenant: 0 for tenant, _ in turns}
        for (tenant, _), answers in zip(turns, found, strict=True):
            by_tenant[tenant] += sum(one.refused is None for one in answers)
        assert by_tenant == {"acme": 10, "zeta": 7}
        assert (await use(stores[1])).queued == 10
        assert (await use(stores[0], "zeta")).per_day == 7
        for store in stores:
            await store.stop()

    asyncio.run(work())


def test_a_limit_that_comes_while_jobs_come_counts_them_all(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        stores = [open_store(url, clock=SystemClock()) for _ in range(2)]
        for store in stores:
            await store.start()
        _, first, second = await asyncio.gather(
            limit(stores[0], queued=300), submit(stores[0], 250), submit(stores[1], 250)
        )
        assert sum(one.refused is None for one in (*first, *second)) == 300
        assert (await use(stores[0])).queued == 300
        for store in stores:
            await store.stop()

    asyncio.run(work())


def test_counts_follow_a_job_to_its_end_and_back(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, queued=2, concurrent=2)
        node = await store.register(a_node(slots=500))
        first, second = await submit(store, 2)
        assert (await submit(store))[0].refused == Over(Quota.QUEUED, 2, 2)
        task = f"{first.id}.1"
        assert await claim(store, node, "r", 2) == [task, f"{second.id}.1"]
        assert await use(store) == Use(concurrent=2, queued=2, per_day=2)
        # A task that is paused on its node is held all the same; one that is handed back is not.
        await store.move([a_move(task, State.PAUSED)])
        assert (await use(store)).concurrent == 2
        await store.move([a_move(task, State.QUEUED, release=True)])
        assert await use(store) == Use(concurrent=1, queued=2, per_day=2)
        await store.move([a_move(f"{second.id}.1", State.FAILED, outcome=Outcome.FAILED, release=True)])
        assert await use(store) == Use(queued=1, per_day=2)
        third = (await submit(store))[0]
        assert third.refused is None
        # Full again: what has ended may not wait again, until there is room.
        again = a_move(f"{second.id}.1", State.QUEUED, restart=True, sources=frozenset({State.FAILED}))
        assert await store.move([again]) == [False]
        assert [one.state for one in await store.tasks(second.id)] == [State.FAILED]
        await store.move([a_move(f"{third.id}.1", State.CANCELED)])
        assert await store.move([again, again]) == [True, False]
        assert await use(store) == Use(queued=2, per_day=3)

    farm.run(work())


def test_of_many_that_are_to_run_again_as_many_do_as_the_quota_says(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        added = await submit(store, 8)
        await store.move([a_move(f"{one.id}.1", State.CANCELED) for one in added])
        await limit(store, queued=3)
        again = [a_move(f"{one.id}.1", State.QUEUED, restart=True) for one in added]
        done = await asyncio.gather(*(store.move([one]) for one in again[:4]), store.move(again[4:]))
        assert sum(sum(one) for one in done) == 3
        assert (await use(store)).queued == 3

    farm.run(work())


def test_a_job_that_comes_again_under_its_key_is_the_first_though_the_quota_is_full(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, queued=1)
        keyed = {"idempotency_key": "k", "body_digest": "d"}
        (first,) = await submit(store, **keyed)
        answers = await submit(store, 3, **keyed)
        assert {(one.id, one.repeated, one.refused) for one in answers} == {(first.id, True, None)}
        # A key under which a job was refused is as good as new.
        (refused,) = await submit(store, idempotency_key="l", body_digest="d")
        assert refused.refused is not None
        await store.move([a_move(f"{first.id}.1", State.CANCELED)])
        (accepted,) = await submit(store, idempotency_key="l", body_digest="d")
        assert (accepted.refused, accepted.repeated) == (None, False)
        assert (await use(store)).queued == 1

    farm.run(work())


def test_a_day_begins_at_midnight_by_the_stores_time(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, per_day=1)
        now = await store.now()
        await farm.advance(DAY_S - now.timestamp() % DAY_S - 60)  # a minute before midnight
        assert [one.refused for one in await submit(store)] == [None]
        assert [one.refused for one in await submit(store)] == [Over(Quota.PER_DAY, 1, 1)]
        assert (await use(store)).per_day == 1
        await farm.advance(61)
        assert (await use(store)).per_day == 0
        assert [one.refused for one in await submit(store)] == [None]
        assert [one.refused for one in await submit(store)] == [Over(Quota.PER_DAY, 1, 1)]

    farm.run(work())


def test_a_tenant_runs_as_many_tasks_as_it_may_and_hides_nobody(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, concurrent=2)
        node = await store.register(a_node(slots=500))
        mine = [f"{one.id}.1" for one in await submit(store, 5)]
        (other,) = await queue_jobs(store, 1, tenant="other")
        given = await claim(store, node, "a", 9)
        assert sorted(given) == sorted([*mine[:2], other])
        assert await claim(store, node, "b", 9) == []
        # The same request has the same answer, whatever the lane says now.
        assert sorted(await claim(store, node, "a", 9)) == sorted(given)
        queued: list[int] = []
        stop = store.listen(lambda _, class_id: queued.append(class_id or 0))
        await store.move([completes(mine[0], 1)])
        assert 1 in queued  # whoever waits hears that the lane is open
        stop()
        assert await claim(store, node, "c", 9) == [mine[2]]
        # A report that claims looks at the queue as it was before.
        report = completes(mine[1], 1, node_id=node.id)
        options = {"epoch": node.epoch, "classes": [1], "limit": 9}
        assert await store.move_and_claim(report, request_id="d", **options) == []
        assert await claim(store, node, "e", 9) == [mine[3]]
        assert await use(store) == Use(concurrent=2, queued=3, per_day=5)

    farm.run(work())


def test_what_a_tenant_may_run_is_not_more_for_needing_two_kinds_of_node(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, concurrent=2)
        node = await store.register(a_node(slots=500))
        tasks = []
        for number in range(6):
            class_id = await store.class_of((NEEDS, GPU_NEEDS)[number % 2])
            tasks.append(f"{(await _one(store, a_job(class_id))).id}.1")
        assert await claim(store, node, "a", 9) == tasks[:2]
        assert (await use(store)).concurrent == 2

    farm.run(work())


def test_many_claims_at_once_run_no_more_than_the_tenant_may(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, concurrent=3)
        node = await store.register(a_node(slots=500))
        await submit(store, 20)
        found = await asyncio.gather(*(claim(store, node, f"r{number}") for number in range(40)))
        assert sum(map(len, found)) == 3
        assert (await use(store)).concurrent == 3

    farm.run(work())


def test_claims_of_two_masters_run_no_more_than_the_tenant_may(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        stores = [open_store(url, clock=SystemClock()) for _ in range(2)]
        for store in stores:
            await store.start()
        await limit(stores[0], concurrent=5)
        nodes = [await store.register(a_node(slots=500)) for store in stores]
        ids = [f"{one.id}.1" for one in await submit(stores[0], 60)]
        running: set[str] = set()
        for turn in range(6):
            found = await asyncio.gather(
                *(
                    claim(store, node, f"{turn}-{number}-{node.id[-4:]}", 2)
                    for store, node in zip(stores, nodes, strict=True)
                    for number in range(12)
                )
            )
            given = [task for tasks in found for task in tasks]
            assert len(given) == len({*given}) == 5 - len(running)
            running |= {*given}
            assert (await use(stores[1])).concurrent == 5
            done = sorted(running)[: turn % 3 + 1]
            moved = await asyncio.gather(
                *(store.move([completes(task, 1)]) for task, store in zip(done, [*stores, stores[0]], strict=False))
            )
            assert all(one == [True] for one in moved)
            running -= {*done}
        assert running <= {*ids}
        for store in stores:
            await store.stop()

    asyncio.run(work())


async def beside(url: str, store: Store, does: list[str], work: Any) -> Any:
    """What `work` gives when another master, about to commit, does this meanwhile."""
    rival = await asyncpg.connect(url)
    transaction = rival.transaction()
    await transaction.start()
    for statement in does:
        await rival.execute(statement)
    pending = asyncio.ensure_future(work)
    await until_blocked(rival)
    assert not pending.done()
    await transaction.commit()
    await rival.close()
    return await pending


_OF_JOBS = "tenant, queue, priority, labels, profile, max_retries, created_at"
_FILLED = "UPDATE tenants SET running = running + 1 WHERE name = 'acme'"
_GIVEN = (
    "UPDATE tasks SET state = 'assigned', attempt = 1, node_id = '{node}', node_epoch = 1, claim_request = 'r', seat = 1 "
    "WHERE job = {job}"
)


def test_a_claim_beside_one_that_fills_the_lane(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        store = open_store(url, clock=SystemClock())
        await store.start()
        await limit(store, concurrent=1)
        node = await store.register(a_node(slots=500))
        first, _ = await submit(store, 2)
        # Another request is given nothing.
        assert await beside(url, store, [_FILLED], claim(store, node, "other")) == []
        await limit(store, concurrent=2)
        # The same request, which the other master is just answering, is given the same, though the lane is full by then.
        does = [_FILLED, _GIVEN.format(node=node.id, job=first.number)]
        assert await beside(url, store, does, claim(store, node, "r")) == [f"{first.id}.1"]
        await store.stop()

    asyncio.run(work())


def test_a_job_beside_one_that_takes_the_last_place(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        store = open_store(url, clock=SystemClock())
        await store.start()
        await limit(store, queued=2)
        taken = "UPDATE tenants SET queued = queued + 1 WHERE name = 'acme'"
        answers = await beside(url, store, [taken], submit(store, 3))
        assert [one.refused is None for one in answers] == [True, False, False]
        # Another master has just given the last place to the same request: it is the same job, and not refused.
        await limit(store, queued=3)
        (first, *_) = answers
        does = [
            taken,
            f"INSERT INTO jobs (number, id, {_OF_JOBS}) SELECT 99, 'j99', {_OF_JOBS} FROM jobs WHERE number = {first.number}",
            "INSERT INTO tasks (job, position, class_id, rank, max_retries, state, queued_at) VALUES (99, 1, 1, 0, 0, 'queued', 0)",
            "INSERT INTO idempotency_keys (tenant, key, body_digest, job) VALUES ('acme', 'k', 'd', 99)",
        ]
        (same,) = await beside(url, store, does, submit(store, idempotency_key="k", body_digest="d"))
        assert (same.number, same.repeated, same.refused) == (99, True, None)
        await store.stop()

    asyncio.run(work())


def test_a_claim_that_comes_again_to_another_master_gets_the_same_task_of_a_full_lane(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        stores = [open_store(url, clock=SystemClock()) for _ in range(2)]
        for store in stores:
            await store.start()
        await limit(stores[0], concurrent=1)
        node = await stores[0].register(a_node(slots=500))
        for turn in range(15):
            (task,) = await submit(stores[0])
            first, second = await asyncio.gather(*(claim(store, node, f"r{turn}") for store in stores))
            assert first == second == [f"{task.id}.1"]
            assert await stores[0].move([completes(f"{task.id}.1", 1)]) == [True]
        for store in stores:
            await store.stop()

    asyncio.run(work())


def test_a_limit_holds_for_what_was_there_before_and_ends_with_itself(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=500))
        tasks = [f"{one.id}.1" for one in await submit(store, 6)]
        assert await claim(store, node, "a") == tasks[:1]
        await store.move([a_move(tasks[5], State.CANCELED)])
        await limit(store, concurrent=1)
        assert await use(store) == Use(concurrent=1, queued=5, per_day=6)
        assert await claim(store, node, "b") == []
        # What had ended before the limit came is bounded by it too, when it runs again.
        assert await store.move([a_move(tasks[5], State.QUEUED, restart=True)]) == [True]
        assert await claim(store, node, "c", 9) == []
        await limit(store, concurrent=2)
        assert await claim(store, node, "d", 9) == tasks[1:2]
        await limit(store, queued=99)
        assert await claim(store, node, "e") == tasks[2:3]
        assert await use(store) == Use(concurrent=3, queued=6, per_day=6)
        await limit(store, concurrent=1)
        await store.remove_tenant("acme")
        assert await claim(store, node, "f", 9) == tasks[3:]

    farm.run(work())


def test_a_lost_worker_gives_back_what_it_held(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, concurrent=1)
        node = await store.register(a_node(slots=500))
        (task,) = [f"{one.id}.1" for one in await submit(store)]
        assert await claim(store, node, "a") == [task]
        await farm.advance(31)
        await store.expire_leases(limit=9)
        assert (await use(store)).concurrent == 1  # until it is taken back
        (orphan,) = await store.orphans(limit=9)
        moved = a_move(orphan.id, State.QUEUED, outcome=Outcome.LOST, release=True, loses=True)
        assert await store.move([moved]) == [True]
        assert (await use(store)).concurrent == 0

    farm.run(work())


def test_files_are_counted_from_their_announcement_to_their_end(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, storage_bytes=100)
        answers = await asyncio.gather(*(store.add_upload(f"u{number:02}", "acme", 30) for number in range(20)))
        assert sorted(over is None for over in answers) == [False] * 17 + [True] * 3
        assert {over for over in answers if over is not None} == {Over(Quota.STORAGE, 100, 90)}
        assert await store.add_upload("v0", "other", 10**12) is None
        assert (await use(store)).storage_bytes == 90
        kept = [f"u{number:02}" for number, over in enumerate(answers) if over is None]
        await store.release_upload(kept[0])
        await store.release_upload(kept[0])
        assert (await use(store)).storage_bytes == 60
        await store.release_uploads(below=kept[2])
        assert (await use(store)).storage_bytes == 30
        await store.release_uploads(below="w")
        assert (await use(store)).storage_bytes == 0

    farm.run(work())


def test_outputs_that_the_master_keeps_are_counted_until_their_job_is_deleted(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        await limit(store, storage_bytes=100)
        node = await store.register(a_node(slots=500))
        tasks = [f"{one.id}.1" for one in await submit(store, 2, keeps=True)]
        await claim(store, node, "a", 2)
        output = Output(name="o", location="master:o", sha256="00", size=60)
        done = [completes(task, 1, outputs=(output,), kept_bytes=60) for task in tasks]
        assert await store.move(done[:1]) == [True]
        assert (await use(store)).storage_bytes == 60
        # What was accepted is kept, also beyond the limit. Then nothing is accepted that would be kept.
        options = {"epoch": node.epoch, "request_id": "b", "classes": [1], "limit": 1}
        assert await store.move_and_claim(replace(done[1], node_id=node.id), **options) == []
        assert (await use(store)).storage_bytes == 120
        assert [one.refused for one in await submit(store, keeps=True)] == [Over(Quota.STORAGE, 100, 120)]
        assert [one.refused for one in await submit(store)] == [None]
        await farm.advance(10)
        gone = await store.delete_finished(before=await store.now(), limit=1)
        assert len(gone) == 1
        found = await store.tenant("acme")
        assert found is not None
        assert found.use == Use(queued=1, per_day=3, storage_bytes=60)
        assert [one.refused for one in await submit(store, keeps=True)] == [None]

    farm.run(work())


def test_a_tenant_with_one_job_does_not_wait_for_one_with_hundreds(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=500))
        bulk = await submit(store, 300, tenant="bulk")
        assert len(await claim(store, node, "a", 20)) == 20
        await farm.advance(3600)
        small = [
            f"{one.id}.1" for one in (await submit(store, 1, tenant="small")) + (await submit(store, 1, tenant="tiny"))
        ]
        assert {*small} < {*await claim(store, node, "b", 4)}
        # Who comes with many, too, takes turns: a batch of the one for a batch of the other.
        many = {f"{one.id}.1" for one in await submit(store, 100, tenant="other")}
        given = [await claim(store, node, f"c{number}", 10) for number in range(4)]
        shares = [len(many & {*tasks}) for tasks in given]
        assert all(4 <= share <= 6 for share in shares), shares
        assert {f"{one.id}.1" for one in bulk} > {*given[0]} - many

    farm.run(work())


def test_a_tenant_of_weight_three_has_three_jobs_for_one_of_others(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=500))
        rules = Rules(weight=3)
        assert (await store.set_tenant("heavy", rules)).rules == rules
        # It takes the turns of who was there, in batches of any size, and opens its own behind them.
        light = {*await queue_jobs(store, 30, tenant="light")}
        heavy = {*await queue_jobs(store, 50, tenant="heavy")}
        heavy |= {f"{one.id}.1" for one in await submit(store, 50, tenant="heavy")}
        for _ in range(5):
            heavy |= {*await queue_jobs(store, 1, tenant="heavy")}
        light |= {*await queue_jobs(store, 5, tenant="light")}
        for number in range(35):
            given = {*await claim(store, node, f"a{number}", 4)}
            assert (len(given & light), len(given & heavy)) == (1, 3), number
        assert await claim(store, node, "none", 4) == []
        # With a weight of one it has one again.
        await store.set_tenant("heavy", Rules())
        await farm.advance(10)  # turns of one moment lie a little ahead of it
        light = {*await queue_jobs(store, 10, tenant="light")}
        await queue_jobs(store, 10, tenant="heavy")
        for number in range(5):
            assert len(light & {*await claim(store, node, f"b{number}", 4)}) == 2

    farm.run(work())


def test_a_weight_that_is_given_while_jobs_wait_turns_no_order_round(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=500))
        own = []
        for tenant in ("acme", "other", "other", "acme", "acme"):
            (task,) = await queue_jobs(store, 1, tenant=tenant)
            own += [task] * (tenant == "acme")
        # Its last turn that was written down is not the last that it opened.
        await store.set_tenant("acme", Rules(weight=3))
        own += [*await queue_jobs(store, 1, tenant="acme"), *await queue_jobs(store, 3, tenant="acme")]
        given = [task for number in range(9) for task in await claim(store, node, f"a{number}")]
        assert [task for task in given if task in own] == own

    farm.run(work())


def test_what_comes_later_goes_not_before_places_that_outlived_who_opened_their_turn(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=5000))
        await store.set_tenant("acme", Rules(weight=2))
        many = await queue_jobs(store, 3000)  # whose last turn lies more than a second ahead of its time
        assert len(await claim(store, node, "a", 2999)) == 2999
        (late,) = await queue_jobs(store, 1)
        assert await claim(store, node, "b", 2) == [many[-1], late]

    farm.run(work())


def test_weights_go_before_turns(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        node = await store.register(a_node(slots=500))
        await submit(store, 50, tenant="bulk", head_start_ms=2_400_000)
        low = [f"{one.id}.1" for one in await submit(store, tenant="small", head_start_ms=240_000)]
        high = [f"{one.id}.1" for one in await submit(store, tenant="bulk", head_start_ms=7_200_000)]
        assert (await claim(store, node, "a", 1)) == high
        assert not {*low} & {*await claim(store, node, "b", 50)}
        assert await claim(store, node, "c", 2) == low

    farm.run(work())


def test_turns_of_lines_that_ended_long_ago_are_forgotten(farm: Any) -> None:
    async def work() -> None:
        store = farm.store
        for tenant in ("one", "other", "one"):
            await submit(store, tenant=tenant)
        await farm.advance(10)
        await store.delete_finished(before=await store.now(), limit=1)
        # Whoever came second is not remembered, and takes the turn at the head again.
        node = await store.register(a_node(slots=500))
        (task,) = await queue_jobs(store, 1, tenant="other")
        assert task in await claim(store, node, "a", 3)

    farm.run(work())
