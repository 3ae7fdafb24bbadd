"""The supervisor's rules, in virtual time."""

from graphlib import CycleError

import pytest
from msgspec.structs import replace
from supervision import Supervision, a_plan, a_process, ident

from millrace.supervisor.graph import cycle, dependents, order
from millrace.supervisor.health.values import HealthCheck, ProbeKind, ProbeMode
from millrace.supervisor.machine import CUT_SHORT
from millrace.supervisor.plan import Kind, Policy, Restart
from millrace.supervisor.restart import STORM_BURST, STORM_EACH_S, Again, Over, after_end, wait_s
from millrace.supervisor.state import Ended, Ending, Id, Phase, Renewed, Wanted

CHECK = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1")


def test_the_order_is_by_dependency_and_then_by_name() -> None:
    plan = a_plan(
        web=a_process("web", "db", "cache"), db=a_process("db"), cache=a_process("cache"), zed=a_process("zed")
    )
    assert order(plan.processes) == ["cache", "db", "zed", "web"]
    assert dependents(plan.processes)["db"] == {"web"}


def test_a_circle_is_named() -> None:
    plan = a_plan(a=a_process("a", "b"), b=a_process("b", "c"), c=a_process("c", "a"))
    assert cycle(plan.processes) in (["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"])
    with pytest.raises(CycleError):
        order(plan.processes)


def test_what_depends_on_nothing_starts_at_once_and_dependents_after_it() -> None:
    it = Supervision(
        a_plan(web=a_process("web", "db", scale=2), db=a_process("db", health_check=CHECK), job=a_process("job"))
    )
    assert it.log == ["+db-0", "+job-0"]
    assert it.reason("web-1") == "waits for db"
    it.answers("db", well=True)
    assert it.log[2:] == ["+web-0", "+web-1"]


def test_started_is_enough_where_only_that_is_asked() -> None:
    it = Supervision(a_plan(web=a_process("web", "db:started"), db=a_process("db", health_check=CHECK)))
    assert it.log == ["+db-0", "+web-0"]


def test_a_failed_check_never_makes_anything_ready() -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="x:1", success_threshold=2, mode=ProbeMode.READINESS)
    it = Supervision(a_plan(web=a_process("web", "db"), db=a_process("db", health_check=check)))
    for well in (False, True, False, False, False, False, True):
        it.answers("db", well)
        assert not it.ready("db")
    it.answers("db", well=True)
    assert it.ready("db")
    assert it.log == ["+db-0", "+web-0"]


def test_readiness_goes_after_enough_misses_and_never_kills() -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="x:1", failure_threshold=2, mode=ProbeMode.READINESS)
    it = Supervision(a_plan(db=a_process("db", health_check=check)))
    it.answers("db", well=True)
    it.answers("db", well=False)
    assert it.ready("db")
    it.answers("db", well=False)
    assert not it.ready("db")
    assert it.log == ["+db-0"]


def test_liveness_restarts_after_enough_misses_in_a_row_and_passing_checks_never_do() -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="x:1", failure_threshold=2, mode=ProbeMode.LIVENESS)
    it = Supervision(a_plan(db=a_process("db", health_check=check)))
    assert it.ready("db")
    for well in (False, True, False):
        it.answers("db", well)
    assert it.log == ["+db-0"]
    it.answers("db", well=False)
    it.passes(60)
    assert it.log == ["+db-0", "-db-0", "+db-0"]
    it.answers("db", well=False)
    assert it.log == ["+db-0", "-db-0", "+db-0"]  # the new process is judged afresh
    assert it.probed == [Id("db", 0), Id("db", 0)]


@pytest.mark.parametrize("mode", ProbeMode)
def test_passes_that_are_not_yet_enough_restart_nothing(mode: ProbeMode) -> None:
    """Neither at the start nor while it recovers, when a process has missed some and passes again."""
    check = replace(CHECK, mode=mode, success_threshold=3, failure_threshold=3)
    it = Supervision(a_plan(web=a_process("web", health_check=check)))
    for well in (True, True, True, False, False, True, True, False, False, True, True, True):
        it.answers("web", well)
    assert it.log == ["+web-0"]
    assert it.ready("web")


def test_what_is_unhealthy_again_and_again_is_given_up() -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="x:1", failure_threshold=1, mode=ProbeMode.LIVENESS)
    it = Supervision(a_plan(db=a_process("db", health_check=check, restart=Restart(max_attempts=2))))
    for _ in range(3):
        it.answers("db", well=False)
        it.passes(5)
    assert it.phase("db") is Phase.FAILED
    assert it.reason("db") == "unhealthy: refused; given up after 2 restarts within 10 s of each other"


def test_a_dependent_of_a_oneshot_starts_only_after_it_ended_well() -> None:
    plan = a_plan(
        web=a_process("web", "init:completed"),
        init=a_process("init", kind=Kind.ONESHOT, restart=Restart(policy=Policy.NEVER)),
    )
    well, badly = Supervision(plan), Supervision(plan)
    assert well.log == ["+init-0"]
    well.ends("init", 0)
    assert well.log == ["+init-0", "+web-0"]
    badly.ends("init", 2)
    assert badly.log == ["+init-0"]
    assert badly.phase("web") is Phase.FAILED
    assert badly.reason("web") == "cannot start: it depends on init, which failed"
    assert badly.finished == 1


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        (Policy.ALWAYS, 0, Phase.RUNNING),
        (Policy.ALWAYS, 1, Phase.RUNNING),
        (Policy.ON_FAILURE, 0, Phase.COMPLETED),
        (Policy.ON_FAILURE, 1, Phase.RUNNING),
        (Policy.ON_FAILURE, None, Phase.RUNNING),
        (Policy.NEVER, 0, Phase.COMPLETED),
        (Policy.NEVER, 1, Phase.FAILED),
        (Policy.NEVER, None, Phase.FAILED),
    ],
)
def test_the_policy_decides_by_how_it_ended(policy: Policy, code: int | None, phase: Phase) -> None:
    it = Supervision(a_plan(job=a_process("job", restart=Restart(policy=policy)), other=a_process("other")))
    it.ends("job", code)
    it.passes(100)
    assert it.phase("job") is phase


def test_the_wait_grows_to_its_cap_and_never_overflows() -> None:
    job = a_process("job", restart=Restart(backoff_initial_s=2, backoff_max_s=50))
    waits = [wait_s(job, failures, 1.0) for failures in range(1, 9)]
    assert waits == pytest.approx([0, 2, 4, 8, 16, 32, 50, 50])
    assert wait_s(job, 10**6, 1.0) == 50
    assert wait_s(job, 5, 0.25) == pytest.approx(4)


@pytest.mark.parametrize("most", [1, 2, 3, 7])
@pytest.mark.parametrize("unhealthy", [False, True], ids=["ends", "is unhealthy"])
def test_just_as_many_attempts_as_it_may_have(most: int, unhealthy: bool) -> None:
    """N allows N: so many restarts, and not one more or fewer."""
    check = replace(CHECK, failure_threshold=1) if unhealthy else None
    restart = Restart(max_attempts=most, backoff_initial_s=0)
    it = Supervision(a_plan(web=a_process("web", restart=restart, health_check=check), other=a_process("other")))

    def fails() -> None:
        if unhealthy:
            it.answers("web", well=False)
        else:
            it.ends("web", 1)
        it.passes(0)

    for _ in range(2):
        before = it.log.count("+web-0")
        for attempt in range(most):
            fails()
            assert it.phase("web") is Phase.RUNNING, attempt
        fails()
        assert it.phase("web") is Phase.FAILED
        assert it.log.count("+web-0") - before == most
        it.post(Wanted("web", 1))  # tried afresh, it has as many again
        assert it.phase("web") is Phase.RUNNING


def starts(it: Supervision) -> int:
    return sum(line.startswith("+") for line in it.log)


def crash_all(it: Supervision) -> None:
    """Whatever runs ends at once."""
    for each, one in it.state.instances.items():
        if one.phase is Phase.RUNNING:
            it.ends(str(each), 1)


def storm(count: int, seconds: float, **restart: object) -> Supervision:
    """So many that end as soon as they run, for so long."""
    it = Supervision(a_plan(bad=a_process("bad", scale=count, restart=Restart(**restart))))
    for _ in range(round(seconds / 0.1)):
        crash_all(it)
        it.passes(0.1)
    return it


def test_a_storm_of_restarts_is_paced_and_a_few_are_not() -> None:
    granted = 100 + STORM_BURST
    assert starts(storm(100, 10)) <= granted + 10 / STORM_EACH_S + 2
    assert starts(storm(100, 120)) <= granted + 120 / STORM_EACH_S + 2
    # Those that find room in the burst come back as their own back-off says: at once the first time.
    few = Supervision(a_plan(bad=a_process("bad", scale=STORM_BURST)))
    crash_all(few)
    few.passes(0)
    assert starts(few) == 2 * STORM_BURST


def test_in_a_storm_nobody_waits_longer_than_its_own_cap_and_who_wants_no_backoff_has_none() -> None:
    it = Supervision(a_plan(bad=a_process("bad", scale=400, restart=Restart(backoff_max_s=20.0))))
    crash_all(it)
    it.passes(20)
    assert starts(it) == 800
    eager = Supervision(a_plan(bad=a_process("bad", scale=200, restart=Restart(backoff_initial_s=0))))
    crash_all(eager)
    eager.passes(0)
    assert starts(eager) == 400


def test_who_had_been_stable_comes_back_at_once_also_in_a_storm() -> None:
    it = Supervision(a_plan(bad=a_process("bad", scale=200), good=a_process("good", scale=100)))
    for _ in range(200):
        for index in range(200):
            if it.phase(f"bad-{index}") is Phase.RUNNING:
                it.ends(f"bad-{index}", 1)
        it.passes(0.1)
    for index in range(100):
        it.ends(f"good-{index}", 1)
    it.passes(0)
    assert all(it.phase(f"good-{index}") is Phase.RUNNING for index in range(100))


def test_who_ran_long_enough_begins_anew_with_the_attempts() -> None:
    job = a_process("job", restart=Restart(max_attempts=2, backoff_max_s=1, stable_s=10))
    it = Supervision(a_plan(job=job, other=a_process("other")))
    for _ in range(6):
        it.passes(12)
        it.ends("job", 1)
    assert it.phase("job") is Phase.BACKING_OFF
    for _ in range(3):
        it.passes(3)
        it.ends("job", 1)
    assert it.phase("job") is Phase.FAILED
    it.post(Wanted("job", 1))
    assert it.phase("job") is Phase.RUNNING
    it.ends("job", 1)
    assert it.phase("job") is Phase.BACKING_OFF  # its counter is fresh


def test_nothing_starts_once_nothing_is_left_to_keep() -> None:
    it = Supervision(a_plan(job=a_process("job", kind=Kind.ONESHOT, restart=Restart(policy=Policy.NEVER))))
    it.ends("job")
    assert it.finished == 0
    it.post(Wanted("job", 1))
    it.reloads(a_plan(web=a_process("web")))
    assert it.log == ["+job-0"]


def test_what_cannot_be_started_fails_alone() -> None:
    plan = a_plan(bad=a_process("bad"), web=a_process("web", "bad"), other=a_process("other"))
    it = Supervision(plan, can_start=lambda each: each.process != "bad")
    assert it.phase("bad") is Phase.FAILED
    assert it.phase("web") is Phase.FAILED
    assert it.phase("other") is Phase.RUNNING
    assert it.finished is None


def test_the_end_stops_dependents_before_what_they_depend_on_even_through_others() -> None:
    plan = a_plan(
        web=a_process("web", "init:completed"), init=a_process("init", "db", kind=Kind.ONESHOT, restart=Restart(policy=Policy.NEVER)),
        db=a_process("db"), other=a_process("other"),
    )  # fmt: skip
    it = Supervision(plan, stops=False)
    it.ends("init", 0)
    it.end()
    assert set(it.log[-2:]) == {"-web-0", "-other-0"}
    it.ends("other", 0)
    it.ends("web", 0)
    assert it.log[-1] == "-db-0"
    assert it.finished is None
    it.ends("db", 0)
    assert it.finished == 0


def test_the_end_also_ends_what_waits_or_backs_off() -> None:
    plan = a_plan(web=a_process("web", "db"), db=a_process("db", health_check=CHECK), job=a_process("job"))
    it = Supervision(plan)
    for _ in range(3):
        it.ends("job", 1)
    it.end()
    assert it.finished == 0
    starts = it.log.count("+job-0")
    it.passes(1000)
    assert it.log.count("+job-0") == starts
    assert it.phase("web") is Phase.STOPPED


def test_all_at_an_end_ends_the_whole_and_tells_whether_all_was_well() -> None:
    never = Restart(policy=Policy.NEVER)
    for codes, expected in (((0, 0), 0), ((0, 7), 1)):
        it = Supervision(a_plan(a=a_process("a", restart=never), b=a_process("b", restart=never)))
        it.ends("a", codes[0])
        assert it.finished is None
        it.ends("b", codes[1])
        assert it.finished == expected


def killed(it: Supervision, name: str) -> None:
    """It did not end in its time."""
    each = ident(name)
    it.post(Ended(each, it.state.instances[each].run, it.now_s, None, "was killed by SIGKILL (9)", 0.5, forced=True))


def test_an_end_that_was_cut_short_is_told_by_the_exit_code() -> None:
    it = Supervision(a_plan(a=a_process("a"), b=a_process("b")), stops=False)
    it.end()
    killed(it, "a")
    it.ends("b", 0)
    assert it.finished == CUT_SHORT
    hurried = Supervision(a_plan(a=a_process("a")), stops=False)
    hurried.end()
    hurried.post(Ending(hurried=True))
    hurried.ends("a", 0)
    assert hurried.finished == CUT_SHORT


def test_who_was_killed_before_the_end_does_not_count_for_it() -> None:
    it = Supervision(a_plan(a=a_process("a"), b=a_process("b")), stops=False)
    it.post(Wanted("a", 0))
    killed(it, "a")
    it.end()
    it.ends("b", 1)
    assert it.finished == 0


def test_what_a_person_stopped_keeps_the_whole_alive() -> None:
    it = Supervision(a_plan(a=a_process("a"), b=a_process("b", restart=Restart(policy=Policy.NEVER))))
    it.post(Wanted("a", 0))
    it.ends("b", 0)
    assert it.phase("a") is Phase.STOPPED
    assert it.finished is None


def test_scaling_adds_the_next_and_takes_the_last_also_while_it_backs_off() -> None:
    it = Supervision(a_plan(web=a_process("web", scale=2)))
    it.post(Wanted("web", 4))
    assert it.log == ["+web-0", "+web-1", "+web-2", "+web-3"]
    for _ in range(4):
        it.ends("web-3", 1)
        it.passes(0)
    it.post(Wanted("web", 1))
    assert set(it.log[-2:]) == {"-web-1", "-web-2"}
    it.passes(1000)
    assert [str(each) for each in sorted(it.state.instances)] == ["web-0"]


def test_a_restart_by_hand_stops_and_starts_and_counts_no_failure() -> None:
    it = Supervision(a_plan(web=a_process("web")))
    it.post(Renewed("web"))
    assert it.log == ["+web-0", "-web-0", "+web-0"]
    assert it.state.instances[Id("web", 0)].failures == 0


def test_news_of_an_earlier_run_changes_nothing() -> None:
    it = Supervision(a_plan(web=a_process("web")))
    it.post(Renewed("web"))
    before = it.state
    it.post(Ended(Id("web", 0), 1, 0.0, 1, "late", 0.5))
    assert it.state == before


def test_a_oneshot_may_be_tried_again_on_failure() -> None:
    plan = a_process("init", kind=Kind.ONESHOT, restart=Restart(policy=Policy.ON_FAILURE, max_attempts=1))
    assert isinstance(after_end(plan, code=1, how="", failures=1, draw=0), Again)
    assert after_end(plan, code=0, how="done", failures=1, draw=0) == Over(True, "done")
    given_up = after_end(plan, code=1, how="bad", failures=2, draw=0)
    assert isinstance(given_up, Over)
    assert not given_up.well


def test_late_news_of_a_process_that_the_plan_does_not_have_changes_nothing() -> None:
    it = Supervision(a_plan(web=a_process("web")))
    before = it.state
    it.post(Ended(Id("gone", 0), 1, it.now_s, 1, "exited with code 1", 0.5))
    assert it.state == before
