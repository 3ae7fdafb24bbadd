"""Write a new process, or another definition of one: first in fields, then as the YAML that is sent. Both are checked as one types.

What is right is known to the supervisor alone, so it is asked (a dry run) whenever the typing rests.
"""

import asyncio
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Footer, Input, Label, Static, TextArea

from millrace.client.errors import ClientError
from millrace.client.news_words import reload_lines
from millrace.tui.asking import Confirm
from millrace.tui.desk import DeskScreen
from millrace.tui.drafts import FIELDS, CannotTakeError, Field, line_of, taken
from millrace.tui.orders import faults
from millrace.tui.words import plain
from millrace.wire.v1.supervise import DefinitionView, ReloadView

_NAME = "name"
_SHOWN = 5
"""Faults that fit below the YAML on 24 rows."""


class Wizard(DeskScreen):
    """The fields of a process, and then its YAML. What cannot work is not sent; what was written is not lost without a question."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "go_on", "Review, then send", priority=True),
        Binding("escape", "back", "Back", key_display="Esc"),
        Binding("q,question_mark", "nothing", show=False),  # letters are text here, wherever they land
    ]

    def __init__(self, found: DefinitionView | None = None, tag: str | None = None) -> None:
        """Without a definition, a process is added; with one, it is changed as long as the plan with this tag is in force."""
        super().__init__()
        self._document: dict[str, Any] = {} if found is None else dict(found.process)
        self._tag = tag
        name = "" if found is None else found.name
        self._who = Input(name, placeholder="web", id="f-name", compact=True, disabled=found is not None)
        self._lines = {field.key: self._line(field) for field in FIELDS}
        self._first = self._values
        self._marks = {key: Label("", classes="wrong", markup=False) for key in (_NAME, *self._lines)}
        self._fields = VerticalScroll(id="fields", can_focus=False)
        self._review = Vertical(id="review")
        self._review.display = False
        self._text = TextArea(id="yaml")
        self._said = Static("it is checked while you type", id="said", markup=False)
        self._typed = asyncio.Event()
        self._answer: ReloadView | None = None
        """What the supervisor said of what is written now; None where it has not, or refused it."""
        self._given = ""
        """The YAML as it was before anything was typed into it."""
        self._sending = False
        self._hurried = False
        """Somebody wants to go on, and what is written is still being checked."""

    def compose(self) -> ComposeResult:
        """Fields with their faults below, then the YAML."""
        yield Static(id="state", markup=False)
        with self._fields:
            yield from self._row(_NAME, "Name", self._who)
            for field in FIELDS:
                yield from self._row(field.key, field.label, self._lines[field.key])
        with self._review:
            yield self._text
        yield self._said
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin with the first field."""
        self._turn(review=False)
        if not self._who.disabled:
            self._who.focus()
        self.desk.status()
        self._check()

    def on_input_changed(self) -> None:
        """Something else is written."""
        self._answer = None
        self._typed.set()

    def on_text_area_changed(self) -> None:
        """The same, in the YAML."""
        if self._reviews and self._text.text != self._given:
            self._answer = None
            self._typed.set()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field, and from the last one to the review."""
        if event.input is self._lines[FIELDS[-1].key]:
            self.action_go_on()
        else:
            self.focus_next()

    def action_nothing(self) -> None:
        """Do nothing."""

    def action_go_on(self) -> None:
        """From the fields to the YAML, and from there to the supervisor."""
        if self._sending:
            return
        if self._answer is None:
            self._hurried = True
            self._typed.set()
        elif self._reviews:
            self._send()
        else:
            self._given = self._answer.yaml
            self._text.load_text(self._given)
            self._turn(review=True)

    def action_back(self) -> None:
        """From the YAML to the fields, as long as nothing was written there; else leave, and ask before what was written is lost."""
        if self._reviews and self._text.text == self._given:
            self._turn(review=False)
        elif not self._reviews and self._values == self._first:
            self.dismiss()
        else:
            self._ask_to_leave()

    @work
    async def _ask_to_leave(self) -> None:
        if await self.app.push_screen_wait(Confirm("Leave? What is written here is lost.", "leave")):
            self.dismiss()

    def _turn(self, *, review: bool) -> None:
        """Show the one or the other, and have it checked."""
        self._typed.set()
        self._fields.display = not review
        self._review.display = review
        (self._text if review else self._lines[FIELDS[0].key]).focus()

    @property
    def _reviews(self) -> bool:
        return bool(self._review.display)

    @property
    def _values(self) -> list[str]:
        return [self._who.value, *(line.value for line in self._lines.values())]

    @work(exclusive=True, group="check")
    async def _check(self) -> None:
        """Ask what would become of what is written, whenever the typing rests."""
        while True:
            self._typed.clear()
            await self._ask()
            await self._typed.wait()
            await self.desk.soon()

    async def _ask(self) -> None:
        self._typed.clear()
        wrong = {} if self._reviews else self._take()
        if not wrong and not self._who.value:
            wrong = {_NAME: "is missing"}
        if wrong:
            self._show(wrong)
            return
        try:
            found = await self.desk.put(self._who.value, *self._body(), tag=self._tag, dry_run=True)
        except ClientError as error:
            self._show(self._placed(faults(error)))
            return
        if not self._typed.is_set() and not self._sending:  # nothing was written meanwhile
            self._answer = found
            lines = [plain(line) for line in reload_lines(found)] or ["nothing changes"]
            self._show({}, "; ".join(("Ctrl-S sends it" if self._reviews else "Ctrl-S shows it as YAML", *lines)))
            if self._hurried:
                self._hurried = False
                self.action_go_on()

    def _take(self) -> dict[str, str]:
        """Put the fields into the document; what cannot be read is told by its key."""
        wrong = {}
        for field in FIELDS:
            line = self._lines[field.key]
            try:
                self._document = self._document if line.disabled else taken(self._document, field, line.value)
            except CannotTakeError as error:
                wrong[field.key] = str(error)
        return wrong

    def _body(self) -> tuple[str | None, dict[str, Any] | None]:
        return (self._text.text, None) if self._reviews else (None, self._document)

    def _placed(self, found: dict[str, str]) -> dict[str, str]:
        """Faults by the keys of the fields where they stand; the others by their paths."""
        placed = {}
        for path, message in found.items():
            inner = path.removeprefix(f"processes.{self._who.value}.")
            key = inner.partition(".")[0].partition("[")[0]
            if not self._reviews and (path == _NAME or (inner != path and key in self._lines)):
                placed[key] = f"{inner.removeprefix(key).removeprefix('.')} {message}".strip()
            else:
                placed[inner] = message
        return placed

    def _show(self, wrong: dict[str, str], text: str = "") -> None:
        beside = () if self._reviews else (_NAME, *self._lines)
        for key, label in self._marks.items():
            label.update(f"{key} {wrong[key]}" if key in wrong else "")
            label.display = key in wrong and key in beside
        below = [f"{key} {why}".strip() for key, why in wrong.items() if key not in beside]
        self._said.update("\n".join(below[:_SHOWN]) or text or "mend what is marked")
        self._said.set_class(bool(wrong), "fault")
        if wrong and self._hurried:
            self._hurried = False
            self.app.notify("cannot go on: mend what is marked first", severity="warning")

    @work(exclusive=True, group="send")
    async def _send(self) -> None:
        self._sending = True
        self._said.update(f"{self._who.value} is sent; it has its time to get up ...")
        try:
            await self.desk.put(self._who.value, *self._body(), tag=self._tag, dry_run=False)
        except ClientError as error:
            self._show(self._placed(faults(error)))
            return
        finally:
            self._sending = False
        self.dismiss()

    def _line(self, field: Field) -> Input:
        line = line_of(self._document, field)
        shown = "more than a line: it is changed in the YAML" if line is None else field.hint
        return Input(line or "", placeholder=shown, id=f"f-{field.key}", compact=True, disabled=line is None)

    def _row(self, key: str, label: str, line: Input) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label(label, classes="label")
            yield line
        yield self._marks[key]
