"""Serve the control API of a supervisor on a socket. Imported late, because all of it takes long."""

import os
import socket
from pathlib import Path

from millrace.programs.peer_protocol import PeerProtocol
from millrace.programs.server import HttpServer
from millrace.runtime.service import Service
from millrace.supervisor.control.app import LocalApp, remote_app
from millrace.supervisor.control.supervisor import Supervisor


def local(supervisor: Supervisor, listening: socket.socket) -> Service:
    """On a unix socket, for our own user and root."""
    app = LocalApp(supervisor, uid=os.geteuid())
    return HttpServer(app, listening, certificate=None, key=None, before_stop=supervisor.stop, protocol=PeerProtocol)


def remote(
    supervisor: Supervisor, listening: socket.socket, secret: str, certificate: Path | None, key: Path | None
) -> Service:
    """On TCP, for whoever shows the secret."""
    app = remote_app(supervisor, key=secret)
    return HttpServer(app, listening, certificate=certificate, key=key, before_stop=supervisor.stop)
