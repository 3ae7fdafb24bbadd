"""Which requirement classes a node satisfies: kept in memory, because every claim asks."""

import asyncio
from collections.abc import Mapping

from millrace.domain.needs import Needs, Offer, satisfies, taken
from millrace.domain.records import Node
from millrace.domain.sessions import Allowance
from millrace.store.store import Store


def offer_of(node: Node) -> Offer:
    """What the node offers, from the facts with which it registered."""
    encoders = node.facts.get("encoders")
    engines = node.facts.get("engines")
    memory_mb = node.facts.get("memory_mb")
    sessions = node.facts.get("sessions")
    return Offer(
        engines=frozenset(str(name) for name in engines) if isinstance(engines, list) else frozenset(),
        # A node reports each encoder with the reason why it does not work; an empty reason means that it does.
        encoders=frozenset(str(name) for name, reason in encoders.items() if not reason)
        if isinstance(encoders, Mapping)
        else frozenset(),
        labels=node.labels,
        memory_mb=memory_mb if isinstance(memory_mb, int) else 0,
        sessions={str(family): count for family, count in sessions.items() if isinstance(count, int)}
        if isinstance(sessions, Mapping)
        else {},
    )


class Offers:
    """The classes known so far and, for each node and epoch, those that it satisfies."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._classes: dict[int, Needs] = {}
        self._stale = True
        self._reading = asyncio.Lock()
        self._nodes: dict[tuple[str, int], Offer] = {}
        self._satisfied: dict[tuple[str, int], frozenset[int]] = {}
        self._allowances: dict[tuple[str, int], Allowance | None] = {}

    def knows(self, class_id: int) -> bool:
        """Whether this class has been read."""
        return class_id in self._classes

    def forget(self) -> None:
        """New classes have come: read them at the next question."""
        self._stale = True

    async def _refresh(self) -> None:
        """Read the classes that are new. Who comes meanwhile waits for them too: without them a node satisfies nothing."""
        async with self._reading:
            if not self._stale:
                return
            self._stale = False  # before the read: what comes during it makes them stale again
            try:
                found = await self._store.classes(after=max(self._classes, default=0))
            except BaseException:
                self._stale = True
                raise
            self._classes.update(found)
            if found:
                self._satisfied.clear()
                self._allowances.clear()

    def register(self, node: Node) -> None:
        """Keep the offer of a node that has just registered, and forget that of its earlier epochs."""
        for key in [key for key in self._nodes if key[0] == node.id]:
            del self._nodes[key]
            self._satisfied.pop(key, None)
            self._allowances.pop(key, None)
        self._nodes[node.id, node.epoch] = offer_of(node)

    async def classes_for(self, node_id: str, epoch: int) -> frozenset[int]:
        """The classes that the node satisfies; empty for a node that is unknown, has another epoch, or registers anew meanwhile."""
        key = (node_id, epoch)
        if key not in self._nodes:
            node = await self._store.node(node_id)
            if node is None or node.epoch != epoch:
                return frozenset()
            self.register(node)
        if self._stale or self._reading.locked():
            await self._refresh()
        offer = self._nodes.get(key)
        if offer is None:
            return frozenset()
        if key not in self._satisfied:
            self._satisfied[key] = frozenset(
                number for number, needs in self._classes.items() if satisfies(offer, needs)
            )
        return self._satisfied[key]

    def allowance_for(self, node_id: str, epoch: int) -> Allowance | None:
        """The sessions of a node of which :meth:`classes_for` was asked; None where it could run all that it satisfies side by side."""
        key = (node_id, epoch)
        offer = self._nodes.get(key)
        if offer is None or not offer.sessions:
            return None
        if key not in self._allowances:
            found = {number: taken(offer, self._classes[number]) for number in self._satisfied.get(key, ())}
            takes = {number: sessions for number, sessions in found.items() if sessions}
            self._allowances[key] = Allowance(sessions=offer.sessions, takes=takes) if takes else None
        return self._allowances[key]
