"""Webhooks and their messages by every store: nothing is left out, nothing made twice, each job in its order."""

import asyncio
import itertools
from typing import Any

import asyncpg
from store_samples import NEEDS, a_job, a_move, a_node, completes, queue_jobs

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Outcome
from millrace.domain.states import State
from millrace.domain.webhooks import Again, Dead, Delivered, DeliveryState, Gone, Message, NewWebhook

_count = itertools.count(1)
LEASE_S = 60.0


def a_webhook(*events: str, **changes: Any) -> NewWebhook:
    number = next(_count)
    given = {
        "id": f"w{number:032x}",
        "tenant": "",
        "url": f"https://example.com/{number}",
        "events": events or ("*",),
        "secret": f"whsec_{number}",
        "actor": "key:test",
    }
    return NewWebhook(**{**given, **changes})


async def _relay(store: Any, limit: int = 100) -> int:
    total = 0
    while count := await store.relay_messages(limit=limit):
        total += count
    return total


async def _take(
    farm: Any, store: Any = None, *, busy: tuple[str, ...] = (), each: int = 100, limit: int = 100
) -> list[Message]:
    return list(await (store or farm.store).take_messages(busy=busy, each=each, limit=limit, lease_s=LEASE_S))


async def _settle(farm: Any, message: Message, follows: Any) -> bool:
    return await farm.store.settle_message(message.sequence, attempt=message.attempt, follows=follows)


async def _run(farm: Any, count: int) -> list[str]:
    """So many jobs, each queued, assigned and completed."""
    tasks = await queue_jobs(farm.store, count)
    node = await farm.store.register(a_node())
    classes = [await farm.store.class_of(NEEDS)]
    await farm.store.claim(node_id=node.id, epoch=node.epoch, request_id="run", classes=classes, limit=count)
    assert all(await farm.store.move([completes(task, 1) for task in tasks]))
    await farm.events(3 * count)  # until no transaction elsewhere holds them back
    return tasks


def test_a_webhook_is_kept_and_shown_without_its_secret(farm: Any) -> None:
    async def work() -> None:
        assert list(await farm.store.webhooks()) == []
        new = a_webhook("job.completed", "job.failed", tenant="acme")
        made = await farm.store.add_webhook(new)
        assert (made.id, made.tenant, made.url, made.events) == (new.id, "acme", new.url, new.events)
        assert (made.disabled_at, made.old_until, made.pending, made.dead) == (None, None, 0, 0)
        assert list(await farm.store.webhooks()) == [await farm.store.webhook(new.id)] == [made]
        assert await farm.store.webhook("unknown") is None
        assert await farm.store.rotate_webhook("unknown", secret="s", grace_s=1) is None
        assert await farm.store.remove_webhook(new.id)
        assert not await farm.store.remove_webhook(new.id)

    farm.run(work())


def test_nobody_listens_and_nothing_is_made(farm: Any) -> None:
    async def work() -> None:
        await _run(farm, 2)
        assert await farm.store.relay_messages(limit=10) is None
        assert await farm.store.next_message_due() is None
        await farm.store.add_webhook(a_webhook())
        assert await farm.store.relay_messages(limit=10) == 0  # what was before nobody hears
        assert await _take(farm) == []

    farm.run(work())


def test_each_hears_what_it_asked_for_of_its_tenant(farm: Any) -> None:
    async def work() -> None:
        every = await farm.store.add_webhook(a_webhook())
        ends = await farm.store.add_webhook(a_webhook("job.completed", "job.failed"))
        mine = await farm.store.add_webhook(a_webhook("job.queued", tenant="acme"))
        other = await farm.store.add_webhook(a_webhook(tenant="other"))
        (task,) = await _run(farm, 1)
        assert await _relay(farm.store) == 3
        heard: dict[str, list[State]] = {one.id: [] for one in (every, ends, mine, other)}
        while messages := await _take(farm):
            for message in messages:
                heard[message.webhook].append(message.target)
                assert await _settle(farm, message, Delivered("answered 200"))
        assert heard == {
            every.id: [State.QUEUED, State.ASSIGNED, State.COMPLETED],
            ends.id: [State.COMPLETED],
            mine.id: [State.QUEUED],
            other.id: [],
        }
        assert (await farm.store.job(task.partition(".")[0])).tenant == "acme"

    farm.run(work())


def test_a_message_has_all_that_goes_into_it(farm: Any) -> None:
    async def work() -> None:
        webhook = await farm.store.add_webhook(a_webhook("job.failed"))
        (task,) = await queue_jobs(farm.store, 1)
        node = await farm.store.register(a_node())
        classes = [await farm.store.class_of(NEEDS)]
        await farm.store.claim(node_id=node.id, epoch=node.epoch, request_id="run", classes=classes, limit=1)
        failure = Failure(failure_class=FailureClass.DISK, message="the disk is full")
        failed = a_move(
            task, State.FAILED, attempt=1, outcome=Outcome.FAILED, failure=failure, reason=failure.message, release=True
        )
        assert await farm.store.move([failed]) == [True]
        await farm.events(3)
        await _relay(farm.store)
        (message,) = await _take(farm)
        job = await farm.store.job(task.partition(".")[0])
        assert (message.job_id, message.number, message.attempt, message.job_attempt) == (job.id, job.number, 1, 1)
        assert (message.source, message.target, message.failure_class) == (
            State.ASSIGNED, State.FAILED, FailureClass.DISK,
        )  # fmt: skip
        assert (message.tenant, message.profile, dict(message.labels)) == ("acme", "web-hls", {"team": "video"})
        assert (message.url, message.reason, message.at) == (webhook.url, "the disk is full", job.finished_at)
        assert len(message.secrets) == 1

    farm.run(work())


def test_a_relay_that_dies_at_any_moment_leaves_nothing_out_and_makes_nothing_twice(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook())
        tasks = await _run(farm, 7)
        # A master that is gone has relayed some of them, another one comes, with a store of its own where there may be one.
        assert await farm.store.relay_messages(limit=4) == 4
        if farm.kind == "sqlite":
            await farm.store.stop()
        later = farm.another()
        await later.start()
        try:
            await _relay(later, limit=5)
            heard = []
            while messages := list(await later.take_messages(busy=(), each=100, limit=100, lease_s=LEASE_S)):
                for message in messages:
                    heard.append((message.job_id, message.target))
                    await later.settle_message(message.sequence, attempt=1, follows=Delivered("answered 200"))
        finally:
            await later.stop()
        states = (State.QUEUED, State.ASSIGNED, State.COMPLETED)
        assert sorted(heard) == sorted((task.partition(".")[0], state) for task in tasks for state in states)

    farm.run(work())


def test_masters_that_relay_and_take_at_once_share_the_messages(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook("job.completed"))
        await _run(farm, 30)
        others = [farm.another() for _ in range(2)] if farm.kind == "postgres" else []
        for store in others:
            await store.start()
        stores = [farm.store, *others, *([farm.store] * (2 - len(others)))]
        try:
            await asyncio.gather(*(_relay(store, limit=7) for store in stores))
            await _relay(farm.store)
            taken = await asyncio.gather(*(_take(farm, store, limit=9) for store in stores for _ in range(6)))
        finally:
            for store in others:
                await store.stop()
        taken.append(await _take(farm))  # what others had locked at that moment
        found = [message.id for messages in taken for message in messages]
        assert len(found) == len(set(found)) == 30

    farm.run(work())


def test_of_a_job_only_the_oldest_that_waits_is_taken(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook())
        await _run(farm, 2)
        await _relay(farm.store)
        first = await _take(farm)
        assert [message.target for message in first] == [State.QUEUED] * 2
        assert await _take(farm) == []
        assert await _settle(farm, first[0], Delivered("answered 200"))
        assert await _settle(farm, first[1], Again(30, "answered 500"))
        second = await _take(farm)
        assert [(one.job_id, one.target) for one in second] == [(first[0].job_id, State.ASSIGNED)]
        await farm.advance(31)
        again = [one for one in await _take(farm) if one.job_id == first[1].job_id]
        assert [(one.id, one.attempt) for one in again] == [(first[1].id, 2)]
        assert await _settle(farm, again[0], Dead("all spent"))
        third = [one for one in await _take(farm) if one.job_id == first[1].job_id]
        assert [one.target for one in third] == [State.ASSIGNED]

    farm.run(work())


def test_a_message_whose_master_died_is_taken_by_another_and_the_late_result_changes_nothing(farm: Any) -> None:
    async def work() -> None:
        webhook = await farm.store.add_webhook(a_webhook("job.completed"))
        await _run(farm, 1)
        await _relay(farm.store)
        (first,) = await _take(farm)
        await farm.advance(LEASE_S - 1)
        assert await _take(farm) == []
        await farm.advance(2)
        (second,) = await _take(farm)
        assert (second.id, second.attempt) == (first.id, 2)
        for late in (Delivered("late"), Again(1, "late"), Dead("late"), Gone("late")):
            assert not await _settle(farm, first, late)
        (entry,) = await farm.store.deliveries(webhook.id, state=None, below=None, limit=9)
        assert (entry.state, entry.attempts, entry.result) == (DeliveryState.PENDING, 2, "")
        assert await _settle(farm, second, Delivered("answered 204"))
        assert not await _settle(farm, second, Delivered("answered 204"))
        (entry,) = await farm.store.deliveries(webhook.id, state=DeliveryState.DELIVERED, below=None, limit=9)
        assert (entry.result, entry.due_at, entry.number) == ("answered 204", None, 1)

    farm.run(work())


def test_busy_webhooks_and_bounds_leave_the_others_their_turn(farm: Any) -> None:
    async def work() -> None:
        one = await farm.store.add_webhook(a_webhook("job.completed"))
        two = await farm.store.add_webhook(a_webhook("job.completed"))
        await _run(farm, 5)
        await _relay(farm.store)
        found = await _take(farm, busy=(one.id,), each=2)
        assert [message.webhook for message in found] == [two.id] * 2
        found = await _take(farm, each=2)
        assert sorted(message.webhook for message in found) == sorted([one.id] * 2 + [two.id] * 2)
        assert len(await _take(farm, limit=1)) == 1

    farm.run(work())


def test_secrets_rotate_with_a_grace(farm: Any) -> None:
    async def work() -> None:
        webhook = await farm.store.add_webhook(a_webhook("job.completed", secret="whsec_old"))
        rotated = await farm.store.rotate_webhook(webhook.id, secret="whsec_new", grace_s=100)
        assert rotated.old_until is not None
        await _run(farm, 3)
        await _relay(farm.store)
        (message,) = await _take(farm, limit=1)
        assert message.secrets == ("whsec_new", "whsec_old")
        await farm.advance(101)
        messages = await _take(farm)
        assert {message.secrets for message in messages} == {("whsec_new",)}
        await farm.store.rotate_webhook(webhook.id, secret="whsec_last", grace_s=0)
        await farm.advance(LEASE_S + 1)
        assert {message.secrets for message in await _take(farm)} == {("whsec_last",)}

    farm.run(work())


def test_a_disabled_webhook_is_told_nothing_and_replays_are_sent_again(farm: Any) -> None:
    async def work() -> None:
        webhook = await farm.store.add_webhook(a_webhook("job.completed"))
        other = await farm.store.add_webhook(a_webhook("job.completed"))
        await _run(farm, 3)
        await _relay(farm.store)
        taken = [message for message in await _take(farm) if message.webhook == other.id]
        await _settle(farm, taken[0], Delivered("answered 200"))
        await _settle(farm, taken[1], Dead("spent"))
        assert (await farm.store.webhook(other.id)).dead == 1
        assert await farm.store.count_messages() == {DeliveryState.PENDING: 4, DeliveryState.DEAD: 1}
        assert await farm.store.overfull_webhooks(most=4) == []
        assert await farm.store.overfull_webhooks(most=3) == [webhook.id]
        assert await farm.store.disable_webhook(webhook.id, why="gone")
        assert not await farm.store.disable_webhook(webhook.id, why="gone")
        shown = await farm.store.webhook(webhook.id)
        assert (shown.disabled_why, shown.pending, shown.dead) == ("gone", 0, 3)
        assert await farm.store.replay_messages(other.id, None) == 1
        assert await farm.store.replay_messages(other.id, taken[0].id) == 1
        assert await farm.store.replay_messages(other.id, taken[2].id) == 0  # it still waits
        assert await farm.store.replay_messages(webhook.id, taken[0].id) == 0
        again = await _take(farm)
        assert {(message.id, message.attempt) for message in again} == {(taken[0].id, 1), (taken[1].id, 1)}
        page = await farm.store.deliveries(other.id, state=None, below=None, limit=2)
        rest = await farm.store.deliveries(other.id, state=None, below=page[-1].seq, limit=9)
        assert [one.number for one in (*page, *rest)] == [3, 2, 1]

    farm.run(work())


def test_the_log_is_forgotten_by_age_and_what_waits_never(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook("job.completed"))
        await _run(farm, 3)
        await _relay(farm.store)
        one, two, _ = await _take(farm)
        await _settle(farm, one, Delivered("answered 200"))
        await _settle(farm, two, Dead("spent"))
        forget = farm.store.forget_messages
        assert await forget(DeliveryState.DELIVERED, age_s=10, limit=9) == 0
        await farm.advance(11)
        assert await forget(DeliveryState.DELIVERED, age_s=10, limit=9) == 1
        assert await forget(DeliveryState.DEAD, age_s=10, limit=9) == 1
        assert await forget(DeliveryState.PENDING, age_s=0, limit=9) == 0
        assert await farm.store.count_messages() == {DeliveryState.PENDING: 1}

    farm.run(work())


def test_a_message_outlives_its_job(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook("job.completed"))
        (task,) = await _run(farm, 1)
        await _relay(farm.store)
        await farm.advance(10)
        now = await farm.store.now()
        assert await farm.store.delete_finished(before=now, limit=9) == [task.partition(".")[0]]
        (message,) = await _take(farm)
        assert (message.job_id, message.tenant, dict(message.labels)) == (task.partition(".")[0], "", {})

    farm.run(work())


def test_a_second_webhook_hears_only_of_what_comes_after_it(farm: Any) -> None:
    async def work() -> None:
        await farm.store.add_webhook(a_webhook())
        await _run(farm, 1)
        await farm.advance(1)
        late = await farm.store.add_webhook(a_webhook())  # the relay has not come yet
        await _relay(farm.store)
        assert (await farm.store.webhook(late.id)).pending == 0
        class_id = await farm.store.class_of(NEEDS)
        await farm.store.add_jobs([a_job(class_id)])
        await farm.events(4)
        await _relay(farm.store)
        assert (await farm.store.webhook(late.id)).pending == 1

    farm.run(work())


def test_a_master_goes_home_while_another_one_relays(farm: Any) -> None:
    """Two at once would make each message twice."""
    if farm.kind == "sqlite":
        return  # it has one master

    async def work() -> None:
        await farm.store.add_webhook(a_webhook())
        await _run(farm, 1)
        rival = await asyncpg.connect(farm.url)
        async with rival.transaction():
            await rival.fetch("SELECT one FROM webhook_relay FOR UPDATE")
            assert await farm.store.relay_messages(limit=9) == 0
        await rival.close()
        assert await _relay(farm.store) == 3

    farm.run(work())
