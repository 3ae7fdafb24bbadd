"""One simulation, from its plan to its verdict."""

import asyncio
import gc
import json
import logging
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

import millrace.scheduler.schedules
import millrace.worker.attempt
import millrace.worker.disk
import millrace.worker.division
import millrace.worker.engine_run
import millrace.worker.heartbeat
import millrace.worker.worker
from millrace.api.app import App
from millrace.api.audit_recovery import LOOK_S, SETTLE
from millrace.blobs.local import LocalBlobs
from millrace.client.calls import Answer
from sim import engine
from sim.check import check
from sim.database import Database
from sim.disk import Disk
from sim.farm import SimFarm, proven
from sim.faults import Faults
from sim.history import History, Violation
from sim.loop import PROCESS, SimLoop, Standstill
from sim.machines import Process
from sim.many import Many, hasty
from sim.network import Door, Exchange, Network
from sim.plan import Plan
from sim.threads import Threading, Threads
from sim.told import visible
from sim.watch import Watch

PATIENCE_S = 500.0
"""How long the farm may take, after the last fault, to end every job."""
RECOVERED_S = (SETTLE.total_seconds() + 2 * LOOK_S) / 0.97
_OUTCOMES = {"complete": "completed", "fail": "failed", "hand-back": "handed_back", "split": "split"}


class Verdict(Struct, frozen=True, kw_only=True):
    """What came of one simulation."""

    plan: Plan
    violations: tuple[Violation, ...]
    history: History
    lasted_s: float
    jobs: int
    requests: int

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return self.history.digest


class World:
    """Everything that a simulation consists of."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.media = folder / "media"
        self.media.mkdir()
        self.film = folder / "film.mp4"
        self.film.write_bytes(b"film")
        self._chances: dict[str, Random] = {}
        self.loop = SimLoop()
        self.history = History(self.loop.time)
        self.violations: list[Violation] = []
        self.threads = Threads(self.loop)
        self.loop.blocking = self._blocking
        self.engines: dict[int, engine.SimChild] = {}
        self.pids = iter(range(1000, 10**9))
        self.disk = Disk(self, self.chance_of("disk"))
        self.network = Network(self, self.chance_of("network"))
        self.database = Database(self, self.chance_of("database"))
        self.many = Many(self)
        self.watch = Watch(self)
        self.blobs = LocalBlobs(folder / "blobs")
        self.farm = SimFarm(self, plan)
        self.faults = Faults(self)

    def chance_of(self, name: str) -> Random:
        """The dice of one part, so that what one part rolls does not change what another gets."""
        if name not in self._chances:
            self._chances[name] = Random(f"{self.plan.seed}:{name}")
        return self._chances[name]

    def fail(self, invariant: str, text: str) -> None:
        """An invariant does not hold."""
        self.history.add("VIOLATION", invariant, text)
        self.violations.append(Violation(invariant, text, self.loop.time(), len(self.history.events)))

    def door(self, process: Process, app: App) -> Door:
        """Where a master answers."""
        return Door(process=process, app=app)

    def _blocking(self, work: Callable[[], Any], waits: bool) -> "asyncio.Future[Any]":
        before_s = self.chance_of("threads").expovariate(1.0) * (1.0 if self.disk.slow else 0.001)
        return (self.threads.blocking if waits else self.threads.at_once)(work, before_s=before_s)

    def answered(self, master: Process, exchange: Exchange, answer: Answer, *, first: bool, arrived_s: float) -> None:
        """A master gave an answer, whether it arrives or not."""
        call = exchange.call
        self.history.add("answers", master.name, exchange.number, call.path, answer.status, "" if first else "doubled")
        if answer.status >= 500 and answer.status not in (503, 507):
            self.fail("I0", f"{call.method} {call.path} was answered with {answer.status}: {answer.body[:200]!r}")
        parts = call.path.split("/")
        if call.method == "PUT" and parts[2] == "tasks":
            who = dict(call.query)
            self.watch.upload_answered(parts[3], who["node"], int(who["attempt"]), answer.status, arrived_s)
        elif call.method == "POST" and parts[-1] in ("claim", "heartbeat", "start", *_OUTCOMES):
            self._worker_answered(parts, json.loads(exchange.body), answer, arrived_s)

    def _worker_answered(self, parts: list[str], asked: dict[str, Any], answer: Answer, arrived_s: float) -> None:
        verb, said = parts[-1], json.loads(answer.body)
        if verb == "claim":
            if answer.status == 200:
                self.watch.claim_answered(parts[-2], asked["request"], said["tasks"], arrived_s)
        elif verb == "heartbeat":
            self.watch.heartbeat_answered(parts[-2], asked["epoch"], answer.status, arrived_s)
        elif verb == "start":
            self.watch.start_answered(parts[3], asked["node"], asked["attempt"], answer.status)
        else:
            self.watch.report_answered(
                parts[3], asked["node"], asked["attempt"], _OUTCOMES[verb], answer.status, said.get("type", "")
            )
            if answer.status == 200 and asked.get("claim"):
                self.watch.claim_answered(asked["node"], asked["claim"]["request"], said["tasks"], arrived_s)

    def run(self) -> Verdict:
        """From the beginning to the verdict."""
        settled = False
        try:
            settled = self.loop.run_until_complete(self._live())
        except Standstill as error:
            self.fail("I0", str(error))
        for fault in self.loop.faults:
            self.fail("I0", f"something broke: {fault}")
        if not self.violations:
            check(self, settled=settled)
        return Verdict(
            plan=self.plan, violations=tuple(self.violations), history=self.history, lasted_s=self.loop.time(),
            jobs=len(self.watch.tasks), requests=self.network.count,
        )  # fmt: skip

    async def _live(self) -> bool:
        self.farm.start()
        self.faults.start()
        await self._until(self.plan.healed_s)
        self.faults.heal()
        self.history.add("healed")
        deadline_s = self.loop.time() + PATIENCE_S
        settling = self.farm.people.process.begin(self.farm.settle(deadline_s))
        while not settling.done() and not self.violations:
            await self._second(1.0)
            self.faults.restart()
        settled = settling.done() and settling.result()
        # What a dead master still owed to the audit trail is written by another one.
        await asyncio.sleep(3.0 + RECOVERED_S * any(self.history.of("killed")))
        return settled

    async def _until(self, at_s: float) -> None:
        while self.loop.time() < at_s and not self.violations:
            await self._second(min(1.0, at_s - self.loop.time()))

    async def _second(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.watch.idle.look()
        visible(self.media, self.fail)

    def close(self) -> None:
        """Take it down."""
        self.threads.end()
        self.disk.release()
        self.loop.dispose()
        self.database.connection.close()


def _patches(world: World) -> list[tuple[object, str, object]]:
    """What stands in for the machine that this really runs on."""
    names = world.chance_of("names")

    def free_bytes(_: Path) -> int:
        process = PROCESS.get()
        return 10**12 if process is None else process.host.free_bytes

    return [
        *world.disk.patches(),
        (uuid, "uuid4", lambda: uuid.UUID(int=names.getrandbits(128), version=4)),
        (millrace.scheduler.schedules, "next_after", hasty),
        (secrets, "token_hex", lambda size=32: names.randbytes(size).hex()),
        (millrace.worker.heartbeat, "threading", Threading(lambda: world.threads)),
        (millrace.worker.worker, "EnginesAlive", engine.SimEnginesAlive),
        (millrace.worker.worker, "prove_all", proven),
        (millrace.worker.engine_run, "Child", engine.SimChild),
        (millrace.worker.attempt, "MediaSteps", engine.SimSteps),
        (millrace.worker.attempt, "_facts", lambda *_: {"made": "by a simulation"}),
        (millrace.worker.attempt, "_planned", lambda *_: {"planned": "by a simulation"}),
        (millrace.worker.division, "to_document", engine.told_plan),
        (millrace.worker.division, "plan_from", engine.heard_plan),
        (millrace.worker.disk, "free_bytes", free_bytes),
    ]


@contextmanager
def replaced(patches: list[tuple[Any, str, object]]) -> Iterator[None]:
    """These attributes have these values while the block runs."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    try:
        for owner, name, value in patches:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@cache
def _prepare() -> None:
    """What is there before the first simulation need not be looked through after each."""
    gc.collect()
    gc.freeze()


def simulate(plan: Plan) -> Verdict:
    """Run one plan."""
    _prepare()
    gc.collect()  # the one before
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="millrace-sim-", dir=base))
    collected = gc.isenabled()
    gc.disable()  # nothing of a dead process may run because of it
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(
        0, {sorted(cores)[os.getpid() // 2 % len(cores)]}
    )  # threads that take turns need one core only
    world = World(plan, folder)
    product = logging.getLogger("millrace")
    level = product.level
    product.setLevel(logging.CRITICAL + 1)
    try:
        with replaced(_patches(world)):
            verdict = world.run()
            world.close()
    finally:
        product.setLevel(level)
        os.sched_setaffinity(0, cores)
        if collected:
            gc.enable()
        shutil.rmtree(folder, ignore_errors=True)
    return verdict
