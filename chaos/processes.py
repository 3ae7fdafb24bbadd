"""Real processes: started, supervised, killed, stopped. What a master or a worker is, it is by its command line alone."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from millrace.process.look import Look
from sim.history import History

ROOT = Path(__file__).resolve().parent.parent
MARKER = "MILLRACE_CHAOS"
"""The variable that everything carries that a run starts."""
STARTING_S = 90.0
"""How long a program may take to be ready; encoders are tried at the first start, on cores that others use, too."""
ENDING_S = 60.0
_STEADY_S = 1.0


def command(bug: str | None, *arguments: object) -> list[str]:
    """The command line of a program of Millrace, with a planted bug if there is to be one."""
    module = ("chaos.planted", bug) if bug else ("millrace",)
    return [sys.executable, "-P", "-m", *module, *map(str, arguments)]


def with_us() -> tuple[str, ...]:
    """What a command line begins with that is to end when we are ourselves killed."""
    return ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


def environment(marker: str, **more: str) -> dict[str, str]:
    """The environment of a program: ours, without what is meant for another Millrace."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MILLRACE")}
    return kept | {"PYTHONPATH": str(ROOT), MARKER: marker, **more}


class Machine:
    """A program that somebody keeps: it is started again when it has ended, unless it is to stay away."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        history: History,
        *,
        changed: Callable[["Machine"], Awaitable[None]] | None = None,
    ) -> None:
        """`changed` is called when it has become ready, and when it has ended."""
        self.name = name
        self.process: asyncio.subprocess.Process | None = None
        self.pids: set[int] = set()
        """Of all its lives."""
        self.lives = 0
        self.stopped = False
        self.ready = asyncio.Event()
        self.log = folder / f"{name}.log"
        self._argv, self._env, self._folder, self._history = argv, env, folder, history
        self._changed = changed
        self._wanted = asyncio.Event()
        self._ended = False
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep it from now on."""
        self._wanted.set()
        self._keeping = self._keeping or asyncio.create_task(self._keep(), name=f"keep {self.name}")

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    async def _keep(self) -> None:
        while not self._ended:
            await self._wanted.wait()
            if not self._ended:
                await self._live()
                # As a supervisor does: at once after a long life, and with a pause where it does not get going.
                await asyncio.sleep(0.05 if self.ready.is_set() else _STEADY_S)
                self.ready.clear()

    async def _live(self) -> None:
        self.lives += 1
        self._history.add("starts", self.name, self.lives)
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._argv, env=dict(self._env), cwd=self._folder, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.process = process
        self.pids.add(process.pid)
        assert process.stdout is not None
        with suppress(TimeoutError):
            if await asyncio.wait_for(process.stdout.readline(), STARTING_S):  # the line that says so
                self.ready.set()
                self._history.add("ready", self.name)
                await self._tell()
        if not self.ready.is_set() and process.returncode is None:
            process.kill()
        code = await process.wait()
        self.stopped = False
        self._history.add("ended", self.name, code)
        await self._tell()

    async def _tell(self) -> None:
        if self._changed is not None:
            await self._changed(self)

    def kill(self, *, stay_away: bool = False) -> None:
        """SIGKILL."""
        if stay_away:
            self._wanted.clear()
        if self.pid is not None:
            self._history.add("killed", self.name, "fault")
            self.signal(signal.SIGKILL)

    def stop_still(self) -> None:
        """SIGSTOP."""
        self.stopped = self.pid is not None
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """If it runs."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self) -> int | None:
        """SIGTERM, and for ever; how it ended, None where it had to be killed."""
        self._ended = True
        self._wanted.set()
        self.signal(signal.SIGTERM)
        code: int | None = None
        if self.process is not None:
            with suppress(TimeoutError):
                code = await asyncio.wait_for(self.process.wait(), ENDING_S)
        self.signal(signal.SIGKILL)
        if self._keeping is not None:
            await self._keeping
        return code


def below(look: Look, pid: int) -> set[int]:
    """A process and all that descends from it."""
    found, queue = {pid}, [pid]
    while queue:
        fresh = [child for child in look.children(queue.pop()) if child not in found]
        found.update(fresh)
        queue += fresh
    return found
