"""The terminal interface, driven by keys: processes are written, edited, deleted and saved; signals, metrics, hooks, the audit trail."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from control_rig import KEY, Rig, play
from test_tui_driven import Desk, application, drive, serving, watching
from textual.widgets import Input, TextArea

from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.domain.roles import Role

PLAN = """\
processes:
  db: {command: [sleep, "1000"], env: {PASSWORD: hunter2}, rolling: {min_ready: 0}, health_check: {type: exec, command: ["true"], period: 0.05}}
  web:
    command: [sh, -c, 'trap "echo heard >> heard" USR1; touch waits; while :; do sleep 0.05; done']
    depends_on: [db]
    scale: 2
    rolling: {min_ready: 0}
    hooks: {post-start: [{name: warm-up, command: [sh, -c, "exit 4"]}]}
"""
METRIC = """\
processes:
  worker:
    command: [sleep, "1000"]
    autoscale: {max: 5, target: 10, metric: {command: [echo, "10"]}, interval: 1h}
"""


async def write(desk: Desk, text: str) -> None:
    """Put a text where the cursor is, as a terminal pastes it."""
    focused = desk.app.screen.focused
    assert isinstance(focused, Input | TextArea)
    if isinstance(focused, Input):
        focused.value = ""
        focused.insert_text_at_cursor(text)
    else:
        focused.load_text(text)
    await desk.pilot.pause()


def test_a_process_is_written_checked_as_it_is_typed_reviewed_and_added(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("a")
        await desk.shows("Name", "Command", "Environment", "name is missing")
        # Letters that are keys elsewhere are letters here.
        await desk.press(*"1q", "question_mark")
        await desk.shows("1q?", "name is no name; allowed: letters, digits, - and _")
        await desk.press("ctrl+s")
        await desk.shows("cannot go on")
        await desk.press(*["backspace"] * 3, *"web")
        await desk.shows("cannot add web: there is a process of that name")
        await desk.press(*["backspace"] * 3, *"queue", "enter")
        await desk.shows("command is missing")
        await desk.press(*"sleep ", "'")
        await desk.shows("command cannot be taken apart: no closing quotation")
        await desk.press(*"1000", "'", "enter", "tab", "tab", *"9x")
        await desk.shows("scale must be a number from 1 to 1000, not '9x'")
        await desk.press(*["backspace"] * 2, "2", "tab", *"never", "tab", *"bd,web")
        await desk.shows("depends_on names bd, and no enabled process is called that")
        await desk.press("shift+tab", "tab")
        await write(desk, "db")
        await desk.press("tab", "tab", "tab", *"A=b C")
        await desk.shows("env holds 'C', which is no NAME=value")
        await write(desk, "A='b c' S=${HOME}")
        await desk.shows("Ctrl-S shows it as YAML; + queue")
        assert "must be a number" not in desk.screen
        await desk.press("enter")
        await desk.shows("- sleep", "A: b c", "S: ${HOME}", "scale: 2", "restart: never", "Ctrl-S sends it; + queue")
        assert "queue" not in rig.keeper.plan.processes
        await desk.press("ctrl+s")
        await desk.until(lambda: "2/2" in desk.row("queue"))
        await desk.shows("the plan is in force; 1 added")
        made = rig.keeper.plan.processes["queue"]
        assert (made.command, made.scale, dict(made.depends_on)) == (("sleep", "1000"), 2, {"db": "ready"})
        assert made.env["A"] == "b c"

    drive(tmp_path, body, PLAN, size=(100, 30))


def test_a_process_is_edited_in_fields_and_in_its_yaml_and_its_secrets_stay(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("e")  # db is selected
        await desk.shows("sleep 1000", "PASSWORD=", "***")
        assert "hunter2" not in desk.screen
        await desk.press("escape")  # nothing was written, so nothing is asked
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("enter", "e")  # also on the screen of the process
        await desk.shows("sleep 1000")
        await write(desk, "sleep 2000")
        await desk.shows("Ctrl-S shows it as YAML; ~ db: command (replaced)")
        await desk.press("escape")
        await desk.shows("Leave? What is written here is lost.")
        await desk.press("enter")  # the button that is lit is No
        await desk.press("ctrl+s")
        await desk.shows("health_check", "PASSWORD: '***'", "Ctrl-S sends it")
        await desk.press("escape")
        await desk.shows("Environment")
        await desk.press("ctrl+s")
        await desk.shows("health_check")
        await write(desk, "command: [sleep, '3000'\n")
        await desk.shows("yaml is no valid YAML in line 2")
        await desk.press("ctrl+s")
        await desk.shows("cannot go on")
        await write(desk, "command: [sleep, '3000']\nnice: 99\nenv: {PASSWORD: '***', OTHER: '***'}")
        await desk.shows("env.OTHER holds ***, and there is no secret at this place")
        await write(desk, "command: [sleep, '3000']\nnice: 99\nenv: {PASSWORD: '***'}")
        await desk.shows("nice is 99; allowed: -20 to 19")
        await desk.press("escape")
        await desk.shows("Leave?")
        await desk.press("n")
        await write(desk, "command: [sleep, '3000']\nnice: 3\nenv: {PASSWORD: '***'}")
        await desk.shows("Ctrl-S sends it; ~ db: ")
        await desk.press("ctrl+s")
        await desk.shows("db: service, running")
        made = rig.keeper.plan.processes["db"]
        assert (made.command, made.execution.nice, made.env) == (("sleep", "3000"), 3, {"PASSWORD": "hunter2"})

    drive(tmp_path, body, PLAN, size=(120, 30))


def test_an_answer_that_comes_while_the_fields_go_is_heard_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        put, times, asked, answered = desk.app.put, itertools.count(1), asyncio.Event(), asyncio.Event()

        async def late(*what: Any, **how: Any) -> Any:
            screen, found = desk.app.screen, await put(*what, **how)
            if next(times) == 1:
                return found  # the fields say that they were filled, so it is asked again
            asked.set()
            while screen.query(".wrong"):
                await asyncio.sleep(0)
            answered.set()
            return found

        monkeypatch.setattr(desk.app, "put", late)
        await desk.press("e")
        await asked.wait()
        await desk.press("escape")
        await desk.until(lambda: "2/2" in desk.row("web"))
        await answered.wait()

    drive(tmp_path, body, PLAN)


def test_one_that_does_not_get_up_stays_in_the_form_with_the_reason(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        # Whoever is quicker than the check gets on once that is done.
        await desk.press("a", *"bad", "enter", *"nonesuch", "ctrl+s")
        await desk.shows("Ctrl-S sends it")
        await desk.press("ctrl+s")
        await desk.shows("cannot add bad: it was taken back", "cannot start nonesuch")
        # Somebody else has changed the plan since this form was opened: nothing is lost by sending it.
        await desk.press("escape")
        await desk.shows("Environment")
        await desk.press("escape")
        await desk.shows("Leave?")
        await desk.press("y")
        await desk.until(lambda: desk.row("web"))
        await desk.press("G", "e")
        await desk.shows("Needs")
        await rig.client.post("/v1/processes", json={"name": "other", "process": {"command": ["sleep", "1000"]}})
        await desk.press("tab", "tab", "tab", "5")
        await desk.shows("cannot change the plan: it is", "look at it again")
        assert rig.keeper.plan.processes["web"].scale == 2

    drive(tmp_path, body, PLAN, size=(120, 30))


def test_a_process_is_deleted_after_a_question_and_all_is_saved_after_another(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("d")
        await desk.shows("Stop db, and take it out of the plan?")
        await desk.press("y")
        await desk.shows("cannot remove db: web depends on it")
        await desk.press("G", "d")
        await desk.shows("Stop web, and take it out of the plan?")
        await desk.press("enter")  # the button that is lit is No
        await desk.until(lambda: "Stop web" not in desk.screen)
        assert "web" in rig.keeper.plan.processes
        await desk.press("S")  # only where the supervisor itself is on the screen
        await desk.press("d", "y")
        await desk.until(lambda: desk.row("db") and not desk.row("web"))
        await desk.press("5")
        await desk.shows("Not saved  web", "S Save", "P Plan")
        await desk.press("S")
        await desk.shows("plan.yaml.changes?", "web: removed")
        await desk.press("n", "S")
        await desk.shows("web: removed")
        place = Path(f"{rig.plan}.changes")
        assert not await asyncio.to_thread(place.exists)
        await desk.press("y")
        await desk.shows("Not saved  nothing", "Saved      web beside the plan")
        assert "removed: [web]" in await asyncio.to_thread(place.read_text)
        await desk.press("S")
        await desk.shows("there is nothing to save")

    drive(tmp_path, body, PLAN, size=(120, 30))


def test_signals_are_sent_and_the_plan_hooks_and_audit_trail_are_shown(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web") and (tmp_path / "waits").exists())
        await desk.press("G", "i")
        await desk.shows("Which signal for the main process of each instance of web?", "HUP")
        await desk.press("escape")
        await desk.until(lambda: "Which signal" not in desk.screen)
        await desk.press("i")
        await desk.shows("Which signal")
        await write(desk, "NIX")
        await desk.press("enter")
        await desk.shows("'NIX' is")
        await desk.press("i")
        await desk.shows("Which signal")
        await write(desk, "usr1")
        await desk.press("enter")
        await desk.shows("sent SIGUSR1 to 2 processes of web")
        await desk.until((tmp_path / "heard").exists)
        await desk.press("6")
        await desk.shows("post-start", "warm-up", "exited with code 4")
        await desk.press("7")
        await desk.shows("uid:", "POST /v1/processes/web/signal", "200", "422", "'NIX' is no signal")
        await desk.press("x", "d", "a", "y")  # nothing is selected here
        await desk.press("5", "P")
        await desk.shows("processes:", "command: [sleep, 1000]", "PASSWORD: ***")
        assert "hunter2" not in desk.screen
        await desk.press("G", "escape")
        await desk.shows("Version")
        assert sorted(rig.keeper.plan.processes) == ["db", "web"]

    drive(tmp_path, body, PLAN, size=(140, 34))


def test_what_was_scaled_by_hand_follows_its_metric_again(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "1/1" in desk.row("worker"))
        await desk.press("A")
        await desk.shows("worker follows its metric already")
        await desk.press("plus")
        await desk.until(lambda: "2/2" in desk.row("worker"))
        assert (await rig.get("/v1/processes/worker"))["autoscale"]["pinned"]
        await desk.press("A")
        await desk.shows("Let the metric of worker say again how many there are?")
        await desk.press("y")
        await rig.until("/v1/processes/worker", lambda found: not found["autoscale"]["pinned"])

    drive(tmp_path, body, METRIC)


def test_who_may_not_change_processes_is_not_offered_to(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        async with (
            serving(application(rig, Role.ADMIN)) as url,
            watching(AsyncClient([url], Terms(key=KEY, patience_s=0.0)), size=(160, 24)) as desk,
        ):
            # The role would do; the plan has not let anybody in over TCP.
            await desk.until(lambda: "2/2" in desk.row("web"))
            await desk.shows("read only: no add, edit, delete, save")
            assert "a Add" not in desk.screen
            await desk.press("d")
            await desk.shows("cannot delete: the key in use does not allow it")
            await desk.press("a")
            await desk.shows("cannot add: the key in use does not allow it")
            await desk.press("5")
            await desk.shows("Not saved  nothing")
            assert "S Save" not in desk.screen
            rig.supervisor.stop()

    play(tmp_path, body, PLAN)


def test_every_key_stands_in_the_help_and_in_the_manual() -> None:
    from millrace.tui import asking
    from millrace.tui.detail import Detail
    from millrace.tui.log import Log
    from millrace.tui.main_screen import MainScreen
    from millrace.tui.steering import Steering

    manual = (Path(__file__).parents[2] / "docs/how-to/supervise.md").read_text()
    spelled = {"slash": "/", "plus": "+", "minus": "-", "escape": "Esc", "space": "Space", "question_mark": "?"}
    twins = {"equals_sign", "underscore", "left", "h", "tab", "right"}  # of +, -, Esc
    keys: set[str] = set()
    for screen in (MainScreen, Steering, Detail, Log):
        bindings: list[Any] = screen.__dict__.get("BINDINGS", [])
        keys |= {key for one in bindings for key in str(one.key).split(",")}
    help_words = asking.HELP.split()
    for key in keys - twins - set("1234567"):
        shown = spelled.get(key, key)
        assert shown in help_words, key
        assert f"`{shown}`" in manual or shown in ("Esc", "Space"), key
