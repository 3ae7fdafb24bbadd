"""What all processes say: the shell that runs the stages, keeps the last entries, and hands them to who writes and listens."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter

from millrace.process.block import Block, parts_of
from millrace.process.values import Batch, CannotStart, Line, Stream
from millrace.runtime.clock import Clock
from millrace.supervisor.health.values import ProbeKind
from millrace.supervisor.logs.entry import Entry, Level
from millrace.supervisor.logs.forms import as_json, as_plain, as_text
from millrace.supervisor.logs.pipeline import Origin, Pipeline, lost_note
from millrace.supervisor.logs.ring import Ring
from millrace.supervisor.logs.rotating import RotatingFile
from millrace.supervisor.logs.run import Run
from millrace.supervisor.logs.settings import LogFile, LogForm, Logging
from millrace.supervisor.logs.subscription import Subscription
from millrace.supervisor.logs.writer import Target, Writer
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Id
from millrace.telemetry.logs import logger

log = logger("supervisor")
_NUMBER = attrgetter("number")
_SLICE_LINES = 1000
_SLICE_S = 0.005  # after so long others get their turn
_SUPERVISOR = "supervisor"
PATIENCE_S, _STEP_S = 0.09, 0.002
"""How long a process that prints waits at the most for a disk, and how often it is looked whether that has caught up."""
CLOSE_PATIENCE_S = 2.0
"""How long the end waits for a stdout or a file that does not take what is left."""


class Logs:
    """The output of all processes of a plan. `output` is the keeper's sink; `opening` and `closing` frame each run.

    To read: `last` and `subscribe`. To end: `close`, which waits for what can still be written.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        targets: Mapping[Stream, Target],
        heard: Callable[[Id, Sequence[Entry]], None] = lambda *_: None,
        seen: Callable[[Id, Sequence[Entry]], None] = lambda *_: None,
    ) -> None:
        """Text goes to the target of its stream, JSON to that of stdout; one target may serve both. `heard` is told of all;
        `seen` also of what the filters drop, of processes whose health check looks for a line.
        """
        self._form = plan.log_format
        self._processes = dict(plan.processes)
        self._clock = clock
        self._heard = heard
        self._seen = seen
        by_target = {
            id(target): Writer(target, name=name, lost=self._lost_line, told=name == "stdout")
            for name, target in reversed(tuple(targets.items()))
        }
        self.writers: Mapping[str, Writer] = {name: by_target[id(target)] for name, target in targets.items()}
        self._numbers = itertools.count(1)
        self._pipelines: dict[tuple[Id, Stream], Pipeline] = {}
        self._rings: dict[tuple[Id, Stream], Ring] = {}
        self._files: dict[LogFile, Writer] = {}
        self._parting: list[asyncio.Task[None]] = []
        self._subscriptions: set[Subscription] = set()
        self._timers: dict[tuple[Id, Stream], asyncio.Task[None]] = {}

    def opening(self, each: Id) -> None:
        """A run begins.

        Raises:
            CannotStart: its log file cannot be written.
        """
        rule = self._rule(each).file
        if rule is not None:
            self._open(rule)

    def adopt(self, plan: Plan) -> None:
        """Another plan is in force, also for what runs. What was taken out of it may still print, and is treated as before."""
        # Of what was taken out earlier, only what is still there counts.
        there = {each.process for each, _ in self._pipelines}
        before, self._form = self._processes, plan.log_format
        self._processes = {name: one for name, one in before.items() if name in there} | dict(plan.processes)
        wanted = {one.logging.file for one in self._processes.values() if one.logging.file is not None}
        for rule in [rule for rule in self._files if rule not in wanted]:
            self._parting.append(asyncio.create_task(asyncio.to_thread(self._files.pop(rule).close, CLOSE_PATIENCE_S)))
        for name in plan.processes.keys() & before.keys():
            if plan.processes[name].logging != before[name].logging:
                self._renew(name)

    def _renew(self, name: str) -> None:
        """The next line of a process is treated by other rules; what waits was begun under the old ones, and is given out."""
        if any(each.process == name for each, _ in self._pipelines) and (rule := self._processes[name].logging.file):
            try:
                self._open(rule)
            except CannotStart as error:  # nothing is stopped for it: its lines go everywhere else
                log.warning("supervisor.log_file_lost", process=name, why=str(error))
        for each in {each for each, _ in self._pipelines if each.process == name}:
            self.closing(each)
        for key in [key for key in self._rings if key[0].process == name]:
            old, self._rings[key] = self._rings[key], Ring(self._rule(key[0]).buffer)
            self._rings[key].extend(old.entries())

    def _open(self, rule: LogFile) -> None:
        if rule in self._files:
            return
        try:
            target = RotatingFile(rule, wall_s=lambda: self._clock.now().timestamp())
        except OSError as error:
            raise CannotStart(
                f"cannot write the log file {rule.path}: {error.strerror}; its folder must exist and let us write"
            ) from error
        self._files[rule] = Writer(target, name=str(rule.path), lost=lambda count: self._lost(count, dated=True))

    async def output(self, each: Id, batch: Batch) -> None:
        """Take what a process printed, in slices, so that others get their turn."""
        if batch.dropped:
            self._note_loss(each, batch.dropped)
        began_s = time.perf_counter()
        for lines in _slices(batch.lines):
            self._take(each, lines)
            await self._catch_up()
            if time.perf_counter() - began_s > _SLICE_S:
                await asyncio.sleep(0)
                began_s = time.perf_counter()

    async def _catch_up(self) -> None:
        """Let files take what they have, so that a burst loses no line; who prints waits so long, and never for a reader."""
        until_s = self._clock.monotonic() + PATIENCE_S
        while behind := [writer for writer in (*self.writers.values(), *self._files.values()) if writer.behind]:
            if self._clock.monotonic() >= until_s:
                for writer in behind:
                    writer.give_up()
                return
            await self._clock.sleep(_STEP_S)

    def closing(self, each: Id) -> None:
        """A run has ended: nothing more is to come that could belong to what waits."""
        for stream in ("stdout", "stderr"):
            pipeline = self._pipelines.pop((each, stream), None)
            timer = self._timers.pop((each, stream), None)
            if timer is not None:
                timer.cancel()
            if pipeline is not None:
                self._spread(each, stream, pipeline.flush(self._clock.now()))

    def forget(self, each: Id) -> None:
        """The instance was scaled away: nobody asks for its entries any more."""
        for stream in ("stdout", "stderr"):
            self._rings.pop((each, stream), None)

    def last(
        self, process: str, count: int, *, instance: int | None = None, stream: Stream | None = None
    ) -> list[Entry]:
        """The last entries of a process, or of one of its instances or streams, oldest first."""
        rings = [
            ring.entries()
            for (each, name), ring in self._rings.items()
            if each.process == process and instance in (None, each.index) and stream in (None, name)
        ]
        return list(heapq.merge(*rings, key=_NUMBER))[-count:] if count > 0 else []

    def subscribe(self, process: str | None = None) -> Subscription:
        """Hear every entry from now on, of all processes or of one."""
        subscription = Subscription(process, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        return subscription

    async def close(self) -> None:
        """Give out what waits, and return when it is written, or cannot be in time."""
        for each in {each for each, _ in self._pipelines}:
            self.closing(each)
        for subscription in tuple(self._subscriptions):
            subscription.close()
        await asyncio.gather(*self._parting)
        writers = {*self._files.values(), *self.writers.values()}
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await asyncio.gather(*map(_closed, writers))

    def _rule(self, each: Id) -> Logging:
        return self._processes[each.process].logging

    def _take(self, each: Id, lines: Sequence[Line]) -> None:
        """Lines of one stream in a row go through its stages together."""
        if isinstance(lines, Block):
            self._feed(each, lines.stream, lines)
            return
        out = sum(1 for line in lines if line.stream == "stdout")
        if out in (0, len(lines)):
            self._feed(each, lines[0].stream, lines)
            return
        for stream, run in itertools.groupby(lines, attrgetter("stream")):
            self._feed(each, stream, tuple(run))

    def _feed(self, each: Id, stream: Stream, lines: Sequence[Line]) -> None:
        pipeline = self._pipeline(each, stream)
        if pipeline is None:
            return
        self._spread(each, stream, pipeline.feed(lines, self._clock.monotonic(), self._clock.now()))
        if pipeline.due_s is not None and (each, stream) not in self._timers:
            self._timers[each, stream] = asyncio.create_task(self._tick(each, stream, pipeline))

    async def _tick(self, each: Id, stream: Stream, pipeline: Pipeline) -> None:
        while (due_s := pipeline.due_s) is not None:
            await self._clock.sleep(due_s - self._clock.monotonic())
            self._spread(each, stream, pipeline.tick(self._clock.monotonic(), self._clock.now()))
        self._timers.pop((each, stream), None)

    def _note_loss(self, each: Id, count: int) -> None:
        """Nobody knows of which stream they were; both may have holes."""
        for stream in ("stdout", "stderr"):
            pipeline = self._pipeline(each, stream)
            if pipeline is not None:
                self._spread(each, stream, pipeline.lost(count, self._clock.monotonic(), self._clock.now()))
                count = 0

    def _pipeline(self, each: Id, stream: Stream) -> Pipeline | None:
        found = self._pipelines.get((each, stream))
        rule = self._rule(each)
        if found is None and (rule.stdout if stream == "stdout" else rule.stderr):
            origin = Origin(process=each.process, instance=str(each), stream=stream)
            check = self._processes[each.process].health_check
            looks = check is not None and check.kind is ProbeKind.LOG
            seen = partial(self._seen, each) if looks else None
            found = self._pipelines[each, stream] = Pipeline(origin, rule, self._numbers, seen)
        return found

    def _spread(self, each: Id, stream: Stream, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        rule = self._rule(each)
        ring = self._rings.get((each, stream))
        if ring is None:
            ring = self._rings[each, stream] = Ring(rule.buffer)
        ring.extend(entries)
        self._heard(each, entries)
        form = self._form
        is_json = form is LogForm.JSON
        data = (
            as_json(entries, rule.labels)
            if is_json
            else as_plain(entries)
            if form is LogForm.PLAIN
            else as_text(entries)
        )
        count = len(entries) if isinstance(entries, Run) else data.count(b"\n")
        self.writers["stdout" if is_json else stream].give(data, count)
        if rule.file is not None:
            self._write_file(rule.file, data if is_json else as_text(entries, dated=True), count)
        for subscription in self._subscriptions:
            if subscription.process in (None, each.process):
                subscription.hear(entries)

    def _write_file(self, rule: LogFile, data: bytes, lines: int) -> None:
        writer = self._files.get(rule)
        if writer is not None:
            writer.give(data, lines)

    def _lost_line(self, count: int) -> bytes:
        return self._lost(count, dated=False)

    def _lost(self, count: int, *, dated: bool) -> bytes:
        entry = Entry(
            number=0, time=self._clock.now(), level=Level.WARN, process=_SUPERVISOR, instance=_SUPERVISOR,
            stream="stderr", message=lost_note(count),
        )  # fmt: skip
        return as_json([entry], {}) if self._form is LogForm.JSON else as_text([entry], dated=dated)


async def _closed(writer: Writer) -> None:
    """Close it, and return when everything is written; without a thread for it, as that takes longer than most writing."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # nobody waits any longer, and the loop has gone
            loop.call_soon_threadsafe(ended.set)

    writer.begin_close(tell)
    await ended.wait()


def _slices(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    for part in parts_of(lines):
        if isinstance(part, Block):
            yield from part.slices(_SLICE_LINES)
            continue
        for start in range(0, len(part), _SLICE_LINES):
            yield part[start : start + _SLICE_LINES]
