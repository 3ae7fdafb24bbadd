"""Nodes, as people see and steer them."""

from millrace.api.master import Master
from millrace.api.views import node_view
from millrace.edge.call import Call
from millrace.scheduler import nodes, quarantine
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import NodeList, NodeView

log = logger("api")


async def show_all(master: Master, call: Call[None]) -> NodeList:
    """Every node, oldest first."""
    call.only()
    found = await master.farm.store.nodes()
    return NodeList(nodes=[node_view(node) for node in found], count=len(found))


async def show(master: Master, call: Call[None]) -> NodeView:
    """One node, by id or name."""
    return node_view(await nodes.find_node(master.farm, call.path["ref"]))


async def drain(master: Master, call: Call[None]) -> NodeView:
    """Let a node finish what it has and take no more."""
    return node_view(await nodes.drain(master.farm, call.path["ref"]))


async def resume(master: Master, call: Call[None]) -> NodeView:
    """Let a draining node take work again."""
    return node_view(await nodes.resume(master.farm, call.path["ref"]))


async def release(master: Master, call: Call[None]) -> NodeView:
    """Give a node in quarantine work again."""
    return node_view(await quarantine.release(master.farm, call.path["ref"], actor=call.caller))


async def remove(master: Master, call: Call[None]) -> None:
    """Forget a node that holds nothing; its own key ends with it."""
    await nodes.remove(master.farm, call.path["ref"])
    await master.forget_keys()


async def revoke(master: Master, call: Call[None]) -> NodeView:
    """End a node's own key, here at once, and take back what it holds."""
    node = await nodes.revoke(master.farm, call.path["ref"])
    log.info("nodes.revoked", node=node.id, name=node.name, by=call.caller)
    await master.forget_keys()
    return node_view(node)
