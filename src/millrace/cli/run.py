"""Run a program until it is asked to end: what `up`, `master` and `worker` share."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from millrace.blobs.values import BlobError, BlobsRefused
from millrace.cli import failure
from millrace.cli.failure import FAILED, WRONG_USAGE, CommandError
from millrace.cli.setting_up import collect_garbage
from millrace.client.errors import ClientError
from millrace.programs.exhausted import ExhaustedError
from millrace.runtime.clock import SystemClock
from millrace.runtime.notify import Notifier, watchdog
from millrace.runtime.service import Service
from millrace.runtime.signals import StopRequest, stop_signals
from millrace.store.store import SchemaTooNewError, StoreBusyError, StoreError
from millrace.worker.identity import StateBusyError, StateUnusableError
from millrace.worker.worker import Worker

EXPECTED = (StoreError, ExhaustedError, BlobError, ClientError, StateBusyError, StateUnusableError, OSError)
"""What may go wrong with a program through no fault of its own; each carries a sentence."""
_NAMED = (StoreBusyError, SchemaTooNewError, BlobsRefused, StateBusyError, StateUnusableError)
"""What is the fault of the folder or the address that was named: as long as it is as it is, every start ends so."""


def check_roots(roots: Sequence[Path]) -> None:
    """Pass, or raise CommandError for a media root that is no folder."""
    for root in roots:
        if not root.is_dir():
            raise CommandError(f"cannot use the media root {root}: there is no such folder", code=2)


def run(
    program: Service,
    *,
    ready: Callable[[], None],
    workers: Callable[[], Sequence[Worker]],
    drain_timeout_s: float | None = None,
    broken: Callable[[], Awaitable[object]] = asyncio.Future,
) -> None:
    """Start, say so, wait for a signal, let the workers finish, stop.

    The first SIGTERM or SIGINT drains the workers; the second, or the end of `drain_timeout_s` (None: never), hands back at
    once what they hold. What `broken` gives raises, when awaited, what ends the program without a signal.

    Raises:
        CommandError: the program cannot start (code 2 where another folder, port or address would help), a worker stopped by
            itself (code 2), or it ended because of an error (code 1).
        SettingError: the program cannot start with these settings.
    """
    import uvloop  # noqa: PLC0415  only what serves pays for it

    try:
        uvloop.run(_run(program, ready, workers, drain_timeout_s, broken))
    except EXPECTED as error:
        raise CommandError(sentence_of(error)) from error


def code_of(error: BaseException) -> int:
    """The exit code for an error of a start: 2 where what was named cannot be used, 1 where anything else is wrong."""
    if isinstance(error, OSError):
        return failure.code_of(error)
    if not isinstance(error, _NAMED):
        return FAILED
    return failure.code_of(error.__cause__) if isinstance(error.__cause__, OSError) else WRONG_USAGE


def sentence_of(error: BaseException) -> str:
    """What went wrong with a program, for one of the errors that may be expected."""
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"cannot start: {error.strerror}{where}"
    return str(error)


async def _run(
    program: Service,
    ready: Callable[[], None],
    workers: Callable[[], Sequence[Worker]],
    drain_timeout_s: float | None,
    broken: Callable[[], Awaitable[object]],
) -> None:
    notifier = Notifier(os.environ)
    # Outermost, so that a long drain counts as alive until the very end.
    async with watchdog(notifier, clock=SystemClock()), stop_signals() as request:
        starting = asyncio.create_task(program.start())
        if await _first(starting, request.drain.wait()):
            await program.stop()
            await asyncio.gather(starting, return_exceptions=True)
            return
        try:
            await _started(starting)
            collect_garbage(busy=True)
            ready()
            notifier.ready()
            await _asked_or_ended(request, workers(), broken())
            notifier.stopping()
            if drain_timeout_s is not None:
                asyncio.get_running_loop().call_later(drain_timeout_s, request.hurry.set)
            await _drain(workers(), request)
        finally:
            await program.stop()
        for worker in workers():
            if worker.fault:
                raise CommandError(worker.fault, code=WRONG_USAGE)


async def _asked_or_ended(request: StopRequest, workers: Sequence[Worker], broken: Awaitable[object]) -> None:
    """Return when somebody asks for the end, or a worker has stopped by itself; raise what breaks before that."""
    breaking = asyncio.ensure_future(broken)
    asked = asyncio.ensure_future(request.drain.wait())
    ended = [asyncio.ensure_future(worker.wait_drained()) for worker in workers]
    try:
        await asyncio.wait((breaking, asked, *ended), return_when=asyncio.FIRST_COMPLETED)
        if breaking.done():
            breaking.result()
    finally:
        for one in (breaking, asked, *ended):
            one.cancel()


async def _started(starting: "asyncio.Future[None]") -> None:
    try:
        await starting
    except EXPECTED as error:
        raise CommandError(sentence_of(error), code=code_of(error)) from error


async def _drain(workers: Sequence[Worker], request: StopRequest) -> None:
    for worker in workers:
        worker.drain()
    drained = asyncio.gather(*(worker.wait_drained() for worker in workers))
    if await _first(drained, request.hurry.wait()):
        for worker in workers:
            worker.hurry()
        await drained


async def _first(work: "asyncio.Future[Any]", event: Awaitable[object]) -> bool:
    """Wait for either; whether the event came while the work was not done."""
    waiting = asyncio.ensure_future(event)
    await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return not work.done()


def say(document: object, *, as_json: bool, text: str) -> None:
    """Tell on stdout that the program is ready."""
    line = msgspec.json.encode(document).decode() if as_json else text
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
