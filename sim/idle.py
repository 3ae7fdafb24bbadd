"""Whether work waits beside somebody who has nothing to do."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.farm import WorkerHost
    from sim.ledger import Known
    from sim.world import World

PATIENCE_S = 5.0
"""Seconds that a task may be queued while a free node could run it. A hint wakes at once; polling, the net, within a second."""
AFTERMATH_S = 45.0
"""Seconds after a fault for which nothing is said: a claim whose answer was lost is silent for up to 35 s."""
_HARMLESS = frozenset({"hints", "wall"})


class Idle:
    """Looks once a second."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._free_since: dict[str, float] = {}
        self.findings: list[str] = []

    def look(self) -> None:
        """See who is free, and what has waited beside them for too long."""
        world, now_s = self._world, self._world.loop.time()
        watch = world.watch
        holding: dict[str, int] = {}
        for task in watch.tasks.values():
            if task.node is not None:
                holding[task.node] = holding.get(task.node, 0) + 1
        free: list[str] = []
        for worker in world.farm.workers:
            node = watch.nodes.get(worker.node or "")
            well = worker.alive and worker.process is not None and now_s - worker.process.began_at_s > AFTERMATH_S
            if node is not None and well and node.state == "ready" and holding.get(node.id, 0) < node.slots:
                self._free_since.setdefault(worker.name, now_s)
                free.append(worker.name)
            else:
                self._free_since.pop(worker.name, None)
        if self._is_full(sum(holding.values())):
            self._free_since.clear()
        elif free and not self.findings and self._calm(now_s):
            self._look_for_waiting(free, now_s)

    def _look_for_waiting(self, free: list[str], now_s: float) -> None:
        world, watch = self._world, self._world.watch
        for task in watch.tasks.values():
            if task.state != "queued" or now_s - task.since_s < PATIENCE_S:
                continue
            for worker in world.farm.workers:
                # Ready for long: one that was told to take work again hears of it with its next heartbeat.
                ready = worker.name in free and now_s - self._free_since[worker.name] > 4 * PATIENCE_S
                if ready and self._may_run(worker, task):
                    self.findings.append(
                        f"{task.id} was queued for {now_s - task.since_s:.1f} s while {worker.name} had a free slot"
                    )
                    return

    def _is_full(self, holding: int) -> bool:
        """Whether the tenant runs as many tasks as it may."""
        most = self._world.plan.quotas.concurrent
        return most is not None and holding >= most

    def _may_run(self, worker: "WorkerHost", task: "Known") -> bool:
        watch = self._world.watch
        fits = not watch.needs_gpu(task) or bool(worker.labels)
        return fits and not watch.avoids(task, worker.node or "nobody", beyond_s=PATIENCE_S)

    def _calm(self, now_s: float) -> bool:
        return all(
            fault.kind in _HARMLESS or not fault.at_s <= now_s <= fault.at_s + fault.lasts_s + AFTERMATH_S
            for fault in self._world.plan.faults
        )
