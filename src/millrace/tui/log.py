"""The log of one process: it follows, is searched, and filtered by level."""

from collections import deque

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Input, Static

from millrace.client import supervise
from millrace.client.errors import ClientError
from millrace.tui.desk import DeskScreen
from millrace.tui.lines import Lines
from millrace.tui.tail import KEPT, LEVELS, Tail
from millrace.tui.words import plain
from millrace.wire.v1.supervise import LinesView, LineView

_MOST = 1000


class Log(DeskScreen):
    """What a process printed lately, and what it prints."""

    BINDINGS = [  # noqa: RUF012  textual's convention
        Binding("escape", "back", "Back"),
        Binding("space", "pause", "Pause"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "match(-1)", "Above"),
        Binding("N", "match(1)", "Below"),
        Binding("v", "level", "Level"),
    ]

    def __init__(self, name: str) -> None:
        """`name` is a process of the plan."""
        super().__init__()
        self._process = name
        self.tail = Tail()
        self.paused = False
        self._held: deque[LineView] = deque(maxlen=KEPT)  # what comes while the screen is held
        self._about = Static(id="about", markup=False)
        self._lines = Lines(self.tail)
        self._search = Input(placeholder="search", id="search", compact=True)

    def compose(self) -> ComposeResult:
        """A line about the log, the log, a field for the words."""
        yield Static(id="state", markup=False)
        yield self._about
        yield self._lines
        yield self._search
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to follow."""
        self._search.display = False
        self._lines.focus()
        self.desk.status()
        self._say()
        self._follow()

    @work(exclusive=True)
    async def _follow(self) -> None:
        after: int | None = None
        run = ""
        while True:
            try:
                found = await self.desk.client.do(supervise.logs(self._process, limit=_MOST, after=after))
            except ClientError:
                await self.desk.next_look()  # the line at the top says that nobody answers
                continue
            if after is not None and found.run != run:
                # Its numbers have begun anew: what it has printed since then is read from the beginning.
                self.tail.say("the supervisor was started anew")
                after, run = 0, found.run
                continue
            after, run = found.next, found.run
            if found.lines or found.lost:
                self._take(found)
            if len(found.lines) < _MOST:
                await self.desk.soon()

    def _take(self, found: LinesView) -> None:
        if self.paused:
            self._held.extend(found.lines)
        else:
            if found.lost:
                self.tail.say(f"{found.lost} lines are missing here: they came faster than they were read")
            self.tail.add(found.lines)
            self._lines.draw()
        self._say()

    def _say(self) -> None:
        parts = [f"Log of {plain(self._process)}", f"{len(self.tail.shown)} lines"]
        if self.tail.least != LEVELS[0]:
            parts.append(f"{self.tail.least} and graver")
        if self.tail.words:
            count = sum(self.tail.words.lower() in line.text.lower() for line in self.tail.shown)
            parts.append(f"{count} with {self.tail.words!r}")
        if self.paused:
            parts.append(f"PAUSED, {len(self._held)} more")
        self._about.update(", ".join(parts))

    def action_back(self) -> None:
        """Leave the field, or the log."""
        if self._search.display:
            self._search.display = False
            self._lines.focus()
        else:
            self.dismiss()

    def action_pause(self) -> None:
        """Hold the screen still, or go on at the end."""
        self.paused = not self.paused
        if not self.paused:
            self.tail.add(self._held)
            self._held.clear()
            self._lines.draw(follow=True)
        self._say()

    def action_level(self) -> None:
        """The next least level."""
        self.tail.filter(LEVELS[(LEVELS.index(self.tail.least) + 1) % len(LEVELS)])
        self._lines.mark = None
        self._lines.draw(follow=True)
        self._say()

    def action_search(self) -> None:
        """Ask for words."""
        self._search.display = True
        self._search.value = self.tail.words
        self._search.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show where they stand."""
        self.tail.words = event.value
        self._lines.mark = None
        self.action_back()
        self.action_match(-1)
        self._say()

    def action_match(self, step: int) -> None:
        """The next line with the words, upwards with -1."""
        mark = self._lines.mark
        found = self.tail.find(len(self.tail.shown) - 1 if mark is None else mark + step, step)
        if found is not None:
            self._lines.reveal(found)
        else:
            self._lines.refresh()
            words = self.tail.words
            self.notify(f"no line holds {words!r}" if words else "search for something first: /", markup=False)
