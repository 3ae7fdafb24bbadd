"""Bugs that are planted to see that a run finds them: some of the simulation's, and some that only real processes can have."""

import os
import threading
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

import millrace.process.launch
import millrace.worker.deliver_folder
from millrace.domain.masters import Term
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.sqlite.writer import Writer
from sim.bugs import ALL as SIMULATED
from sim.bugs.bug import Bug, Patches

Runs = tuple[str, ...]


class Planted(Struct, frozen=True, kw_only=True):
    """A bug and the plan that finds it."""

    bug: Bug
    store: str = "sqlite"
    seed: int = 0
    seconds: float = 15.0
    faults: tuple[str, ...] = ("gone",)
    runs: Runs = ("nothing", "short", "long")
    settings: Mapping[str, str] = {}

    @property
    def breaks(self) -> tuple[str, ...]:
        """Invariants, one of which has to be found broken."""
        return self.bug.breaks

    def plant(self) -> Patches:
        """What to put in place of what."""
        return self.bug.plant()


def _acknowledges_before_commit() -> Patches:
    """As with a disk that is not waited for: what was answered is committed a little later."""
    commit = Writer._commit

    def late(self: Any, batch: Any, session: Any) -> Any:
        _wait(0.5)
        return commit(self, batch, session)

    return [*SIMULATED["answer-before-commit"].plant(), (Writer, "_commit", late)]


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _keys_ignored() -> Patches:
    """A request that is repeated under its key is another job."""
    add = SqliteStore.add_jobs

    async def add_jobs(self: Any, new: Any) -> Any:
        return await add(self, [replace(job, idempotency_key=None) for job in new])

    return [(SqliteStore, "add_jobs", add_jobs)]


def _file_by_file() -> Patches:
    """Files appear under their public names one by one, while they are written, on a slow disk."""

    def publish(source: Any, destination: Any, **_: Any) -> None:
        destination.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir(), key=lambda one: not one.name.startswith(".")):
            data = path.read_bytes()
            with (destination / path.name).open("wb") as file:
                for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                    file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                    _wait(0.5)

    return [(millrace.worker.deliver_folder, "publish", publish)]


def _complete_before_publish() -> Patches:
    """What is to be published comes a while after it was said to be there."""
    publish = millrace.worker.deliver_folder.publish

    def later(source: Any, destination: Any, **more: Any) -> None:
        kept = source.with_name(source.name + ".kept")
        source.rename(kept)
        threading.Timer(5.0, publish, (kept, destination), more).start()

    return [(millrace.worker.deliver_folder, "publish", later)]


def _survives_its_parent() -> Patches:
    """An engine is started without the signal that ends it with its worker."""
    command_line = millrace.process.launch.command_line

    def without(*given: Any, **more: Any) -> list[str]:
        words = command_line(*given, **more)
        return [word for word in words if word not in ("--pdeathsig", "KILL")]

    return [(millrace.process.launch, "command_line", without)]


def _leads_for_ever() -> Patches:
    """Who led once believes to lead, whatever the time and the store say."""
    heard = Term.heard

    def hearing(self: Any, attendance: Any, **more: Any) -> bool:
        until_s = self._until_s
        news = heard(self, attendance, **more)
        self._until_s = float("inf") if max(until_s, self._until_s) > 0 else self._until_s
        return news

    return [(Term, "heard", hearing)]


def _engine_goes_on() -> Patches:
    """A worker that has lost its lease lets its engine run."""
    return [*SIMULATED["lease-not-guarded"].plant(), *SIMULATED["409-ignored"].plant()]


_BUGS = (
    Planted(bug=SIMULATED["stale-report-answered-200"]),
    Planted(bug=SIMULATED["uploads-without-fence"]),
    Planted(bug=SIMULATED["heartbeat-without-epoch"]),
    Planted(bug=Bug(name="acknowledged-before-commit", breaks=("I1", "I8"), plant=_acknowledges_before_commit), faults=("crash@master",), runs=("nothing",)),
    Planted(bug=Bug(name="keys-ignored", breaks=("I8",), plant=_keys_ignored), faults=("weather@master",), runs=("nothing",)),
    Planted(bug=Bug(name="published-file-by-file", breaks=("I12",), plant=_file_by_file), seconds=5.0, faults=("none",), runs=("short",)),
    Planted(bug=Bug(name="complete-before-publish", breaks=("I12",), plant=_complete_before_publish), faults=("crash@worker",), runs=("short",)),
    Planted(bug=Bug(name="engine-survives-its-worker", breaks=("I15",), plant=_survives_its_parent), runs=("long",), settings={"MILLRACE_SANDBOX": "off"}),
    Planted(bug=Bug(name="engine-outlives-its-lease", breaks=("I10", "I3"), plant=_engine_goes_on), faults=("isolate",), runs=("long",)),
    Planted(bug=Bug(name="leads-for-ever", breaks=("I11",), plant=_leads_for_ever), store="postgres", faults=("db-isolate",), runs=("nothing",)),
)  # fmt: skip
ALL: dict[str, Planted] = {one.bug.name: one for one in _BUGS}
