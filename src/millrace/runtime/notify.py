"""Tell systemd how it goes (sd_notify(3)): one datagram to the socket named in NOTIFY_SOCKET."""

import os
import socket
from collections.abc import Mapping

from millrace.runtime.clock import Clock
from millrace.runtime.service import Service, Services
from millrace.runtime.ticker import Ticker


class Notifier:
    """Says READY, STOPPING, STATUS and WATCHDOG to whoever started us; silent where nobody listens."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        for_us = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        usec = environ.get("WATCHDOG_USEC", "") if for_us else ""
        # Half of what systemd allows, as sd_watchdog_enabled(3) advises.
        self.watchdog_interval_s = int(usec) / 2e6 if usec.isdecimal() and int(usec) > 0 else None

    def ready(self) -> None:
        """The start is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Still alive; say it every `watchdog_interval_s` seconds (None: nobody asks)."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send("STATUS=" + " ".join(text.split()))

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # A leading @ stands for the zero byte of the abstract namespace (unix(7)).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(message.encode(), address)
            except OSError:
                return  # a deaf or missing listener must not stop a program that works


def watchdog(notifier: Notifier, *, clock: Clock) -> Service:
    """Says that we are alive as often as systemd asked for, as long as the event loop turns; nothing where nobody asks.

    systemd ends and restarts a program that is silent for longer (WatchdogSec in systemd.service(5)).
    """
    if notifier.watchdog_interval_s is None:
        return Services()

    async def ping() -> None:
        notifier.watchdog()

    return Ticker(ping, interval_s=notifier.watchdog_interval_s, clock=clock, on_error=lambda _: None, name="watchdog")
