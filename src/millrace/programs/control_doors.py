"""Where a supervisor is spoken to: a unix socket, and TCP where it is asked for."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from millrace.config.settings import SettingError
from millrace.programs import api_key
from millrace.programs.listen import check_certificate, is_loopback, listen, url_of
from millrace.programs.unix_socket import UnixSocket
from millrace.runtime.service import Service
from millrace.supervisor.control.place import places
from millrace.supervisor.control.supervisor import Supervisor
from millrace.telemetry.logs import logger

log = logger("supervisor")
KEY_VARIABLE = "MILLRACE_SUPERVISE_KEY"


class ControlSettings(Struct, frozen=True, kw_only=True):
    """How a supervisor is spoken to.

    `socket` is a path; without one, the usual place is taken where there is one. `enabled` False: no unix socket at all.
    `host` and `port` are an address on TCP, which needs a key, and TLS beyond this machine.
    """

    enabled: bool = True
    socket: Path | None = None
    host: str = ""
    port: int = 0
    key: str = ""
    certificate: Path | None = None
    certificate_key: Path | None = None


class ControlDoors(Service):
    """The sockets are held from the beginning, and answer once the server is there. Call `close` at the end."""

    def __init__(self, supervisor: Supervisor, settings: ControlSettings, environ: Mapping[str, str]) -> None:
        """Take the sockets.

        Raises:
            SettingError: another live supervisor has one, it cannot be had, or it would be open to strangers.
        """
        super().__init__()
        _refuse_unprotected(settings)
        self._supervisor = supervisor
        self._settings = settings
        self._parts = AsyncExitStack()
        self._unix = _unix_socket(settings, environ)
        try:
            self._tcp = listen(settings.host, settings.port) if settings.host else None
        except BaseException:
            self.close()
            raise

    async def on_start(self) -> None:
        """Return when requests are answered."""
        if self._unix is None and self._tcp is None:
            return
        # The API takes a tenth of a second to import; the keeper goes on meanwhile.
        serve = await asyncio.to_thread(import_module, "millrace.programs.control_server")
        if self._unix is not None:
            await self._parts.enter_async_context(serve.local(self._supervisor, self._unix.socket))
            log.info("supervisor.control", socket=str(self._unix.path))
        if self._tcp is not None:
            settings = self._settings
            url = url_of(self._tcp, tls=settings.certificate is not None)
            await self._parts.enter_async_context(
                serve.remote(self._supervisor, self._tcp, settings.key, settings.certificate, settings.certificate_key)
            )
            log.info("supervisor.control", url=url)

    async def on_stop(self) -> None:
        """Return when every connection is closed."""
        await self._parts.aclose()

    def close(self) -> None:
        """Let go of the path of the socket. May be called twice."""
        if self._unix is not None:
            self._unix.close()
            self._unix = None


def _unix_socket(settings: ControlSettings, environ: Mapping[str, str]) -> UnixSocket | None:
    if not settings.enabled:
        return None
    if settings.socket is not None:
        return UnixSocket(settings.socket)
    reason = "this user has no runtime folder (XDG_RUNTIME_DIR)"
    for place in places(environ, uid=os.geteuid()):
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            reason = f"{place.parent}: {error.strerror}"
        else:
            if os.access(place.parent, os.W_OK | os.X_OK):
                return UnixSocket(place)
            reason = f"{place.parent} is not writable"
    log.warning("supervisor.no_control", why=f"{reason}; name a place with --socket")
    return None


def _refuse_unprotected(settings: ControlSettings) -> None:
    if (settings.certificate is None) != (settings.certificate_key is None):
        raise SettingError("cannot serve TLS: give both a certificate and its key")
    if settings.certificate is not None and settings.certificate_key is not None:
        if not settings.host:
            raise SettingError("cannot use a certificate: TLS is for --listen, which is not given")
        check_certificate(settings.certificate, settings.certificate_key)
    if not settings.host:
        return
    if not settings.key:
        raise SettingError(f"cannot listen on {settings.host}: set {KEY_VARIABLE} to a key that callers must show")
    api_key.check(settings.key, None)
    if settings.certificate is None and not is_loopback(settings.host):
        raise SettingError(
            f"cannot listen on {settings.host}: the key would cross the network in the clear; "
            "give --tls-cert and --tls-key, or listen on 127.0.0.1"
        )
