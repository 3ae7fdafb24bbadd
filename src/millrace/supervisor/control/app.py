"""The control API as ASGI applications: one for the unix socket, one for TCP."""

import time
from collections.abc import Mapping

from millrace.edge.call import Receive, Scope, Send
from millrace.edge.keys import ALL, Caller, Key, Keys
from millrace.edge.refusal import PROBLEM_CONTENT_TYPE, RefusalError
from millrace.edge.server import Edge, Served
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.control.table import TABLE
from millrace.telemetry.logs import logger

log = logger("supervisor")
UID = "uid:"
"""What the name of a client on a unix socket begins with; the number of its user follows."""


class _Admitted(Keys):
    """Everybody who comes this far may do everything."""

    def __init__(self) -> None:  # no key opens this door, so there is none to keep
        self._local = Caller(Key(secret="", name="local", grants=ALL))

    def identify(self, headers: Mapping[bytes, bytes]) -> Caller | None:  # noqa: ARG002  keys do not matter here
        return self._local


class LocalApp:
    """For a unix socket: the kernel says who calls, and only `uid` and root may. The server tells it in the client's name."""

    def __init__(self, supervisor: Supervisor, *, uid: int) -> None:
        self._edge = _edge(supervisor, _Admitted())
        self._may = frozenset({f"{UID}{uid}", f"{UID}0"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        client = scope.get("client") or ("nobody",)
        if scope["type"] == "http" and client[0] not in self._may:
            log.warning("supervisor.refused", client=str(client[0]), path=scope["path"])
            await _refuse(send)
            return
        await self._edge(scope, receive, send)


def remote_app(supervisor: Supervisor, *, key: str) -> Edge[Supervisor]:
    """For TCP: whoever shows the key."""
    return _edge(supervisor, Keys([Key(secret=key)], now_s=time.time))


def _edge(supervisor: Supervisor, keys: Keys) -> Edge[Supervisor]:
    return Edge(TABLE, supervisor, keys=keys, explain=lambda _: None, served=_write_access_log)


def _write_access_log(served: Served) -> None:
    """Reading is too frequent to be worth a line; a change, and a refusal, is."""
    if served.method in ("GET", "HEAD") and served.status < 400:
        return
    log.info(
        "supervisor.request",
        request_id=served.request_id,
        method=served.method,
        path=served.path,
        status=served.status,
        seconds=round(served.seconds, 6),
        caller=served.caller,
        client=served.client,
    )


async def _refuse(send: Send) -> None:
    body = RefusalError(
        403, "forbidden", "cannot answer: this socket is for the user who runs the supervisor, and for root"
    ).body()
    head = [
        (b"content-type", PROBLEM_CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": body})
