"""Another plan while everything runs, in virtual time: what stays, what goes, in which order, and the way back."""

from collections.abc import Mapping
from pathlib import Path
from signal import SIGHUP, SIGUSR1, Signals

import msgspec
import pytest
from msgspec.structs import replace
from supervision import Supervision, a_job, a_plan, a_process, ident

from millrace.process.cgroup import Resources
from millrace.process.values import Limits
from millrace.supervisor.change.difference import IN_PLACE, Change, difference
from millrace.supervisor.change.reloads import Outcome
from millrace.supervisor.change.values import Autoscale, Metric, Reloading, Rolling
from millrace.supervisor.execution import Execution
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.hooks import Hook, Moment
from millrace.supervisor.logs.settings import Logging
from millrace.supervisor.plan import Condition, Kind, Plan, Policy, ProcessPlan, Restart, Shutdown
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Id, Phase, Wanted
from millrace.supervisor.tuning.values import Tune

CHECK = HealthCheck(kind=ProbeKind.TCP, target="x:1")
ONCE = Restart(policy=Policy.NEVER)


def changed(plan: Plan, **processes: Mapping[str, object]) -> Plan:
    """The plan with other fields of some processes."""
    return replace(
        plan,
        processes={
            name: replace(process, **processes.get(name.replace("-", "_"), {}))
            for name, process in plan.processes.items()
        },
    )


def without(plan: Plan, *names: str) -> Plan:
    return replace(plan, processes={name: one for name, one in plan.processes.items() if name not in names})


def outcome(it: Supervision) -> Outcome:
    assert it.state.reload is not None
    return it.state.reload.outcome


OTHER: Mapping[str, object] = {
    "name": "other", "command": ("other",), "kind": Kind.ONESHOT, "scale": 2, "max_scale": 4, "autostart": False,
    "depends_on": {"db": Condition.STARTED}, "env": {"A": "b"}, "working_dir": Path("/tmp"), "restart": ONCE,
    "shutdown": Shutdown(timeout_s=1), "health_check": CHECK, "execution": Execution(user="nobody"),
    "logging": Logging(buffer=5), "schedule": Schedule(expression="@hourly"), "rolling": Rolling(max_surge=1),
    "hooks": {Moment.PRE_STOP: (Hook(name="hook", command=("hook",)),)},
    "autoscale": Autoscale(least=1, most=2, metric=Metric(url="http://x"), target=1),
    "tune": Tune(profile="php-fpm"),
}  # fmt: skip


def test_every_field_of_a_process_counts_and_only_those_named_need_no_start() -> None:
    assert {*OTHER} == {*ProcessPlan.__struct_fields__}
    plan = a_plan(web=a_process("web"), db=a_process("db"))
    for field in ProcessPlan.__struct_fields__:
        if field != "name":
            (found,) = difference(plan, changed(plan, web={field: OTHER[field]})).changed
            assert found.keys
            assert found.restarts is (field in {"command", "kind", "env", "working_dir", "execution", "tune"}), field
            assert found.restarts is (field not in IN_PLACE)


@pytest.mark.parametrize("field", [name for name in Execution.__struct_fields__ if name != "forward"])
def test_who_it_runs_as_needs_a_start_and_the_signals_it_gets_do_not(field: str) -> None:
    other: dict[str, object] = {
        "user": "u", "group": "g", "umask": 7, "nice": 1, "oom_score_adj": 5, "limits": Limits(open_files=99),
        "pass_fds": (7,), "resources": Resources(memory_bytes=1 << 20),
    }  # fmt: skip
    plan = a_plan(web=a_process("web"))
    new = changed(plan, web={"execution": Execution(**{field: other[field]})})  # type: ignore[arg-type]  # any field
    assert difference(plan, new).changed == (Change("web", ("limits" if field == "resources" else field,), True),)
    forward: dict[Signals, Signals] = {SIGHUP: SIGUSR1}
    new = changed(plan, web={"execution": Execution(forward=forward)})
    assert difference(plan, new).changed == (Change("web", ("forward_signals",), False),)


def test_a_difference_names_what_it_is_about_and_no_value() -> None:
    old = a_plan(a=a_process("a", env={"X": "secret", "Y": "1"}), b=a_process("b"), same=a_process("same"))
    new = a_plan(a=a_process("a", env={"X": "other", "Z": "1"}, scale=2), c=a_process("c"), same=a_process("same"))
    found = difference(old, replace(new, shutdown_timeout_s=5))
    assert found.added == ("c",)
    assert found.removed == ("b",)
    assert found.changed == (Change("a", ("scale", "env.X", "env.Y", "env.Z"), True),)
    assert found.unchanged == ("same",)
    assert found.whole == ("shutdown_timeout_s",)
    assert b"secret" not in msgspec.json.encode(found)
    assert difference(old, msgspec.structs.replace(old)).nothing


def test_only_what_changed_is_touched() -> None:
    old = a_plan(a=a_process("a"), b=a_process("b"), c=a_process("c"))
    it = Supervision(old)
    it.reloads(a_plan(a=a_process("a"), b=a_process("b", env={"X": "1"}), d=a_process("d")))
    assert it.log[3:] == ["-b-0", "-c-0", "+d-0", "+b-0"]
    assert outcome(it) is Outcome.PENDING
    it.passes(1)
    assert it.told[-1] == "1 applied"
    assert "c" not in it.state.wanted
    assert ident("c-0") not in it.state.instances


def test_the_same_plan_changes_nothing() -> None:
    it = Supervision(a_plan(a=a_process("a")))
    before = it.state.instances[ident("a-0")]
    it.reloads(a_plan(a=a_process("a")))
    assert it.log == ["+a-0"]
    assert it.told == ["1 pending", "1 applied"]
    assert replace(it.state.instances[ident("a-0")], plan=None) == replace(before, plan=None)


def test_what_goes_down_goes_in_the_order_of_its_dependents_also_of_those_that_are_no_longer_planned() -> None:
    db, init = a_process("db"), a_process("init", "db", kind=Kind.ONESHOT, restart=ONCE)
    it = Supervision(
        a_plan(db=db, init=init, web=a_process("web", "init:completed"), other=a_process("other")), stops=False
    )
    it.ends("init")
    log = len(it.log)
    it.reloads(a_plan(other=a_process("other")))
    assert it.log[log:] == ["-web-0"]
    it.ends("web")
    assert it.log[log:] == ["-web-0", "-db-0"]
    it.ends("db")
    assert it.told[-1] == "1 applied"


def test_who_no_longer_needs_what_is_taken_out_goes_on() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db"))
    it = Supervision(old)
    it.reloads(without(changed(old, web={"depends_on": {}}), "db"))
    assert it.log == ["+db-0", "+web-0", "-db-0"]


def test_both_of_two_that_change_stop_from_above_and_start_from_below() -> None:
    old = a_plan(db=a_process("db", health_check=CHECK), web=a_process("web", "db"))
    it = Supervision(old, stops=False)
    it.answers("db", well=True)
    it.reloads(changed(old, db={"env": {"X": "1"}}, web={"env": {"X": "1"}}))
    assert it.log[2:] == ["-web-0"]
    it.ends("web")
    assert it.log[2:] == ["-web-0", "-db-0"]
    it.ends("db")
    assert it.log[2:] == ["-web-0", "-db-0", "+db-0"]
    it.answers("db", well=True)
    assert it.log[2:] == ["-web-0", "-db-0", "+db-0", "+web-0"]


def test_who_depends_on_what_is_restarted_goes_on() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db"))
    it = Supervision(old)
    it.reloads(changed(old, db={"env": {"X": "1"}}))
    assert it.log == ["+db-0", "+web-0", "-db-0", "+db-0"]


def test_rules_are_taken_over_without_a_start() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db"))
    it = Supervision(old)
    new = changed(
        old, web={"restart": Restart(policy=Policy.NEVER), "depends_on": {}, "health_check": CHECK}, db={"scale": 2}
    )
    it.reloads(new)
    assert it.log == ["+db-0", "+web-0", "+db-1"]
    assert it.probed == [ident("web-0")]
    assert it.ready("web")  # until the new check says otherwise
    it.ends("web", 1)
    assert it.phase("web") is Phase.FAILED


def test_what_was_stopped_or_scaled_by_hand_stays_so_until_the_plan_says_something_else() -> None:
    old = a_plan(a=a_process("a"), b=a_process("b", scale=2), c=a_process("c", autostart=False), d=a_process("d"))
    it = Supervision(old)
    it.post(Wanted("a", 0))
    it.post(Wanted("b", 3))
    it.reloads(changed(old, a={"env": {"X": "1"}, "scale": 3}, d={"env": {"X": "1"}}, c={"env": {"X": "1"}}))
    assert it.state.wanted == {"a": 0, "b": 3, "c": 0, "d": 1}
    it.reloads(changed(old, b={"scale": 1}, c={"autostart": True}))
    assert it.state.wanted == {"a": 0, "b": 1, "c": 1, "d": 1}


def test_what_had_failed_is_tried_afresh_with_what_failed_for_it() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db"), other=a_process("other"), bad=a_process("bad"))
    works = {"other"}
    it = Supervision(old, can_start=lambda each: each.process in works)
    assert it.phase("web") is Phase.FAILED
    works |= {"db", "web"}
    it.reloads(changed(old, db={"shutdown": Shutdown(timeout_s=3)}))
    assert it.phase("db") is Phase.RUNNING
    assert it.phase("web") is Phase.RUNNING
    assert it.log.count("+bad-0") == 1


def test_a_oneshot_that_changed_runs_again_and_one_that_did_not_does_not() -> None:
    old = a_plan(
        init=a_process("init", kind=Kind.ONESHOT, restart=ONCE), seed=a_process("seed", kind=Kind.ONESHOT, restart=ONCE),
        web=a_process("web", "init:completed"),
    )  # fmt: skip
    it = Supervision(old)
    it.ends("init")
    it.ends("seed")
    it.reloads(changed(old, init={"env": {"X": "1"}}, seed={"restart": Restart(policy=Policy.ON_FAILURE)}))
    assert it.log[3:] == ["+init-0"]
    assert outcome(it) is Outcome.PENDING
    it.ends("init")
    assert outcome(it) is Outcome.APPLIED


def test_a_run_of_a_schedule_goes_on_and_the_times_are_counted_anew() -> None:
    old = a_plan(job=a_job("job", "*/5 * * * *"), web=a_process("web"))
    it = Supervision(old, stops=False)
    it.triggers("job")
    it.reloads(changed(old, job={"command": ("other",), "schedule": Schedule(expression="* * * * *")}))
    assert it.log == ["+web-0", "+job-0"]
    assert outcome(it) is Outcome.APPLIED
    it.ends("job")
    it.look()
    it.passes(60)
    assert it.outcomes("job") == ["succeeded"]
    assert it.log == ["+web-0", "+job-0", "+job-0"]
    it.reloads(without(old, "job"))
    assert it.log[3:] == ["-job-0"]
    it.ends("job")
    assert "job" not in it.state.jobs
    assert it.told[-1] == "2 applied"


def test_a_schedule_that_comes_or_goes_makes_another_process() -> None:
    old = a_plan(job=a_job("job", "*/5 * * * *"), web=a_process("web"))
    it = Supervision(old)
    it.reloads(a_plan(job=a_process("job"), web=a_job("web", "* * * * *")))
    it.look()
    assert it.log == ["+web-0", "-web-0", "+job-0"]
    assert it.phase("web") is Phase.SCHEDULED
    it.passes(61)
    assert it.log[-1] == "+web-0"


def test_a_plan_that_does_not_get_up_is_taken_back_and_what_it_did_not_reach_stays() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db", health_check=CHECK), same=a_process("same"))
    it = Supervision(old)
    it.answers("web", well=True)
    it.reloads(changed(old, web={"env": {"X": "1"}}))
    it.answers("web", well=False)
    it.passes(59)
    assert outcome(it) is Outcome.PENDING
    it.passes(1)
    assert it.told[1:] == ["1 rolled-back: too late: web-0 is not up (running): refused"]
    assert outcome(it) is Outcome.ROLLED_BACK
    assert it.state.plan is old
    assert it.log[3:] == ["-web-0", "+web-0", "-web-0", "+web-0"]


def test_a_program_that_does_not_start_or_keeps_ending_is_taken_back_without_waiting_for_the_time() -> None:
    old = a_plan(web=a_process("web"), same=a_process("same"))
    tries: list[Id] = []
    it = Supervision(old, can_start=lambda each: (tries.append(each), len(tries) != 3)[1])
    it.reloads(changed(old, web={"env": {"X": "1"}}))
    assert [one for one in it.told if one.startswith("1 rolled")] == [
        "1 rolled-back: web-0 has failed: cannot start: no such program"
    ]
    assert it.phase("web") is Phase.RUNNING
    it = Supervision(old)
    it.reloads(changed(old, web={"env": {"X": "1"}}))
    for _ in range(3):
        it.ends("web", 3)
        it.passes(0.9)
    assert it.told[-1].startswith("1 rolled-back: web-0 ended 3 times before it was up: exited with code 3")
    assert it.state.plan is old
    it.passes(5)
    assert it.phase("web") is Phase.RUNNING


def test_the_way_back_brings_what_was_taken_out_and_keeps_what_was_not_yet_stopped() -> None:
    old = a_plan(a=a_process("a"), b=a_process("b"), web=a_process("web", "a", "b"))
    it = Supervision(old, stops=False, can_start=lambda each: each.process != "bad")
    it.post(Wanted("b", 3))
    log = len(it.log)
    it.reloads(a_plan(bad=a_process("bad"), c=a_process("c")))
    # The bad one is started at once, and fails while the others are only being stopped.
    assert outcome(it) is Outcome.ROLLED_BACK
    assert it.state.wanted == {"a": 1, "b": 3, "web": 1}
    assert it.log[log:] == ["-web-0", "+bad-0", "+c-0", "-c-0"]
    it.ends("web")
    it.ends("c")
    assert it.log[log + 4 :] == ["+web-0"]
    assert sorted(map(str, it.state.instances)) == ["a-0", "b-0", "b-1", "b-2", "web-0"]


def test_without_rollback_the_new_plan_stays_and_says_that_it_failed() -> None:
    old = a_plan(other=a_process("other"), web=a_process("web"))
    tries: list[Id] = []
    new = replace(changed(old, web={"env": {"X": "1"}}), reloading=Reloading(rollback=False))
    it = Supervision(old, can_start=lambda each: (tries.append(each), len(tries) != 3)[1])
    it.reloads(new)
    assert it.state.plan is new
    assert outcome(it) is Outcome.FAILED
    it.reloads(changed(new, web={"env": {"X": "2"}}))
    it.passes(1)
    assert outcome(it) is Outcome.APPLIED


def test_what_a_plan_would_have_stopped_stays_where_that_is_taken_back_in_the_same_step() -> None:
    old = a_plan(web=a_process("web", scale=2, health_check=CHECK))
    rolling = Rolling(max_unavailable=0, max_surge=2, timeout_s=5)
    it = Supervision(old)
    it.reloads(changed(old, web={"env": {"X": "1"}, "scale": 1, "rolling": rolling}))
    assert it.phase("web-2") is Phase.RUNNING
    it.passes(6)
    assert outcome(it) is Outcome.ROLLED_BACK
    assert "-web-2" in it.log
    assert "-web-1" not in it.log


def test_a_plan_that_comes_while_another_is_on_its_way_takes_its_place_and_goes_back_to_the_one_that_was_up() -> None:
    old = a_plan(web=a_process("web", health_check=CHECK), same=a_process("same"))
    it = Supervision(old)
    it.answers("web", well=True)
    it.reloads(changed(old, web={"env": {"X": "1"}}))
    it.reloads(changed(old, web={"env": {"X": "2"}}))
    assert "1 superseded: another plan came" in it.told
    it.passes(60)
    assert it.told[-1] == "2 rolled-back: too late: web-0 is not up (running)"
    assert it.state.plan is old


def test_the_end_of_all_ends_a_change_too() -> None:
    old = a_plan(db=a_process("db"), web=a_process("web", "db"))
    it = Supervision(old, stops=False)
    it.reloads(changed(old, db={"env": {"X": "1"}}, web={"env": {"X": "1"}}))
    assert it.log[2:] == ["-web-0"]
    it.end()
    assert outcome(it) is Outcome.ABANDONED
    it.ends("web")
    it.ends("db")
    assert it.log[2:] == ["-web-0", "-db-0"]
    assert it.finished == 0
    it = Supervision(old, stops=False)
    it.end()
    it.reloads(changed(old, db={"env": {"X": "1"}}))
    assert it.state.plan is old
    assert outcome(it) is Outcome.ABANDONED


def test_an_instance_is_stopped_by_the_rules_that_it_was_started_with() -> None:
    hook = {Moment.PRE_STOP: (Hook(name="hook", command=("hook",)),)}
    old = a_plan(web=a_process("web", hooks=hook))
    it = Supervision(old)
    it.reloads(changed(old, web={"hooks": {}, "env": {"X": "1"}}))
    assert it.log == ["+web-0", "web-0 pre-stop", "-web-0", "+web-0"]


def test_two_that_swap_who_needs_whom_get_through() -> None:
    old = a_plan(a=a_process("a", "b", env={"X": "1"}), b=a_process("b", env={"X": "1"}))
    it = Supervision(old)
    it.reloads(a_plan(a=a_process("a"), b=a_process("b", "a")))
    assert it.log == ["+b-0", "+a-0", "-a-0", "-b-0", "+a-0", "+b-0"]
