"""The first screen: processes, scheduled ones, those that run once, events, the supervisor itself, hooks and the audit trail."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from millrace.tui import rows
from millrace.tui.asking import Confirm
from millrace.tui.grid import Grid
from millrace.tui.lines import Lines
from millrace.tui.record_rows import AUDIT_HEAD, HOOK_HEAD, audit_rows, hook_rows
from millrace.tui.rows import Row
from millrace.tui.seen import Seen
from millrace.tui.steering import Steering
from millrace.tui.tail import Tail
from millrace.tui.words import plain
from millrace.wire.v1.supervise import ConfigView, ProcessView

_WIDE = 120
"""Columns of a terminal on which the reasons have a place in the table."""
_TABLES: dict[str, tuple[Sequence[str], Callable[[Seen, ProcessView], Row], str]] = {
    "processes": (rows.PROCESS_HEAD, rows.process_row, ""),
    "scheduled": (rows.JOB_HEAD, rows.job_row, "scheduled"),
    "oneshot": (rows.ONESHOT_HEAD, rows.oneshot_row, "oneshot"),
}
_RECORDS = ("hooks", "audit")
_TABS = ("processes", "scheduled", "oneshot", "events", "system", *_RECORDS)


class MainScreen(Steering):
    """Tabs with tables. The keys act on the process that is selected in the tab that is seen, and on none elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab('{name}')", show=False) for number, name in enumerate(_TABS, 1)),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("o", "sort", show=False),
        Binding("O", "turn", show=False),
        Binding("R", "reload", "Reload the plan"),
        Binding("P", "plan", "Plan"),
        Binding("S", "save", "Save"),
        Binding("X", "shutdown", "Shut down"),
        Binding("escape", "leave_filter", show=False),
    ]

    def __init__(self, events: Tail) -> None:
        """`events` is what has changed so far, written by the app."""
        super().__init__()
        self._grids = {name: Grid(name) for name in _TABLES}
        self._records = {name: Grid(name) for name in _RECORDS}
        self.events = Lines(events)
        self._filter = Input(placeholder="words in name, type or state", id="filter", compact=True)
        self._tabs = TabbedContent(initial="tab-processes")
        self._about = Static(id="about", markup=False)
        self._system = Static(id="system", markup=False)
        self._words = ""
        self._sort = "name"
        self._back = False

    def compose(self) -> ComposeResult:
        """The tabs, with a line below about what is selected."""
        yield Static(id="state", markup=False)
        with self._tabs:
            for number, name in enumerate(_TABS, 1):
                with TabPane(f"{number} {name.capitalize()}", id=f"tab-{name}"):
                    if name in self._grids:
                        yield self._grids[name]
                    elif name in self._records:
                        yield self._records[name]
                    elif name == "events":
                        yield self.events
                    else:
                        yield self._system
        yield self._about
        yield self._filter
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Nothing was seen yet."""
        self._filter.display = False
        self._grids["processes"].focus()
        self.desk.status()

    @property
    def tab(self) -> str:
        """The tab that is seen."""
        return self._tabs.active.removeprefix("tab-")

    @property
    def target(self) -> ProcessView | None:
        """The process that is selected in the tab that is seen."""
        seen = self.desk.seen
        if seen is None or not self.is_mounted or self.tab not in self._grids:
            return None
        return seen.processes.get(self._grids[self.tab].chosen or "")

    @property
    def schedules(self) -> Collection[str]:
        """All of them, in their tab."""
        return self._grids["scheduled"].keys if self.is_mounted and self.tab == "scheduled" else ()

    @property
    def also(self) -> Collection[str]:
        """What its tab shows."""
        return (
            {"system": ("config",), "hooks": ("hooks",), "audit": ("audit",)}.get(self.tab, ())
            if self.is_mounted
            else ()
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What does nothing in this tab is not offered."""
        if action == "add" and self.tab not in self._grids:
            return False
        if action in ("reload", "shutdown", "plan", "save"):
            return self.tab == "system" and action in self.desk.able.granted
        if action in ("filter", "sort", "turn"):
            return self.tab in self._grids
        return super().check_action(action, parameters)

    def show(self, seen: Seen) -> None:
        """Show what was seen just now."""
        chosen = rows.chosen(seen, words=self._words, sort=self._sort, back=self._back)
        for name, (head, row, kind) in _TABLES.items():
            shown = (
                head if self.size.width >= _WIDE else [column for column in head if column not in ("TYPE", "REASON")]
            )
            self._grids[name].show(shown, [row(seen, one) for one in chosen if kind in ("", one.type)])
        self._system.update(_system(seen))
        if seen.hooks is not None:
            self._records["hooks"].show(HOOK_HEAD, hook_rows(seen.hooks))
        if seen.audit is not None:
            self._records["audit"].show(AUDIT_HEAD, audit_rows(seen.audit))
        self.say()
        self.offer()

    def say(self) -> None:
        """The line below the table: why the selected process is as it is; and what is filtered."""
        process = self.target
        parts = []
        if self.tab in self._grids and (self._words or self._sort != "name" or self._back):
            by = f"by {self._sort}{' backwards' if self._back else ''}"
            parts.append(f"[{by}{f', only {self._words!r}' if self._words else ''}]")
        if process is not None:
            unsaved = " Changed here, not saved." if process.origin == "unsaved" else ""
            parts.append(f"{plain(process.name)}: {process.type}. {rows.reason(process)}{unsaved}")
        elif self.tab in _RECORDS and self.tab not in self.desk.able.granted:
            parts.append(f"cannot show the {self.tab}: the key in use does not allow it")
        elif self.tab in _RECORDS and not self._records[self.tab].keys:
            parts.append("nothing yet")
        self._about.update(" ".join(parts))

    def on_data_table_row_highlighted(self) -> None:
        """Another row is selected."""
        self.say()
        self.offer()

    def on_data_table_row_selected(self) -> None:
        """Enter, or a click on the selected row."""
        if (process := self.target) is not None:
            self.desk.open_detail(process.name)

    def on_tabbed_content_tab_activated(self) -> None:
        """What is seen gets the keys."""
        pane = self._tabs.active_pane
        for widget in pane.query("Grid, Lines") if pane is not None else ():
            widget.focus()
        self.events.draw()
        self.desk.look_now()
        self.say()
        self.refresh_bindings()

    def action_tab(self, name: str) -> None:
        """Show a tab."""
        self._tabs.active = f"tab-{name}"

    def action_filter(self) -> None:
        """Ask for words."""
        self._filter.display = True
        self._filter.focus()

    def action_leave_filter(self) -> None:
        """Show everything again."""
        self._filter.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._words = event.value
        self._again()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the table."""
        self._close_filter()

    def action_sort(self) -> None:
        """Sort by the next column."""
        names = list(rows.SORTS)
        self._sort = names[(names.index(self._sort) + 1) % len(names)]
        self._again()

    def action_turn(self) -> None:
        """Turn the order round."""
        self._back = not self._back
        self._again()

    def action_reload(self) -> None:
        """Have the plan read again."""
        self.desk.reload()

    def action_plan(self) -> None:
        """Show the plan in force."""
        self.desk.open_plan()

    def action_save(self) -> None:
        """Save what was changed."""
        self.desk.save()

    def action_shutdown(self) -> None:
        """End the supervisor."""

        def take(yes: bool | None) -> None:
            if yes:
                self.desk.shut_down()

        self.app.push_screen(Confirm("Stop everything in order, and end the supervisor?", "shut down"), take)

    def _close_filter(self) -> None:
        self._filter.display = False
        if self.tab in self._grids:
            self._grids[self.tab].focus()

    def _again(self) -> None:
        if self.desk.seen is not None:
            self.show(self.desk.seen)


def _system(seen: Seen) -> str:
    health = seen.health
    kinds = [one.type for one in seen.processes.values()]
    shown = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("service", "oneshot", "scheduled") if kind in kinds)
    return "\n".join(
        (
            f"Version    {health.version}",
            f"State      {'it stops everything' if health.status == 'ending' else 'it keeps the plan'}",
            f"Ready      {'everything that is wanted is ready' if health.ready else 'not everything that is wanted is ready'}",
            f"Processes  {shown or 'none'}",
            f"Run        {health.run or 'unknown'}",
            *(_changes(seen.config) if seen.config is not None else ()),
        )
    )


def _changes(config: ConfigView) -> Iterator[str]:
    yield f"Plan       {plain(config.plan)}"
    unsaved = [one.name for one in config.changed if not one.saved]
    kept = [one.name for one in config.changed if one.saved]
    yield f"Not saved  {plain(', '.join(unsaved)) or 'nothing'}"
    yield f"Saved      {plain(', '.join(kept)) or 'nothing'} beside the plan"
