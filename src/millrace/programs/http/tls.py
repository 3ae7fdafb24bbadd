"""The certificate that a server shows, taken anew when its files change, and whom it asks for one."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from millrace.telemetry.logs import logger

log = logger("http")
_LOOK_S = 1.0


class Tls(Struct, frozen=True, kw_only=True):
    """What a server shows, and asks for.

    `certificate` is a chain in PEM and `key` its private key. `client_ca` is the authority whose certificates clients may
    show; with `required` nobody without one is heard.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    required: bool = True

    def context(self) -> ssl.SSLContext:
        """For new connections.

        Raises:
            OSError: a file cannot be read, or they are no pair (an ssl.SSLError).
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Nobody is there to type a key's password; with none given here, OpenSSL would ask for it.
        context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if self.required else ssl.CERT_OPTIONAL
        return context


class LiveTls:
    """The context for who comes now. A change of a file is seen within a second; one that is of no use changes nothing.

    Every change makes a context of its own: in one that is in use, a certificate would stand for a moment beside the key of
    another. Connections that are open keep the one that they began with.
    """

    def __init__(self, tls: Tls, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Read the files.

        Raises:
            OSError: as :meth:`Tls.context`.
        """
        self._tls = tls
        self._monotonic_s = monotonic_s
        self._looked_s = monotonic_s()
        self._seen = self._print()
        self._now = tls.context()
        self.ends = end_of(tls.certificate)
        self.failures = 0

    def context(self) -> ssl.SSLContext:
        """What holds now."""
        now_s = self._monotonic_s()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._look()
        return self._now

    def _look(self) -> None:
        seen = self._print()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            context, ends = self._tls.context(), end_of(self._tls.certificate)
        except (OSError, ValueError) as error:
            self.failures += 1
            log.error(  # noqa: TRY400  the reason is a sentence for an operator
                "http.certificate_unusable", certificate=str(self._tls.certificate), key=str(self._tls.key),
                why=reason(error), means="the one before is shown",
            )  # fmt: skip
            return
        self._now, self.ends = context, ends
        log.info("http.certificate_changed", certificate=str(self._tls.certificate), ends=ends.isoformat())

    def _print(self) -> tuple[object, ...]:
        """What changes with the files; a link to another file is another file."""
        found: list[object] = []
        for path in (self._tls.certificate, self._tls.key, self._tls.client_ca):
            with suppress(OSError):
                if path is not None:
                    stat = path.stat()
                    found.append((path, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def reason(error: OSError | ValueError) -> str:
    """Why a certificate and its key cannot be used."""
    if isinstance(error, ValueError):  # which an ssl.SSLError is, too
        return "they are no pair" if isinstance(error, ssl.SSLError) else "it holds no certificate in PEM"
    return error.strerror or str(error)


def end_of(certificate: Path) -> datetime:
    """When a certificate ends.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    from millrace.edge import certificates  # noqa: PLC0415  only who serves TLS pays for cryptography

    return certificates.facts_of(certificate.read_bytes()).ends
