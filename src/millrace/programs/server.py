"""uvicorn as a service: ready when it answers, stopped when its connections are closed, signals left to the program."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn

from millrace.programs.door import Door, most_connections
from millrace.programs.http_protocol import FULL, BoundedProtocol
from millrace.programs.sweep import INTERVAL_S, REQUEST_S, Sweep, Watched
from millrace.runtime.clock import Clock, SystemClock
from millrace.runtime.service import Service
from millrace.runtime.ticker import Ticker
from millrace.telemetry.logs import logger

log = logger("http")
GRACE_S = 5
_TURNS = 20
"""Turns of the event loop in which idle connections notice that they are closed."""


class _Server(uvicorn.Server):
    """A server that leaves signals alone, because the program decides what they mean, and stops when it is told to.

    uvicorn looks ten times a second whether it should exit; a stop should not wait for that.
    """

    def __init__(self, config: uvicorn.Config, door: Door, protocol: type[BoundedProtocol]) -> None:
        super().__init__(config)
        self._door = door
        self._protocol = protocol
        self.told_to_stop = asyncio.Event()
        # Only connections that `startup` made are in there.
        self.sweep = Sweep(cast("set[Watched]", self.server_state.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door instead of uvicorn's own servers; `sockets` are the door's already."""
        del sockets
        self._door.open(
            lambda: self._protocol(self.config, self.server_state, {}, sweep=self.sweep, lost=self._door.leave),
            self.config.ssl,
        )
        self.servers = []
        self.started = True

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle at once; only where somebody is still being answered, take uvicorn's slower way."""
        self._door.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(_TURNS):
            if not self.server_state.connections and not self.server_state.tasks:
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
        client_ca: Path | None = None,
        protocol: type[BoundedProtocol] = BoundedProtocol,
        clock: Clock | None = None,
        most: int | None = None,
    ) -> None:
        """The socket becomes the server's and is closed with it. `before_stop` ends replies that would not end.

        `client_ca`: only whoever shows a certificate of that authority is served. `protocol` is what speaks on each connection; `clock` times slow clients; `most` is how many connections there may
        be (None: what this process can hold).
        """
        super().__init__()
        self._before_stop = before_stop
        self._door = Door(listening, most or most_connections(), full=FULL, greeting_s=REQUEST_S, parting_s=GRACE_S)
        self._clock = clock or SystemClock()
        self._config = uvicorn.Config(
            app,
            http="httptools",
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
            ssl_ca_certs=None if client_ca is None else str(client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_REQUIRED,
        )
        self._server = _Server(self._config, self._door, protocol)
        self._task: asyncio.Task[None] | None = None
        self._ticker = Ticker(self._tick, interval_s=INTERVAL_S, clock=self._clock, on_error=_complain, name="sweep")

    async def on_start(self) -> None:
        """Return when requests are answered."""
        self._task = asyncio.create_task(self._server.serve(), name="http server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("cannot serve: the server ended before it had started")
            await asyncio.sleep(0)
        await self._ticker.start()

    async def on_stop(self) -> None:
        """Return when every connection is closed."""
        task, self._task = self._task, None
        if task is not None:
            self._before_stop()
            self._server.should_exit = True
            self._server.told_to_stop.set()
            await task
        await self._ticker.stop()
        self._door.close()

    async def _tick(self) -> None:
        self._server.sweep.tick(self._clock.monotonic())
        if refused := self._door.look():
            log.warning("http.full", refused=refused, connections=self._door.most)


def _complain(error: Exception) -> None:
    log.error("http.sweep_failed", exc=error)
