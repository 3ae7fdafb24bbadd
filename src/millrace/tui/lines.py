"""The lines of a log on the screen. Only those that are visible are ever drawn, however fast they come."""

from rich.text import Text
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from millrace.tui.tail import Shown, Tail

_STYLES = {"error": "bold red", "warn": "yellow", "debug": "dim", "": "bold cyan"}


class Lines(ScrollView, can_focus=True):
    """Shows a tail. It follows the end until somebody scrolls up, and again once they are back there."""

    DEFAULT_CSS = "Lines { height: 1fr; width: 1fr; }"
    BINDINGS = [  # noqa: RUF012  textual's convention
        Binding("j,down", "scroll_down", "Down", show=False),
        Binding("k,up", "scroll_up", "Up", show=False),
        Binding("ctrl+d", "page_down", "Page down", show=False),
        Binding("ctrl+u", "page_up", "Page up", show=False),
        Binding("g,home", "scroll_home", "First", show=False),
        Binding("G,end", "scroll_end", "Last", show=False),
    ]

    def __init__(self, tail: Tail) -> None:
        """`tail` is written by others; `draw` shows what it holds."""
        super().__init__()
        self._tail = tail
        self._dropped = 0
        self._follows = True
        self.mark: int | None = None
        """The line that was found."""

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever scrolls up reads there; whoever comes to the end follows."""
        super().watch_scroll_y(old_value, new_value)
        if new_value >= self.max_scroll_y:
            self._follows = True
        elif new_value < old_value:
            self._follows = False

    def draw(self, *, follow: bool = False) -> None:
        """Show what the tail holds now; `follow` goes to its end, also for somebody who reads above."""
        shown = self._tail.shown
        gone, self._dropped = self._tail.dropped - self._dropped, self._tail.dropped
        if self.mark is not None:
            self.mark = self.mark - gone if self.mark >= gone else None
        follow = follow or self._follows
        self.virtual_size = Size(max((len(line.text) for line in shown), default=0), len(shown))
        if follow:
            self._follows = True
            self.scroll_end(animate=False, x_axis=False)
        elif gone:  # what somebody reads stays where it is
            self.scroll_to(y=max(0, self.scroll_offset.y - gone), animate=False, immediate=True)
        self.refresh()

    def reveal(self, line: int) -> None:
        """Mark a line, and bring it into sight."""
        self.mark = line
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        if not top <= line < top + height:
            self.scroll_to(y=max(0, line - height // 2), animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        left, top = self.scroll_offset
        width = self.scrollable_content_region.width
        place = top + y
        if place >= len(self._tail.shown):
            return Strip.blank(width, self.rich_style)
        text = self._styled(self._tail.shown[place], marked=place == self.mark)
        strip = Strip(text.render(self.app.console), text.cell_len)
        return strip.crop_extend(left, left + width, self.rich_style).apply_style(self.rich_style)

    def _styled(self, line: Shown, *, marked: bool) -> Text:
        text = Text(line.text, style=_STYLES.get(line.level, ""), end="", no_wrap=True)
        if self._tail.words:
            text.highlight_words([self._tail.words], "reverse", case_sensitive=False)
        if marked:
            text.stylize("bold underline")
        return text
