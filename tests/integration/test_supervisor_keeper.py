"""The supervisor with real processes: order, output, restarts, health, and an end that leaves nothing behind."""

import os
import signal
from pathlib import Path

import pytest
from keeper_stage import Stage, lives, stage

from millrace.supervisor.machine import CUT_SHORT
from millrace.supervisor.state import Id, Phase, Renewed, Wanted


def test_a_stack_comes_up_in_order_and_goes_down_in_the_other(tmp_path: Path) -> None:
    text = """
processes:
  db:
    command: [sh, -c, "trap 'echo db stops; exit 0' TERM; echo db starts; touch up; while :; do sleep 0.05; done"]
    health_check: {type: exec, command: [test, -e, up], period: 0.02}
  init: {command: [sh, -c, "echo init runs"], type: oneshot, depends_on: [db]}
  web:
    command: [sh, -c, "trap 'sleep 0.2; echo web stops; exit 0' TERM; echo web starts; while :; do sleep 0.05; done"]
    depends_on: {init: completed}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: "web starts" in it.said("web-0"))
        it.keeper.end()
        assert await it.ended() == 0
        assert [text for _, text in it.lines] == [
            "db starts", "init runs", "web starts", "web stops", "db stops",
        ]  # fmt: skip

    stage(text, tmp_path, play)


def test_what_is_killed_comes_back_at_once_and_what_crashes_is_given_up(tmp_path: Path) -> None:
    text = """
processes:
  web: {command: [sh, -c, "echo $$$$; exec sleep 100"]}
  bad: {command: [sh, -c, "exit 3"], restart: {policy: always, max_attempts: 2, backoff_initial: 10ms}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: len(it.said("web-0")) == 1)
        os.kill(int(it.said("web-0")[0]), signal.SIGKILL)
        await it.until(lambda: len(it.said("web-0")) == 2)
        await it.until(lambda: it.phase("bad-0") is Phase.FAILED)
        assert it.keeper.state.instances[Id("bad", 0)].reason.startswith(
            "exited with code 3; given up after 2 restarts"
        )
        it.keeper.end()
        assert await it.ended() == 0

    stage(text, tmp_path, play)


def test_a_program_that_is_not_there_fails_alone_with_the_reason(tmp_path: Path) -> None:
    text = """
processes:
  bad: {command: [nonesuch-program]}
  web: {command: [sleep, "100"]}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: it.phase("bad-0") is Phase.FAILED and it.phase("web-0") is Phase.RUNNING)
        assert it.keeper.state.instances[Id("bad", 0)].reason == (
            "cannot start nonesuch-program: no such program in PATH; install it or name it by its full path"
        )

    stage(text, tmp_path, play)


def test_a_process_for_somebody_unknown_fails_alone_and_never_runs_as_us(tmp_path: Path) -> None:
    text = """
processes:
  bad: {command: [touch, ran], user: no-such-user}
  worse: {command: [touch, ran], group: no-such-group}
  web: {command: [sleep, "100"]}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: it.phase("web-0") is Phase.RUNNING)
        await it.until(lambda: it.phase("bad-0") is Phase.FAILED and it.phase("worse-0") is Phase.FAILED)
        assert it.keeper.state.instances[Id("bad", 0)].reason == (
            "cannot start as user no-such-user: there is no such user; make it, or give a number"
        )
        assert not (tmp_path / "ran").exists()

    stage(text, tmp_path, play)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_a_process_and_its_check_run_as_the_plan_says(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    text = """
processes:
  web:
    command: [sh, -c, "echo $$(id -u) $$(id -g) $$(umask) $$HOME $$USER $$LOGNAME; exec sleep 100"]
    user: 4000000
    group: 4000001
    umask: 027
    env: {USER: mine}
    health_check: {type: exec, command: [sh, -c, "id -u > asked"], period: 0.02}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: ("web-0", Phase.RUNNING, True) in it.changes and bool(it.said("web-0")))
        assert it.said("web-0") == ["4000000 4000001 0027 / mine 4000000"]
        assert (tmp_path / "asked").stat().st_uid == 4_000_000

    stage(text, tmp_path, play)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_hooks_and_runs_at_their_times_are_the_same_user_unless_a_hook_says_otherwise(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    who = "[sh, -c, 'id -u > $$MILLRACE_HOOK; echo $$HOME $$USER >> $$MILLRACE_HOOK']"
    text = f"""
processes:
  web:
    command: [sleep, "100"]
    user: 4000000
    group: 4000001
    env: {{USER: mine}}
    hooks:
      pre-start:
        - {{name: usual, command: {who}}}
        - {{name: other, command: {who}, user: root}}
        - {{name: grouped, command: [sh, -c, "id -u > grouped; id -g >> grouped"], group: 4000002}}
  unknown: {{command: [touch, ran], hooks: {{pre-start: [{{command: [touch, ran], user: no-such-user}}]}}}}
  job: {{command: [sh, -c, "id -u > job"], user: 4000000, group: 4000001, schedule: "0 0 1 1 *"}}
  once: {{command: [sh, -c, "id -u > once"], user: 4000000, group: 4000001, type: oneshot}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: ("web-0", Phase.RUNNING, True) in it.changes)
        assert (tmp_path / "usual").read_text() == "4000000\n/ mine\n"
        assert (tmp_path / "other").read_text() == "0\n/root mine\n"
        assert (tmp_path / "grouped").read_text() == "0\n4000002\n"
        await it.until(lambda: it.phase("unknown-0") is Phase.FAILED)
        assert "there is no such user" in it.keeper.state.instances[Id("unknown", 0)].reason
        assert not (tmp_path / "ran").exists()
        await it.until(lambda: it.phase("once-0") is Phase.COMPLETED)
        it.keeper.trigger("job")
        await it.until(lambda: bool(it.keeper.state.jobs["job"].history))
        assert (tmp_path / "job").read_text() == (tmp_path / "once").read_text() == "4000000\n"

    stage(text, tmp_path, play)


def test_who_ignores_the_signal_is_killed_with_all_it_started(tmp_path: Path) -> None:
    text = """
processes:
  stubborn:
    command: [sh, -c, "trap '' TERM; setsid sh -c 'trap \\"\\" TERM; echo $$$$; while :; do sleep 1; done' & while :; do sleep 1; done"]
    shutdown: {timeout: 0.1}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: bool(it.said("stubborn-0")))
        it.keeper.end()
        assert await it.ended() == CUT_SHORT
        assert not lives(it.said("stubborn-0")[0])

    stage(text, tmp_path, play)


@pytest.mark.parametrize("twice", [True, False], ids=["a second call", "the deadline"])
def test_the_end_never_takes_longer_than_it_may(tmp_path: Path, twice: bool) -> None:
    text = f"""
global: {{shutdown_timeout: {"1h" if twice else "0.2"}}}
processes:
  slow: {{command: [sh, -c, "trap '' TERM; echo up; while :; do sleep 1; done"], shutdown: {{timeout: 1h}}}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: "up" in it.said("slow-0"))
        it.keeper.end()
        if twice:
            it.keeper.end()
        assert await it.ended() == CUT_SHORT

    stage(text, tmp_path, play)


def test_an_unhealthy_process_is_stopped_in_order_and_started_again(tmp_path: Path) -> None:
    text = """
processes:
  web:
    command: [sh, -c, "rm -f sick; trap 'echo was asked; exit 0' TERM; echo up; while :; do sleep 0.02; done"]
    health_check: {type: exec, command: [sh, -c, "! test -e sick"], period: 0.02, failure_threshold: 2}
"""

    async def play(it: Stage) -> None:
        # A check that comes before the first command has nothing to say against the process.
        await it.until(lambda: ("web-0", Phase.RUNNING, True) in it.changes and it.said("web-0") == ["up"])
        (tmp_path / "sick").touch()
        await it.until(lambda: it.said("web-0") == ["up", "was asked", "up"])
        await it.until(lambda: it.changes[-1] == ("web-0", Phase.RUNNING, True))

    stage(text, tmp_path, play)


def test_scaling_and_restarting_while_it_runs(tmp_path: Path) -> None:
    text = "processes: {web: {command: [sh, -c, 'echo $$$$ $$MILLRACE_INSTANCE; exec sleep 100'], scale: 2}}"

    async def play(it: Stage) -> None:
        await it.until(lambda: len(it.lines) == 2)
        it.keeper.post(Wanted("web", 3))
        await it.until(lambda: bool(it.said("web-2")))
        assert it.said("web-2")[0].endswith(" web-2")
        it.keeper.post(Wanted("web", 1))
        await it.until(lambda: sorted(map(str, it.keeper.state.instances)) == ["web-0"])
        it.keeper.post(Renewed("web"))
        await it.until(lambda: len(it.said("web-0")) == 2)
        pids = {line.split()[0] for line in (*it.said("web-0")[:1], *it.said("web-1"), *it.said("web-2"))}
        assert not [pid for pid in pids if lives(pid)]

    stage(text, tmp_path, play)
