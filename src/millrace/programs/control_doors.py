"""Where a supervisor is spoken to: a unix socket, and TCP where it is asked for."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module

from millrace.config.errors import SettingError
from millrace.domain.roles import Role
from millrace.edge.access import PeerRule, Rules
from millrace.edge.keys import Key
from millrace.programs import api_key
from millrace.programs.access_file import AccessFile
from millrace.programs.control_settings import KEY_VARIABLE, ControlSettings
from millrace.programs.http.listen import check_authority, check_certificate, is_loopback, listen, url_of
from millrace.programs.http.unix_socket import UnixSocket
from millrace.runtime.service import Service
from millrace.supervisor.control.place import places
from millrace.supervisor.control.supervisor import Supervisor
from millrace.telemetry.logs import logger

log = logger("supervisor")
KEY_NAME = KEY_VARIABLE
"""What that key is called in logs and in the audit trail."""


class ControlDoors(Service):
    """The sockets are held from the beginning, and answer once the server is there. Call `close` at the end."""

    def __init__(self, supervisor: Supervisor, settings: ControlSettings, environ: Mapping[str, str]) -> None:
        """Take the sockets.

        Raises:
            SettingError: another live supervisor has one, it cannot be had, or it would be open to strangers.
        """
        super().__init__()
        access = AccessFile(
            settings.access,
            usual=[PeerRule(role=Role.ADMIN, uid=uid) for uid in {os.geteuid(), 0}],
            usual_keys=[Key(secret=settings.key, name=KEY_NAME)] if len(settings.key) >= api_key.SHORTEST else [],
            listens_on=settings.host,
        )
        _refuse_unprotected(settings, access.rules)
        self._access = access
        self._supervisor = supervisor
        self._settings = settings
        self._parts = AsyncExitStack()
        self._unix = _unix_socket(settings, environ, shared=len(access.rules.peers) > len({os.geteuid(), 0}))
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
            await self._parts.enter_async_context(
                serve.local(self._supervisor, self._unix.socket, lambda: self._access.rules)
            )
            log.info("supervisor.control", socket=str(self._unix.path))
        if self._tcp is not None:
            settings = self._settings
            url = url_of(self._tcp, tls=settings.certificate is not None)
            await self._parts.enter_async_context(
                serve.remote(
                    self._supervisor,
                    self._tcp,
                    lambda: self._access.rules,
                    certificate=settings.certificate,
                    key=settings.certificate_key,
                    client_ca=settings.client_ca,
                )
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


def _unix_socket(settings: ControlSettings, environ: Mapping[str, str], *, shared: bool) -> UnixSocket | None:
    """The socket. One that is `shared` can be reached by every user: the kernel says who comes, and the rules who may."""
    if not settings.enabled:
        return None
    if settings.socket is not None:
        return UnixSocket(settings.socket, shared=shared)
    reason = "this user has no runtime folder (XDG_RUNTIME_DIR)"
    for place in places(environ, uid=os.geteuid()):
        try:
            place.parent.mkdir(mode=0o755 if shared else 0o700, exist_ok=True)
        except OSError as error:
            reason = f"{place.parent}: {error.strerror}"
        else:
            if os.access(place.parent, os.W_OK | os.X_OK):
                return UnixSocket(place, shared=shared)
            reason = f"{place.parent} is not writable"
    log.warning("supervisor.no_control", why=f"{reason}; name a place with --socket")
    return None


def _refuse_unprotected(settings: ControlSettings, rules: Rules) -> None:
    if (settings.certificate is None) != (settings.certificate_key is None):
        raise SettingError("cannot serve TLS: give both a certificate and its key")
    if settings.certificate is not None and settings.certificate_key is not None:
        if not settings.host:
            raise SettingError("cannot use a certificate: TLS is for --listen, which is not given")
        check_certificate(settings.certificate, settings.certificate_key)
    _check_client_ca(settings, rules)
    if not settings.host:
        return
    if settings.key:
        api_key.check(settings.key, None)
    elif rules.keys is None and not rules.subjects:
        raise SettingError(
            f"cannot listen on {settings.host}: set {KEY_VARIABLE} to a key that callers must show, or name keys or "
            "certificates in an access file"
        )
    if settings.certificate is None and not is_loopback(settings.host):
        raise SettingError(
            f"cannot listen on {settings.host}: the key would cross the network in the clear; "
            "give --tls-cert and --tls-key, or listen on 127.0.0.1"
        )


def _check_client_ca(settings: ControlSettings, rules: Rules) -> None:
    if settings.client_ca is not None:
        if settings.certificate is None:
            raise SettingError("cannot ask for client certificates: that needs --listen with --tls-cert and --tls-key")
        check_authority(settings.client_ca)
    elif rules.subjects and settings.host:
        raise SettingError("cannot tell who shows a client certificate: name their authority with --tls-client-ca")
