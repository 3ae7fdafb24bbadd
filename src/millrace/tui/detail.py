"""One process: its instances, why it is as it is, and what it used over the last minutes."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Footer, Static

from millrace.client import supervise
from millrace.client.errors import ClientError
from millrace.tui.grid import Grid
from millrace.tui.plot import plot
from millrace.tui.rows import END_HEAD, INSTANCE_HEAD, RUN_HEAD, end_row, ended, instance_row, memory, run_row
from millrace.tui.seen import Seen
from millrace.tui.steering import Steering
from millrace.tui.words import clock, percent, plain, size, span
from millrace.wire.v1.supervise import ProcessView, ResourcesView, ScheduleView, UsageView

_RUNS = 100


class Detail(Steering):
    """The details of a process. Starts and stops it with the same keys as the list does."""

    BINDINGS = [Binding("escape,left,h", "dismiss", "Back", key_display="Esc")]  # noqa: RUF012  textual's convention

    def __init__(self, name: str) -> None:
        """`name` is a process of the plan."""
        super().__init__()
        self._process = name
        self._about = Static(id="about", markup=False)
        self._grid = Grid("instances")
        self._runs = Grid("runs")
        self._cpu = Curve("cpu", percent)
        self._memory = Curve("memory", size)

    @property
    def target(self) -> ProcessView | None:
        """The process, as it was seen last."""
        seen = self.desk.seen
        return seen.processes.get(self._process) if seen is not None else None

    @property
    def schedules(self) -> Collection[str]:
        """Its own."""
        return (self._process,)

    def compose(self) -> ComposeResult:
        """What it is, its instances, its curves."""
        yield Static(id="state", markup=False)
        yield self._about
        yield self._grid
        yield self._runs
        yield self._cpu
        yield self._memory
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show what is known, and keep asking for the curves."""
        process = self.target
        ends = process is not None and process.type != "service"
        self._runs.display = ends
        self.query(Curve).set(display=not ends)
        (self._runs if ends else self._grid).focus()
        self.desk.look_now()
        if self.desk.seen is not None:
            self.show(self.desk.seen)
        self.desk.status()
        self._watch()

    def show(self, seen: Seen) -> None:
        """Show what was seen just now."""
        process = seen.processes.get(self._process)
        if process is None:
            self._about.update(f"{plain(self._process)} is no longer in the plan")
            self._grid.show(INSTANCE_HEAD, [])
            return
        self._about.update("\n".join(_about(process, seen.schedules.get(process.name))))
        self._grid.show(INSTANCE_HEAD, [instance_row(seen, one) for one in process.instances])
        self.offer()

    @work(exclusive=True)
    async def _watch(self) -> None:
        while True:
            with suppress(ClientError):  # the line at the top says that nobody answers
                await self._read()
            await self.desk.next_look()

    async def _read(self) -> None:
        process, able = self.target, self.desk.able.granted
        if process is None:
            return
        if process.type == "scheduled" and "schedule" in able:
            ended = (await self.desk.client.do(supervise.history(self._process, limit=_RUNS))).runs
            going = (await self.desk.client.do(supervise.schedule(self._process))).current
            runs = {run.number: run for run in (*going, *ended)}  # one may have ended between the two questions
            self._runs.show(RUN_HEAD, [run_row(runs[number]) for number in sorted(runs, reverse=True)])
        elif process.type == "oneshot" and "runs" in able:
            ends = (await self.desk.client.do(supervise.runs(process=self._process, limit=_RUNS))).runs
            self._runs.show(END_HEAD, [end_row(number, run) for number, run in reversed([*enumerate(ends)])])
        elif "resources" in able:
            self._draw(await self.desk.client.do(supervise.resources(self._process)))
        else:
            self._cpu.say("this supervisor does not tell what processes use")

    def _draw(self, found: ResourcesView) -> None:
        self._cpu.draw(series(found, _cpu))
        self._memory.draw(series(found, _memory))


class Curve(Widget):
    """A quantity over the last minutes, with its newest and its largest value in words."""

    DEFAULT_CSS = "Curve { height: 1fr; min-height: 2; max-height: 8; }"

    def __init__(self, name: str, words: Callable[[float], str]) -> None:
        """`name` is its id and its title, `words` writes a value."""
        super().__init__(id=name)
        self._words = words
        self._label = "nothing was measured yet"
        self._values: list[float] = []

    def say(self, text: str) -> None:
        """Words instead of a curve."""
        self._label, self._values = text, []
        self.refresh()

    def draw(self, moments: Sequence[tuple[datetime, float]]) -> None:
        """Show these values."""
        if not moments:
            return
        self._values = [value for _, value in moments]
        over = (moments[-1][0] - moments[0][0]).total_seconds()
        self._label = f"now {self._words(self._values[-1])}, most {self._words(max(self._values))} in {span(over)}"
        self.refresh()

    def render(self) -> Text:
        """The words, and below them the curve."""
        title = Text(f"{(self.id or '').upper()}  {self._label}", style="bold")
        height = self.size.height - 1
        drawn = plot(self._values, width=self.size.width, height=height) if self._values and height > 0 else []
        return Text("\n", no_wrap=True).join([title, *(Text(line, style="cyan") for line in drawn)])


def _cpu(usage: UsageView) -> float | None:
    return usage.cpu_percent


def _memory(usage: UsageView) -> float | None:
    return memory([usage])


def series(found: ResourcesView, of: Callable[[UsageView], float | None]) -> list[tuple[datetime, float]]:
    """The sum over all instances in each period, oldest first."""
    sums: dict[int, tuple[datetime, float]] = {}
    for one in found.instances:
        for sample in one.samples:
            if (value := of(sample)) is not None:
                period = round(sample.at.timestamp() / (found.period_s or 1.0))
                sums[period] = (sample.at, sums.get(period, (sample.at, 0.0))[1] + value)
    return [moment for _, moment in sorted(sums.items())]


def _about(process: ProcessView, schedule: ScheduleView | None) -> list[str]:
    needs = ", ".join(f"{plain(name)} ({condition})" for name, condition in process.depends_on.items())
    many = (
        f", {process.ready} of {process.desired} ready, at most {process.max_scale}"
        if process.type == "service"
        else ""
    )
    found = [
        f"{plain(process.name)}: {process.type}, {process.state}{many}",
        f"Needs  {needs or 'nothing'}",
    ]
    if schedule is not None:
        coming = "none while it is paused" if schedule.paused else clock(schedule.next_run)
        limit = f", at most {span(schedule.timeout_s)} each" if schedule.timeout_s else ""
        going = f"{len(schedule.current)} going on of at most {schedule.max_concurrent}"
        found += [
            f"Runs   {schedule.expression} ({schedule.timezone}), the next {coming}{limit}",
            f"Overlap: {schedule.overlap}; {going}, {schedule.queued} waiting, {schedule.skipped} skipped",
        ]
    for one in process.instances:
        code, at = ended(one)
        if at is not None and one.last_end is not None:
            found.append(f"{plain(one.id)} ended at {clock(at)}: {plain(one.last_end.how)} ({code})")
        if one.reason:
            found.append(f"{plain(one.id)} is {one.state}: {plain(one.reason)}")
    return found[:7]
