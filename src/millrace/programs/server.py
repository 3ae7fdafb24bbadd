"""uvicorn as a service: ready when it answers, stopped when its connections are closed, signals left to the program."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from millrace.programs.http_protocol import BoundedProtocol
from millrace.runtime.service import Service

GRACE_S = 5
_TURNS = 20
"""Turns of the event loop in which idle connections notice that they are closed."""


class _Server(uvicorn.Server):
    """A server that leaves signals alone, because the program decides what they mean, and stops when it is told to.

    uvicorn looks ten times a second whether it should exit; a stop should not wait for that.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle at once; only where somebody is still being answered, take uvicorn's slower way."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(_TURNS):
            if not self.server_state.connections and not self.server_state.tasks:
                for each in sockets or ():
                    each.close()
                return
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer(Service):
    """Serves an ASGI app on a listening socket, over TLS where a certificate is given."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        *,
        certificate: Path | None,
        key: Path | None,
        before_stop: Callable[[], None],
        protocol: type[BoundedProtocol] = BoundedProtocol,
    ) -> None:
        """The socket becomes the server's and is closed with it. `before_stop` ends replies that would not end;
        `protocol` is what speaks on each connection.
        """
        super().__init__()
        self._before_stop = before_stop
        self._socket = listening
        self._config = uvicorn.Config(
            app,
            http=protocol,
            loop="asyncio",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # X-Forwarded-For is what anybody may write.
            proxy_headers=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        self._server = _Server(self._config)
        self._task: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        """Return when requests are answered."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("cannot serve: the server ended before it had started")
            await asyncio.sleep(0)

    async def on_stop(self) -> None:
        """Return when every connection is closed."""
        task, self._task = self._task, None
        if task is not None:
            self._before_stop()
            self._server.should_exit = True
            self._server.told_to_stop.set()
            await task
        self._socket.close()
