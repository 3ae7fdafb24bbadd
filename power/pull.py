"""One pull of the plug: a child lives (`power.script`) until its nth step, and what it leaves is looked at in two ways."""

import asyncio
import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import apsw
from msgspec import Struct

from millrace.blobs.values import BlobError
from millrace.config.errors import SettingError
from millrace.programs.exhausted import ExhaustedError
from millrace.store.store import StoreError
from power.lossy import LossyDisk, after_a_cut
from power.promises import broken
from power.script import DATA, live, stepped

LIVE, DURABLE, CUT = "live", "durable", "cut"
_DISKS: list[LossyDisk] = []
"""A file layer is gone with the last reference to it."""


class Pulled(Struct, frozen=True, kw_only=True):
    """What came of it: whether the child lived to its end, its steps, and the promises that did not hold after the kill and after the cut."""

    ended: bool
    steps: int
    after_kill: list[str]
    after_cut: list[str]


SYNCS = frozenset({"sync", "fsync", "rename", "replace", "truncate", "delete"})
"""The steps between which what is on the disk changes for good."""
OF_SQLITE = frozenset({"write", "sync", "truncate", "delete"})
FAULTS: Mapping[str, tuple[type[apsw.Error], int]] = {
    "eio": (apsw.IOError, errno.EIO),
    "full": (apsw.FullError, errno.ENOSPC),
}
"""How a step may fail, once, instead of being the last: as SQLite hears of it, and as Python does."""


def pull(
    folder: Path,
    at: int,
    chance: Random,
    *,
    fault: str = "kill",
    planted: Callable[[], Any] = nullcontext,
    only: frozenset[str] = frozenset(),
) -> Pulled:
    """Kill a child just before its nth step (0: never), of the kinds in `only` or of any, or let that step fail. The folder is
    used up.
    """
    root = (folder / LIVE).resolve()
    for name in (LIVE, DURABLE):
        (folder / name).mkdir(parents=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(root, folder / DURABLE, writing, _Stepper(at, fault, only), planted)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = [json.loads(line) for line in pipe if line.endswith(b"\n")]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ending = told[-1] if told else {}
    if status not in (0, -signal.SIGKILL) and (fault == "kill" or not ending.get("expected")):
        raise AssertionError(f"the script failed by itself: {ending}")
    cut = folder / CUT
    shutil.copytree(root, cut, symlinks=True)
    after_a_cut(cut / DATA, folder / DURABLE / DATA, chance)
    return Pulled(
        ended=status == 0,
        steps=ending.get("steps", at),
        after_kill=broken(root, told, serve=at % 8 == 0),
        after_cut=broken(cut, [_moved(one, root, cut) for one in told]),
    )


def every(folder: Path, *, stride: int = 1, **how: Any) -> Iterator[tuple[int, Pulled]]:
    """A life that ends before each step, or each nth, until one is over before; `how` is as for `pull`."""
    at = 1
    while True:
        found = pull(folder / str(at), at, Random(at), **how)
        shutil.rmtree(folder / str(at))
        yield at, found
        if found.ended and found.steps < at:
            return
        at += stride


def _moved(one: dict[str, Any], root: Path, cut: Path) -> dict[str, Any]:
    return one | {"film": one["film"].replace(str(root), str(cut))} if "film" in one else one


class _Stepper:
    """Counts steps, and makes one of them the last, or fail."""

    def __init__(self, at: int, fault: str, only: frozenset[str]) -> None:
        self.count = 0
        self._at = at
        self._fault = fault
        self._only = only

    def __call__(self, kind: str) -> None:
        if self._only and kind not in self._only:
            return
        self.count += 1
        if self.count != self._at:
            return
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        to_sqlite, number = FAULTS[self._fault]
        raise to_sqlite() if kind in OF_SQLITE else OSError(number, os.strerror(number))


def _child(root: Path, durable: Path, writing: int, step: _Stepper, planted: Callable[[], Any]) -> None:
    """Never returns: a child of fork must not come back into whoever forked it."""

    def tell(what: str, **facts: Any) -> None:
        os.write(writing, json.dumps({"told": what, **facts}).encode() + b"\n")

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # apsw tells there of every step that failed
    try:
        _DISKS.append(LossyDisk(root, durable, step))
        with planted(), stepped(step):
            asyncio.run(live(root, tell))
        tell("end", steps=step.count)
    except BaseException as error:  # noqa: BLE001  told, and then the child ends
        expected = isinstance(error, StoreError | BlobError | SettingError | ExhaustedError | OSError)
        tell("failed", why=repr(error), expected=expected)
        os._exit(1)
    os._exit(0)
