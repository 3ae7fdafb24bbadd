"""Several engine runs of one attempt at the same time: a bound on how many, one progress, the first failure ends all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from millrace.engines.engine import Command, Progress, share_done

T = TypeVar("T")
Told = Callable[[float, Progress], None]
"""Told the part (0..1) of all the work that is done, and the newest report."""


async def side_by_side(commands: Sequence[Command], run: Callable[[Command], Awaitable[T]], *, at_once: int) -> list[T]:
    """The results in the order of the commands. They start in that order, `at_once` of them and the light ones beside.

    The first failure ends the others and is raised; nothing runs on after this returns.
    """
    turns = asyncio.Semaphore(at_once)

    async def one(command: Command) -> T:
        if command.light:
            return await run(command)
        async with turns:
            return await run(command)

    tasks = [asyncio.ensure_future(one(command)) for command in commands]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class OneProgress:
    """The newest reports of several encodes as one: frames and speeds add up, shares are weighed by the work they stand for."""

    def __init__(self, commands: Sequence[Command]) -> None:
        """Nothing has been reported yet."""
        self._commands = commands
        self._whole = sum(command.share for command in commands) or 1.0
        self._newest: dict[int, Progress] = {}

    def take(self, command: Command, progress: Progress) -> tuple[float, Progress]:
        """The part (0..1) of all the work that is done by now, and what to show for it."""
        self._newest[self._commands.index(command)] = progress
        known = [(self._commands[number], one) for number, one in self._newest.items()]
        share = sum(one.share * share_done(report, one) for one, report in known) / self._whole
        reports = [report for one, report in known if not one.light]
        running = [report for report in reports if not report.ended]
        return min(1.0, share), Progress(
            frame=sum(report.frame for report in reports),
            fps=sum(report.fps or 0.0 for report in running),
            speed=sum(report.speed or 0.0 for report in running),
            out_time_s=None,
            bitrate_bps=None,
            ended=len(known) == len(self._commands) and not running,
        )


def within(told: Told, begin: float, part: float) -> Told:
    """Tells the progress of some work as that part of a longer one."""

    def tell(share: float, report: Progress) -> None:
        told(begin + part * share, report)

    return tell
