"""A table that is written anew every second without losing the place of whoever reads it."""

from collections.abc import Sequence

from rich.text import Text
from textual.binding import Binding
from textual.widgets import DataTable

from millrace.tui.rows import RIGHT, STYLES, Row


class Grid(DataTable[Text]):
    """Rows by their keys. The selected row stays selected wherever it goes; when it has gone, its neighbour is."""

    BINDINGS = [  # noqa: RUF012  textual's convention
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g", "scroll_top", "First", show=False),
        Binding("G", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self, name: str) -> None:
        """Empty; `name` is its id."""
        super().__init__(id=name, cursor_type="row", zebra_stripes=False, header_height=1)
        self._head: tuple[str, ...] = ()
        self._widths: list[int] = []
        self._rows: list[Row] = []

    @property
    def chosen(self) -> str | None:
        """The key of the selected row; None where there is no row."""
        return self._rows[self.cursor_row].key if 0 <= self.cursor_row < len(self._rows) else None

    @property
    def keys(self) -> list[str]:
        """The keys of all rows."""
        return [row.key for row in self._rows]

    def show(self, head: Sequence[str], rows: Sequence[Row]) -> None:
        """Show these rows; those columns of each that `head` names come first in its cells."""
        before, key, place, offset = self._rows, self.chosen, self.cursor_row, self.scroll_offset
        widths = [max([len(column), *(len(row.cells[at]) for row in rows)]) for at, column in enumerate(head)]
        if tuple(head) == self._head:  # columns that grow and shrink all the time cannot be read
            widths = [max(pair) for pair in zip(widths, self._widths, strict=True)]
        as_before = tuple(head) == self._head and widths == self._widths
        self._head, self._widths, self._rows = tuple(head), widths, list(rows)
        if as_before and [row.key for row in rows] == [row.key for row in before]:
            for old, new in zip(before, rows, strict=True):
                if old != new:
                    for column, text in zip(head, _cells(head, new), strict=True):
                        self.update_cell(new.key, column, text)
            return
        self.clear(columns=not as_before)
        if not as_before:
            for column, width in zip(head, widths, strict=True):
                label = Text(column, justify="right" if column in RIGHT else "left")
                self.add_column(label, key=column, width=width)
        for row in rows:
            self.add_row(*_cells(head, row), key=row.key)
        keys = self.keys
        self.move_cursor(row=keys.index(key) if key in keys else min(place, max(0, len(rows) - 1)), scroll=False)
        self.scroll_to(offset.x, offset.y, animate=False)


def _cells(head: Sequence[str], row: Row) -> list[Text]:
    return [
        Text(
            cell,
            style=STYLES.get(row.state, "") if column == "STATE" else "",
            justify="right" if column in RIGHT else "left",
        )
        for column, cell in zip(head, row.cells, strict=False)
    ]
