"""Dialogs: is it meant, how many, and what the keys do."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static


class Confirm(ModalScreen[bool]):
    """Asks before something is done. Enter takes the button that is lit: No at first, unless it is harmless."""

    BINDINGS = [  # noqa: RUF012  textual's convention
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left,right,h,l", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, verb: str, *, harmless: bool = False) -> None:
        """`verb` is what Yes does, in a word."""
        super().__init__()
        self._question = question
        self._verb = verb
        self._harmless = harmless

    def compose(self) -> ComposeResult:
        """The question, and two buttons."""
        with Vertical(classes="dialog"):
            yield Label(self._question, markup=False)
            with Horizontal():
                yield Button("No (n)", id="no", compact=True)
                yield Button(f"{self._verb.capitalize()} (y)", id="yes", variant="warning", compact=True)

    def on_mount(self) -> None:
        """Light a button."""
        self.query_one("#yes" if self._harmless else "#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button was pressed, by hand or mouse."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """A key answered."""
        self.dismiss(yes)


class HowMany(ModalScreen[int | None]):
    """Asks for a number of instances."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel")]  # noqa: RUF012  textual's convention

    def __init__(self, process: str, now: int, most: int) -> None:
        """`now` is how many there shall be at present, `most` how many there may be."""
        super().__init__()
        self._process = process
        self._now = now
        self._most = most

    def compose(self) -> ComposeResult:
        """The question, and a field."""
        with Vertical(classes="dialog"):
            yield Label(f"How many instances of {self._process}? (0 to {self._most}; Esc leaves it)", markup=False)
            yield Input(str(self._now), type="integer", compact=True)
            yield Label("", id="fault", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take a number in the bounds; say so where it is none."""
        text = event.value.strip()
        if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= self._most:
            self.dismiss(int(text))
        else:
            self.query_one("#fault", Label).update(f"give a whole number from 0 to {self._most}")


class Which(ModalScreen[str | None]):
    """Asks for a word."""

    BINDINGS = [Binding("escape", "dismiss(None)", "Cancel")]  # noqa: RUF012  textual's convention

    def __init__(self, question: str, now: str) -> None:
        """`now` is what stands there at first."""
        super().__init__()
        self._question = question
        self._now = now

    def compose(self) -> ComposeResult:
        """The question, and a field."""
        with Vertical(classes="dialog"):
            yield Label(self._question, markup=False)
            yield Input(self._now, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it, unless it is nothing."""
        if event.value.strip():
            self.dismiss(event.value.strip())


HELP = """\
1 to 7       processes, scheduled, oneshot, events, system, hooks, audit
j k arrows   down, up            g G       first, last
Enter        details             l         log
/            filter              o O       sort, the other way round
s            start; try again what was given up
x            stop                r         restart
u            replace the instances one after the other
+ -          one more or fewer   c         set how many instances
A            let its metric say how many again, after it was scaled by hand
i            send a signal to the main process of each instance
a e d        add a process, edit it, delete it; nothing is saved by that
t            trigger a run       p         pause a schedule, resume it
P R S X      show the plan, reload it, save what was changed, shut
             everything down; in the tab System
Esc          back, no filter     q Ctrl-C  leave; that stops nothing

In a log
Space        hold, go on         v         least level
/            search              n N       next match above, below
Ctrl-U Ctrl-D j k g G arrows     move; at the end it follows

While a process is written
Tab Enter    next field          Shift-Tab the one before
Ctrl-S       show it as YAML, to be changed there, too; then send it
Esc          back to the fields; leave

Everything that changes something asks first, but + (one more). What
your key does not open is not listed at the bottom, and is refused
with a word.\
"""


class Help(ModalScreen[None]):
    """What the keys do."""

    BINDINGS = [Binding("escape,q,question_mark,enter", "dismiss", "Back")]  # noqa: RUF012  textual's convention

    def compose(self) -> ComposeResult:
        """A page of text."""
        with VerticalScroll(classes="dialog"):
            yield Static(HELP, markup=False)
