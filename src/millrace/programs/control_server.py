"""Serve the control API of a supervisor on a socket. Imported late, because all of it takes long."""

import socket
from collections.abc import Callable
from pathlib import Path

from millrace.edge.access import Rules
from millrace.programs.http.door import most_connections
from millrace.programs.http.peer_protocol import PeerProtocol
from millrace.programs.http.protocol import HttpProtocol
from millrace.programs.http.server import HttpServer
from millrace.programs.http.subject_protocol import SubjectProtocol
from millrace.runtime.service import Service
from millrace.supervisor.control.app import control_app
from millrace.supervisor.control.supervisor import Supervisor


def local(supervisor: Supervisor, listening: socket.socket, rules: Callable[[], Rules]) -> Service:
    """On a unix socket, for whom the rules name."""
    app = control_app(supervisor, rules=rules, most_requests=most_connections())
    return HttpServer(app, listening, certificate=None, key=None, before_stop=supervisor.stop, protocol=PeerProtocol)


def remote(
    supervisor: Supervisor,
    listening: socket.socket,
    rules: Callable[[], Rules],
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
) -> Service:
    """On TCP, for whom the rules name. With `client_ca` whoever shows no certificate of that authority is not heard."""
    app = control_app(supervisor, rules=rules, most_requests=most_connections())
    protocol = HttpProtocol if client_ca is None else SubjectProtocol
    return HttpServer(
        app,
        listening,
        certificate=certificate,
        key=key,
        client_ca=client_ca,
        before_stop=supervisor.stop,
        protocol=protocol,
    )
