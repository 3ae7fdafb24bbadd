"""Scheduled processes, in virtual time."""

from datetime import UTC, datetime, timedelta

import pytest
from supervision import EPOCH, Supervision, a_job, a_plan, a_process

from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.plan import Kind, Policy, Restart
from millrace.supervisor.schedule.jobs import HISTORY, MAX_QUEUED, By, Outcome
from millrace.supervisor.schedule.values import Overlap
from millrace.supervisor.state import Id, Paused, Phase, Renewed, Wanted

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
    (current,) = it.job("job").current
    assert (current.due.minute, it.job("job").skipped) == (4, 2)
    it.ends("job", 0)
    assert it.outcomes("job") == ["replaced", "succeeded"]
    assert it.phase("job") is Phase.SCHEDULED


def going(it: Supervision) -> list[tuple[int, int]]:
    """The numbers of the runs that go on, and the instances that they go on as."""
    return [(run.number, run.slot) for run in it.job("job").current]


def test_so_many_go_on_side_by_side_as_are_allowed_each_as_an_instance_of_its_own() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=2)
    it.passes(30 + 120)
    assert it.log == ["+job-0", "+job-1"]
    assert (it.skipped, going(it)) == (["job"], [(1, 0), (2, 1)])
    it.ends("job-0", 3)
    assert going(it) == [(2, 1)]
    assert (it.phase("job-0"), it.phase("job-1")) == (Phase.SCHEDULED, Phase.RUNNING)
    it.passes(60)
    assert going(it) == [(2, 1), (3, 0)]
    it.ends("job-1", 0)
    assert Id("job", 1) not in it.state.instances
    it.ends("job-0", 0)
    assert [(run.number, run.slot, run.outcome) for run in it.job("job").history] == [
        (1, 0, Outcome.FAILED), (2, 1, Outcome.SUCCEEDED), (3, 0, Outcome.SUCCEEDED),
    ]  # fmt: skip
    assert it.phase("job") is Phase.SCHEDULED


def test_without_a_bound_every_time_has_its_run() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=0)
    it.passes(60 * 40)
    assert it.log == [f"+job-{index}" for index in range(40)]
    assert it.skipped == []
    it.end()
    assert it.finished == 0
    assert it.outcomes("job") == ["stopped"] * 40


def test_several_go_on_and_more_wait() -> None:
    it = minutely(overlap=Overlap.QUEUE, max_concurrent=2)
    it.passes(30 + 180)
    assert (it.log, len(it.job("job").queued)) == (["+job-0", "+job-1"], 2)
    it.ends("job-1")
    assert (it.log[2:], going(it)) == (["+job-1"], [(1, 0), (3, 1)])
    it.ends("job-0")
    assert (it.log[3:], going(it)) == (["+job-0"], [(3, 1), (4, 0)])


def test_the_oldest_of_several_is_replaced() -> None:
    it = Supervision(a_plan(job=a_job("job", MINUTELY, overlap=Overlap.REPLACE, max_concurrent=2)), stops=False)
    it.passes(30 + 120)
    assert it.log == ["+job-0", "+job-1", "-job-0"]
    it.passes(60)
    assert it.log[3:] == []  # it goes already, and its place is for the newest
    it.ends("job-0", None)
    assert (it.log[3:], going(it), it.job("job").skipped) == (["+job-0"], [(2, 1), (4, 0)], 1)
    assert it.outcomes("job") == ["replaced"]


def test_each_run_has_a_time_limit_of_its_own() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=3, timeout_s=100.0)
    it.passes(30 + 60 + 39)
    assert it.log == ["+job-0", "+job-1"]
    it.passes(1)
    assert it.log[2:] == ["-job-0"]
    assert it.outcomes("job") == ["timed-out"]
    assert going(it) == [(2, 1)]


def test_a_time_limit_is_never_that_of_a_later_run_in_the_same_place() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=2, timeout_s=100.0)
    for _ in range(2):
        it.triggers("job")
    it.ends("job-1")  # and the instance is gone
    it.passes(29)
    it.triggers("job")
    it.ends("job-0")
    it.passes(72)  # the limits of those that have ended
    assert it.phase("job-1") is Phase.RUNNING
    assert "timed-out" not in it.outcomes("job")


def test_one_run_is_called_off_and_no_other() -> None:
    it = minutely(overlap=Overlap.QUEUE, max_concurrent=2)
    it.passes(30 + 180)
    it.calls_off("job", 2)
    assert it.log == ["+job-0", "+job-1", "-job-1", "+job-1"]  # and who waited has its place
    it.calls_off("job", 4)  # which waits
    it.calls_off("job", 99)
    assert (it.log[4:], it.job("job").queued) == ([], ())
    assert [(run.number, run.outcome, run.how) for run in it.job("job").history] == [
        (2, Outcome.STOPPED, "asked to stop; was killed by SIGTERM (15)"),
        (4, Outcome.STOPPED, "asked to stop before it began"),
    ]
    assert it.signs[-1] == "job stopped"
    it.passes(60)
    assert going(it) == [(1, 0), (3, 1)]  # its times go on


def test_a_stop_stops_all_runs_and_a_pause_none() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=3)
    it.passes(30 + 120)
    it.post(Paused("job", True))
    it.passes(120)
    assert it.log == ["+job-0", "+job-1", "+job-2"]
    it.post(Wanted("job", 0))
    assert it.log[3:] == ["-job-2", "-job-1", "-job-0"]
    assert list(it.state.instances) == [Id("job", 0)]
    assert it.phase("job") is Phase.STOPPED
    it.post(Wanted("job", 1))
    it.triggers("job")
    assert it.log[6:] == ["+job-0"]


def test_another_bound_holds_for_the_runs_to_come() -> None:
    it = minutely(overlap=Overlap.QUEUE, max_concurrent=2)
    it.passes(30 + 180)
    it.reloads(a_plan(job=a_job("job", MINUTELY, overlap=Overlap.QUEUE, max_concurrent=1)))
    assert it.log == ["+job-0", "+job-1"]  # those that go on do
    it.ends("job-0")
    assert going(it) == [(2, 1)]
    it.ends("job-1")
    assert going(it) == [(3, 0)]
    it.passes(120)
    it.reloads(a_plan(job=a_job("job", MINUTELY, overlap=Overlap.QUEUE, max_concurrent=3)))
    assert going(it) == [(3, 0), (4, 1), (5, 2)]
    assert it.told[-1] == "2 applied"


def test_runs_of_a_process_that_is_taken_out_are_stopped_and_told() -> None:
    it = minutely(overlap=Overlap.ALLOW, max_concurrent=2)
    it.passes(30 + 60)
    it.reloads(a_plan(other=a_process("other")))
    assert it.log[2:4] == ["-job-1", "-job-0"]
    assert it.signs[-2:] == ["job stopped", "job stopped"]
    assert list(it.state.instances) == [Id("other", 0)]
    assert it.state.jobs == {}


def test_a_service_that_gets_times_ends_before_its_first_run_and_is_none() -> None:
    it = Supervision(a_plan(job=a_process("job", scale=2)), stops=False)
    it.reloads(a_plan(job=a_job("job", MINUTELY, overlap=Overlap.ALLOW, max_concurrent=2)))
    it.look()
    for _ in range(2):
        it.triggers("job")
    assert it.log == ["+job-0", "+job-1", "-job-0", "-job-1"]
    it.ends("job-1")
    it.ends("job-0")
    assert it.log[4:] == ["+job-1", "+job-0"]
    assert it.outcomes("job") == []


def test_who_replaces_a_run_in_the_moment_of_its_time_runs_alone() -> None:
    it = minutely(overlap=Overlap.REPLACE)
    it.now_s = 30.0
    it.triggers("job")  # the look at the clock finds that the time has come, too
    assert it.log == ["+job-0"]
    assert it.outcomes("job") == ["replaced"]
    assert going(it) == [(2, 0)]


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
