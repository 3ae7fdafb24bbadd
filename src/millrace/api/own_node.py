"""A machine acts as the node that it is. Every route of workers says where the node stands that a request speaks for."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from millrace.api.master import Master, WorkerAuth
from millrace.edge.access import certified
from millrace.edge.call import Call
from millrace.edge.refusal import RefusalError
from millrace.edge.route import Handler

Whose = Callable[[Call[Any]], bool]
"""Whether a request speaks for the machine that it comes from; asked only where `call.machine` is known."""


def by_path(call: Call[Any]) -> bool:
    """The node is in the path."""
    return call.machine is not None and call.path["ref"] == call.machine.node


def by_body(call: Call[Any]) -> bool:
    """It is in the body."""
    return call.machine is not None and call.body.node == call.machine.node


def by_query(call: Call[Any]) -> bool:
    """It is in the query."""
    return call.machine is not None and call.one("node") == call.machine.node


def by_fingerprint(call: Call[Any]) -> bool:
    """It introduces itself: not yet by its id."""
    return call.machine is not None and call.body.fingerprint == call.machine.fingerprint


def by_nothing(_: Call[Any]) -> bool:
    """It speaks for none."""
    return True


def never(_: Call[Any]) -> bool:
    """It is for workers that have no key of their own."""
    return False


def as_itself(handler: Handler[Master], whose: Whose) -> Handler[Master]:
    """The handler, for a machine that acts as itself alone, and shows what this master asks of workers."""

    @wraps(handler)
    def guarded(master: Master, call: Call[Any]) -> Awaitable[object]:
        machine = call.machine
        if master.worker_auth is WorkerAuth.MTLS:
            _check_certificate(call)
        if machine is not None and not whose(call):
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
