"""Waiting until a program that is shut in really runs: what `confine` reports, and which process it is."""

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from millrace.process.enclose import STARTED
from millrace.process.look import Look, Process, children_of, read_process

_LONGEST = 4096


class Entry:
    """The reading end of the reports of one child."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over."""
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._said = b""
        self._open = True

    async def refusal(self) -> str | None:
        """None once the program runs, else why it does not; empty where nothing was said."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def readable() -> None:
            with suppress(BlockingIOError):
                chunk = os.read(self._descriptor, _LONGEST)
                self._said += chunk
                if not chunk:
                    ended.set()

        loop.add_reader(self._descriptor, readable)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._descriptor)
            self.close()
        said = self._said.removeprefix(STARTED).decode("utf-8", "replace")
        return None if self._said == STARTED else said

    def close(self) -> None:
        """Listen no more."""
        if self._open:
            self._open = False
            os.close(self._descriptor)


def program_of(pid: int) -> Process | None:
    """The program for which `confine` waits as `pid`; None where it has become the program itself, or has ended.

    It is the one that was born second in the innermost PID namespace (NSpid in /proc/PID/status, proc(5)).
    """
    # The list of a process's own children is not to be had everywhere; to look at all processes takes 25 µs for each.
    return _second(pid, lambda parent: children_of(parent, parent)) or _second(pid, Look().children)


def _second(pid: int, children: Callable[[int], Iterable[int]]) -> Process | None:
    queue = [pid]
    while queue:
        found = queue.pop()
        if found != pid and _inner_pid(found) == [2]:
            return read_process(found)
        queue += children(found)
    return None


def _inner_pid(pid: int) -> list[int]:
    """Its number in the innermost of the namespaces below ours, as a list; empty where it is in ours."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("NSpid:"):
                    return [int(number) for number in line.split()[2:]][-1:]
    except OSError:
        pass
    return []
