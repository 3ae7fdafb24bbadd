"""Many jobs at once, the same on both stores: jobs that wait for others, batches, schedules."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from store_samples import NEEDS, a_job, a_move, a_node, completes

from millrace.domain.after import Awaited
from millrace.domain.batches import NewBatch
from millrace.domain.records import Progress, Report
from millrace.domain.schedules import RUNS_KEPT, Missed, NewSchedule, Outcome, Overlap, Run
from millrace.domain.states import State
from millrace.domain.tenants import Quota, Quotas
from millrace.domain.tenants import Rules as TenantRules
from millrace.store.store import Added, JobFilter


async def _one(farm: Any, **changes: object) -> Added:
    class_id = await farm.store.class_of(NEEDS)
    (added,) = await farm.store.add_jobs([a_job(class_id, **changes)])
    return added


async def _after(farm: Any, *before: Added, **changes: object) -> Added:
    numbers = tuple(one.number for one in before)
    return await _one(farm, **{"state": State.PENDING, "after": numbers, **changes})


async def _end(farm: Any, job: Added, target: State) -> None:
    """The job ends in this way, from the queue."""
    if target is State.COMPLETED:
        node = await farm.store.register(a_node(ttl_s=9999.0))
        request = f"r-{job.number}"
        (claimed,) = await farm.store.claim(
            node_id=node.id, epoch=node.epoch, request_id=request, classes=[await farm.store.class_of(NEEDS)], limit=1
        )
        assert claimed.job_id == job.id
        assert await farm.store.move([completes(claimed.task_id, 1)]) == [True]
    else:
        assert await farm.store.move([a_move(f"{job.id}.1", target)]) == [True]


async def _decidable(farm: Any) -> list[str]:
    return [one.task.job_id for one in await farm.store.decidable(limit=99)]


def test_a_job_that_waits_is_decidable_once_all_have_ended_or_one_in_a_wrong_way(farm: Any) -> None:
    async def work() -> None:
        first = await _one(farm, head_start_ms=10**9)
        second = await _one(farm)
        both, either, any_end = (
            await _after(farm, first, second),
            await _after(farm, second),
            await _after(farm, first, second, after_any_end=True),
        )
        assert await _decidable(farm) == []
        await _end(farm, first, State.COMPLETED)
        assert await _decidable(farm) == []
        await _end(farm, second, State.CANCELED)
        found = {one.task.job_id: one for one in await farm.store.decidable(limit=99)}
        assert set(found) == {both.id, either.id, any_end.id}
        assert found[both.id].task.state is State.PENDING
        assert found[both.id].awaited == (
            Awaited(number=first.number, state=State.COMPLETED, any_end=False),
            Awaited(number=second.number, state=State.CANCELED, any_end=False),
        )
        assert [one.any_end for one in found[any_end.id].awaited] == [True, True]
        assert list(await farm.store.awaited(either.id)) == [
            Awaited(number=second.number, state=State.CANCELED, any_end=False)
        ]
        await farm.store.forget_waits([both.id, any_end.id])
        assert await _decidable(farm) == [either.id]
        assert list(await farm.store.awaited(both.id)) == []

    farm.run(work())


def test_one_that_failed_decides_before_the_others_have_ended(farm: Any) -> None:
    async def work() -> None:
        first, second = await _one(farm), await _one(farm)
        strict = await _after(farm, first, second)
        await _after(farm, first, second, after_any_end=True)
        await _end(farm, first, State.REJECTED)
        assert await _decidable(farm) == [strict.id]

    farm.run(work())


def test_a_paused_job_is_not_decided_and_one_that_waits_no_more_is(farm: Any) -> None:
    async def work() -> None:
        first = await _one(farm)
        held, gone = await _after(farm, first), await _after(farm, first)
        await farm.store.move([a_move(f"{held.id}.1", State.PAUSED), a_move(f"{gone.id}.1", State.CANCELED)])
        await _end(farm, first, State.COMPLETED)
        assert await _decidable(farm) == [gone.id]
        await farm.store.move([a_move(f"{held.id}.1", State.PENDING)])
        assert await _decidable(farm) == [held.id, gone.id]

    farm.run(work())


def test_a_job_that_waits_for_others_is_not_due_at_its_time(farm: Any) -> None:
    async def work() -> None:
        first = await _one(farm)
        later = await _after(farm, first, due_at=await farm.store.now() + timedelta(seconds=5))
        await farm.advance(10)
        assert list(await farm.store.due(limit=9)) == []
        await farm.store.forget_waits([later.id])
        assert [one.job_id for one in await farm.store.due(limit=9)] == [later.id]

    farm.run(work())


def test_what_others_wait_for_is_kept_until_that_is_decided(farm: Any) -> None:
    async def work() -> None:
        first, other = await _one(farm), await _one(farm)
        waits = await _after(farm, first)
        for job in (first, other):
            await _end(farm, job, State.CANCELED)
        await farm.advance(10)
        before = await farm.store.now()
        assert list(await farm.store.delete_finished(before=before, limit=9)) == [other.id]
        await farm.store.forget_waits([waits.id])
        assert list(await farm.store.delete_finished(before=before, limit=9)) == [first.id]

    farm.run(work())


def test_one_that_is_gone_is_told_as_gone(farm: Any) -> None:
    async def work() -> None:
        late = await _one(farm, state=State.PENDING, after=(987_654,))
        (found,) = await farm.store.decidable(limit=9)
        assert (found.task.job_id, found.awaited[0].state) == (late.id, None)

    farm.run(work())


def test_a_repeated_submission_waits_once(farm: Any) -> None:
    async def work() -> None:
        first = await _one(farm)
        keyed = {"idempotency_key": "k", "body_digest": "d"}
        one = await _after(farm, first, **keyed)
        again = await _after(farm, first, **keyed)
        assert (again.id, again.repeated, len(await farm.store.awaited(one.id))) == (one.id, True, 1)

    farm.run(work())


# Batches ----------------------------------------------------------------------------------------------------------------


def _batch(name: str, **changes: object) -> NewBatch:
    batch = NewBatch(id=f"b-{name}", tenant="acme", name=name, actor="key:test")
    return replace(batch, **changes)  # type: ignore[arg-type]


async def _jobs(farm: Any, count: int) -> list[Any]:
    class_id = await farm.store.class_of(NEEDS)
    return [a_job(class_id) for _ in range(count)]


def test_a_batch_is_accepted_whole_and_counted_by_state(farm: Any) -> None:
    async def work() -> None:
        jobs = await _jobs(farm, 4)
        added = await farm.store.add_batch(_batch("one"), jobs)
        assert (added.id, added.repeated, added.conflict, added.refused) == ("b-one", False, False, None)
        found = await farm.store.batch("b-one")
        assert (found.total, dict(found.counts), found.fraction, found.is_done) == (4, {State.QUEUED: 4}, 0.0, False)
        node = await farm.store.register(a_node(ttl_s=9999.0))
        class_id = await farm.store.class_of(NEEDS)
        given = await farm.store.claim(node_id=node.id, epoch=node.epoch, request_id="r", classes=[class_id], limit=2)
        report = Report(task_id=given[1].task_id, attempt=1, paused=False, progress=Progress(fraction=0.5))
        await farm.store.heartbeat(node_id=node.id, epoch=node.epoch, ttl_s=99.0, reports=[report])
        await farm.store.move([completes(given[0].task_id, 1), a_move(f"{jobs[3].id}.1", State.CANCELED)])
        found = await farm.store.batch("b-one")
        assert dict(found.counts) == {
            State.COMPLETED: 1, State.ASSIGNED: 1, State.QUEUED: 1, State.CANCELED: 1
        }  # fmt: skip
        assert (found.ended, found.fraction) == (2, 2.5 / 4)
        shown = await farm.store.batch_jobs("b-one", states=[], above=None, limit=3)
        assert [job.id for job in shown] == [job.id for job in jobs[:3]]
        rest = await farm.store.batch_jobs("b-one", states=[], above=shown[-1].number, limit=3)
        assert [job.id for job in rest] == [jobs[3].id]
        ended = await farm.store.batch_jobs("b-one", states=[State.CANCELED, State.FAILED], above=None, limit=3)
        assert [job.id for job in ended] == [jobs[3].id]
        assert await farm.store.batch("b-none") is None
        assert list(await farm.store.batch_jobs("b-none", states=[], above=None, limit=3)) == []

    farm.run(work())


def test_a_batch_that_a_quota_forbids_leaves_nothing(farm: Any) -> None:
    async def work() -> None:
        await farm.store.set_tenant("acme", TenantRules(quotas=Quotas(queued=3)))
        await _one(farm)
        refused = await farm.store.add_batch(_batch("big", key="k", body_digest="d"), await _jobs(farm, 3))
        assert (refused.refused.quota, refused.refused.limit) == (Quota.QUEUED, 3)
        assert refused.at is not None
        assert await farm.store.batch("b-big") is None
        assert sum((await farm.store.count_jobs()).values()) == 1
        assert (await farm.store.tenant("acme")).use.queued == 1
        # Its key is free, and what fits goes in.
        fits = await farm.store.add_batch(_batch("small", key="k", body_digest="d"), await _jobs(farm, 2))
        assert (fits.id, fits.refused) == ("b-small", None)
        assert (await farm.store.tenant("acme")).use.queued == 3

    farm.run(work())


def test_the_key_of_a_batch_gives_the_same_batch_again(farm: Any) -> None:
    async def work() -> None:
        keyed = _batch("one", key="k", body_digest="d")
        await farm.store.add_batch(keyed, await _jobs(farm, 2))
        again = await farm.store.add_batch(replace(keyed, id="b-two"), await _jobs(farm, 2))
        other = await farm.store.add_batch(replace(keyed, id="b-two", body_digest="e"), await _jobs(farm, 2))
        elsewhere = await farm.store.add_batch(replace(keyed, id="b-two", tenant="other"), await _jobs(farm, 1))
        assert (again.id, again.repeated) == ("b-one", True)
        assert (other.conflict, elsewhere.id) == (True, "b-two")
        assert sum((await farm.store.count_jobs()).values()) == 3

    farm.run(work())


def test_of_a_batch_that_comes_many_times_at_once_one_is_accepted(farm: Any) -> None:
    async def work() -> None:
        sent = [(_batch(f"{number}", key="k", body_digest="d"), await _jobs(farm, 3)) for number in range(6)]
        answers = await asyncio.gather(*(farm.store.add_batch(batch, jobs) for batch, jobs in sent))
        assert len({one.id for one in answers}) == 1
        assert [one.repeated for one in answers].count(False) == 1
        assert sum((await farm.store.count_jobs()).values()) == 3

    farm.run(work())


def test_batches_are_listed_newest_first_and_go_with_their_last_job(farm: Any) -> None:
    async def work() -> None:
        for name in ("one", "two", "three"):
            await farm.store.add_batch(_batch(name, tenant="other" if name == "two" else "acme"), await _jobs(farm, 1))
        page = await farm.store.batches(tenant=None, below=None, limit=2)
        assert [one.name for one in page] == ["three", "two"]
        assert [one.name for one in await farm.store.batches(tenant=None, below=page[-1].number, limit=2)] == ["one"]
        assert [one.name for one in await farm.store.batches(tenant="acme", below=None, limit=9)] == ["three", "one"]
        (job,) = await farm.store.batch_jobs("b-one", states=[], above=None, limit=9)
        await farm.store.move([a_move(f"{job.id}.1", State.CANCELED)])
        await farm.advance(5)
        assert await farm.store.forget_batches(limit=9) == 0
        assert list(await farm.store.delete_finished(before=await farm.store.now(), limit=9)) == [job.id]
        assert await farm.store.forget_batches(limit=9) == 1
        assert await farm.store.batch("b-one") is None

    farm.run(work())


# Schedules --------------------------------------------------------------------------------------------------------------


async def _schedule(farm: Any, name: str = "nightly", **changes: object) -> Any:
    new = NewSchedule(
        id=f"s-{name}",
        tenant="acme",
        name=name,
        cron="0 3 * * *",
        zone="UTC",
        overlap=Overlap.FORBID,
        missed=Missed.ONCE,
        request='{"scenario":"720p30-h264"}',
        actor="key:test",
        due_at=_whole(await farm.store.now()),
    )
    return await farm.store.add_schedule(replace(new, **changes))  # type: ignore[arg-type]


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _run(due: datetime, outcome: Outcome = Outcome.SUBMITTED, reason: str = "") -> Run:
    return Run(due_at=due, at=due, actor="master", outcome=outcome, reason=reason)


def test_a_schedule_is_kept_once_for_each_name_of_a_tenant(farm: Any) -> None:
    async def work() -> None:
        made = await _schedule(farm)
        assert (made.id, made.name, made.last_job, made.last_state, made.is_busy) == (
            "s-nightly", "nightly", None, None, False
        )  # fmt: skip
        assert await _schedule(farm, id="s-again") is None
        await _schedule(farm, id="s-other", tenant="other")
        assert [one.id for one in await farm.store.schedules()] == ["s-nightly", "s-other"]
        assert await farm.store.schedule("s-nightly") == made
        assert await farm.store.remove_schedule("s-other") is True
        assert await farm.store.remove_schedule("s-other") is False
        assert await farm.store.schedule("s-other") is None

    farm.run(work())


def test_only_what_is_due_is_given_and_what_is_paused_never_is(farm: Any) -> None:
    async def work() -> None:
        now = _whole(await farm.store.now())
        await _schedule(farm, "later", due_at=now + timedelta(seconds=30))
        await _schedule(farm, "paused", due_at=None)
        await _schedule(farm, "past", due_at=now - timedelta(seconds=30))
        assert [one.name for one in await farm.store.due_schedules(limit=9)] == ["past"]
        await farm.advance(60)
        assert [one.name for one in await farm.store.due_schedules(limit=9)] == ["past", "later"]
        assert [one.name for one in await farm.store.due_schedules(limit=1)] == ["past"]
        assert await farm.store.set_schedule_due("s-past", None) is True
        assert await farm.store.set_schedule_due("s-none", None) is False
        assert [one.name for one in await farm.store.due_schedules(limit=9)] == ["later"]

    farm.run(work())


async def _do(farm: Any, schedule: Any, run: Run, job: Any = None, next_due: datetime | None = None) -> Any:
    return await farm.store.run_schedule(schedule, run, next_due=next_due, job=job)


def test_jobs_that_were_submitted_alone_are_told_from_those_of_batches_and_schedules(farm: Any) -> None:
    async def work() -> None:
        alone = await _one(farm)
        await farm.store.add_batch(_batch("one"), await _jobs(farm, 2))
        made = await _schedule(farm)
        (job,) = await _jobs(farm, 1)
        assert await _do(farm, made, _run(made.due_at), replace(job, actor="schedule:nightly"), None) is not None
        other = await _one(farm)
        page = await farm.store.jobs(JobFilter(alone=True), cursor=None, limit=9)
        assert [one.id for one in page.jobs] == [other.id, alone.id]
        queued = await farm.store.jobs(JobFilter(alone=True, states=frozenset({State.QUEUED})), cursor=None, limit=1)
        assert ([one.id for one in queued.jobs], queued.next_cursor) == ([other.id], str(other.number))

    farm.run(work())


def test_of_many_that_run_one_time_at_once_one_does(farm: Any) -> None:
    async def work() -> None:
        made = await _schedule(farm)
        tomorrow = made.due_at + timedelta(days=1)
        jobs = await _jobs(farm, 6)
        answers = await asyncio.gather(*(_do(farm, made, _run(made.due_at), job, tomorrow) for job in jobs))
        (done,) = [one for one in answers if one is not None]
        assert sum((await farm.store.count_jobs()).values()) == 1
        (kept,) = await farm.store.runs(made.id, limit=9)
        assert (kept.job, kept.state, kept.outcome) == (done.job, State.QUEUED, Outcome.SUBMITTED)
        now = await farm.store.schedule(made.id)
        assert (now.due_at, now.last_job, now.last_state, now.is_busy) == (tomorrow, done.job, State.QUEUED, True)

    farm.run(work())


def test_who_has_read_what_is_so_no_more_runs_nothing(farm: Any) -> None:
    async def work() -> None:
        made = await _schedule(farm)
        tomorrow = made.due_at + timedelta(days=1)
        first, job = await _jobs(farm, 2)

        async def refuses(schedule: Any, due: datetime) -> None:
            before = await farm.store.schedule(made.id)
            assert await _do(farm, schedule, _run(due), job, tomorrow) is None
            assert await farm.store.schedule(made.id) == before
            assert sum((await farm.store.count_jobs()).values()) == (before.last_job is not None)

        # It was paused meanwhile, or is due at another moment.
        for due_at in (None, tomorrow):
            await farm.store.set_schedule_due(made.id, due_at)
            await refuses(made, made.due_at)
        # It had a job meanwhile, by hand.
        await farm.store.set_schedule_due(made.id, made.due_at)
        assert await _do(farm, made, _run(made.due_at - timedelta(seconds=1)), first, made.due_at) is not None
        await refuses(made, made.due_at)
        # A time that has its run already, as by hand at that very moment, is passed over, and the schedule moves on.
        now = await farm.store.schedule(made.id)
        assert await _do(farm, now, _run(made.due_at - timedelta(seconds=1)), job, tomorrow) is None
        now = await farm.store.schedule(made.id)
        assert (now.due_at, sum((await farm.store.count_jobs()).values())) == (tomorrow, 1)
        await farm.store.remove_schedule(made.id)
        assert await _do(farm, now, _run(tomorrow), job, tomorrow) is None

    farm.run(work())


def test_a_run_by_hand_moves_nothing_and_one_without_a_job_says_why(farm: Any) -> None:
    async def work() -> None:
        made = await _schedule(farm, due_at=None)
        now = _whole(await farm.store.now())
        (job,) = await _jobs(farm, 1)
        by_hand = await _do(farm, made, _run(now), job)
        assert by_hand.job is not None
        made = await farm.store.schedule(made.id)
        assert (made.due_at, made.last_job) == (None, by_hand.job)
        skipped = _run(now + timedelta(seconds=1), Outcome.SKIPPED, "job 1 had not ended")
        assert (await _do(farm, made, skipped)).job is None
        assert [(one.outcome, one.reason, one.job) for one in await farm.store.runs(made.id, limit=9)] == [
            (Outcome.SKIPPED, "job 1 had not ended", None), (Outcome.SUBMITTED, "", by_hand.job)
        ]  # fmt: skip
        assert (await farm.store.schedule(made.id)).last_job == by_hand.job

    farm.run(work())


def test_a_run_that_a_quota_forbids_is_refused_and_the_time_goes_on(farm: Any) -> None:
    async def work() -> None:
        await farm.store.set_tenant("acme", TenantRules(quotas=Quotas(queued=0)))
        made = await _schedule(farm)
        tomorrow = made.due_at + timedelta(days=1)
        (job,) = await _jobs(farm, 1)
        run = await _do(farm, made, _run(made.due_at), job, tomorrow)
        assert (run.outcome, run.job) == (Outcome.REFUSED, None)
        assert run.reason == "quota `queued` of the tenant is used up: 0 of 0"
        now = await farm.store.schedule(made.id)
        assert (now.due_at, now.last_job) == (tomorrow, None)

    farm.run(work())


def test_so_many_runs_are_kept_and_go_with_their_schedule(farm: Any) -> None:
    async def work() -> None:
        made = await _schedule(farm)
        for number in range(RUNS_KEPT + 3):
            run = _run(made.due_at + timedelta(seconds=number), Outcome.SKIPPED)
            await _do(farm, made, run, next_due=made.due_at)
        kept = await farm.store.runs(made.id, limit=RUNS_KEPT * 2)
        assert len(kept) == RUNS_KEPT
        assert kept[0].due_at == made.due_at + timedelta(seconds=RUNS_KEPT + 2)
        await farm.store.remove_schedule(made.id)
        assert list(await farm.store.runs(made.id, limit=9)) == []

    farm.run(work())
