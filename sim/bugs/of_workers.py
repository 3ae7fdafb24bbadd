"""Bugs in a worker: its lease, its reports, and how it publishes."""

import asyncio
import os
from typing import Any

import millrace.blobs.local
import millrace.blobs.publish
import millrace.worker.deliver_folder
from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.errors import ClientError, StaleError
from millrace.wire.v1.work import Taken
from millrace.worker.control import Control, Ending
from millrace.worker.heartbeat import Heartbeat
from millrace.worker.lease import Lease
from millrace.worker.worker import Worker
from sim.bugs.bug import Bug, Patches


class _WallClock:
    """A clock that measures lengths with the wall clock."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    def monotonic(self) -> float:
        return float(self._clock.now().timestamp())


def _wall_clock() -> Patches:
    init = Worker.__init__

    def with_wall(self: Any, terms: Any, *, client: Any, heart: Any, clock: Any, draw: Any) -> None:
        wall: Any = _WallClock(clock)
        init(self, terms, client=client, heart=heart, clock=wall, draw=draw)

    return [(Worker, "__init__", with_wall)]


def _late() -> Patches:
    return [(Lease, "stop_s", property(lambda self: self.sent_s + 1.5 * self.ttl_s))]


def _names_unsynced() -> Patches:
    """What appears under its name need not be there after a power cut."""
    return [(module, "sync_folder", lambda _: None) for module in (millrace.blobs.publish, millrace.blobs.local)]


def _no_guard() -> Patches:
    return [(Worker, "_heard_expiry", lambda _: None), (Heartbeat, "holds", lambda _: True)]


def _ignores_409() -> Patches:
    do = Client.do

    def deaf(self: Any, call: Any, **options: Any) -> Any:
        try:
            return do(self, call, **options)
        except StaleError as error:
            raise ClientError(str(error)) from None

    return [(Client, "do", deaf), (Worker, "_lose_membership", lambda *_: None)]


def _begins_all_the_same() -> Patches:
    do = AsyncClient.do

    async def bold(self: Any, call: Any, **options: Any) -> Any:
        try:
            return await do(self, call, **options)
        except StaleError:
            if not call.path.endswith("/start"):
                raise
            return Taken(task="", state="")

    return [(AsyncClient, "do", bold)]


def _unchecked() -> Patches:
    """Neither the lease is checked before publishing, nor is there a fence at the destination."""
    return [(Worker, "_confirm", _sure), *_no_fence()]


def _no_fence() -> Patches:
    return [(millrace.worker.deliver_folder, "check_newest", lambda *_: None)]


async def _sure(_: Any) -> None:
    await asyncio.sleep(0)


def _ignores_cancel() -> Patches:
    end = Control.end

    def ending(self: Any, why: Ending) -> None:
        if why is not Ending.CANCELED:
            end(self, why)

    return [(Control, "end", ending)]


class _Unsynced:
    """`os`, whose fsync does nothing."""

    def __getattr__(self, name: str) -> Any:
        return (lambda _: None) if name == "fsync" else getattr(os, name)


def _halves() -> Patches:
    """Files appear under their public names one by one, while they are written."""

    def publish(source: Any, destination: Any, **_: Any) -> None:
        destination.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            data = path.read_bytes()
            with (destination / path.name).open("wb") as file:
                for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                    file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())

    return [(millrace.worker.deliver_folder, "publish", publish)]


BUGS = (
    Bug(name="lease-by-wall-clock", breaks=("I10", "I3", "I1"), plant=_wall_clock),
    Bug(name="lease-ended-late", breaks=("I10",), plant=_late),
    Bug(name="lease-not-guarded", breaks=("I10", "I3"), plant=_no_guard),
    Bug(name="409-ignored", breaks=("I3", "I10", "I1"), plant=_ignores_409),
    Bug(name="409-on-start-ignored", breaks=("I3",), plant=_begins_all_the_same),
    Bug(name="published-before-lease-check", breaks=("I13",), plant=_unchecked),
    Bug(name="published-without-fence", breaks=("I13",), plant=_no_fence),
    Bug(name="rename-before-fsync", breaks=("I12", "I13"), plant=lambda: [(millrace.blobs.publish, "_sync_tree", lambda _: None)]),
    Bug(name="blob-rename-before-fsync", breaks=("I13", "I12"), plant=lambda: [(millrace.blobs.local, "os", _Unsynced())]),
    Bug(name="names-not-synced", breaks=("I12", "I13"), plant=_names_unsynced),
    Bug(name="published-file-by-file", breaks=("I12", "I13"), plant=_halves),
)  # fmt: skip
