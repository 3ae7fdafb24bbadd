"""Faults: begun and ended when the plan says, and all of them ended at last."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from msgspec import Struct

from chaos.farm import Farm, Host
from chaos.grounds import Disk
from chaos.postgres import Database
from chaos.proxy import Weather
from chaos.witness import Leaders, Processes
from sim.plan import Fault

Undo = Callable[[], Awaitable[None]]
_CUTS = {"isolate": (True, True), "mute": (True, False), "deaf": (False, True)}
"""What no longer arrives: from the host, to it."""


class Happened(Struct, frozen=True, kw_only=True):
    """A fault that was injected, on whom it fell, and whether that was the leader."""

    kind: str
    target: str
    at_s: float
    lasts_s: float
    leads: bool


class Faults:
    """The faults of one run."""

    def __init__(self, farm: Farm, processes: Processes, leaders: Leaders) -> None:
        self.happened: list[Happened] = []
        self.skipped: list[str] = []
        self._farm, self._processes, self._leaders = farm, processes, leaders
        self._chance = Random(f"faults:{farm.plan.seed}")

    async def live(self) -> None:
        """Inject what the plan says; return when the last one has ended."""
        async with asyncio.TaskGroup() as group:
            for fault in self._farm.plan.faults:
                group.create_task(self._inject(fault), name=str(fault))

    async def _inject(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        history, target = self._farm.history, fault.target
        if target == "leader":
            target = self._leaders.leader or "master0"
        verb = fault.kind.replace("-", "_")
        begin = getattr(self, f"_{verb}")
        at_s, leads = history.now(), target == self._leaders.leader
        undo = await begin(target, fault.number)
        if undo is None:
            return  # there was nobody to do it to
        self.happened.append(Happened(kind=fault.kind, target=target, at_s=at_s, lasts_s=fault.lasts_s, leads=leads))
        history.add("fault", fault.kind, target, round(fault.lasts_s, 3), round(fault.number, 3))
        await asyncio.sleep(fault.lasts_s)
        await undo()
        history.add("fault-ends", fault.kind, target)

    async def heal(self) -> None:
        """Everything is well from now on."""
        farm = self._farm
        for host in (*farm.worker_hosts, *farm.master_hosts, farm.people_host):
            host.heal()
        for disk in (farm.data, farm.outputs, *farm.scratches):
            disk.clear()
        if farm.database is not None:
            await farm.database.start()
        for machine in (*farm.masters, *farm.workers):
            machine.go_on()
            machine.start()

    # Machines ---------------------------------------------------------------------------------------------------------

    async def _crash(self, target: str, _: float) -> Undo:
        machine = self._farm.machine(target)
        machine.kill(stay_away=True)
        if self._leaders.leader == target:
            self._leaders.leader = None

        async def again() -> None:
            machine.start()

        return again

    _gone = _crash

    async def _stop(self, target: str, _: float) -> Undo | None:
        machine = self._farm.machine(target)
        pid = machine.pid
        if pid is None or machine.stopped:
            return None
        machine.stop_still()

        async def go_on() -> None:
            if machine.pid == pid:
                machine.go_on()

        return go_on

    async def _drain(self, target: str, _: float) -> Undo:
        self._farm.machine(target).signal(signal.SIGTERM)
        return _by_itself

    async def _engine(self, target: str, _: float) -> Undo | None:
        pids = self._processes.engine_pids.get(target)
        if not pids:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._chance.choice(pids), signal.SIGKILL)
        return _by_itself

    # The network ------------------------------------------------------------------------------------------------------

    def _host(self, target: str) -> Host:
        farm, number = self._farm, int(target[-1])
        return farm.worker_hosts[number] if target.startswith("worker") else farm.master_hosts[number]

    async def _cut(self, host: Host, how: str) -> Undo:
        up, down = _CUTS[how]
        host.cut(up=up, down=down)

        async def heal() -> None:
            host.heal()

        return heal

    async def _isolate(self, target: str, _: float) -> Undo:
        return await self._cut(self._host(target), "isolate")

    async def _mute(self, target: str, _: float) -> Undo:
        return await self._cut(self._host(target), "mute")

    async def _deaf(self, target: str, _: float) -> Undo:
        return await self._cut(self._host(target), "deaf")

    # A master's own line is the one to its database.
    _db_isolate, _db_mute, _db_deaf = _isolate, _mute, _deaf

    async def _under(self, target: str, weather: Weather) -> Undo:
        """Over a worker's line; for a master over that of people, who then see it everywhere."""
        host = self._host(target) if target.startswith("worker") else self._farm.people_host
        host.line.weather = weather

        async def clear() -> None:
            host.line.weather = Weather()

        return clear

    async def _weather(self, target: str, number: float) -> Undo:
        return await self._under(target, Weather(lost_request=number / 4, lost_reply=number / 2, delay_s=0.05))

    async def _resets(self, target: str, number: float) -> Undo:
        return await self._under(target, Weather(half=number))

    # Disks ------------------------------------------------------------------------------------------------------------

    async def _fill(self, disk: Disk, kind: str) -> Undo | None:
        if not disk.own:
            self.skipped.append(kind)
            return None
        disk.fill()

        async def clear() -> None:
            disk.clear()

        return clear

    async def _no_room(self, target: str, _: float) -> Undo | None:
        return await self._fill(self._farm.scratches[int(target[-1])], "no-room")

    async def _out_full(self, _: str, __: float) -> Undo | None:
        return await self._fill(self._farm.outputs, "out-full")

    async def _db_full(self, _: str, __: float) -> Undo | None:
        database = self._farm.database
        clear = await self._fill(self._farm.data, "db-full")
        if clear is None or database is None:
            return clear

        async def clear_and_start() -> None:
            await clear()
            await database.start()  # it ends where it has no room for its log

        return clear_and_start

    # The database server ----------------------------------------------------------------------------------------------

    def _database(self) -> Database:
        database = self._farm.database
        assert database is not None
        return database

    async def _db_away(self, _: str, __: float) -> Undo:
        database = self._database()
        await database.kill()
        return database.start

    async def _db_restart(self, _: str, __: float) -> Undo:
        await self._database().restart()
        return _by_itself

    async def _db_lost(self, _: str, __: float) -> Undo:
        await self._database().lose_connections()
        return _by_itself

    async def _fail_over(self, _: str, __: float) -> Undo | None:
        return _by_itself if await self._database().fail_over() else None


async def _by_itself() -> None:
    """A fault of one moment is over at once."""
