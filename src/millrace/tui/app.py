"""The app: it looks at the supervisor again and again, shows what it saw, and tells it what to do.

Nothing here waits for an answer while a key waits: looks, orders and streams are tasks of their own, and the line at the top
says for how long nobody has answered.
"""

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.widgets import Static

from millrace.client import supervise
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError
from millrace.client.news_words import reload_sentence, rescale_sentence, roll_sentence
from millrace.runtime.clock import Clock, SystemClock
from millrace.tui.asking import Help
from millrace.tui.desk import DeskScreen
from millrace.tui.detail import Detail
from millrace.tui.log import Log
from millrace.tui.main_screen import MainScreen
from millrace.tui.orders import GOES_WELL, Orders, said
from millrace.tui.plan_text import PlanText
from millrace.tui.powers import Powers
from millrace.tui.seen import Seen, greet, look
from millrace.tui.tail import Shown, Tail, note
from millrace.tui.wizard import Wizard
from millrace.tui.words import clock as time_of_day
from millrace.tui.words import plain, span
from millrace.wire.v1.supervise import ChangeView, ReloadView, RescaleView, RollView

LOOK_S = 1.0
LOG_S = 0.5
BREATH_S = 0.2
"""Between two looks, however fast changes come."""
LATE_S = 2.0
"""An answer that takes longer is worth a word."""
_GRAVE = {"failed": "error", "backing-off": "warn"}


class SupervisorApp(Orders):
    """The terminal interface of one supervisor."""

    CSS_PATH = "millrace.tcss"
    TITLE = "millrace"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, client: AsyncClient, where: str, *, clock: Clock | None = None, look_s: float = LOOK_S) -> None:
        """`where` is what the supervisor is called on the screen; `look_s` are the seconds between two looks."""
        super().__init__()
        self.client = client
        self.able = Powers()
        self.seen: Seen | None = None
        self.events = Tail()
        self._where = where
        self._time = clock or SystemClock()
        self._look_s = look_s
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._asked_s: float | None = None  # since when an answer is awaited
        self._lost_s: float | None = None  # since when nobody is reached
        self._fault = ""
        self._main = MainScreen(self.events)
        self.events.say("what changes from now on stands here")

    def on_mount(self) -> None:
        """Begin to look."""
        self.push_screen(self._main)
        self.set_interval(1.0, self.status)
        self._watch()
        self._follow()

    @work
    async def _watch(self) -> None:
        while True:
            try:
                self._asked_s = self._time.monotonic()
                if self.seen is None or self._lost_s is not None:
                    self.able = await greet(self.client)
                self._reached(await look(self.client, self.able, wanted=self._wanted(), also=self._also()))
            except ClientError as error:
                self._missed(error)
            finally:
                self._asked_s = None
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
            await self._time.sleep(min(BREATH_S, self._look_s))
            await self._time.wait_event(self._wake, self._look_s)
            self._wake.clear()

    def _wanted(self) -> set[str]:
        return {name for screen in self.screen_stack if isinstance(screen, DeskScreen) for name in screen.schedules}

    def _also(self) -> set[str]:
        return {what for screen in self.screen_stack if isinstance(screen, DeskScreen) for what in screen.also}

    def _reached(self, seen: Seen) -> None:
        before, self.seen = self.seen, seen
        if self._lost_s is not None:
            self._lost_s = None
            anew = before is not None and before.health.run != seen.health.run
            text = "the supervisor was started anew" if anew else "the supervisor answers again"
            self.notify(text)
            self._tell(note(text))
        for screen in self.screen_stack:
            if isinstance(screen, DeskScreen) and screen.is_mounted:
                screen.show(seen)
        self.status()

    def _missed(self, error: ClientError) -> None:
        if self._lost_s is None:
            self._lost_s = self._time.monotonic()
            self._tell(note(said(error)))
        self._fault = said(error)
        self.status()

    @work
    async def _follow(self) -> None:
        """Write down every change, and look at once after each."""
        while True:
            await self.next_look()
            if self._lost_s is not None:
                continue
            with suppress(ClientError):  # the looks find out, too, and tell
                async for change in supervise.follow(self.client):
                    if change is not None:
                        self._tell(_event(change))
                    self._wake.set()
            self._wake.set()

    def _tell(self, line: Shown) -> None:
        self.events.keep(line)
        if self._main.is_mounted:
            self._main.events.draw()

    def status(self) -> None:
        """Write the line at the top of the screen that is in front."""
        now_s = self._time.monotonic()
        fault = True
        if self._lost_s is not None:
            text = f"LOST for {span(now_s - self._lost_s)}, trying again: {self._fault}"
        elif self._asked_s is not None and now_s - self._asked_s > LATE_S:
            text = f"SLOW: no answer for {span(now_s - self._asked_s)}"
        else:
            fault = False
            text = "asking the supervisor" if self.seen is None else _summary(self.seen)
        if self.able.refused:
            text += f" | read only: no {', '.join(self.able.refused)}"
        for screen in self.screen_stack:
            try:
                line = screen.query_one("#state", Static)
            except NoMatches:
                continue
            line.update(f"{text} | {self._where}")
            line.set_class(fault, "fault")

    def look_now(self) -> None:
        """Something else is to be seen: look without delay."""
        self._wake.set()

    def open_detail(self, name: str) -> None:
        """Show a process."""
        self.push_screen(Detail(name))

    def open_plan(self) -> None:
        """Show the plan in force."""
        self.push_screen(PlanText())

    @work
    async def open_wizard(self, name: str | None = None) -> None:
        """Write a new process, or another definition of one; does not wait."""
        with self._telling():
            if name is None:
                await self.push_screen(Wizard())
            else:
                found, tag = await self.client.do(supervise.definition(name))
                await self.push_screen(Wizard(found, tag))

    def open_log(self, name: str) -> None:
        """Show what a process prints."""
        self.push_screen(Log(name))

    async def action_help(self) -> None:
        """Say what the keys do."""
        await self.push_screen(Help())

    async def next_look(self) -> None:
        """Return when the supervisor was looked at anew, or was looked for in vain."""
        await self._looked.wait()

    async def soon(self) -> None:
        """Return after the time between two looks at a log."""
        await self._time.sleep(min(LOG_S, self._look_s))


async def run(client: AsyncClient, where: str) -> None:
    """Show the supervisor until somebody leaves. Whatever ends us, the terminal is left as it was."""
    async with client:
        app = SupervisorApp(client, where)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(number, app.exit)
        await app.run_async()


def _event(news: supervise.News) -> Shown:
    """One line; a change of the plan has no time of its own, and comes when it is told."""
    if isinstance(news, ReloadView):
        at = time_of_day(datetime.now(UTC))
        return Shown(f"{at} {plain(reload_sentence(news))}", "info" if news.outcome in GOES_WELL else "error")
    if isinstance(news, RollView):
        line = f"{time_of_day(news.at)} {plain(news.process)} {plain(roll_sentence(news))}"
        return Shown(line, "error" if news.halted else "info")
    if isinstance(news, RescaleView):
        return Shown(f"{time_of_day(news.at)} {plain(news.process)} {plain(rescale_sentence(news))}", "info")
    return _change(news)


def _change(change: ChangeView) -> Shown:
    head = f"{time_of_day(change.at)} {plain(change.instance)}"
    if change.now is None:
        return Shown(f"{head} was scaled away", "info")
    ready = ", ready" if change.now.ready else ""
    why = f": {plain(change.now.reason)}" if change.now.reason else ""
    return Shown(f"{head} {change.now.state}{ready}{why}", _GRAVE.get(change.now.state, "info"))


def _summary(seen: Seen) -> str:
    states = Counter(one.state for one in seen.processes.values())
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    ending = "STOPPING EVERYTHING: " if seen.health.status == "ending" else ""
    return f"{ending}{counted or 'no processes'}"
