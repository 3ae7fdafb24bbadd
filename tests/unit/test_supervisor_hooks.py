"""Hooks and the readiness file, in virtual time."""

from collections.abc import Callable
from pathlib import Path

import pytest
from supervision import Supervision, a_job, a_plan, a_process

from millrace.supervisor.health.values import HealthCheck, ProbeKind, ProbeMode
from millrace.supervisor.hooks import Hook, Moment
from millrace.supervisor.machine import CUT_SHORT
from millrace.supervisor.plan import Kind, Plan, Policy, Restart
from millrace.supervisor.readiness import Bar, Readiness
from millrace.supervisor.readiness_file import is_ready
from millrace.supervisor.state import Ending, Phase, Renewed, RunHooks, Wanted

HOOK = (Hook(name="hook", command=("hook",)),)
ALL = dict.fromkeys(Moment, HOOK)
CHECK = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1", failure_threshold=1)
GATE = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1", failure_threshold=1, mode=ProbeMode.READINESS)
NEVER = Restart(policy=Policy.NEVER)


def with_hooks(plan: Plan, *moments: Moment) -> Plan:
    return Plan(processes=plan.processes, hooks=dict.fromkeys(moments or Moment, HOOK))


def goes_on(*moments: Moment) -> Callable[[RunHooks], str | None]:
    """Hooks of these moments go on until the test ends them."""
    return lambda effect: None if effect.moment in moments else ""


def fails(*moments: Moment) -> Callable[[RunHooks], str | None]:
    return lambda effect: "it is broken" if effect.moment in moments else ""


def test_hooks_of_the_whole_run_around_everything() -> None:
    it = Supervision(with_hooks(a_plan(web=a_process("web", "db"), db=a_process("db"))))
    assert it.log == ["all pre-start", "+db-0", "+web-0", "all post-start"]
    it.end()
    assert it.log[4:] == ["all pre-stop", "-web-0", "-db-0", "all post-stop"]
    assert it.finished == 0


def test_nothing_starts_before_the_hooks_before_the_start_are_done() -> None:
    it = Supervision(with_hooks(a_plan(web=a_process("web"))), hook=goes_on(Moment.PRE_START))
    assert it.log == ["all pre-start"]
    assert it.reason("web") == "waits for the hooks before the start"
    it.post(Wanted("web", 2))
    it.post(Renewed("web"))
    assert it.log == ["all pre-start"]
    it.hooks_end()
    assert it.log == ["all pre-start", "+web-0", "+web-1", "all post-start"]


def test_a_failure_before_the_start_means_that_nothing_starts() -> None:
    it = Supervision(
        with_hooks(a_plan(web=a_process("web"), job=a_job("job", "* * * * *"))), hook=fails(Moment.PRE_START)
    )
    it.passes(600)
    assert it.log == ["all pre-start"]
    assert it.finished == 1


@pytest.mark.parametrize("moment", [Moment.POST_START, Moment.PRE_STOP, Moment.POST_STOP])
def test_other_failures_stop_nothing(moment: Moment) -> None:
    for plan in (with_hooks(a_plan(web=a_process("web"))), a_plan(web=a_process("web", hooks=ALL))):
        it = Supervision(plan, hook=fails(moment))
        assert it.phase("web") is Phase.RUNNING
        it.end()
        assert "-web-0" in it.log
        assert it.finished == 0


def test_the_end_during_the_hooks_before_the_start_ends_at_once_and_well() -> None:
    it = Supervision(with_hooks(a_plan(web=a_process("web"))), hook=goes_on(Moment.PRE_START))
    it.end()
    assert it.log == ["all pre-start", "all halted"]
    assert it.finished == 0


def test_the_hooks_after_the_start_wait_until_everything_was_started() -> None:
    plan = with_hooks(a_plan(web=a_process("web", "db"), db=a_process("db", health_check=CHECK)), Moment.POST_START)
    it = Supervision(plan, hook=goes_on(Moment.POST_START))
    assert it.log == ["+db-0"]
    it.answers("db", well=True)
    assert it.log == ["+db-0", "+web-0", "all post-start"]
    it.end()
    assert it.log[3:] == ["all halted", "-web-0", "-db-0"]


def test_everything_goes_on_until_the_hooks_before_the_stop_are_done() -> None:
    it = Supervision(with_hooks(a_plan(web=a_process("web")), Moment.PRE_STOP), hook=goes_on(Moment.PRE_STOP))
    it.end()
    assert it.log == ["+web-0", "all pre-stop"]
    assert it.phase("web") is Phase.RUNNING
    it.hooks_end("it is broken")
    assert it.log[2:] == ["-web-0"]
    assert it.finished == 0


def test_the_exit_code_is_kept_over_the_hooks_after_the_stop() -> None:
    plan = with_hooks(a_plan(a=a_process("a", restart=NEVER)), Moment.POST_STOP)
    it = Supervision(plan, hook=goes_on(Moment.POST_STOP))
    it.ends("a", 3)
    assert it.finished is None
    it.post(Wanted("a", 1))  # too late
    it.end()
    assert it.log == ["+a-0", "all post-stop"]
    it.hooks_end()
    assert it.finished == 1


@pytest.mark.parametrize(("code", "told"), [(0, CUT_SHORT), (3, 1)])
def test_hooks_that_are_passed_over_cut_the_end_short_and_a_failure_goes_before(code: int, told: int) -> None:
    plan = with_hooks(a_plan(a=a_process("a", restart=NEVER)), Moment.POST_STOP)
    it = Supervision(plan, hook=goes_on(Moment.POST_STOP))
    it.ends("a", code)
    it.end()
    it.post(Ending(hurried=True))
    it.hooks_end("the hooks were stopped")
    assert it.finished == told


def test_hooks_of_a_process_run_around_each_of_its_runs() -> None:
    it = Supervision(a_plan(web=a_process("web", hooks=ALL)))
    assert it.log == ["web-0 pre-start", "+web-0", "web-0 post-start"]
    it.ends("web", 1)
    assert it.log[3:] == ["web-0 post-stop"]
    it.passes(0)
    assert it.log[4:] == ["web-0 pre-start", "+web-0", "web-0 post-start"]
    it.post(Renewed("web"))
    assert it.log[7:] == [
        "web-0 pre-stop", "-web-0", "web-0 post-stop", "web-0 pre-start", "+web-0", "web-0 post-start",
    ]  # fmt: skip


def test_a_process_whose_hook_before_the_start_fails_has_failed_alone() -> None:
    plan = a_plan(bad=a_process("bad", hooks={Moment.PRE_START: HOOK}), web=a_process("web", "bad"), b=a_process("b"))
    it = Supervision(plan, hook=fails(Moment.PRE_START))
    assert it.log == ["+b-0", "bad-0 pre-start"] or it.log == ["bad-0 pre-start", "+b-0"]
    assert (it.phase("bad"), it.reason("bad")) == (Phase.FAILED, "it is broken")
    assert it.phase("web") is Phase.FAILED
    it.post(Wanted("bad", 1))
    assert it.log.count("bad-0 pre-start") == 2


def test_a_process_that_ran_comes_back_once_its_hook_before_the_start_works_again() -> None:
    broken: list[str] = []
    rule = Restart(max_attempts=4, backoff_initial_s=1.0, backoff_max_s=8.0)
    it = Supervision(
        a_plan(web=a_process("web", hooks={Moment.PRE_START: HOOK}, restart=rule)), hook=lambda _: "".join(broken)
    )
    broken.append("no database")
    it.ends("web", 1)
    it.passes(0)  # the first start after a long run is at once
    assert (it.phase("web"), it.reason("web")) == (Phase.BACKING_OFF, "no database")
    broken.clear()
    it.passes(5)
    assert it.phase("web") is Phase.RUNNING
    broken.append("no database")
    it.post(Renewed("web", rolling=False))
    it.passes(100)
    assert it.phase("web") is Phase.FAILED
    assert it.reason("web").startswith("no database; given up after 4 restarts")
    assert it.finished == 1


def test_a_process_is_alive_while_its_hook_before_the_stop_runs_and_stopped_whatever_comes_of_it() -> None:
    it = Supervision(a_plan(web=a_process("web", hooks={Moment.PRE_STOP: HOOK})), hook=goes_on(Moment.PRE_STOP))
    it.post(Wanted("web", 0))
    assert it.log == ["+web-0", "web-0 pre-stop"]
    assert it.phase("web") is Phase.STOPPING
    assert not it.ready("web")
    it.hooks_end("took longer than 30 s, and was stopped")
    assert it.log[2:] == ["-web-0"]
    assert it.phase("web") is Phase.STOPPED


def test_a_process_that_ends_during_its_hook_before_the_stop_is_not_stopped_again() -> None:
    it = Supervision(a_plan(web=a_process("web", hooks={Moment.PRE_STOP: HOOK})), hook=goes_on(Moment.PRE_STOP))
    it.post(Renewed("web"))
    it.ends("web", 0)
    assert it.log == ["+web-0", "web-0 pre-stop", "web-0 halted", "+web-0"]
    assert it.phase("web") is Phase.RUNNING


def test_the_end_halts_a_hook_before_a_start_and_starts_nothing() -> None:
    it = Supervision(a_plan(web=a_process("web", hooks={Moment.PRE_START: HOOK})), hook=goes_on(Moment.PRE_START))
    assert it.phase("web") is Phase.STARTING
    it.end()
    assert it.log == ["web-0 pre-start", "web-0 halted"]
    assert it.finished == 0


def test_dependents_wait_for_the_hooks_before_the_start_and_are_stopped_before_those_after_the_stop() -> None:
    plan = a_plan(web=a_process("web", "db:started"), db=a_process("db", hooks=ALL))
    it = Supervision(plan, hook=goes_on(Moment.PRE_START))
    assert it.log == ["db-0 pre-start"]
    it.hooks_end()
    it.end()
    assert it.log == [
        "db-0 pre-start", "+db-0", "db-0 post-start", "+web-0", "-web-0", "db-0 pre-stop", "-db-0", "db-0 post-stop",
    ] or it.log == [
        "db-0 pre-start", "+db-0", "+web-0", "db-0 post-start", "-web-0", "db-0 pre-stop", "-db-0", "db-0 post-stop",
    ]  # fmt: skip


def test_what_went_away_during_the_hooks_before_the_start_is_waited_for() -> None:
    plan = a_plan(web=a_process("web", "db", hooks={Moment.PRE_START: ()}), db=a_process("db"))
    it = Supervision(plan, hook=goes_on(Moment.PRE_START), stops=False)
    it.post(Renewed("db"))
    it.hooks_end()
    assert it.log == ["+db-0", "web-0 pre-start", "-db-0"]
    assert it.reason("web") == "waits for db"


def test_hooks_after_the_start_do_not_outlive_the_whole() -> None:
    hooks = {Moment.PRE_START: ()}
    plan = with_hooks(a_plan(web=a_process("web", hooks=hooks, restart=NEVER)), Moment.POST_START)
    it = Supervision(plan, hook=lambda effect: "it is broken" if effect.id else None)
    assert it.log == ["web-0 pre-start", "all post-start", "all halted"]
    assert it.finished == 1


def test_a_run_of_a_scheduled_process_has_its_hooks_too() -> None:
    it = Supervision(a_plan(job=a_job("job", "* * * * *", hooks=ALL)))
    it.passes(30)
    it.ends("job", 0)
    assert it.log == ["job-0 pre-start", "+job-0", "job-0 post-start", "job-0 post-stop"]
    assert it.outcomes("job") == ["succeeded"]
    broken = Supervision(a_plan(job=a_job("job", "* * * * *", hooks=ALL)), hook=fails(Moment.PRE_START))
    broken.passes(30 + 60)
    assert broken.outcomes("job") == ["failed", "failed"]
    assert broken.phase("job") is Phase.SCHEDULED


def test_a_run_that_is_stopped_during_its_hook_before_the_start_was_stopped() -> None:
    it = Supervision(a_plan(job=a_job("job", "* * * * *", hooks=ALL)), hook=goes_on(Moment.PRE_START))
    it.passes(30)
    it.post(Wanted("job", 0))
    assert it.log == ["job-0 pre-start", "job-0 halted"]
    assert it.outcomes("job") == ["stopped"]
    assert it.phase("job") is Phase.STOPPED


def tracking(*names: str, bar: Bar = Bar.HEALTHY, **processes: object) -> Supervision:
    plan = a_plan(**processes)  # type: ignore[arg-type]  # processes
    readiness = Readiness(path=Path("/nowhere"), processes=names, bar=bar)
    return Supervision(Plan(processes=plan.processes, readiness=readiness))


def test_all_that_is_tracked_has_to_be_ready_and_nothing_else() -> None:
    it = tracking(
        "web", "init", web=a_process("web", health_check=GATE, scale=2), other=a_process("other", health_check=CHECK),
        init=a_process("init", kind=Kind.ONESHOT, restart=NEVER),
    )  # fmt: skip
    seen = []

    def look() -> None:
        seen.append(is_ready(it.plan, it.state))

    it.answers("web-0", well=True)
    look()
    it.answers("web-1", well=True)
    look()
    it.ends("init", 0)
    look()
    it.answers("web-1", well=False)
    look()
    it.answers("web-1", well=True)
    it.post(Wanted("web", 3))
    look()
    it.answers("web-2", well=True)
    look()
    it.post(Wanted("web", 0))
    look()
    assert seen == [False, False, True, False, False, True, False]


def test_where_running_is_enough_no_check_is_asked() -> None:
    it = tracking("web", bar=Bar.RUNNING, web=a_process("web", health_check=CHECK))
    assert is_ready(it.plan, it.state)
    it.ends("web", 1)
    assert not is_ready(it.plan, it.state)


def test_what_is_being_ended_is_not_ready() -> None:
    plan = Plan(
        processes=a_plan(web=a_process("web")).processes, hooks={Moment.PRE_STOP: HOOK},
        readiness=Readiness(path=Path("/nowhere"), processes=("web",)),
    )  # fmt: skip
    it = Supervision(plan, hook=goes_on(Moment.PRE_STOP))
    assert is_ready(it.plan, it.state)
    it.end()
    assert it.phase("web") is Phase.RUNNING
    assert not is_ready(it.plan, it.state)
