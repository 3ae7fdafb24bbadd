"""`python -m power`: cut the power of disks under a farm that works, right after an answer, again and again.

Ends with 0 where nothing was lost, 1 where something was, and 3 where this machine cannot cut the power of a disk.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

from power.bugs import BUGS
from power.ext4 import Disk, Unable, disk, keep_to_ourselves
from power.farm import Farm
from power.pull import FAULTS, every

LOST, UNABLE = 1, 3
SETTLE_S = 180.0
JOB_S = 5.0
"""How long a job may take on a busy machine: one worker does all of them."""
LOOK_S = 0.05
FINAL = {"completed", "failed", "canceled", "rejected"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m power", description="Cut the power under a farm, again and again.")
    parser.add_argument("--cuts", type=int, default=20, help="how often")
    parser.add_argument("--seed", type=int, default=0, help="decides when")
    parser.add_argument("--bug", choices=sorted(BUGS), default="none", help="plant this bug first; it must be noticed")
    parser.add_argument(
        "--steps",
        action="store_true",
        help="instead of disks: kill a process at each of its steps, and fail each; needs no rights",
    )
    asked = parser.parse_args()
    if asked.steps:
        return _steps()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-power-")))
        try:
            keep_to_ourselves()
            disks = [stack.enter_context(disk(_made(folder / name))) for name in ("master", "worker")]
        except Unable as error:
            print(
                f"POWER NOT CUT: this machine cannot do it: {error}. 0 of {asked.cuts} cuts were made", file=sys.stderr
            )
            return UNABLE
        return Cuts(disks, folder, asked.bug, Random(asked.seed)).run(asked.cuts)


def _steps() -> int:
    lost = 0
    for fault in ("kill", *FAULTS):
        with tempfile.TemporaryDirectory(prefix="millrace-power-", dir=_memory()) as folder:
            at = 0
            for at, found in every(Path(folder), fault=fault):
                for told in (*found.after_kill, *found.after_cut):
                    lost += 1
                    print(f"{fault} at step {at}: {told}")
        print(f"{fault}: {at - 1} steps, {lost} promises broken so far", flush=True)
    return LOST if lost else 0


def _memory() -> str | None:
    """Where files are in memory; none where there is no such folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Cuts:
    """One farm and what it has promised."""

    def __init__(self, disks: list[Disk], folder: Path, bug: str, chance: Random) -> None:
        self._disks = disks
        self._chance = chance
        self._farm = Farm(*disks, folder, bug)
        self._accepted: list[str] = []
        self._completed: set[str] = set()
        self._faults: list[str] = []

    def run(self, cuts: int) -> int:
        began_s, done = time.monotonic(), 0
        self._farm.start()
        try:
            while done < cuts and not self._faults:
                self._until_the_cut()
                self._farm.kill()
                for one in self._disks:
                    one.unmount()
                    one.mount()
                self._faults += self._farm.damaged()
                self._farm.start()
                self._faults += self._kept()
                done += 1
            if not self._faults:
                self._faults += self._ended()
        finally:
            self._farm.kill()
        for fault in self._faults[:10]:
            print(fault)
        print(
            f"{done} cuts, {len(self._accepted)} jobs accepted, {len(self._completed)} seen completed, "
            f"{len(self._faults)} lost or damaged; {time.monotonic() - began_s:.0f} s"
        )
        return LOST if self._faults else 0

    def _until_the_cut(self) -> None:
        """Let jobs be accepted, or some be completed as well, and cut the power right after the last answer."""
        for _ in range(self._chance.randint(1, 6)):
            self._accepted.append(self._farm.submit(len(self._accepted)))
        if self._chance.random() < 0.5:
            wanted = len(self._completed) + self._chance.randint(1, 2)
            deadline_s = time.monotonic() + SETTLE_S
            while len(self._completed) < wanted and time.monotonic() < deadline_s:
                self._completed |= {job for job, state in self._farm.jobs().items() if state == "completed"}
        # The master's first: it must not be told by its worker that the other disk has failed.
        for one in self._disks:
            one.cut()

    def _kept(self) -> Iterator[str]:
        """Every promise that was not kept."""
        found = self._farm.jobs()
        for number, job in enumerate(self._accepted):
            if job not in found:
                yield f"job {number} was accepted as {job}, and is lost"
        for job in self._completed & found.keys():
            if found[job] != "completed":
                yield f"{job} was completed, and is {found[job]}"
            else:
                yield from self._farm.unlike(self._farm.job(job))

    def _ended(self) -> Iterator[str]:
        """In the end every job has ended, by one attempt at most, and its outputs are there."""
        deadline_s = time.monotonic() + SETTLE_S + JOB_S * len(self._accepted)
        while set(self._farm.jobs().values()) - FINAL and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)  # noqa: TID251  a stranger looks at a farm
        found = self._farm.jobs()
        for job in found:
            known = self._farm.job(job)
            # A job that was under way at five cuts has lost five workers, and is given up (I19).
            if known["state"] != "completed" and (known["failure"] or {}).get("class") != "lost":
                yield f"job {known['number']} is {known['state']}: {known['failure']}"
            if [one["outcome"] for one in known["attempts"]].count("completed") > 1:
                yield f"job {known['number']} was completed twice"
            if known["state"] == "completed":
                yield from self._farm.unlike(known)


if __name__ == "__main__":
    sys.exit(main())
