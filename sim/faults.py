"""Faults: begun and ended when the plan says, and all of them ended at last."""

from typing import TYPE_CHECKING

from sim.farm import Master, WorkerHost
from sim.machines import Process
from sim.network import Weather
from sim.plan import Fault

if TYPE_CHECKING:
    from sim.world import World

_TROUBLES = {
    "db-full": "full",
    "db-lost": "lost_before",
    "db-ambiguous": "lost_after",
}


class Faults:
    """The faults of one simulation."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._still: list[Process] = []

    def start(self) -> None:
        """Schedule what the plan says."""
        for fault in self._world.plan.faults:
            self._world.loop.call_later(fault.at_s, self._begin, fault)

    def _begin(self, fault: Fault) -> None:
        self._world.history.add("fault", fault.kind, fault.target, round(fault.lasts_s, 3), round(fault.number, 3))
        begin = getattr(self, "_" + fault.kind.replace("-", "_"))
        end = begin(fault)
        if end is not None:
            self._world.loop.call_later(fault.lasts_s, self._end, fault, end)

    def _end(self, fault: Fault, end) -> None:  # type: ignore[no-untyped-def]
        self._world.history.add("fault-ends", fault.kind, fault.target)
        end()

    def heal(self) -> None:
        """Everything is well from now on."""
        world = self._world
        world.network.cut.clear()
        world.network.weathers.clear()
        world.disk.slow = False
        for machine in (*world.farm.masters, *world.farm.workers):
            machine.host.free_bytes = 10**12
        self.restart()

    def restart(self) -> None:
        """Start whoever does not run, and let every node have work again."""
        world = self._world
        for machine in (*world.farm.masters, *world.farm.workers):
            world.farm.restart(machine.name)
        for index, node in enumerate(world.farm.workers):
            if any(one.name == node.name and one.state == "draining" for one in world.watch.nodes.values()) and (
                node.worker is not None and not node.worker._draining.is_set()
            ):
                world.farm.people.process.begin(world.farm.people.steer("undrain", index))

    # Machines ---------------------------------------------------------------------------------------------------------

    def _machine(self, fault: Fault) -> Master | WorkerHost:
        return self._world.farm.machine(fault.target)

    def _crash(self, fault: Fault):  # type: ignore[no-untyped-def]
        self._machine(fault).crash("fault")
        return lambda: self._world.farm.restart(fault.target)

    def _stop(self, fault: Fault):  # type: ignore[no-untyped-def]
        process = self._machine(fault).process
        if process is None or process.dead:
            return None
        process.stop_still()
        return process.go_on

    def _suspend(self, fault: Fault):  # type: ignore[no-untyped-def]
        host, loop = self._machine(fault).host, self._world.loop
        if self._world.plan.embedded and fault.target.startswith("master"):
            return self._stop(fault)  # its clock is the store's
        host.suspend(loop.time())
        return lambda: host.resume(loop.time())

    def _wall(self, fault: Fault) -> None:
        self._world.farm.hosts()[fault.target].clock.wall_s += fault.number

    def _power(self, _: Fault) -> None:
        """The whole site: every process dies, and files keep what was synced."""
        world = self._world
        for machine in (*world.farm.masters, *world.farm.workers):
            machine.crash("power")
            world.loop.call_later(1.0 + world.chance_of("restarts").random() * 4, world.farm.restart, machine.name)
        for folder in (world.media, world.folder / "blobs"):
            world.disk.cut_power(folder, lambda path: world.history.add("bytes-lost", path.name))

    def _drain(self, fault: Fault) -> None:
        machine = self._machine(fault)
        if isinstance(machine, WorkerHost) and machine.process is not None and not machine.process.dead:
            machine.process.begin(machine.leave(hurry=fault.kind == "hurry"))

    _hurry = _drain

    def _no_room(self, fault: Fault):  # type: ignore[no-untyped-def]
        host = self._machine(fault).host
        host.free_bytes = 0
        return lambda: setattr(host, "free_bytes", 10**12)

    # The network ------------------------------------------------------------------------------------------------------

    def _cut(self, *pairs: tuple[str, str]):  # type: ignore[no-untyped-def]
        cut = self._world.network.cut
        cut.extend(pairs)

        def mend() -> None:
            for pair in pairs:
                if pair in cut:
                    cut.remove(pair)

        return mend

    def _isolate(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._cut((fault.target, "*"), ("*", fault.target))

    def _deaf(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._cut(("*", fault.target))

    def _mute(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._cut((fault.target, "*"))

    def _under(self, host: str, weather: Weather):  # type: ignore[no-untyped-def]
        entry = (host, weather)
        weathers = self._world.network.weathers
        weathers.append(entry)

        def clear() -> None:
            if entry in weathers:
                weathers.remove(entry)

        return clear

    def _weather(self, fault: Fault):  # type: ignore[no-untyped-def]
        part = fault.number / 2
        return self._under(fault.target, Weather(lost_request=part, lost_reply=part, delay_s=0.05))

    def _storm(self, fault: Fault):  # type: ignore[no-untyped-def]
        part = fault.number / 2
        return self._under("*", Weather(doubled=part, late=part, delay_s=0.3))

    def _resets(self, fault: Fault):  # type: ignore[no-untyped-def]
        part = fault.number / 2
        return self._under(fault.target, Weather(reset_request=part, reset_reply=part))

    # The database and the disk ----------------------------------------------------------------------------------------

    def _trouble(self, name: str, value: float, calm: float):  # type: ignore[no-untyped-def]
        trouble = self._world.database.trouble
        setattr(trouble, name, value)
        return lambda: setattr(trouble, name, calm)

    def _db_away(self, _: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("away", True, False)

    def _db_full(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("full", 1.0 if fault.number > 0.3 else fault.number, 0.0)

    def _db_lost(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("lost_before", fault.number, 0.0)

    def _db_ambiguous(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("lost_after", fault.number, 0.0)

    def _db_slow(self, fault: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("delay_s", fault.number * 2, 0.001)

    def _hints(self, _: Fault):  # type: ignore[no-untyped-def]
        return self._trouble("hints_lost", 1.0, 0.0)

    def _slow_disk(self, _: Fault):  # type: ignore[no-untyped-def]
        self._world.disk.slow = True
        return lambda: setattr(self._world.disk, "slow", False)
