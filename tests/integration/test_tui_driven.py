"""The terminal interface, driven by keys, against a real control API with real processes."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from control_rig import KEY, PATIENCE_S, PLAN, Rig, play, supervising
from textual import events
from textual.pilot import Pilot

from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.domain.roles import Role
from millrace.edge.access import GRANTS, Rules
from millrace.edge.keys import Key, Keys
from millrace.programs.http.listen import listen, url_of
from millrace.programs.http.server import HttpServer
from millrace.supervisor.control.app import control_app
from millrace.tui.app import SupervisorApp

LOOK_S = 0.05
JOBS = """
processes:
  nightly: {command: [sh, -c, "echo night; exit 2"], schedule: "0 3 * * *"}
  once: {command: [sh, -c, "echo once"], type: oneshot}
  web: {command: [sleep, "1000"]}
"""
TALK = """
processes:
  talk:
    command: [sh, -c, 'printf "first ERROR bad\\n\\033[2Jdanger \\033]0;title\\007here\\ndebug: small\\n"; while read -r line; do echo "$$line"; done <> words']
"""


class Desk:
    """The interface on a screen of a given size, and who presses its keys."""

    def __init__(self, app: SupervisorApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> str:
        """What stands on the screen."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    def row(self, name: str) -> str:
        """The line of the table that begins with a name; empty where there is none."""
        return next((line.strip() for line in self.screen.splitlines() if line.split()[:1] == [name]), "")

    async def until(self, seen: Callable[[], object]) -> None:
        """Wait for looks until it is so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not seen():
                    await self.pilot.pause(LOOK_S)
        except TimeoutError:
            pytest.fail(f"it never came; there is\n{self.screen}")

    async def shows(self, *words: str) -> None:
        """Wait until all of these words stand on the screen."""
        await self.until(lambda: all(word in self.screen for word in words))

    async def press(self, *keys: str) -> None:
        """Press keys, each when everything that the one before said has been heard."""
        # The pilot's own way waits for a process without work, which one that looks all the time never is.
        for key in keys:
            character = key if len(key) == 1 else {"slash": "/", "question_mark": "?", "space": " "}.get(key)
            self.app.post_message(events.Key(key, character))
            for _ in range(100):
                await asyncio.sleep(0)


def unix(folder: Path) -> AsyncClient:
    transport = httpx2.AsyncHTTPTransport(uds=str(folder / "s.sock"))
    return AsyncClient(["http://supervisor"], Terms(patience_s=0.0), transport=transport)


@asynccontextmanager
async def watching(client: AsyncClient, *, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Desk]:
    app = SupervisorApp(client, "here", look_s=LOOK_S)
    async with client, app.run_test(size=size, notifications=True) as pilot:
        yield Desk(app, pilot)


def drive(folder: Path, body: Callable[[Desk, Rig], Awaitable[None]], text: str = PLAN, **more: Any) -> None:
    async def whole(rig: Rig) -> None:
        async with watching(unix(folder), **more) as desk:
            await body(desk, rig)

    play(folder, whole, text)


def test_the_processes_are_listed_filtered_and_sorted(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.until(lambda: re.search(r"running +1/1 +\d+ +[\d.]+% +[\d.]+[KM] +\S+ +0", desk.row("db")))
        assert desk.row("bad").split()[:3] == ["bad", "failed", "0/1"]
        assert "bad: service. exited with code 3" in desk.screen  # it is selected
        await desk.shows("s Start", "x Stop", "r Restart", "? Help", "q Quit")
        # Whatever is typed into a field is text, also what is a key elsewhere.
        await desk.press("slash", "q", "x", "question_mark", "1")
        await desk.shows("qx?1")
        assert desk.row("web") == ""
        await desk.press(*["backspace"] * 4, "w", "e", "enter")
        await desk.until(lambda: desk.row("web") and not desk.row("db"))
        await desk.press("slash", "escape")
        await desk.until(lambda: desk.row("db"))
        await desk.press("o")
        await desk.shows("[by state]")
        names = [line.split()[0] for line in desk.screen.splitlines()[4:9]]
        assert names == ["bad", "db", "web", "once", "spare"]
        await desk.press("O")
        await desk.shows("by state backwards")
        assert [line.split()[0] for line in desk.screen.splitlines()[4:9]] == names[::-1]

    drive(tmp_path, body)


def test_what_hurts_is_asked_before_and_the_rest_is_done_at_once(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("G", "x")
        await desk.shows("Stop web (2 instances)?")
        await desk.press("enter")  # the button that is lit is No
        await desk.press("x")
        await desk.shows("Stop web")
        await desk.press("n", "r")
        await desk.shows("Restart web (2 instances)? It is down meanwhile.")
        await desk.press("q")
        assert (await rig.get("/v1/processes/web"))["ready"] == 2
        assert [one["restarts"] for one in (await rig.get("/v1/processes/web"))["instances"]] == [0, 0]
        await desk.press("x", "y")
        await desk.until(lambda: "stopped" in desk.row("web"))
        await desk.shows("web is stopped")
        await desk.press("s")
        await desk.shows("Start web?")
        await desk.press("enter")  # it does no harm, so Yes is lit
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("plus")
        await desk.until(lambda: "3/3" in desk.row("web"))
        await desk.press("minus")
        await desk.shows("Scale web from 3 to 2?")
        await desk.press("y")
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("c", "x", "backspace", "5", "0", "0", "0", "enter")
        await desk.shows("give a whole number from 0 to 1000")
        await desk.press(*["backspace"] * 4, "4", "enter")
        await desk.until(lambda: "4/4" in desk.row("web"))
        await desk.press("s", "y")  # what is refused is told
        await desk.shows("cannot start web")

    drive(tmp_path, body)


def test_keys_act_on_what_is_seen_and_on_nothing_behind_it(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("G", "4")
        await desk.shows("what changes from now on stands here")
        assert "Stop" not in desk.screen
        await desk.press("x", "y", "r", "y", "minus", "y", "c", "l", "enter")
        await desk.press("5")
        await desk.shows("Version", "X Shut down")
        await desk.press("x", "y", "r", "y", "minus", "y", "c", "l", "enter")
        await desk.press("1")
        found = await rig.get("/v1/processes/web")
        assert (found["ready"], [one["restarts"] for one in found["instances"]]) == (2, [0, 0])
        # On the screen of another process the keys are for that one.
        await desk.press("g", "j", "enter")
        await desk.shows("db: service, running", "Needs  nothing")
        await desk.press("x")
        await desk.shows("Stop db?")

    drive(tmp_path, body)


def test_the_details_show_instances_reasons_and_curves(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("G", "enter")
        await desk.shows(
            "web: service, running, 2 of 2 ready", "Needs  db (ready)", "web-0", "web-1", "CPU", "MEMORY  now"
        )
        await desk.until(lambda: "█" in desk.screen)
        await desk.press("escape", "g", "enter")
        await desk.shows("bad: service, failed", "bad-0 is failed: exited with code 3")

    drive(tmp_path, body)


def test_what_came_of_an_order_is_told_with_its_reason(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "failed" in desk.row("lost"))
        await desk.press("enter", "s", "y")
        await desk.shows("lost is failed, 0 of 1 ready", "nonesuch")

    plan = "processes:\n  lost: {command: [nonesuch], restart: never}\n  web: {command: [sleep, '1000']}\n"
    drive(tmp_path, body, plan)


def test_a_log_is_followed_searched_filtered_and_held(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "1/1" in desk.row("talk"))
        with (tmp_path / "words").open("w") as words:

            def say(text: str) -> None:
                print(text, file=words, flush=True)

            await desk.press("l")
            # What a terminal would obey is taken out of what others have written.
            await desk.shows("talk-0 first ERROR bad", "talk-0 danger here", "talk-0 debug: small")
            assert "\x1b" not in desk.screen
            say("and a needle")
            await desk.shows("talk-0 and a needle", "4 lines")
            await desk.press("v", "v", "v")
            await desk.shows("error and graver", "1 lines")
            assert "needle" not in desk.screen
            await desk.press("v")
            await desk.shows("needle")
            await desk.press("slash", *"needle", "enter")
            await desk.shows("1 with 'needle'")
            await desk.press("slash", *["backspace"] * 6, *"nothing", "enter")
            await desk.shows("no line holds 'nothing'")
            await desk.press("space")
            await desk.shows("PAUSED, 0 more")
            say("while it is held")
            await desk.shows("PAUSED, 1 more")
            assert "while it is held" not in desk.screen
            await desk.press("space")
            await desk.shows("talk-0 while it is held")
            for number in range(100):
                say(f"line {number}")
            await desk.shows("line 99")
            await desk.press("g")
            await desk.shows("first ERROR bad")
            say("the last one")
            await desk.shows("106 lines")
            say("and another")
            await desk.shows("107 lines")
            assert "the last one" not in desk.screen  # somebody reads above
            assert "first ERROR bad" in desk.screen
            await desk.press("G")
            await desk.shows("the last one", "and another")

    os.mkfifo(tmp_path / "words")
    drive(tmp_path, body, TALK)


def test_schedules_are_triggered_paused_and_resumed(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "scheduled" in desk.row("nightly"))
        await desk.press("2")
        await desk.until(lambda: "0 3 * * *" in desk.row("nightly") and "idle" in desk.row("nightly"))
        await desk.shows("t Trigger")
        assert "Scale" not in desk.screen
        assert desk.row("web") == ""
        await desk.press("t")
        await desk.shows("Run nightly now?")
        await desk.press("n", "t")
        await desk.shows("Run nightly now?")
        await desk.press("y")
        await desk.shows("run 1 of nightly was triggered")
        await desk.until(lambda: desk.row("nightly").split()[-3:] == ["2", "1", "0%"])
        await desk.press("p")
        await desk.shows("Pause nightly? Its times pass.")
        await desk.press("y")
        await desk.until(lambda: "paused" in desk.row("nightly"))
        await desk.press("p")
        await desk.shows("Heed the times of nightly again?")
        await desk.press("enter")
        await desk.until(lambda: "idle" in desk.row("nightly"))
        await desk.press("enter")
        await desk.shows(
            "Runs   0 3 * * * (UTC)", "Overlap: forbid; 0 going on of at most 1", "hand", "failed", "exited with code 2"
        )
        await desk.press("t", "y")
        await desk.until(lambda: "\n   2  nightly-0  hand" in desk.screen)
        await desk.press("escape", "3")
        await desk.until(lambda: "completed" in desk.row("once"))
        await desk.press("enter")
        await desk.shows("once-0", "exited with code 0", "TOOK")

    drive(tmp_path, body, JOBS, size=(100, 24))


def test_changes_are_written_down_as_they_come(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("4")
        # The stream is open once a change was heard.
        while "spare-0" not in desk.screen:
            await rig.post("/v1/processes/spare/start")
            await rig.post("/v1/processes/spare/stop")
            await desk.pilot.pause()
        await desk.shows("spare-0 running, ready", "spare-0 stopped: was killed by SIGTERM")
        await rig.post("/v1/reload")
        await desk.shows("the plan is in force; nothing changes")

    drive(tmp_path, body)


def test_instances_are_replaced_in_turn_after_a_question_and_the_events_say_so(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        before = {one["pid"] for one in (await rig.get("/v1/processes/web"))["instances"]}
        await desk.press("G", "u")
        await desk.shows("Replace web, one instance after the other?", "Replace (y)")
        await desk.press("n")
        await desk.until(lambda: "Replace (y)" not in desk.screen)
        assert {one["pid"] for one in (await rig.get("/v1/processes/web"))["instances"]} == before
        await desk.press("u", "y", "4")
        await desk.shows("web-0 stopping: is replaced by a new one", "web is replaced")
        lines = desk.screen.splitlines()
        stops, ups = (
            [index for index, line in enumerate(lines) if words in line]
            for words in ("is replaced by a new one", "web-0 running, ready")
        )
        # A view that was quick shows the first start of web-0, too.
        assert any(stops[0] < up < stops[1] for up in ups), "the second goes when the first is back"
        assert not before & {one["pid"] for one in (await rig.get("/v1/processes/web"))["instances"]}

    drive(tmp_path, body)


def test_a_supervisor_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    plan = 'processes:\n  db: {command: [sh, -c, "echo up with $$$$; exec sleep 1000"]}\n'

    async def whole() -> None:
        async with watching(unix(tmp_path)) as desk:
            await desk.shows("LOST for", "trying again")
            async with supervising(tmp_path, plan):
                await desk.until(lambda: "1/1" in desk.row("db"))
                assert "LOST" not in desk.screen
                await desk.press("l")
                await desk.shows("up with")
            await desk.shows("LOST for", "cannot reach the supervisor")
            async with supervising(tmp_path, plan):
                await desk.until(lambda: "LOST" not in desk.screen)
                # Each line is there once, also those of the new one, whose numbers have begun anew.
                await desk.until(lambda: desk.screen.count("up with") == 2)
                await desk.shows("--- the supervisor was started anew ---")
                assert desk.screen.index("up with") < desk.screen.index("started anew")
                await desk.press("escape")
                await desk.until(lambda: "1/1" in desk.row("db"))

    asyncio.run(whole())


def application(rig: Rig, role: Role) -> Any:
    """The control API for whoever shows a key of this role."""
    keys = Keys([Key(secret=KEY, name="it", role=role.value, grants=GRANTS[role])], now_s=lambda: 0.0)
    return control_app(rig.supervisor, rules=lambda: Rules(keys=keys))


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[str]:
    listening = listen("127.0.0.1", 0)
    url = url_of(listening, tls=False)
    async with HttpServer(application, listening, certificate=None, key=None, before_stop=lambda: None):
        yield url


def test_a_slow_supervisor_holds_nothing_up(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        edge = application(rig, Role.ADMIN)
        gate = asyncio.Event()
        gate.set()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await gate.wait()
            await edge(scope, receive, send)

        async with serving(slow) as url, watching(AsyncClient([url], Terms(key=KEY, patience_s=0.0))) as desk:
            await desk.until(lambda: "2/2" in desk.row("web"))
            gate.clear()
            await desk.shows("SLOW: no answer for")
            await desk.press("5")
            await desk.shows("Version")
            await desk.press("1", "question_mark")
            await desk.shows("processes, scheduled, oneshot")
            await desk.press("escape", "G", "x", "y")
            await desk.shows("stop web ...")
            await desk.press("enter")
            await desk.shows("web: service, running")
            gate.set()
            await desk.shows("web: service, stopped")
            assert "SLOW" not in desk.screen
            rig.supervisor.stop()

    play(tmp_path, body)


def test_a_key_that_only_reads_sees_no_dead_keys(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        edge = application(rig, Role.VIEWER)
        async with (
            serving(edge) as url,
            watching(AsyncClient([url], Terms(key=KEY, patience_s=0.0)), size=(160, 24)) as desk,
        ):
            await desk.until(lambda: "2/2" in desk.row("web"))
            await desk.shows("read only: no start, stop, restart, scale")
            await desk.shows("l Log", "/ Filter", "q Quit")
            assert all(word not in desk.screen for word in ("s Start", "x Stop", "r Restart", "c Scale"))
            await desk.press("G", "x")
            await desk.shows("cannot stop: the key in use does not allow it")
            await desk.press("y", "enter")
            await desk.shows("web: service, running")
            assert "Restart" not in desk.screen
            await desk.press("r")
            await desk.shows("cannot restart: the key in use does not allow it")
            await desk.press("l")
            await desk.shows("says hello")
            await desk.press("escape", "escape", "5")
            await desk.shows("Version")
            await desk.press("R")
            await desk.shows("cannot reload: the key in use does not allow it")
            await desk.until(lambda: "l Log" not in desk.screen)  # the line at the bottom is that of this tab
            assert "Shut down" not in desk.screen
            assert "Reload the plan" not in desk.screen
            assert (await rig.get("/v1/processes/web"))["ready"] == 2
            rig.supervisor.stop()

    play(tmp_path, body)


def test_the_whole_is_shut_down_after_a_question(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("5", "X")
        await desk.shows("Stop everything in order, and end the supervisor?")
        await desk.press("y")
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(rig.running)

    drive(tmp_path, body)


def test_another_plan_is_shown_and_asked_about_before_it_is_kept(tmp_path: Path) -> None:
    async def body(desk: Desk, rig: Rig) -> None:
        await desk.until(lambda: "2/2" in desk.row("web"))
        await desk.press("R")  # only where the supervisor itself is on the screen
        await desk.press("5")
        await desk.shows("Version", "R Reload the plan")
        await desk.press("R")
        await desk.shows("the plan is as it was: nothing to reload")
        rig.plan.write_text(PLAN.replace("hunter2", "hunter3").replace("  spare:", "  extra:"))
        await desk.press("R")
        await desk.shows("Keep this plan from now on?", "+ extra", "- spare", "~ db: env.PASSWORD (replaced)")
        assert "hunter" not in desk.screen
        await desk.press("enter")  # the button that is lit is No
        await desk.until(lambda: "Keep this plan" not in desk.screen)
        assert "was not reloaded" in (await rig.get("/v1/reload", status=404))["detail"]
        await desk.press("R")
        await desk.shows("Keep this plan from now on?")
        await desk.press("y")
        await desk.shows("the plan is in force; 1 added")
        assert (await rig.get("/v1/processes/extra"))["name"] == "extra"
        rig.plan.write_text("processes: {web: {command: [sleep, '1'], scale: many}}")
        await desk.press("R")
        await desk.shows("cannot reload, and nothing was changed", "processes.web.scale")
        assert "Keep this plan" not in desk.screen

    drive(tmp_path, body, size=(100, 30))
