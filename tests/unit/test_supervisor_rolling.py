"""Instances replaced one after the other, in virtual time: the others serve, and the first that does not get up ends it."""

import pytest
from msgspec.structs import replace
from supervision import Supervision, a_plan, a_process, ident

from millrace.supervisor.change.rolling import Standing, replaceable
from millrace.supervisor.change.values import Rolling
from millrace.supervisor.control.rest import is_settled
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.plan import Kind, Restart
from millrace.supervisor.state import Phase, Renewed, Wanted

CHECK = HealthCheck(kind=ProbeKind.TCP, target="x:1", failure_threshold=2)
S, D, M, U = Standing.SERVING, Standing.IDLE, Standing.MOVING, Standing.UP


def web(scale: int = 3, *, check: HealthCheck | None = CHECK, **rolling: float) -> Supervision:
    rule = Rolling(**{"min_ready_s": 0.0, **rolling})  # type: ignore[arg-type]  # the fields are as given
    it = Supervision(a_plan(web=a_process("web", scale=scale, health_check=check, rolling=rule)))
    for index in range(scale if check is not None else 0):
        it.answers(f"web-{index}", well=True)
    it.log.clear()
    return it


@pytest.mark.parametrize(
    ("standings", "wanted", "unavailable", "surge", "expected"),
    [
        ([S, S, S], 3, 1, 0, [0]),
        ([S, S, S], 3, 2, 0, [0, 1]),
        ([M, S, S], 3, 1, 0, []),
        ([U, S, S], 3, 1, 0, [1]),
        ([S, D, S], 3, 1, 0, [1]),  # it costs nothing, and then none may be missing beside it
        ([D, D, D], 3, 1, 0, [0]),
        ([S, S, S], 3, 0, 1, []),  # the one beside them comes first
        ([S, S, S, M], 3, 0, 1, []),
        ([S, S, S, U], 3, 0, 1, [0]),
        ([M, S, S, U], 3, 0, 1, []),
        ([D, D, D, M], 3, 0, 1, []),
        ([D, D, D], 3, 0, 1, [0]),  # or nothing ever could
        ([S, S, S], 3, 3, 0, [0, 1, 2]),
        ([S], 1, 1, 0, [0]),
        ([S, S], 2, 5, 0, [0, 1]),
        ([], 0, 1, 0, []),
    ],
)
def test_how_many_may_be_replaced_now(
    standings: list[Standing], wanted: int, unavailable: int, surge: int, expected: list[int]
) -> None:
    rule = Rolling(max_unavailable=unavailable, max_surge=surge)
    assert list(replaceable(dict(enumerate(standings)), wanted=wanted, rule=rule)) == expected


def test_one_after_the_other_each_when_the_one_before_is_ready() -> None:
    it = web()
    it.post(Renewed("web", rolling=True))
    assert it.log == ["-web-0", "+web-0"]
    assert not is_settled(it.state, "web")
    it.answers("web-0", well=True)
    assert it.log == ["-web-0", "+web-0", "-web-1", "+web-1"]
    it.answers("web-2", well=True)  # the old one
    assert len(it.log) == 4
    it.answers("web-1", well=True)
    assert it.log[4:] == ["-web-2", "+web-2"]
    assert it.told == []
    it.answers("web-2", well=True)
    assert it.told == ["web rolled"]
    assert is_settled(it.state, "web")


def test_it_has_to_stay_ready_for_a_while() -> None:
    it = web(min_ready_s=5)
    it.post(Renewed("web", rolling=True))
    it.answers("web-0", well=True)
    it.passes(4)
    it.answers("web-0", well=False)
    it.answers("web-0", well=False)
    it.passes(4)
    assert it.log == ["-web-0", "+web-0", "-web-0", "+web-0"]  # unwell: it is started again
    it.answers("web-0", well=True)
    it.passes(4.9)
    assert "-web-1" not in it.log
    it.passes(0.2)
    assert it.log[-2:] == ["-web-1", "+web-1"]


def test_with_a_surge_nobody_is_missing_at_any_time() -> None:
    it = web(max_unavailable=0, max_surge=1)
    it.post(Renewed("web", rolling=True))
    assert it.log == ["+web-3"]
    it.answers("web-3", well=True)
    assert it.log[1:] == ["-web-0", "+web-0"]
    for index in range(3):
        it.answers(f"web-{index}", well=True)
    assert it.log[1:] == ["-web-0", "+web-0", "-web-1", "+web-1", "-web-2", "+web-2", "-web-3"]
    assert sorted(map(str, it.state.instances)) == ["web-0", "web-1", "web-2"]


def test_the_first_that_does_not_get_ready_ends_it_and_the_others_serve() -> None:
    it = web(timeout_s=20)
    it.post(Renewed("web", rolling=True))
    it.answers("web-0", well=False)
    it.passes(20)
    assert it.told == ["web web-0 is not up after 20 s: refused"]
    assert it.log == ["-web-0", "+web-0"]
    assert [it.ready(f"web-{index}") for index in range(3)] == [False, True, True]
    it.passes(1000)
    assert it.log == ["-web-0", "+web-0"]
    assert it.state.rolls["web"].halted
    it.answers("web-0", well=True)  # too late for this one; another can be asked for
    assert it.log == ["-web-0", "+web-0"]
    it.post(Renewed("web", rolling=True))
    assert it.log[2:] == ["-web-0", "+web-0"]


def test_one_that_keeps_ending_ends_it_at_once_and_with_a_surge_all_go_on_serving() -> None:
    it = web(max_unavailable=0, max_surge=1)
    it.post(Renewed("web", rolling=True))
    for _ in range(3):
        it.ends("web-3", 1)
        it.passes(1)
    assert it.told == ["web web-3 ended 3 times before it was up: exited with code 1"]
    assert sorted(map(str, it.state.instances)) == ["web-0", "web-1", "web-2"]
    assert all(it.ready(f"web-{index}") for index in range(3))


def test_a_restart_of_all_after_it_was_halted_has_nothing_to_do_with_it() -> None:
    it = web(check=None, min_ready_s=1.0)
    it.post(Renewed("web", rolling=True))
    for _ in range(4):
        it.passes(0.9)  # the back-off is over, and it is not up for long enough
        it.ends("web-0", 1)
    it.passes(0.9)
    assert it.told == ["web web-0 ended 3 times before it was up: exited with code 1"]
    it.told.clear()
    it.post(Renewed("web", rolling=False))
    it.passes(10)
    assert [it.ready(f"web-{index}") for index in range(3)] == [True, True, True]
    assert it.told == []
    assert is_settled(it.state, "web")


def test_one_beside_them_that_serves_stays_when_another_does_not_get_ready() -> None:
    it = web(max_unavailable=0, max_surge=1)
    it.post(Renewed("web", rolling=True))
    it.answers("web-3", well=True)
    it.passes(60)
    assert it.told == ["web web-0 is not up after 60 s"]
    assert [it.ready(f"web-{index}") for index in range(4)] == [False, True, True, True]


def test_deaths_meanwhile_come_back_as_new_ones_and_hold_it_up() -> None:
    it = web()
    it.post(Renewed("web", rolling=True))
    it.ends("web-2", 1)
    it.passes(0)
    it.answers("web-0", well=True)
    assert it.log == ["-web-0", "+web-0", "+web-2"]  # two of three are the least
    it.answers("web-2", well=True)
    assert it.log[3:] == ["-web-1", "+web-1"]
    it.answers("web-1", well=True)
    assert it.told == ["web rolled"]
    assert it.log[3:] == ["-web-1", "+web-1"]


def test_scaling_meanwhile() -> None:
    it = web()
    it.post(Renewed("web", rolling=True))
    it.post(Wanted("web", 2))
    it.answers("web-0", well=True)
    it.answers("web-1", well=True)
    assert it.log == ["-web-0", "+web-0", "-web-2", "-web-1", "+web-1"]
    it.answers("web-1", well=True)
    assert it.told == ["web rolled"]
    assert sorted(map(str, it.state.instances)) == ["web-0", "web-1"]


def test_a_stop_ends_it() -> None:
    it = web(max_surge=1)
    it.post(Renewed("web", rolling=True))
    it.post(Wanted("web", 0))
    assert {it.phase(f"web-{index}") for index in range(3)} == {Phase.STOPPED}
    assert ident("web-3") not in it.state.instances or it.phase("web-3") is Phase.STOPPED
    assert not it.state.rolls


def test_the_end_of_all_ends_it() -> None:
    it = web(max_surge=1)
    it.post(Renewed("web", rolling=True))
    it.end()
    assert it.finished == 0


def test_a_changed_process_rolls_after_what_it_depends_on_and_a_dependent_of_one_that_rolls_goes_on() -> None:
    rolling = Rolling(min_ready_s=0)
    old = a_plan(
        db=a_process("db", scale=2, rolling=rolling, health_check=CHECK),
        web=a_process("web", "db", scale=2, rolling=rolling),
        top=a_process("top", "web"),
    )
    it = Supervision(old)
    it.answers("db-0", well=True)
    it.answers("db-1", well=True)
    it.log.clear()
    it.reloads(
        replace(
            old,
            processes={
                name: replace(one, env={"X": "1"}) if name != "top" else one for name, one in old.processes.items()
            },
        )
    )
    assert it.log == ["-db-0", "+db-0"]
    it.answers("db-0", well=True)
    assert it.log == ["-db-0", "+db-0", "-db-1", "+db-1"]
    it.answers("db-1", well=True)
    assert it.log[4:] == ["-web-0", "+web-0", "-web-1", "+web-1"]
    assert it.told[-1] == "1 applied"


def test_a_oneshot_that_is_asked_to_roll_just_runs_again() -> None:
    it = Supervision(a_plan(init=a_process("init", kind=Kind.ONESHOT, restart=Restart()), web=a_process("web")))
    it.ends("init")
    it.post(Renewed("init", rolling=True))
    assert it.log == ["+init-0", "+web-0", "+init-0"]
