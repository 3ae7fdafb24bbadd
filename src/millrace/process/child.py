"""One child, from its start to the last byte of its output."""

import asyncio
import os
import signal
from contextlib import suppress

from msgspec import structs

from millrace.process.cgroup import Placed
from millrace.process.entry import Entry, program_of
from millrace.process.grounds import grounds
from millrace.process.launch import spawn
from millrace.process.look import Process
from millrace.process.mark import child_mark
from millrace.process.output import Outlet, Reader, Splitter, Tail
from millrace.process.own import claim, release
from millrace.process.sandbox import Confinement, confinement
from millrace.process.tree import Tree, first_end, open_pidfd, send
from millrace.process.values import CannotStart, CannotStop, Exit, Line, Sink, Spec, Usage
from millrace.runtime.clock import Clock

KILL_PATIENCE_S = 10.0  # how long the kernel may take to end what was killed, before we say that it cannot be
REAP_PATIENCE_S = 3.0  # how long of that who waits for a sandbox may take to collect it
DRAIN_PATIENCE_S = 1.0  # how long output may keep coming after the whole tree is gone
SINK_PATIENCE_S = 5.0  # how long the sink may take for the last batch
_FREEZE_ROUNDS = 400  # looks at the tree, 5 ms apart, until all of it has stopped


class Child:
    """A running child. Made by `start`; `wait` gives how it ended.

    When the child itself ends, what is left of its tree is killed; then the output is read to its end and given to the
    sink; then `wait` returns. `stop`, `pause` and `resume` reach the whole tree (see `tree` for who belongs to it).
    """

    def __init__(
        self,
        spec: Spec,
        *,
        clock: Clock,
        sink: Sink | None,
        tail_lines: int,
        tail_chars: int,
        max_line_bytes: int,
        buffer_chars: int,
    ) -> None:
        """Use `start`."""
        self.spec = structs.replace(spec, env={})  # which is big, and of no more use
        self._clock = clock
        self._tail = Tail(tail_lines, tail_chars)
        self._began_s = clock.monotonic()
        mark = child_mark()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        # Only `confine` has something to report.
        report, report_end = (-1, -1) if spec.sandbox is None else os.pipe()
        self._place = None if spec.resources is None else grounds().place(spec.resources)
        # Until it is in its control group it must start nothing, because that would stay outside.
        gate, gate_end = (-1, -1) if self._place is None else os.pipe()
        try:
            self._popen = spawn(spec, mark=mark, stdout=out_end, stderr=err_end, report=report_end, gate=gate)
        except BaseException:
            for descriptor in (out, err, report, gate_end):
                _close(descriptor)
            self._leave()
            raise
        finally:
            for descriptor in (out_end, err_end, report_end, gate):
                _close(descriptor)
        self._entry = None if report < 0 else Entry(report)
        claim(self._popen.pid)
        if self._place is not None:
            self._place.take(self._popen.pid)
            with suppress(BrokenPipeError):  # it has been killed already
                os.write(gate_end, b"\n")
            os.close(gate_end)
        self.mark = mark
        self._tree = Tree(self._popen.pid, mark, self._place.pids if self._place is not None else set)
        self._outlet = Outlet(sink, buffer_chars) if sink is not None else None
        self._readers = (
            Reader(out, Splitter("stdout", max_line_bytes), self._tail, self._outlet),
            Reader(err, Splitter("stderr", max_line_bytes), self._tail, self._outlet),
        )
        self._target: Process | None = None  # the program itself, where others stand between us and it
        self._paused = False
        self._collected = False  # from then on the pid may be another's
        self._kill_at_s: float | None = None
        self._stop_signal = signal.SIGTERM
        self._stop_tree = True
        self._stop_changed = asyncio.Event()
        self._over = False  # its end was seen by its pidfd
        self._life = asyncio.create_task(self._live(), name=f"child {self._popen.pid}")

    @classmethod
    async def start(
        cls,
        spec: Spec,
        *,
        clock: Clock,
        sink: Sink | None = None,
        tail_lines: int = 200,
        tail_chars: int = 64 * 1024,
        max_line_bytes: int = 16 * 1024,
        buffer_chars: int = 8 * 1024 * 1024,
    ) -> "Child":
        """Start it. Raises CannotStart. Must be called on an event loop in the main thread.

        `sink` gets every line, in batches, one call at a time; it may be slow: the child is never held up, but beyond
        `buffer_chars` of waiting lines the newest are dropped and counted. `tail` keeps the last lines in any case.
        """
        child = cls(
            spec,
            clock=clock,
            sink=sink,
            tail_lines=tail_lines,
            tail_chars=tail_chars,
            max_line_bytes=max_line_bytes,
            buffer_chars=buffer_chars,
        )
        await child._enter()
        return child

    @property
    def pid(self) -> int:
        """The pid, which is also the number of its session and group."""
        return self._popen.pid

    @property
    def paused(self) -> bool:
        """Whether the tree is held by `pause`."""
        return self._paused

    @property
    def ended(self) -> bool:
        """Whether `wait` would return at once."""
        return self._life.done()

    def holds(self, pid: int) -> bool:
        """Whether a process is of the tree. Only while the child has not been collected; cheaper than to look at all."""
        return not self._collected and self._tree.holds(pid)

    def tail(self) -> tuple[Line, ...]:
        """The last lines of both streams, oldest first; complete once `wait` has returned."""
        return self._tail.lines()

    @property
    def confinement(self) -> Confinement:
        """What shuts it in, and what does not."""
        return confinement(self.spec.sandbox)

    @property
    def placed(self) -> Placed:
        """Which limits of its tree are in force, and which are not."""
        return self._place.record if self._place is not None else Placed()

    async def wait(self) -> Exit:
        """How it ended. Cancelling this does not touch the child. Raises CannotStop when something survived SIGKILL."""
        return await asyncio.shield(self._life)

    async def stop(
        self, grace_s: float = 10.0, *, by: signal.Signals = signal.SIGTERM, whole_tree: bool = True
    ) -> Exit:
        """SIGTERM (or `by`) to the whole tree, SIGKILL to what is left after `grace_s`; nothing is left when it returns.

        Without `whole_tree` the child alone gets the signal, because it ends what it has started by itself; what it leaves
        is killed all the same.
        Works on a paused child. A second call can shorten the grace, never lengthen it. After the end it only tells how
        the child ended.
        """
        self.begin_stop(grace_s, by=by, whole_tree=whole_tree)
        return await self.wait()

    def begin_stop(self, grace_s: float, *, by: signal.Signals = signal.SIGTERM, whole_tree: bool = True) -> None:
        """As `stop`, for whoever is told of the end by `wait`."""
        kill_at_s = self._clock.monotonic() + max(grace_s, 0.0)
        if self._kill_at_s is None or kill_at_s < self._kill_at_s:
            self._kill_at_s = kill_at_s
            self._stop_signal = by
            self._stop_tree = whole_tree
            self._stop_changed.set()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child alone, for what it means to the program (reload, reopen its logs)."""
        if not self._collected:  # until then the pid is its own, even when it has ended
            send(self._target, number) if self._target is not None else os.kill(self.pid, number)

    async def pause(self) -> None:
        """SIGSTOP the whole tree, and return when every process of it has really stopped."""
        if self._kill_at_s is not None or self._collected:
            return
        self._paused = True
        for _ in range(_FREEZE_ROUNDS):
            if not self._paused or self._collected:  # resumed, stopped or ended meanwhile
                return
            # Looked at again until nothing moves: what is about to fork does so before its own signal arrives.
            if all(process.stopped for process in self._tree.members()):
                return
            self._tree.signal(signal.SIGSTOP)
            await self._clock.sleep(0.005)

    async def resume(self) -> None:
        """SIGCONT the whole tree."""
        if self._paused and not self._collected:
            self._paused = False
            self._tree.signal(signal.SIGCONT)

    def sample(self) -> Usage:
        """What the tree has used until now; zero processes after the end. Costs 3 ms with 90 processes on the machine (measured)."""
        return Usage(cpu_s=0.0, rss_bytes=0, processes=0) if self._collected else self._tree.usage()

    async def _enter(self) -> None:
        """Return when the program itself runs. Raises CannotStart; then nothing does."""
        if self._entry is None:
            return
        if not self.confinement.in_force:
            self._entry.close()
            return
        try:
            why = await self._entry.refusal()
        except BaseException:
            await self.stop(0.0)
            raise
        if why is not None:
            ended = await self.stop(0.0)
            said = "; ".join(line.text for line in self.tail()[:3])
            raise CannotStart(f"cannot shut {self.spec.argv[0]} in: {why or said or ended}")
        self._target = program_of(self.pid)

    async def _live(self) -> Exit:
        pidfd = open_pidfd(self.pid)
        if pidfd is not None:
            asyncio.get_running_loop().add_reader(pidfd, self._see_end, pidfd)
        try:
            await self._until_end_or_stop(watched=pidfd is not None)
            asked = self._kill_at_s is not None
            left, forced = await self._ask_to_end(watched=pidfd is not None) if asked else (self._tree.members(), False)
            strays = await self._kill(left)
        except BaseException:  # cancelled with the event loop, or CannotStop: leave as little behind as can be
            self._kill_all()
            for reader in self._readers:
                reader.close()
            release(self.pid)
            raise
        finally:
            if pidfd is not None:
                asyncio.get_running_loop().remove_reader(pidfd)
                os.close(pidfd)
        await self._drain()
        result = self._collect(asked=asked, strays=strays, forced=forced)
        if self._outlet is not None and not self._outlet.idle:
            with suppress(TimeoutError):
                await self._clock.wait_for(self._outlet.close(), SINK_PATIENCE_S)
        return result

    def _see_end(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)  # it stays readable
        self._over = True
        self._tree.end_was_seen()
        self._stop_changed.set()

    async def _until_end_or_stop(self, *, watched: bool) -> None:
        """Return when the child has ended (and is not collected yet) or `stop` was called."""
        if watched:
            while self._kill_at_s is None and not self._over:
                self._stop_changed.clear()
                await self._stop_changed.wait()
            return
        while self._kill_at_s is None and _peek(self.pid) is None:
            await self._clock.wait_event(self._stop_changed, 0.02)

    async def _ask_to_end(self, *, watched: bool) -> tuple[list[Process], bool]:
        """TERM, and wait until the whole tree has gone; what is left of it now, and whether the grace was over before."""
        self._paused = False
        # SIGCONT also when it was stopped by others: a stopped process handles no SIGTERM.
        if self._stop_tree:
            members = self._tree.signal(self._stop_signal, signal.SIGCONT)
        else:
            self.send(self._stop_signal)
            members = self._tree.signal(signal.SIGCONT)
        while members and self._kill_at_s is not None:
            left_s = self._kill_at_s - self._clock.monotonic()
            nobody_told = not self._stop_tree and all(process.pid != self.pid for process in members)
            if left_s <= 0 or nobody_told:
                return members, not nobody_told
            self._stop_changed.clear()
            # Its own end is told to `_stop_changed`, where there is a pidfd.
            others = [process for process in members if process.pid != self.pid or not watched]
            await first_end(others, left_s, self._clock, told=self._stop_changed)
            members = self._tree.members()
        return members, False

    async def _kill(self, members: list[Process]) -> int:
        """KILL these, until nothing lives; how many processes there were besides the child."""
        victims: set[tuple[int, int]] = set()
        give_up_s = self._clock.monotonic() + KILL_PATIENCE_S
        while members:
            victims.update(process.key for process in members if process.pid != self.pid)
            if self._clock.monotonic() > give_up_s:
                pids = ", ".join(str(process.pid) for process in members)
                raise CannotStop(
                    f"cannot stop {self.spec.argv[0]}: the kernel does not end pid {pids}, although killed"
                )
            if self._shut_in and self._clock.monotonic() < give_up_s - KILL_PATIENCE_S + REAP_PATIENCE_S:
                self._kill_inside(members)
                await first_end(members, 0.05, self._clock)
            else:
                self._kill_all()
                await first_end(members, 0.5, self._clock)
            members = self._tree.members()
        return len(victims)

    @property
    def _shut_in(self) -> bool:
        """Whether one of ours waits outside for the first process of a PID namespace."""
        return self.spec.sandbox is not None and self.spec.sandbox.able.whole

    def _kill_inside(self, members: list[Process]) -> None:
        """End the PID namespace by its first process. Whoever waits for that outside collects it and ends by itself.

        Killed with it, it would leave a zombie to PID 1, and not every PID 1 collects those.
        """
        first = self._target.parent if self._target is not None else None
        for process in members:
            if process.pid == first or (first is None and process.parent == self.pid):
                send(process, signal.SIGKILL)

    def _kill_all(self) -> None:
        if self._place is not None:
            self._place.kill()
        self._tree.signal(signal.SIGKILL)

    def _leave(self) -> int:
        """Give the control group back; how many processes were killed in it for want of memory."""
        if self._place is None:
            return 0
        kills = self._place.oom_kills
        grounds().forget(self._place)
        return kills

    async def _drain(self) -> None:
        for reader in self._readers:
            reader.catch_up()  # what it said last, and the end, most often are there already
        if not all(reader.ended for reader in self._readers):
            with suppress(TimeoutError):
                await self._clock.wait_for(self._all_read(), DRAIN_PATIENCE_S)
        for reader in self._readers:
            reader.close()

    async def _all_read(self) -> None:
        # Not `gather`: cancelled, it ends with a CancelledError that nobody can tell from a cancellation of the waiter.
        for reader in self._readers:
            await reader.wait()

    def _collect(self, *, asked: bool, strays: int, forced: bool) -> Exit:
        code: int | None
        try:
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            # Somebody reaped it before us (SIGCHLD ignored, or a waitpid(-1)): never report that as success.
            code, number, cpu_s, rss_bytes, dumped = None, None, 0.0, 0, False
        else:
            killed = os.WIFSIGNALED(status)
            code = None if killed else os.WEXITSTATUS(status)
            number = os.WTERMSIG(status) if killed else None
            dumped = os.WCOREDUMP(status)
            cpu_s = usage.ru_utime + usage.ru_stime
            rss_bytes = usage.ru_maxrss * 1024
        self._collected = True
        release(self.pid)
        # Popen must not wait for a pid that is no longer ours.
        self._popen.returncode = -number if number is not None else code if code is not None else -1
        return Exit(
            code=code,
            signal=number,
            wall_s=self._clock.monotonic() - self._began_s,
            cpu_s=cpu_s,
            max_rss_bytes=rss_bytes,
            core_dumped=dumped,
            asked=asked,
            strays=strays,
            oom_kills=self._leave(),
            forced=forced,
        )


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _peek(pid: int) -> bool | None:
    """Whether a child has ended, without collecting it: None while it runs."""
    try:
        return True if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) else None
    except ChildProcessError:
        return True
