"""A worker acts as the node that it is. Every route of workers says where the node stands that a request speaks for.

A machine that has joined has a key for its node alone. Any other key of role `worker` is good for the nodes that registered with
it; the key that masters are started with, for all.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from millrace.api.master import Master, WorkerAuth
from millrace.domain import ids
from millrace.edge.access import certified
from millrace.edge.call import Call
from millrace.edge.refusal import RefusalError, not_found
from millrace.edge.route import Handler

Whose = Callable[[Call[Any]], str | None]
"""The id of the node that a request speaks for; None where it cannot be another one; empty where it is nobody's."""


def by_path(call: Call[Any]) -> str:
    """The node is in the path."""
    return call.path["ref"]


def by_body(call: Call[Any]) -> str:
    """It is in the body."""
    return str(call.body.node)


def by_query(call: Call[Any]) -> str:
    """It is in the query."""
    return call.one("node") or ""


def by_fingerprint(call: Call[Any]) -> str | None:
    """It introduces itself: not yet by its id. Whoever knows a fingerprint is that node."""
    return None if call.machine is None or call.body.fingerprint == call.machine.fingerprint else ""


def by_nothing(_: Call[Any]) -> None:
    """It speaks for none."""


def never(call: Call[Any]) -> str | None:
    """It is for workers that have no key of their own."""
    return None if call.machine is None else ""


def as_itself(handler: Handler[Master], whose: Whose) -> Handler[Master]:
    """The handler, for a worker that acts as itself alone, and shows what this master asks of workers."""

    async def checked(master: Master, call: Call[Any], node: str) -> object:
        if not ids.is_node_id(node):  # a name, or nothing: who asks for one by it might be told of another's
            raise not_found(f"there is no node {node[:64]!r}")
        if not await master.owners.is_of(master.farm.store, node, call.key_id):
            raise _foreign(f"node {node} registered with another key, and this one is good for its own nodes alone")
        return await handler(master, call)

    @wraps(handler)
    def guarded(master: Master, call: Call[Any]) -> Awaitable[object]:
        machine = call.machine
        if master.worker_auth is WorkerAuth.MTLS:
            _check_certificate(call)
        if machine is None and not call.key_id:
            return handler(master, call)
        node = whose(call)
        if node is None or (machine is not None and node == machine.node):
            return handler(master, call)
        if machine is None:
            return checked(master, call, node)
        raise _foreign(f"this key is good for node {machine.node} alone, and you speak for another")

    return guarded


def _foreign(why: str) -> RefusalError:
    return RefusalError(403, "forbidden", f"cannot answer: {why}")


def _check_certificate(call: Call[Any]) -> None:
    # Of its own key: a certificate beside the key of somebody else says nothing about that one.
    if call.machine is None or not call.key_id or certified(call.scope) != call.key_id:
        raise RefusalError(
            403,
            "certificate-required",
            "cannot answer: this master asks workers for a certificate; get a token with `millrace nodes invite`, and start "
            "the worker with --join",
        )
