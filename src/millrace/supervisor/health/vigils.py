"""The shell of health: it asks, listens and counts the time for each instance, from the start of a run to its end."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from millrace.process.values import CannotStart, Spec, Stream
from millrace.runtime.clock import Clock
from millrace.supervisor.happenings import Checked
from millrace.supervisor.health.notices import notice_from
from millrace.supervisor.health.notify_socket import NotifySocket
from millrace.supervisor.health.probes import ask
from millrace.supervisor.health.socket_folder import SocketFolder
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.state import Answered, Await, Event, Id, Notified, Overdue, Probe


class Vigils:
    """One vigil for each instance that runs."""

    def __init__(
        self, *, clock: Clock, environ: Mapping[str, str], check_of: Callable[[Id], HealthCheck | None],
        spec_of: Callable[[Id], Spec], belongs: Callable[[Id, int], bool], mask: Callable[[Id, str], str],
        post: Callable[[Event], None], happened: Callable[[Checked], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """`belongs` tells whether a pid is of the tree of an instance; `mask` takes secrets out of what it says; `happened`
        hears of each answer to a question.
        """
        self._clock = clock
        self._environ = environ
        self._check_of = check_of
        self._spec_of = spec_of
        self._belongs = belongs
        self._mask = mask
        self._post = post
        self._happened = happened
        self._vigils: dict[Id, _Vigil] = {}
        self._parting: set[asyncio.Task[None]] = set()
        self._folder: SocketFolder | None = None

    def opening(self, each: Id, uid: int | None) -> Mapping[str, str]:
        """Before a run: the variables by which the process finds us; `uid` is its user, None for ours.

        Raises:
            CannotStart: there is no place for its socket.
        """
        check = self._check_of(each)
        if check is None:
            return {}
        vigil = self._vigils[each] = _Vigil()
        if check.kind is not ProbeKind.NOTIFY:
            return {}
        try:
            self._folder = self._folder or SocketFolder(self._places())
            vigil.socket = NotifySocket(self._folder.path / str(each), uid=uid)
        except OSError as error:
            raise CannotStart(
                f"cannot make a socket for what {each} says of itself: {error.strerror or error}; "
                "let /run, XDG_RUNTIME_DIR or TMPDIR be writable, or use another type of health_check"
            ) from error
        watchdog = {"WATCHDOG_USEC": str(round(check.watchdog_s * 1e6))} if check.watchdog_s else {}
        return {"NOTIFY_SOCKET": str(vigil.socket.path), **watchdog}

    def begin(self, effect: Probe) -> None:
        """The process runs: ask or listen, until `closing`."""
        each, check = effect.id, self._check_of(effect.id)
        vigil = self._vigils.setdefault(each, _Vigil())
        self._drop(vigil.asking)  # the plan says something else now, while it runs
        if check is None:
            return
        if check.kind.asks:
            vigil.asking = [vigil.do(self._ask(each, effect.run, check))]
        elif vigil.socket is not None:
            heard = partial(self._hear, each, effect.run)
            vigil.do(vigil.socket.listen(partial(self._belongs, each), heard, self._clock))
        elif check.kind is ProbeKind.LOG:
            vigil.looks_for = (effect.run, check)

    def wait(self, effect: Await) -> None:
        """Say Overdue when the patience is over; a later call replaces an earlier one."""
        vigil, patience = self._vigils.get(effect.id), effect.patience
        if vigil is None:
            return
        until_s = self._clock.monotonic() + patience.for_s
        if patience.extend and (vigil.until_s is None or vigil.until_s >= until_s):
            return
        vigil.until_s = until_s if patience.for_s else None
        if vigil.timer is not None:
            vigil.timer.cancel()
            vigil.timer = None
        if vigil.until_s is not None:
            vigil.timer = vigil.do(self._overdue(effect, vigil))

    def saw(self, each: Id, stream: Stream, texts: Iterable[str]) -> None:
        """What an instance printed, without secrets."""
        vigil = self._vigils.get(each)
        if vigil is None or vigil.looks_for is None:
            return
        run, check = vigil.looks_for
        if check.pattern is None or check.stream not in ("", stream):
            return
        if any(check.pattern.search(text) for text in texts):
            vigil.looks_for = None
            self._post(Answered(each, run, well=True))

    def closing(self, each: Id) -> None:
        """The run is over: a question that is not answered yet is dropped, with what it started."""
        vigil = self._vigils.pop(each, None)
        self._drop(vigil.end() if vigil is not None else ())

    def _drop(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
            self._parting.add(task)
            task.add_done_callback(self._parting.discard)

    async def close(self) -> None:
        """End them all, and return when nothing of them is left."""
        for each in tuple(self._vigils):
            self.closing(each)
        await asyncio.gather(*self._parting, return_exceptions=True)
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    async def _ask(self, each: Id, run: int, check: HealthCheck) -> None:
        await self._clock.sleep(check.initial_delay_s)
        while True:
            at, at_s = self._clock.now(), self._clock.monotonic()
            why = await ask(check, spec=partial(self._spec_of, each), clock=self._clock)
            took_s = self._clock.monotonic() - at_s
            self._happened(Checked(id=each, run=run, kind=check.kind.value, at=at, took_s=took_s, fault=why))
            self._post(Answered(each, run, why is None, why or ""))
            await self._clock.sleep(check.period_s)

    def _hear(self, each: Id, run: int, datagram: bytes) -> None:
        notice = notice_from(datagram)
        if notice.status:
            notice = replace(notice, status=self._mask(each, notice.status))
        self._post(Notified(each, run, notice))

    async def _overdue(self, effect: Await, vigil: "_Vigil") -> None:
        if vigil.until_s is not None:
            await self._clock.sleep(vigil.until_s - self._clock.monotonic())
            vigil.until_s = vigil.timer = None
            self._post(Overdue(effect.id, effect.run))

    def _places(self) -> list[Path]:
        """As root, /run alone: others may not pass through root's own XDG_RUNTIME_DIR."""
        if os.getuid() == 0:
            return [Path("/run")]
        runtime = Path(self._environ.get("XDG_RUNTIME_DIR", ""))
        return [runtime] if runtime.is_absolute() else []


class _Vigil:
    """What belongs to one run."""

    def __init__(self) -> None:
        self.socket: NotifySocket | None = None
        self.looks_for: tuple[int, HealthCheck] | None = None
        self.until_s: float | None = None
        self.timer: asyncio.Task[None] | None = None
        self.asking: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def body() -> None:
            await work

        task = asyncio.create_task(body())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end(self) -> list[asyncio.Task[None]]:
        """Gives the tasks that have to end."""
        tasks = list(self._tasks)
        if self.socket is not None:
            self.socket.close()
        return tasks
