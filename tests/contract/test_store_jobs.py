"""Jobs by every store: accepting, reading, listing, events, cleaning."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from store_samples import GPU_NEEDS, NEEDS, a_job, a_move, a_node, completes, queue_jobs

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Outcome, Output
from millrace.domain.sla import Classification
from millrace.domain.states import State
from millrace.store.store import Hint, JobFilter


def test_start_and_stop_may_come_twice(farm: Any) -> None:
    farm.run(farm.store.start())
    farm.run(farm.store.ping())
    farm.run(farm.store.stop())
    farm.run(farm.store.stop())
    farm.run(farm.store.start())
    farm.run(farm.store.ping())


def test_a_class_has_one_number_for_equal_needs(farm: Any) -> None:
    async def work() -> None:
        first = await farm.store.class_of(NEEDS)
        assert await farm.store.class_of(NEEDS) == first
        second = await farm.store.class_of(GPU_NEEDS)
        assert second > first
        assert list(await farm.store.classes()) == [(first, NEEDS), (second, GPU_NEEDS)]
        assert list(await farm.store.classes(first)) == [(second, GPU_NEEDS)]

    farm.run(work())


def test_an_accepted_job_is_read_back_as_it_was_given(farm: Any) -> None:
    async def work() -> None:
        new = a_job(
            await farm.store.class_of(NEEDS),
            classification=Classification.TEST,
            labels={"a": "1", "b": 'quo"te.é'},
            spec={"deep": {"list": [1, 2.5, None, "x\x00y"]}},
        )
        (added,) = await farm.store.add_jobs([new])
        job = await farm.store.job(new.id)
        assert job == await farm.store.job(added.number)
        for name in ("id", "tenant", "queue", "priority", "classification", "labels", "profile", "spec", "max_retries"):
            assert getattr(job, name) == getattr(new, name), name
        assert (job.timeout_s, job.state, job.failure, job.finished_at) == (12.5, State.QUEUED, None, None)
        assert job.created_at == job.queued_at == added.created_at
        (task,) = await farm.store.tasks(new.id)
        assert task == await farm.store.task(f"{new.id}.1")
        assert (task.attempt, task.spent, task.losses, task.node_id) == (0, 0, 0, None)
        (first,) = await farm.store.transitions(new.id)
        assert (first.source, first.target, first.actor, first.task_id) == (None, State.QUEUED, "key:test", task.id)

    farm.run(work())


def test_the_cursor_of_an_acceptance_is_that_of_its_transition(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        keyed = a_job(class_id, idempotency_key="k", body_digest="d")
        added = await farm.store.add_jobs([a_job(class_id), keyed, a_job(class_id)])
        for each in added:
            assert [one.cursor for one in await farm.store.transitions(each.id)] == [each.cursor]
        (again,) = await farm.store.add_jobs([a_job(class_id, idempotency_key="k", body_digest="d")])
        assert (again.repeated, again.cursor) == (True, None)

    farm.run(work())


def test_unknown_jobs_and_tasks_are_nothing(farm: Any) -> None:
    async def work() -> None:
        for ref in ("nothing", "", 0, -1, 10**30):
            assert await farm.store.job(ref) is None
        for task_id in ("nothing", "j.1", "j.", ".1", "j.99999999999999999999"):
            assert await farm.store.task(task_id) is None
            assert await farm.store.move([a_move(task_id, State.QUEUED)]) == [False]
        assert list(await farm.store.tasks("nothing")) == []
        assert list(await farm.store.transitions("nothing")) == []
        assert await farm.store.facts("nothing") is None

    farm.run(work())


def test_numbers_grow_in_the_order_of_acceptance(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        added = await farm.store.add_jobs([a_job(class_id) for _ in range(5)])
        numbers = [one.number for one in added]
        assert numbers == sorted(set(numbers))

    farm.run(work())


def test_the_same_key_and_body_give_the_same_job(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        jobs = [a_job(class_id, idempotency_key="k", body_digest=digest) for digest in ("one", "one", "two")]
        first, again, other = await farm.store.add_jobs(jobs)
        assert (first.repeated, first.conflict) == (False, False)
        assert (again.repeated, again.conflict, again.id, again.number) == (True, False, first.id, first.number)
        assert (other.repeated, other.conflict) == (False, True)
        (later,) = await farm.store.add_jobs([a_job(class_id, idempotency_key="k", body_digest="one")])
        assert (later.repeated, later.id) == (True, first.id)
        elsewhere = a_job(class_id, tenant="other", idempotency_key="k", body_digest="two")
        (foreign,) = await farm.store.add_jobs([elsewhere])
        assert (foreign.repeated, foreign.conflict, foreign.id) == (False, False, elsewhere.id)
        assert await farm.store.count_jobs() == {State.QUEUED: 2}

    farm.run(work())


def test_a_repeated_submission_spends_no_number(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        job = a_job(class_id, idempotency_key="k", body_digest="d")
        (first,) = await farm.store.add_jobs([job])
        again, fresh = await farm.store.add_jobs(
            [a_job(class_id, idempotency_key="k", body_digest="d"), a_job(class_id)]
        )
        assert (again.number, again.repeated) == (first.number, True)
        assert fresh.number == first.number + 1

    farm.run(work())


def test_one_key_sent_many_times_at_once_is_one_job(farm: Any) -> None:
    async def work() -> None:
        job = a_job(await farm.store.class_of(NEEDS), idempotency_key="k", body_digest="d")
        answers = [one[0] for one in await asyncio.gather(*(farm.store.add_jobs([job]) for _ in range(9)))]
        assert {answer.id for answer in answers} == {job.id}
        assert sum(not answer.repeated for answer in answers) == 1
        assert await farm.store.count_jobs() == {State.QUEUED: 1}

    farm.run(work())


def test_lists_come_newest_first_in_pages(farm: Any) -> None:
    async def work() -> None:
        await queue_jobs(farm.store, 5)
        seen, cursor = [], None
        for size in (2, 2, 1):
            page = await farm.store.jobs(JobFilter(), cursor=cursor, limit=2)
            assert len(page.jobs) == size
            seen += [job.number for job in page.jobs]
            cursor = page.next_cursor
        assert cursor is None
        assert seen == sorted(seen, reverse=True)
        assert len(set(seen)) == 5

    farm.run(work())


def test_lists_filter_by_every_condition_together(farm: Any) -> None:
    async def work() -> None:
        class_id = await farm.store.class_of(NEEDS)
        wanted = a_job(
            class_id,
            tenant="t",
            queue=Queue.LIVE,
            priority=Priority.HIGH,
            profile="av1",
            labels={"a": "1", "b": "2"},
            state=State.PENDING,
        )
        plain = a_job(class_id)
        await farm.store.add_jobs([wanted, plain])
        only = {
            "states": frozenset({State.PENDING, State.PAUSED}),
            "queue": Queue.LIVE,
            "priority": Priority.HIGH,
            "tenant": "t",
            "profile": "av1",
            "labels": {"b": "2"},
        }
        for name, value in only.items():
            page = await farm.store.jobs(JobFilter(**{name: value}), cursor=None, limit=10)
            assert [job.id for job in page.jobs] == [wanted.id], name
        page = await farm.store.jobs(JobFilter(**only), cursor=None, limit=10)
        assert [job.id for job in page.jobs] == [wanted.id]
        for miss in ({"b": "3"}, {"c": "2"}, {"a": "1", "b": "1"}):
            assert (await farm.store.jobs(JobFilter(labels=miss), cursor=None, limit=10)).jobs == ()
        every = JobFilter(states=frozenset({State.PENDING, State.QUEUED}))
        first = await farm.store.jobs(every, cursor=None, limit=1)
        second = await farm.store.jobs(every, cursor=first.next_cursor, limit=1)
        assert [job.id for job in (*first.jobs, *second.jobs)] == [plain.id, wanted.id]

    farm.run(work())


def test_a_foreign_cursor_is_refused(farm: Any) -> None:
    for cursor in ("x", "", "-1", "1;drop", "9" * 40):
        with pytest.raises(ValueError, match="cannot read the cursor"):
            farm.run(farm.store.jobs(JobFilter(), cursor=cursor, limit=1))
        with pytest.raises(ValueError, match="cannot read the cursor"):
            farm.run(farm.store.events(after=cursor, limit=1))


def test_events_of_all_jobs_follow_a_cursor(farm: Any) -> None:
    async def work() -> None:
        assert await farm.store.last_cursor() is None
        tasks = await queue_jobs(farm.store, 3)
        await farm.store.move([a_move(tasks[0], State.CANCELED)])
        events = await farm.events(4)
        assert [event.task_id for event in events] == [*tasks, tasks[0]]
        assert events[-1].source is State.QUEUED
        after = await farm.store.events(after=events[1].cursor, limit=1)
        assert [event.cursor for event in after] == [events[2].cursor]
        of_one = await farm.store.events(after=None, limit=10, job_id=events[0].job_id)
        assert [event.target for event in of_one] == [State.QUEUED, State.CANCELED]
        assert await farm.store.last_cursor() == events[-1].cursor
        assert list(await farm.store.events(after=events[-1].cursor, limit=10)) == []

    farm.run(work())


def test_a_cursor_stays_good_when_its_job_is_deleted(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        await farm.store.move([a_move(task, State.CANCELED)])
        events = await farm.events(2)
        await farm.advance(1)
        before = await farm.store.now() + timedelta(seconds=60)
        assert list(await farm.store.delete_finished(before=before, limit=10)) == [events[0].job_id]
        (fresh,) = await queue_jobs(farm.store, 1)
        (event,) = await farm.events(1, after=events[-1].cursor)
        assert event.task_id == fresh

    farm.run(work())


def test_delete_takes_only_what_finished_before_and_all_that_belongs_to_it(farm: Any) -> None:
    async def work() -> None:
        node = await farm.store.register(a_node())
        class_id = await farm.store.class_of(NEEDS)
        done = a_job(class_id, idempotency_key="k", body_digest="d", head_start_ms=10)
        running = a_job(class_id)
        await farm.store.add_jobs([done, running])
        given = await farm.store.claim(node_id=node.id, epoch=node.epoch, request_id="r", classes=[class_id], limit=1)
        assert given[0].job_id == done.id
        await farm.store.append_log(given[0].task_id, 1, offset=0, data=b"log")
        output = Output(name="o", location="/o", sha256="0", size=1, streams=({"codec": "h264"},))
        await farm.store.move([completes(given[0].task_id, 1, outputs=(output,), facts={"probe": {"x": 1}})])
        assert await farm.store.outputs(done.id) == [output]
        assert await farm.store.facts(done.id) == {"probe": {"x": 1}}
        finished_at = (await farm.store.job(done.id)).finished_at
        assert list(await farm.store.delete_finished(before=finished_at, limit=10)) == []
        late = finished_at + timedelta(hours=1)
        assert list(await farm.store.delete_finished(before=late, limit=10)) == [done.id]
        assert await farm.store.job(done.id) is None
        for read in (farm.store.tasks, farm.store.attempts, farm.store.outputs, farm.store.transitions):
            assert list(await read(done.id)) == []
        assert await farm.store.read_log(given[0].task_id, 1, offset=0, limit=10) is None
        assert await farm.store.count_jobs() == {State.QUEUED: 1}
        (again,) = await farm.store.add_jobs([a_job(class_id, idempotency_key="k", body_digest="other")])
        assert not again.conflict

    farm.run(work())


def test_listeners_hear_of_queued_classes_and_of_changes(farm: Any) -> None:
    async def work() -> None:
        heard: list[tuple[Hint, int | None]] = []
        stop = farm.store.listen(lambda hint, class_id: heard.append((hint, class_id)))
        (task,) = await queue_jobs(farm.store, 1)
        class_id = await farm.store.class_of(NEEDS)
        assert set(heard) == {(Hint.QUEUED, class_id), (Hint.CHANGED, None)}
        heard.clear()
        await farm.store.move([a_move(task, State.PAUSED)])
        assert heard == [(Hint.CHANGED, None)]
        await farm.store.move([a_move(task, State.QUEUED)])
        assert (Hint.QUEUED, class_id) in heard
        stop()
        stop()
        heard.clear()
        await farm.store.move([a_move(task, State.CANCELED)])
        assert heard == []

    farm.run(work())


def test_the_failure_of_a_job_is_that_of_its_last_state(farm: Any) -> None:
    async def work() -> None:
        (task,) = await queue_jobs(farm.store, 1)
        job_id = task.partition(".")[0]
        node = await farm.store.register(a_node())
        class_id = await farm.store.class_of(NEEDS)
        failure = Failure(failure_class=FailureClass.ENGINE, message="it broke \x00 here \udce9")

        async def claim(request_id: str) -> int:
            found = await farm.store.claim(
                node_id=node.id, epoch=node.epoch, request_id=request_id, classes=[class_id], limit=1
            )
            return found[0].attempt

        attempt = await claim("one")
        assert await farm.store.move(
            [a_move(task, State.FAILED, attempt=attempt, outcome=Outcome.FAILED, failure=failure, spends=True)]
        ) == [True]
        job = await farm.store.job(job_id)
        assert job.state is State.FAILED
        assert job.failure.message.startswith("it broke \ufffd here")
        assert job.finished_at is not None
        assert (await farm.store.task(task)).spent == 1
        retried = a_move(task, State.QUEUED, sources=frozenset({State.FAILED}), restart=True)
        assert await farm.store.move([retried]) == [True]
        job = await farm.store.job(job_id)
        assert (job.state, job.failure, job.finished_at) == (State.QUEUED, None, None)
        assert ((await farm.store.task(task)).spent, (await farm.store.task(task)).attempt) == (0, 1)
        assert await claim("two") == 2
        history = await farm.store.attempts(job_id)
        assert [(one.attempt, one.outcome, one.failure is None) for one in history] == [
            (1, Outcome.FAILED, False),
            (2, None, True),
        ]

    farm.run(work())
