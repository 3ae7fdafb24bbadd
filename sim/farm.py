"""The farm of a simulation: masters, workers and people, each a process with the product's own code in it."""

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.api.app import App, build_app
from millrace.api.audit_recovery import LOOK_S, Survivors, recover
from millrace.client.http import Terms
from millrace.domain.masters import Presence
from millrace.domain.states import FINAL
from millrace.edge.keys import Key, Keys
from millrace.process.sandbox import Demand
from millrace.programs.master import _Forgetter
from millrace.runtime.ticker import Ticker
from millrace.scheduler.duties import Duties
from millrace.scheduler.farm import Farm, Rules
from millrace.scheduler.follow import follow
from millrace.scheduler.journal import Journal
from millrace.scheduler.leadership import Leadership
from millrace.scheduler.offers import Offers
from millrace.store.store import StoreError
from millrace.worker.proofs import EngineSource, Proven
from millrace.worker.worker import Worker, WorkerTerms
from sim.database import EmbeddedStore, ServerStore
from sim.engine import Behaviour
from sim.machines import Host, HostClock, Process
from sim.network import SimAsyncClient, SimClient
from sim.people import KEY, SCHEDULE, People
from sim.plan import JobPlan, Plan
from sim.told import LABEL

if TYPE_CHECKING:
    from sim.world import World

ABILITY = "ffmpeg-parts-of-a-simulation"
ENCODERS = {"libx264": "", "aac": "", "libx265": "", "libsvtav1": "", "libopus": "", "mjpeg": ""}


class Master:
    """One master, through its lives."""

    def __init__(self, world: "World", index: int, host: Host) -> None:
        self.world = world
        self.name = f"master{index}"
        self.url = f"http://{self.name}:8080"
        self.host = host
        self.process: Process | None = None
        self.app: App | None = None
        self.lives = 0
        self._cursor: str | None = None

    def start(self) -> None:
        """A new process."""
        self.lives += 1
        self.process = Process(self.world, self.name, self.host)
        self.world.history.add("starts", self.name, self.lives)
        self.process.begin(self._run(self.process), "master")

    async def _run(self, process: Process) -> None:
        world = self.world
        rules = world.plan.rules
        store = (EmbeddedStore if world.plan.embedded else ServerStore)(world.database, process)
        chance = random.Random(f"{world.plan.seed}:{self.name}:{self.lives}")
        farm = Farm(
            store=store,
            clock=self.host.clock,
            rules=Rules(
                lease_ttl_s=rules.ttl_s,
                heartbeat_s=rules.heartbeat_s,
                reject_after_s=rules.reject_after_s,
                hedge=rules.hedge,
                quotas=world.plan.quotas,
            ),
            chance=chance,
        )
        offers = Offers(store)
        await store.start()
        keys = Keys([Key(secret=KEY, name="person")], now_s=lambda: self.host.clock.now().timestamp())
        leadership = Leadership(
            store,
            self.host.clock,
            Presence(id=f"{self.name}.{self.lives}", name=self.name, version="sim"),
            alone=world.plan.embedded,
            complain=lambda error: self._complain("attend", error),
        )
        duties = Duties(
            farm,
            offers,
            complain=self._complain,
            forget=_forget,
            forget_pieces=_Forgetter(world.blobs).pieces,
            leads=lambda: leadership.leads,
        )
        journal = Journal(store, clock=self.host.clock, chance=chance)
        self.app = build_app(farm, offers, world.blobs, keys, served=lambda _: None, journal=journal)
        await leadership.start()
        await duties.start()
        await self._recover_audit(farm, leadership)
        world.network.doors[self.url] = world.door(process, self.app)
        world.history.add("ready", self.name)
        await self._follow(farm)

    def _complain(self, duty: str, error: Exception) -> None:
        self.world.history.add("duty-failed", self.name, duty, type(error).__name__)

    async def _recover_audit(self, farm: Farm, leadership: Leadership) -> None:
        """As the program does: a master alone before it answers, one of many again and again."""

        def complain(error: Exception) -> None:
            self._complain("recover_audit", error)

        if self.world.plan.embedded:
            try:
                await recover(farm.store)
            except StoreError as error:
                complain(error)
            return
        survivors = Survivors(farm.store, lambda: leadership.attendance, lambda: leadership.leads)
        await Ticker(survivors.look, interval_s=LOOK_S, clock=farm.clock, on_error=complain, name="survivors").start()

    async def _follow(self, farm: Farm) -> None:
        """Somebody reads the events of this master, and goes on from where he was after its death."""
        while True:
            try:
                async for transition in follow(farm, after=self._cursor):
                    if transition is not None:
                        self._cursor = transition.cursor
                        self.world.history.add("event", self.name, int(transition.cursor))
            except StoreError:
                await farm.clock.sleep(1.0)

    def crash(self, why: str) -> None:
        """SIGKILL."""
        if self.process is not None and not self.process.dead:
            self.world.history.add("killed", self.name, why)
            self.world.network.doors.pop(self.url, None)
            self.process.kill()
            self.world.disk.let_go(self.process)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and not self.process.dead


async def _forget(_: object) -> None:
    """No job gets old enough."""


class WorkerHost:
    """One worker, through its lives."""

    def __init__(self, world: "World", index: int, host: Host, *, slots: int, labels: dict[str, str]) -> None:
        self.world = world
        self.name = f"worker{index}"
        self.host = host
        self.slots = slots
        self.labels = labels
        self.lives = 0
        self.process: Process | None = None
        self.worker: Worker | None = None
        self.node: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and not self.process.dead

    def start(self) -> None:
        """A new process."""
        self.lives += 1
        self.process = Process(self.world, self.name, self.host)
        self.world.history.add("starts", self.name, self.lives)
        self.process.begin(self._run(self.process), "worker")

    async def _run(self, process: Process) -> None:
        world, plan = self.world, self.world.plan
        chance = random.Random(f"{plan.seed}:{self.name}:{self.lives}")
        urls = [master.url for master in world.farm.masters]
        shift = chance.randrange(len(urls))
        urls = urls[shift:] + urls[:shift]
        terms = Terms(key=KEY, clock=self.host.clock, draw=chance.random)
        folder = world.folder / self.name
        self.worker = Worker(
            WorkerTerms(
                name=self.name,
                state=folder / "state",
                scratch=folder / "scratch",
                roots=(world.media, world.film),
                engines=(EngineSource(name="ffmpeg", binary=Path(sys.executable), encoders=(), bind=_bind),),
                slots=self.slots,
                labels=self.labels,
                stall_s=plan.rules.stall_s,
                claim_wait_s=plan.rules.claim_wait_s,
                sandbox=Demand.OFF,
                environment={},
            ),
            client=SimAsyncClient(process, urls, terms),
            heart=SimClient(process, urls, terms),
            clock=self.host.clock,
            draw=chance.random,
        )
        await self.worker.start()
        self.node = self.worker.node
        world.history.add("ready", self.name, self.worker.node)

    def crash(self, why: str) -> None:
        """SIGKILL, and its engines with it."""
        if self.process is not None and not self.process.dead:
            self.world.history.add("killed", self.name, why)
            self.process.kill()
            self.world.disk.let_go(self.process)

    async def leave(self, *, hurry: bool) -> None:
        """SIGTERM: finish or hand back, then end."""
        worker, process = self.worker, self.process
        if worker is None or process is None or not worker.running:
            return
        self.world.history.add("drains", self.name, "in a hurry" if hurry else "")
        if hurry:
            worker.hurry()
        else:
            worker.drain()
        await worker.wait_drained()
        await worker.stop()
        self.world.history.add("left", self.name)
        process.kill()
        self.world.disk.let_go(process)


def _bind(_: object) -> Any:
    return object()


async def proven(*_: object, **__: object) -> tuple[Proven, ...]:
    """In place of the trials of encoders."""
    return (Proven(name="ffmpeg", engine=_bind(None), reasons=ENCODERS, ability=ABILITY, bind=_bind),)


class SimFarm:
    """All of it."""

    def __init__(self, world: "World", plan: Plan) -> None:
        self.world = world
        clocks = random.Random(f"{plan.seed}:clocks")

        def host(name: str) -> Host:
            clock = HostClock(world.loop, rate=clocks.uniform(*plan.rules.rates), offset_s=clocks.uniform(0.0, 1e5))
            clock.wall_s = clocks.choice((0.0, 0.0, clocks.uniform(-5, 5), clocks.uniform(-86400, 86400)))
            if name.startswith("master") and plan.embedded:
                clock.rate, clock.wall_s = 1.0, 0.0  # it is the store's clock, too
            return Host(name, clock)

        self.masters = [Master(world, index, host(f"master{index}")) for index in range(plan.masters)]
        self.workers = [
            WorkerHost(world, index, host(f"worker{index}"), slots=one.slots, labels=one.labels)
            for index, one in enumerate(plan.workers)
        ]
        self.people = People(world, host("people"))
        for master in self.masters:
            world.network.hosts[master.url] = master.host
        self._engines: dict[str, int] = {}

    def start(self) -> None:
        """Everybody begins."""
        for master in self.masters:
            master.start()
        for worker in self.workers:
            worker.start()
        self.people.start()

    def hosts(self) -> dict[str, Host]:
        """By name."""
        found = [one.host for one in (*self.masters, *self.workers)]
        return {host.name: host for host in [*found, self.people.host, self.world.database.host]}

    def machine(self, name: str) -> Master | WorkerHost:
        """A master or a worker by name."""
        return next(one for one in (*self.masters, *self.workers) if one.name == name)

    def crash(self, process: Process, why: str) -> None:
        """The process of a master or a worker dies, and somebody starts it again."""
        machine = self.machine(process.name)
        machine.crash(why)
        self.world.loop.call_later(1.0 + self.world.chance_of("restarts").random() * 5, self.restart, process.name)

    def restart(self, name: str) -> None:
        """Start it, unless it runs."""
        machine = self.machine(name)
        if not machine.alive:
            machine.start()

    def job(self, task_id: str) -> JobPlan:
        """The job of a task, as it was planned."""
        row = self.world.database.read("SELECT labels FROM jobs WHERE id = ?", task_id.partition(".")[0])
        labels = json.loads(row[0][0]) if row else {}
        if SCHEDULE in labels:
            return self.world.plan.schedules[int(labels[SCHEDULE])].job
        return self.world.plan.jobs[int(labels.get(LABEL, 0))]

    def behaviour(self, task_id: str) -> tuple[Behaviour, int]:
        """How the engine of a task behaves, and how many engines it had before."""
        nth = self._engines.get(task_id, 0)
        self._engines[task_id] = nth + 1
        return self.job(task_id).behaviour, nth

    async def settle(self, deadline_s: float) -> bool:
        """Resume what was paused, until every job that was accepted has ended. Whether that came to pass in time."""
        people_ = self.people
        clock = people_.host.clock
        await people_.end_schedules()
        while self.world.loop.time() < deadline_s:
            states = dict(self.world.database.read("SELECT id, state FROM jobs"))
            if all(task.done() for task in people_.tasks) and all(one in FINAL for one in states.values()):
                return True
            for index, job_id in list(people_.known.items()):
                if states.get(job_id) == "paused":
                    await people_.steer("resume", index)
            await clock.sleep(1.0)
        return False
