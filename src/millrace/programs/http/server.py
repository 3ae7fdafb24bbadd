"""An HTTP server as a service: ready when it answers, stopped when its connections are closed, signals left to the program."""

import socket
from collections.abc import Callable, Collection
from pathlib import Path

from millrace.programs.http.door import Door, most_connections
from millrace.programs.http.exchange import App
from millrace.programs.http.last_words import CROWDED, FULL
from millrace.programs.http.protocol import Crowd, HttpProtocol
from millrace.programs.http.sweep import INTERVAL_S, REQUEST_S
from millrace.programs.http.tls import LiveTls, Tls
from millrace.runtime.clock import Clock, SystemClock
from millrace.runtime.service import Service
from millrace.runtime.ticker import Ticker
from millrace.telemetry.logs import logger

log = logger("http")
GRACE_S = 5.0
"""Seconds for which a server that stops waits for the answers that are under way."""


class HttpServer(Service):
    """Serves an ASGI app on a listening socket, over TLS where a certificate is given."""

    def __init__(
        self,
        app: App,
        listening: socket.socket,
        *,
        certificate: Path | None,
        key: Path | None,
        before_stop: Callable[[], None],
        client_ca: Path | None = None,
        client_ca_required: bool = True,
        protocol: type[HttpProtocol] = HttpProtocol,
        clock: Clock | None = None,
        most: int | None = None,
    ) -> None:
        """The socket becomes the server's and is closed with it. `before_stop` ends replies that would not end.

        `client_ca`: only whoever shows a certificate of that authority is served, or (not `client_ca_required`) whoever shows
        one of that authority or none. A certificate whose files change is shown from then on. `protocol` is what speaks on each
        connection; `clock` times slow clients; `most` is how many connections there may be (None: what this process can
        hold).
        """
        super().__init__()
        self._before_stop = before_stop
        self.tls: LiveTls | None = None
        """What it shows; None without TLS."""
        if certificate is not None and key is not None:
            self.tls = LiveTls(
                Tls(certificate=certificate, key=key, client_ca=client_ca, required=client_ca_required),
            )
        self._protocol = protocol
        self._clock = clock or SystemClock()
        self._door = Door(
            listening,
            most or most_connections(),
            full=FULL,
            crowded=CROWDED,
            greeting_s=REQUEST_S,
            parting_s=GRACE_S,
        )
        self._crowd = Crowd(app, leave=self._door.leave)
        self._ticker = Ticker(
            self._tick, interval_s=INTERVAL_S, clock=self._clock, on_error=_complain, name="sweep",
            rests=lambda: self._door.quiet,
        )  # fmt: skip

    @property
    def connections(self) -> Collection[HttpProtocol]:
        """Those that are open."""
        return self._crowd.connections

    async def on_start(self) -> None:
        """Return when requests are answered."""
        tls = self.tls.context if self.tls is not None else None
        self._door.open(lambda: self._protocol(self._crowd), tls, self._ticker.wake)
        await self._ticker.start()

    async def on_stop(self) -> None:
        """Return when every connection is closed."""
        self._before_stop()
        self._door.close()
        await self._crowd.part(GRACE_S)
        await self._ticker.stop()

    async def _tick(self) -> None:
        self._crowd.sweep.tick(self._clock.monotonic())
        if refused := self._door.look():
            log.warning("http.full", refused=refused, connections=self._door.most)


def _complain(error: Exception) -> None:
    log.error("http.sweep_failed", exc=error)
