"""Witnesses: they look at processes, at what is visible under public names, and at who believes to lead, all the while."""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx2
from msgspec import Struct

from chaos.farm import Farm
from chaos.processes import MARKER, below
from millrace.process.look import Look, Process
from sim.history import History
from sim.told import visible

LOOK_S = 0.2
READ_S = 0.3
ASK_S = 0.1
ORPHAN_S = 5.0
"""How long something may live that nobody is responsible for. The product promises a second on a machine with time to spare."""
_ATTEMPT = re.compile(r"attempts/(j[0-9a-f]+\.\d+)\.(\d+)")
_LEADS = re.compile(r"^millrace_leads (\d)", re.MULTILINE)


class Seen(Struct):
    """An engine: whose, and when it was seen first and last, by the history's clock."""

    worker: str
    first_s: float
    last_s: float


class Processes:
    """Everything that lives because of this run: engines and who has them, and orphans, which nobody has."""

    def __init__(self, marker: str, farm: Farm, history: History, fail: Callable[[str, str], None]) -> None:
        self.engines: dict[tuple[str, int], Seen] = {}
        self.engine_pids: dict[str, list[int]] = {}
        """By worker, those that run now."""
        self.orphans = 0
        self.longest_orphan_s = 0.0
        self._marker, self._farm, self._history, self._fail = marker, farm, history, fail
        self._astray: dict[tuple[int, int], float] = {}
        self._told: set[tuple[int, int]] = set()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Once."""
        now, at_s = Look(), self._history.now()
        self._look_for_orphans(now, at_s)
        for worker in self._farm.workers:
            self.engine_pids[worker.name] = []
            if worker.pid is not None:
                for pid in below(now, worker.pid):
                    self._look_at(pid, worker.name, at_s)

    def _look_at(self, pid: int, worker: str, at_s: float) -> None:
        found = _ATTEMPT.search(_command_line(pid))
        if found is None:
            return
        self.engine_pids[worker].append(pid)
        key = found[1], int(found[2])
        seen = self.engines.setdefault(key, Seen(worker, at_s, at_s))
        seen.last_s = at_s

    def _look_for_orphans(self, now: Look, at_s: float) -> None:
        own, session, kept = os.getpid(), os.getsid(0), self._farm.pids()
        astray: dict[tuple[int, int], Process] = {}
        for pid in now.children(own):
            process = now.find(pid)
            # What has come to us comes out of a session of its own; tools and servers that we started are in ours.
            if process is None or pid in kept or process.session == session:
                continue
            if process.alive:
                astray[process.key] = process
            else:
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        for key in self._astray.keys() - astray.keys():
            since_s = self._astray.pop(key)
            if key[0] not in kept:  # else it was seen before its start had returned
                self.longest_orphan_s = max(self.longest_orphan_s, at_s - since_s)
        for key, process in astray.items():
            since_s = self._astray.setdefault(key, at_s)
            if at_s - since_s > ORPHAN_S and key not in self._told:
                self._told.add(key)
                self.orphans += 1
                self._fail("I15", f"{_command_line(process.pid)[:200]!r} lives on, and nobody is responsible for it")

    def left(self) -> list[str]:
        """At the end of all: whatever still lives and carries our mark, or descends from us."""
        now, own = Look(), os.getpid()
        descendants = below(now, own) - {own}
        found = []
        for process in now.astray():
            marked = process.pid in descendants or _carries(process.pid, self._marker)
            if process.pid != own and process.alive and marked and process.pid not in self._farm.pids():
                found.append(f"{process.pid} {_command_line(process.pid)[:200]}")
        return found


def _carries(pid: int, marker: str) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{MARKER}={marker}".encode() in variables


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Reader:
    """Somebody who reads what is published, all the time."""

    def __init__(self, media: Path, fail: Callable[[str, str], None]) -> None:
        self.read = 0
        self.partial = 0
        self._media, self._fail = media, fail
        self._told: set[str] = set()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.read += await asyncio.to_thread(visible, self._media, self._partial)
            await asyncio.sleep(READ_S)

    def _partial(self, invariant: str, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.partial += 1
            self._fail(invariant, text)


class Leaders:
    """Asks every master again and again whether it believes to lead."""

    def __init__(self, urls: Mapping[str, str], key: str, history: History, fail: Callable[[str, str], None]) -> None:
        """`urls` by the master's name: not through the doors that faults are behind."""
        self.leader: str | None = None
        """Who was last heard to lead."""
        self.changes: list[tuple[float, str]] = []
        """When a master was first heard to lead that had not led before it, and which."""
        self._urls, self._key, self._history, self._fail = urls, key, history, fail
        self._yes: dict[str, tuple[float, float]] = {}
        """Of whose last answer was yes: when it was asked, and when the answer was there."""

    async def watch(self) -> None:
        """Until cancelled."""
        headers = {"authorization": f"Bearer {self._key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=1.0, trust_env=False) as client:
            await asyncio.gather(*(self._ask(client, name, url) for name, url in self._urls.items()))

    async def _ask(self, client: httpx2.AsyncClient, name: str, url: str) -> None:
        while True:
            asked_s = self._history.now()
            with suppress(httpx2.HTTPError, OSError):
                found = _LEADS.search((await client.get(f"{url}/metrics")).text)
                if found is not None and found[1] == "1":
                    self._heard(name, asked_s, self._history.now())
                else:
                    self._yes.pop(name, None)
            await asyncio.sleep(ASK_S)

    def _heard(self, name: str, asked_s: float, now_s: float) -> None:
        before = self._yes.get(name)
        for other, (from_s, to_s) in self._yes.items():
            # Within a second no term ends and another one of the same master begins.
            between = before is not None and before[1] < from_s and to_s < asked_s < before[1] + 1.0
            if other != name and between:
                self._fail("I11", f"{other} led at {to_s:.2f} s, between two moments at which {name} did")
        self._yes[name] = asked_s, now_s
        if self.leader != name:
            self.leader = name
            self.changes.append((now_s, name))
            self._history.add("leads", name)
