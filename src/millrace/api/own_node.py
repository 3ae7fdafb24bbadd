"""A worker acts as the node that it is. Every route of workers says where the node stands that a request speaks for.

A machine that has joined has a key for its node alone. Any other key of role `worker` is good for the nodes that registered with
it; the key that masters are started with, for all.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from millrace.api.master import Master, WorkerAuth
from millrace.edge.access import certified
from millrace.edge.call import Call
from millrace.edge.refusal import RefusalError
from millrace.edge.route import Handler

ITSELF = "itself"
Whose = Callable[[Call[Any]], str]
"""The node that a request speaks for: its id; ITSELF where it cannot be another one; empty where it is nobody's."""


def by_path(call: Call[Any]) -> str:
    """The node is in the path."""
    return call.path["ref"]


def by_body(call: Call[Any]) -> str:
    """It is in the body."""
    return str(call.body.node)


def by_query(call: Call[Any]) -> str:
    """It is in the query."""
    return call.one("node") or ""


def by_fingerprint(call: Call[Any]) -> str:
    """It introduces itself: not yet by its id. Whoever knows a fingerprint is that node."""
    return ITSELF if call.machine is None or call.body.fingerprint == call.machine.fingerprint else ""


def by_nothing(_: Call[Any]) -> str:
    """It speaks for none."""
    return ITSELF


def never(call: Call[Any]) -> str:
    """It is for workers that have no key of their own."""
    return ITSELF if call.machine is None else ""


def as_itself(handler: Handler[Master], whose: Whose) -> Handler[Master]:
    """The handler, for a worker that acts as itself alone, and shows what this master asks of workers."""

    async def checked(master: Master, call: Call[Any], node: str) -> object:
        if not await master.owners.is_of(master.farm.store, node, call.key_id):
            raise RefusalError(
                403,
                "forbidden",
                f"cannot answer: node {node[:64]} registered with another key, and this one is good for its own nodes alone",
            )
        return await handler(master, call)

    @wraps(handler)
    def guarded(master: Master, call: Call[Any]) -> Awaitable[object]:
        machine = call.machine
        if master.worker_auth is WorkerAuth.MTLS:
            _check_certificate(call)
        if machine is None:
            if not call.key_id or (node := whose(call)) in (ITSELF, ""):
                return handler(master, call)
            return checked(master, call, node)
        if whose(call) not in (ITSELF, machine.node):
            raise RefusalError(
                403,
                "forbidden",
                f"cannot answer: this key is good for node {machine.node} alone, and you speak for another",
            )
        return handler(master, call)

    return guarded


def _check_certificate(call: Call[Any]) -> None:
    # Of its own key: a certificate beside the key of somebody else says nothing about that one.
    if call.machine is None or not call.key_id or certified(call.scope) != call.key_id:
        raise RefusalError(
            403,
            "certificate-required",
            "cannot answer: this master asks workers for a certificate; get a token with `millrace nodes invite`, and start "
            "the worker with --join",
        )
