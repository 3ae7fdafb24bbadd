"""Which key a node belongs to, where the key is bound to no node itself: the one that the node registered with."""

from collections import OrderedDict

from millrace.store.store import Store

_REMEMBERED = 10_000


class Owners:
    """The keys that nodes registered with. A node may register with another one, so only what fits is believed without a look."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[str, str] = OrderedDict()

    async def is_of(self, store: Store, node_id: str, key_id: str) -> bool:
        """Whether the node registered with this key; so it is, too, where that is not known, and where there is no such node."""
        if self._known.get(node_id) == key_id:
            return True
        found = await store.key_of_node(node_id)
        if found is None:
            return True
        self._known[node_id] = found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found == key_id
