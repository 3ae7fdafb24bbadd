"""Another plan, rolling restarts and many changes at once, with real processes: nothing is touched without need, nothing leaks."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from keeper_stage import PATIENCE_S, Stage, descriptors, lives, stage

from millrace.supervisor.state import Phase, Renewed, Wanted

WELL = "exec sleep 1000"
QUICK = "rolling: {min_ready: 0}"


@pytest.fixture(scope="module", autouse=True)
def first(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is opened once, with the first child of a process, is no leak of the test that comes first."""

    async def ends(it: Stage) -> None:
        assert await it.ended() == 0

    stage("processes: {one: {command: ['true'], type: oneshot}}", tmp_path_factory.mktemp("first"), ends)


def up(it: Stage, count: int) -> bool:
    return sum(one.ready for one in it.keeper.state.instances.values()) == count


def without_leaks(text: str, cwd: Path, play: Callable[[Stage], Awaitable[None]], *, count: int) -> None:
    """Play it; then no descriptor, task or process is there that was not before."""

    async def game(it: Stage) -> None:
        await it.until(lambda: up(it, count))
        await asyncio.sleep(0)  # each child is watched from its first turn on, which takes a descriptor
        before, tasks = descriptors(), len(asyncio.all_tasks())
        others = set(psutil.Process().children(recursive=True)) - {
            psutil.Process(one.pid) for one in it.keeper.facts.values() if one.pid
        }
        await play(it)
        await it.until(lambda: up(it, count))
        async with asyncio.timeout(PATIENCE_S):  # what has ended lets go of its pipes a little later
            while descriptors() > before or len(asyncio.all_tasks()) > tasks + 2:
                await asyncio.sleep(0)
        assert len(set(psutil.Process().children(recursive=True)) - others) <= count
        it.keeper.end()
        assert await it.ended() == 0
        assert set(psutil.Process().children(recursive=True)) <= others
        assert asyncio.all_tasks() == {asyncio.current_task()}

    before = descriptors()
    stage(text, cwd, game)
    assert descriptors() == before


def test_what_is_unchanged_keeps_its_pid_and_a_change_is_stopped_by_its_old_rules(tmp_path: Path) -> None:
    old = f"""
processes:
  db: {{command: [sh, -c, "trap 'echo stopped by $$V; exit 0' INT; echo db $$V; while :; do sleep 0.02; done"], env: {{V: "1"}}, shutdown: {{signal: INT}}}}
  web: {{command: [sh, -c, "{WELL}"], depends_on: [db]}}
  gone: {{command: [sh, -c, "{WELL}"]}}
"""
    new = f"""
global: {{reload: {{timeout: 20s}}}}
processes:
  db: {{command: [sh, -c, "echo db $$V; {WELL}"], env: {{V: "2"}}, {QUICK}}}
  web: {{command: [sh, -c, "{WELL}"], depends_on: [db], restart: never, scale: 2, {QUICK}}}
  extra: {{command: [sh, -c, "{WELL}"], {QUICK}}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: up(it, 3) and it.said("db-0") == ["db 1"])
        web, gone = it.pid("web-0"), it.pid("gone-0")
        it.reload(new)
        await it.reloaded("applied")
        assert it.pid("web-0") == web
        await it.until(lambda: it.said("db-0") == ["db 1", "stopped by 1", "db 2"])
        assert not psutil.pid_exists(gone)
        os.kill(web, signal.SIGKILL)  # the new rule counts, without a new start
        await it.until(lambda: it.phase("web-0") is Phase.FAILED)

    stage(old, tmp_path, play)


def test_a_new_health_check_is_asked_of_what_runs(tmp_path: Path) -> None:
    text = "processes: {{web: {{command: [sleep, '1000'], health_check: {{type: exec, command: [{}], period: 0.02, failure_threshold: 2, mode: readiness}}}}}}"

    async def play(it: Stage) -> None:
        await it.until(lambda: up(it, 1))
        pid = it.pid("web-0")
        it.reload(text.format("'false'"))
        await it.until(lambda: up(it, 0))
        it.reload(text.format("'true'"))
        await it.until(lambda: up(it, 1))
        it.reload("processes: {web: {command: [sleep, '1000']}}")
        await it.until(lambda: it.told[-1] == "3 applied")
        assert it.pid("web-0") == pid

    stage(text.format("'true'"), tmp_path, play)


def test_a_plan_that_does_not_get_up_is_taken_back(tmp_path: Path) -> None:
    old = f"processes: {{web: {{command: [sh, -c, 'echo old; {WELL}']}}, same: {{command: [sleep, '1000']}}}}"
    new = "global: {reload: {timeout: 20s}}\nprocesses: {web: {command: [sh, -c, 'exit 3'], restart: {backoff_initial: 10ms}}, same: {command: [sleep, '1000']}}"

    async def play(it: Stage) -> None:
        await it.until(lambda: up(it, 2) and it.said("web-0") == ["old"])
        same = it.pid("same-0")
        it.reload(new)
        await it.reloaded("rolled-back")
        await it.until(lambda: up(it, 2) and it.said("web-0") == ["old", "old"])
        assert it.pid("same-0") == same

    stage(old, tmp_path, play)


@pytest.mark.parametrize("moment", ["start", "reload", "roll"])
def test_the_end_comes_in_the_middle_of_a_start_a_reload_and_a_rolling_restart(tmp_path: Path, moment: str) -> None:
    slow = "health_check: {type: exec, command: ['false'], period: 0.05, mode: readiness}"
    text = f"""
processes:
  db: {{command: [sleep, "1000"], {slow if moment == "start" else QUICK}}}
  web: {{command: [sleep, "1000"], depends_on: [db], scale: 3, rolling: {{max_surge: 1}}}}
"""

    before = set(psutil.Process().children(recursive=True))  # another test may have left one that is not collected

    async def play(it: Stage) -> None:
        if moment == "start":
            await it.until(lambda: it.phase("db-0") is Phase.RUNNING and it.phase("web-0") is Phase.WAITING)
        else:
            await it.until(lambda: up(it, 4))
            if moment == "reload":
                it.reload(text.replace('"1000"', '"2000"'))
            else:
                it.keeper.post(Renewed("web", rolling=True))
            await it.until(lambda: it.phase("web-3") is Phase.RUNNING)
        it.keeper.end()
        assert await it.ended() == 0
        assert set(psutil.Process().children(recursive=True)) <= before

    stage(text, tmp_path, play)


def test_a_hundred_stops_and_starts_in_a_row(tmp_path: Path) -> None:
    async def play(it: Stage) -> None:
        for index in range(100):
            it.keeper.post(Wanted("web", 0))
            if index % 3:
                await it.until(lambda: it.phase("web-0") is Phase.STOPPED)
            it.keeper.post(Wanted("web", 1))
            if index % 2:
                await it.until(lambda: up(it, 1))

    without_leaks("processes: {web: {command: [sleep, '1000']}}", tmp_path, play, count=1)


def test_twenty_plans_one_after_the_other_leave_nothing(tmp_path: Path) -> None:
    def plan(number: int) -> str:
        return f"""
processes:
  same: {{command: [sleep, "1000"]}}
  web: {{command: [sleep, "1000"], env: {{N: "{number}"}}, scale: 2, health_check: {{type: exec, command: ["true"], period: 0.05}}, {QUICK}}}
  p{number}: {{command: [sleep, "1000"], {QUICK}}}
"""

    async def play(it: Stage) -> None:
        same = it.pid("same-0")
        for number in range(1, 20):
            it.reload(plan(number))
            if number % 3:
                await it.reloaded("applied")
        it.reload(plan(0))
        await it.reloaded("applied")
        assert it.pid("same-0") == same
        assert set(it.keeper.state.wanted) == {"same", "web", "p0"}

    without_leaks(plan(0), tmp_path, play, count=4)


def test_fifty_restarts_at_once_again_and_again(tmp_path: Path) -> None:
    names = [f"p{index}" for index in range(50)]
    text = "processes:\n" + "".join(f"  {name}: {{command: [sleep, '1000'], {QUICK}}}\n" for name in names)

    async def play(it: Stage) -> None:
        for rolling in (False, True, False, True):
            pids = {it.pid(f"{name}-0") for name in names}
            for name in names:
                it.keeper.post(Renewed(name, rolling=rolling))
            await it.until(lambda: up(it, 50) and not it.keeper.state.rolls)
            assert not pids & {it.pid(f"{name}-0") for name in names}

    without_leaks(text, tmp_path, play, count=50)


def test_half_of_them_die_at_once_while_they_are_replaced(tmp_path: Path) -> None:
    text = f"""
processes:
  web: {{command: [sleep, "1000"], scale: 20, restart: {{backoff_initial: 10ms}}, rolling: {{max_unavailable: 5, min_ready: 0}}}}
  db: {{command: [sleep, "1000"], {QUICK}}}
"""

    async def play(it: Stage) -> None:
        pids = {it.pid(f"web-{index}") for index in range(20)}
        it.keeper.post(Renewed("web", rolling=True))
        for index in range(10, 20):
            os.kill(it.pid(f"web-{index}"), signal.SIGKILL)
        await it.until(lambda: "web rolled" in it.told and up(it, 21))
        assert not pids & {it.pid(f"web-{index}") for index in range(20)}
        assert not any(lives(str(pid)) for pid in pids)

    without_leaks(text, tmp_path, play, count=21)


def test_fifty_that_die_at_once_come_back_again_and_again(tmp_path: Path) -> None:
    text = "processes: {web: {command: [sleep, '1000'], scale: 50, restart: {backoff_initial: 0}}}"

    async def play(it: Stage) -> None:
        def pids() -> set[int]:
            return {it.pid(f"web-{index}") for index in range(50)}

        async def kill_all() -> None:
            seen = pids()
            for pid in seen:
                os.kill(pid, signal.SIGKILL)
            await it.until(lambda: up(it, 50) and not seen & pids())
            assert not any(lives(str(pid)) for pid in seen)

        for _ in range(4):
            await kill_all()

    without_leaks(text, tmp_path, play, count=50)


def test_they_die_while_everything_is_being_stopped(tmp_path: Path) -> None:
    """None of them minds SIGTERM, so that every end is a death; each of a chain is stopped after the ones that need it."""
    deaf = "trap : TERM; echo up; while :; do sleep 1000 & wait; done"
    text = "processes:\n" + "".join(
        f"  p{index}: {{command: [sh, -c, '{deaf}'], shutdown: {{timeout: 60s, to: main}}"
        + (f", depends_on: [p{index - 1}]}}\n" if index % 3 else "}\n")
        for index in range(9)
    )
    before, others = descriptors(), set(psutil.Process().children(recursive=True))

    async def play(it: Stage) -> None:
        await it.until(lambda: len(it.lines) == 9)
        it.keeper.end()
        killed: list[str] = []

        def told() -> set[str]:
            stopping = {each for each, one in it.keeper.state.instances.items() if one.phase is Phase.STOPPING}
            return {str(each) for each in stopping if it.keeper.state.instances[each].there} - {*killed}

        while not it.run.done():
            for each in sorted(told()):
                os.kill(it.pid(each), signal.SIGKILL)
                killed.append(each)
            await it.until(lambda: it.run.done() or bool(told()))
        assert await it.ended() == 0
        assert sorted(killed) == [f"p{index}-0" for index in range(9)]
        assert killed.index("p2-0") < killed.index("p1-0") < killed.index("p0-0")
        assert set(psutil.Process().children(recursive=True)) <= others
        assert asyncio.all_tasks() == {asyncio.current_task()}

    stage(text, tmp_path, play)
    assert descriptors() == before
