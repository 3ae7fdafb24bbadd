"""The plan in force as a text, without secrets."""

from collections.abc import Iterator, Mapping
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Footer, Static

from millrace.client import supervise
from millrace.client.errors import ClientError
from millrace.tui.desk import DeskScreen
from millrace.tui.lines import Lines
from millrace.tui.orders import said
from millrace.tui.tail import Shown, Tail
from millrace.tui.words import plain


class PlanText(DeskScreen):
    """What `millrace ctl plan` prints, to be read through."""

    BINDINGS = [Binding("escape,left,h", "dismiss", "Back", key_display="Esc")]  # noqa: RUF012  textual's convention

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        super().__init__()
        self._tail = Tail()
        self._lines = Lines(self._tail)

    def compose(self) -> ComposeResult:
        """Its lines."""
        yield Static(id="state", markup=False)
        yield self._lines
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Ask for it once."""
        self._lines.focus()
        self.desk.status()
        self._read()

    @work
    async def _read(self) -> None:
        try:
            lines = [*text_of((await self.desk.client.do(supervise.plan())).plan)]
        except ClientError as error:
            lines = [said(error)]
        for line in lines:
            self._tail.keep(Shown(plain(line), "info"))
        self._lines.draw()
        self._lines.scroll_home(animate=False)


def text_of(value: Any, indent: int = 0) -> Iterator[str]:
    """Plain data as indented lines: a line for each entry of a mapping, and for each mapping in a list."""
    lead = "  " * indent
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            if _fits(inner):
                yield f"{lead}{name}: {_word(inner)}"
            else:
                yield f"{lead}{name}:"
                yield from text_of(inner, indent + 1)
    elif isinstance(value, list):
        for inner in value:
            first, *rest = text_of(inner, indent + 1)
            yield f"{lead}- {first.strip()}"
            yield from rest
    else:
        yield f"{lead}{_word(value)}"


def _fits(value: object) -> bool:
    """Whether it stands behind its name: a single value, or a list of such."""
    if isinstance(value, list):
        return not any(isinstance(one, Mapping | list) for one in value)
    return not value or not isinstance(value, Mapping)


def _word(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_word, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if isinstance(value, Mapping) else "null" if value is None else str(value)
