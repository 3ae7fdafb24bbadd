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
        before, key = self._rows, self.chosen
        same = tuple(head) == self._head and [row.key for row in rows] == [row.key for row in before]
        self._rows = list(rows)
        if same:
            for old, new in zip(before, rows, strict=True):
                if old != new:
                    for column, text in zip(head, _cells(head, new), strict=True):
                        self.update_cell(new.key, column, text, update_width=True)
            return
        place, offset = self.cursor_row, self.scroll_offset
        columns = tuple(head) != self._head
        self.clear(columns=columns)
        if columns:
            self._head = tuple(head)
            for column in head:
                self.add_column(Text(column, justify="right" if column in RIGHT else "left"), key=column)
        for row in rows:
            self.add_row(*_cells(head, row), key=row.key)
        keys = [row.key for row in rows]
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
