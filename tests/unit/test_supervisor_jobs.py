"""Scheduled processes, in virtual time."""

from datetime import UTC, datetime, timedelta

import pytest
from supervision import EPOCH, Supervision, a_job, a_plan, a_process

from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.plan import Kind, Policy, Restart
from millrace.supervisor.schedule.jobs import HISTORY, MAX_QUEUED, By, Outcome
from millrace.supervisor.schedule.values import Overlap
from millrace.supervisor.state import Paused, Phase, Renewed, Wanted

MINUTELY = "* * * * *"
CHECK = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1")


def minutely(**fields: object) -> Supervision:
    """EPOCH is half a minute before the first run."""
    return Supervision(a_plan(job=a_job("job", MINUTELY, **fields)))


def test_it_runs_at_its_times_and_each_run_is_remembered() -> None:
    it = minutely()
    assert it.phase("job") is Phase.SCHEDULED
    it.passes(29)
    assert it.log == []
    it.passes(1)
    assert it.log == ["+job-0"]
    it.passes(5)
    it.ends("job", 0)
    assert it.phase("job") is Phase.SCHEDULED
    it.passes(60)
    it.ends("job", 3)
    first, second = it.job("job").history
    assert (first.number, first.by, first.outcome, first.code, first.how) == (
        1, By.SCHEDULE, Outcome.SUCCEEDED, 0, "exited with code 0",
    )  # fmt: skip
    assert (first.due, first.began, first.ended) == (
        EPOCH + timedelta(seconds=30), EPOCH + timedelta(seconds=30), EPOCH + timedelta(seconds=35),
    )  # fmt: skip
    assert (second.number, second.outcome, second.code) == (2, Outcome.FAILED, 3)
    assert it.signs == ["job began", "job succeeded", "job began", "job failed"]
    assert it.job("job").due == EPOCH + timedelta(seconds=150)


def test_expected_codes_are_a_success() -> None:
    job = a_job("job", MINUTELY)
    it = Supervision(a_plan(job=a_process(
        "job", kind=Kind.SCHEDULED, schedule=job.schedule,
        restart=Restart(policy=Policy.NEVER, success_codes=frozenset({0, 4})),
    )))  # fmt: skip
    it.passes(30)
    it.ends("job", 4)
    assert it.outcomes("job") == ["succeeded"]


def test_only_the_last_runs_are_remembered() -> None:
    it = minutely()
    for _ in range(HISTORY + 5):
        it.triggers("job")
        it.ends("job")
    history = it.job("job").history
    assert (len(history), history[0].number, history[-1].number) == (HISTORY, 6, HISTORY + 5)


def test_a_supervisor_with_nothing_but_scheduled_processes_never_ends_by_itself() -> None:
    init = a_process("init", kind=Kind.ONESHOT, restart=Restart(policy=Policy.NEVER))
    it = Supervision(a_plan(job=a_job("job", "@daily"), init=init))
    it.ends("init", 0)
    it.passes(90_000)
    it.ends("job", 1)
    it.post(Paused("job", True))
    it.passes(90_000)
    assert it.finished is None
    it.end()
    assert it.finished == 0
    assert it.phase("job") is Phase.STOPPED


def test_a_night_without_an_hour_and_one_with_two_of_it_have_one_run_each() -> None:
    for start, zone in (
        (datetime(2026, 3, 28, 12, tzinfo=UTC), "Europe/Berlin"),
        (datetime(2026, 10, 24, 12, tzinfo=UTC), "Europe/Berlin"),
        (datetime(2026, 3, 7, 12, tzinfo=UTC), "America/New_York"),
        (datetime(2026, 10, 31, 12, tzinfo=UTC), "America/New_York"),
    ):
        expression = "30 2 * * *" if zone == "Europe/Berlin" else "30 1,2 * * *"
        it = Supervision(a_plan(job=a_job("job", expression, zone=zone)), wall=start)
        for _ in range(24 * 60):
            it.passes(60)
            if it.phase("job") is Phase.RUNNING:
                it.ends("job")
        assert len(it.job("job").history) == expression.count(",") + 1, (start, zone)


def test_forbid_skips_the_times_that_come_while_a_run_goes_on() -> None:
    it = minutely(overlap=Overlap.FORBID)
    it.passes(30 + 180)
    assert it.log == ["+job-0"]
    assert it.skipped == ["job"] * 3
    it.ends("job")
    it.passes(60)
    assert it.log == ["+job-0", "+job-0"]
    assert (it.job("job").skipped, it.job("job").count) == (3, 2)


def test_queue_gives_each_time_its_run_one_after_the_other() -> None:
    it = minutely(overlap=Overlap.QUEUE)
    it.passes(30 + 120)
    assert it.log == ["+job-0"]
    for count in (2, 3):
        it.ends("job")
        assert len(it.log) == count
    it.ends("job")
    assert it.phase("job") is Phase.SCHEDULED
    assert [run.due.minute for run in it.job("job").history] == [1, 2, 3]
    it.passes(60 * (MAX_QUEUED + 10))
    assert len(it.job("job").queued) == MAX_QUEUED
    assert it.skipped == ["job"] * 9


def test_replace_stops_the_run_that_goes_on() -> None:
    it = Supervision(a_plan(job=a_job("job", MINUTELY, overlap=Overlap.REPLACE)), stops=False)
    it.passes(30 + 60)
    assert it.log == ["+job-0", "-job-0"]
    it.passes(120)  # it takes its time; only the newest gets its run
    assert it.log == ["+job-0", "-job-0"]
    it.ends("job", None)
    assert it.log[2:] == ["+job-0"]
    assert it.outcomes("job") == ["replaced"]
    current = it.job("job").current
    assert current is not None
    assert (current.due.minute, it.job("job").skipped) == (4, 2)
    it.ends("job", 0)
    assert it.outcomes("job") == ["replaced", "succeeded"]
    assert it.phase("job") is Phase.SCHEDULED


def test_a_run_that_takes_too_long_is_stopped_and_told_so() -> None:
    it = Supervision(a_plan(job=a_job("job", "@hourly", timeout_s=20.0)), stops=False)
    it.triggers("job")
    it.passes(19)
    assert it.log == ["+job-0"]
    it.passes(1)
    assert it.log == ["+job-0", "-job-0"]
    it.passes(3)
    it.ends("job", 0)  # its handler of the signal may end as it likes
    (run,) = it.job("job").history
    assert (run.outcome, run.code, run.how) == (Outcome.TIMED_OUT, 0, "took longer than 20 s; exited with code 0")
    assert run.began is not None
    assert run.ended is not None
    assert (run.ended - run.began).total_seconds() == 23
    it.triggers("job")
    it.passes(10)
    it.ends("job", 0)
    it.triggers("job")
    it.passes(15)  # the limit of the run before means nothing for this one
    assert it.phase("job") is Phase.RUNNING


def test_paused_it_passes_its_times_over_and_still_runs_by_hand() -> None:
    it = minutely()
    it.post(Paused("job", True))
    it.passes(300)
    assert it.log == []
    it.triggers("job")
    assert it.log == ["+job-0"]
    it.ends("job")
    assert it.job("job").history[0].by is By.HAND
    it.post(Paused("job", False))
    assert it.log == ["+job-0"]  # what was passed over is not made up for
    it.passes(60)
    assert it.log == ["+job-0", "+job-0"]


def test_a_run_by_hand_obeys_the_overlap_and_a_stopped_process_has_none() -> None:
    it = minutely()
    it.triggers("job")
    it.triggers("job")
    assert (it.log, it.skipped) == (["+job-0"], ["job"])
    it.post(Wanted("job", 0))
    assert it.log[-1] == "-job-0"
    assert it.outcomes("job") == ["stopped"]
    it.triggers("job")
    it.passes(600)
    assert it.phase("job") is Phase.STOPPED
    assert it.log == ["+job-0", "-job-0"]
    it.post(Wanted("job", 7))
    it.passes(60)
    assert it.log[2:] == ["+job-0"]  # one, however many were asked for


@pytest.mark.parametrize("how", ["stop", "end"])
def test_stopping_drops_what_waits(how: str) -> None:
    it = minutely(overlap=Overlap.QUEUE)
    it.passes(30 + 240)
    it.post(Wanted("job", 0)) if how == "stop" else it.end()
    assert it.log == ["+job-0", "-job-0"]
    assert it.job("job").queued == ()
    assert it.finished == (0 if how == "end" else None)


def test_a_restart_stops_the_run_and_the_next_comes_at_its_time() -> None:
    it = minutely()
    it.passes(30)
    it.post(Renewed("job"))
    assert it.log == ["+job-0", "-job-0"]
    assert it.phase("job") is Phase.SCHEDULED
    it.passes(60)
    assert it.log[2:] == ["+job-0"]


def test_a_run_waits_for_what_it_depends_on_and_fails_with_it() -> None:
    never = Restart(policy=Policy.NEVER)
    it = Supervision(a_plan(job=a_job("job", MINUTELY, "db"), db=a_process("db", health_check=CHECK, restart=never)))
    it.passes(30)
    assert it.phase("job") is Phase.WAITING
    it.passes(15)
    it.answers("db", well=True)
    assert it.log[-1] == "+job-0"
    it.ends("job")
    (run,) = it.job("job").history
    assert run.began is not None
    assert (run.began - run.due).total_seconds() == 15
    it.ends("db", 1)
    it.passes(60)
    assert it.phase("job") is Phase.SCHEDULED
    assert it.job("job").history[-1].how == "cannot start: it depends on db, which failed"
    assert it.outcomes("job") == ["succeeded", "failed"]


def test_replacing_a_run_that_still_waits() -> None:
    plan = a_plan(job=a_job("job", MINUTELY, "db", overlap=Overlap.REPLACE), db=a_process("db", health_check=CHECK))
    it = Supervision(plan)
    it.passes(30 + 60)
    it.answers("db", well=True)
    assert it.log == ["+db-0", "+job-0"]
    assert it.outcomes("job") == ["replaced"]


def test_a_run_whose_program_is_not_there_has_failed_and_the_next_is_tried() -> None:
    it = Supervision(a_plan(job=a_job("job", MINUTELY)), can_start=lambda _: False)
    it.passes(30 + 60)
    assert it.outcomes("job") == ["failed", "failed"]
    assert it.reason("job") == "cannot start: no such program"
    assert it.phase("job") is Phase.SCHEDULED


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    it = Supervision(a_plan(job=a_job("job", "0 * * * *")))
    it.passes(3600)
    it.ends("job")
    it.steps(hours=-2)
    it.passes(2 * 3600)
    assert len(it.log) == 1  # these hours have been
    it.passes(3600)
    assert len(it.log) == 2


def test_a_clock_that_was_far_ahead_is_believed_when_it_is_set_right() -> None:
    it = Supervision(a_plan(job=a_job("job", "0 * * * *")))
    it.passes(3600)
    it.ends("job")
    it.steps(days=-30)
    it.passes(3600)
    assert len(it.log) == 2


def test_a_clock_that_goes_forward_loses_no_more_than_what_it_hides() -> None:
    it = Supervision(a_plan(job=a_job("job", "0 * * * *")))
    it.steps(hours=5)
    it.passes(60)
    assert len(it.log) == 1  # late, and once
    it.ends("job")
    it.passes(3600)
    assert len(it.log) == 2


def test_a_run_never_ends_before_it_began_whatever_the_clock_does() -> None:
    it = Supervision(a_plan(job=a_job("job", "0 * * * *")))
    it.triggers("job")
    it.steps(hours=-1)
    it.passes(100)
    it.ends("job")
    (run,) = it.job("job").history
    assert run.began is not None
    assert run.ended is not None
    assert run.ended - run.began == timedelta(seconds=100)
