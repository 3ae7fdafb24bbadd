"""The farm's own authority and what this master shows, in the folder `tls` of its data: made at the first start that needs
them, and made anew before they end.

`ca.pem` and `ca.key` are the authority's; every master of a farm has the same two. `master.pem` is this master's own: its key,
its certificate, and the authority's, in one file, so that a change is never half done. Keys are for their owner alone.
"""

import socket
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from millrace.config.errors import SettingError
from millrace.domain.invitations import pin_for
from millrace.programs import data_folder
from millrace.programs.private_file import replace
from millrace.store.store import Store
from millrace.telemetry.logs import logger

log = logger("master")
FOLDER = "tls"
AUTHORITY, AUTHORITY_KEY, SHOWN = "ca.pem", "ca.key", "master.pem"
_A_ROUTE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849): nothing is sent there, but the kernel says from where it would."""


class OwnTls(Struct, frozen=True):
    """The files of one master."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        return self.folder / AUTHORITY

    @property
    def shown(self) -> Path:
        """What this master shows."""
        return self.folder / SHOWN

    def has_authority(self) -> bool:
        """Whether there is one."""
        return self.authority.exists() and (self.folder / AUTHORITY_KEY).exists()


class Authority:
    """Signs, with the key in the folder."""

    def __init__(self, files: OwnTls, now: Callable[[], datetime], *, vouches: bool = True) -> None:
        """Read it. `vouches`: what the masters show is signed by it, and was not given to them.

        Raises:
            SettingError: it cannot be used.
        """
        from millrace.edge import certificates  # noqa: PLC0415  only who serves TLS of its own pays for cryptography

        self._certificates = certificates
        self._now = now
        self._files = files
        self.vouches = vouches
        try:
            self._pair = certificates.Pair(files.authority.read_bytes(), (files.folder / AUTHORITY_KEY).read_bytes())
        except OSError as error:
            raise SettingError(f"cannot read the farm's authority: {error.strerror}: {error.filename}") from error
        if not certificates.is_pair(self._pair):
            raise SettingError(
                f"cannot use the farm's authority in {files.folder}: {AUTHORITY} must be an authority's certificate in PEM, and "
                f"{AUTHORITY_KEY} its key without a password; copy both from a master that has them"
            )
        ends = certificates.facts_of(self._pair.certificate).ends
        if ends <= now():
            raise SettingError(
                f"cannot use the farm's authority in {files.folder}: it ended on {ends:%Y-%m-%d}; start once with "
                "--new-ca, and let the workers join again"
            )

    @property
    def certificate(self) -> bytes:
        """Its own certificate in PEM."""
        return self._pair.certificate

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of its certificate, in hexadecimal."""
        return pin_for(self._pair.certificate).hex()

    def sign(self, request: bytes, key_id: str) -> tuple[bytes, datetime]:
        """A certificate for a worker; see :class:`millrace.api.master.Authority`."""
        signed = self._certificates.worker_certificate(self._pair, request, key_id, self._now())
        return signed.certificate, signed.ends

    def keep_certificate(self, names: Sequence[str]) -> None:
        """Make what this master shows, unless there is one for all these names that lasts."""
        shown, now = self._files.shown, self._now()
        with suppress(OSError, ValueError):
            text = shown.read_bytes()
            facts = self._certificates.facts_of(text)
            signed = text.endswith(self.certificate)
            if signed and {*names} <= facts.names and not self._certificates.due(now, facts.ends):
                return
        pair = self._certificates.server_pair(self._pair, names, now)
        replace(shown, pair.key + pair.certificate, mode=0o600)
        ends = self._certificates.facts_of(pair.certificate).ends
        log.info("master.certificate_made", certificate=str(shown), names=list(names), ends=ends.isoformat())


async def open_authority(
    files: OwnTls, store: Store, now: Callable[[], datetime], *, new: bool, vouches: bool
) -> Authority:
    """The authority of the farm; made where the farm has none yet, or (`new`) in any case.

    Raises:
        SettingError: the farm has another one, or it cannot be used.
        ExhaustedError: the data folder's disk is full.
    """
    known = await store.authority()
    try:
        files.folder.mkdir(mode=0o700, exist_ok=True)
        if new or not (files.has_authority() or known):
            _make(files, now())
    except OSError as error:
        raise data_folder.unusable(files.folder, error) from error
    if not files.has_authority():
        raise SettingError(
            f"cannot serve TLS: this farm has an authority already, and it is not in {files.folder}; copy {AUTHORITY} and "
            f"{AUTHORITY_KEY} there from a master that has them, or (where they are lost) start once with --new-ca"
        )
    found = Authority(files, now, vouches=vouches)
    known = await store.note_authority(found.fingerprint, replace=new)
    if known != found.fingerprint:
        raise SettingError(
            f"cannot serve TLS: the authority in {files.folder} is not that of the farm (SHA-256 {known}); copy {AUTHORITY} and "
            f"{AUTHORITY_KEY} there from a master that has them"
        )
    return found


def _make(files: OwnTls, now: datetime) -> None:
    from millrace.edge import certificates  # noqa: PLC0415  as above

    made = certificates.new_authority(now)
    replace(files.folder / AUTHORITY_KEY, made.key, mode=0o600)
    replace(files.authority, made.certificate, mode=0o644)
    log.info("master.authority_made", file=str(files.authority), sha256=pin_for(made.certificate).hex())


def names_for(host: str, given: Collection[str]) -> tuple[str, ...]:
    """The names and addresses by which this machine is likely to be called, those that were given first."""
    towards = (_address_towards(family, there) for family, there in _A_ROUTE.items())
    found = [*given, socket.gethostname(), "localhost", "127.0.0.1", "::1", host, *towards]
    return tuple(dict.fromkeys(_plain(name) for name in found if name and not _is_any(name)))


def _is_any(name: str) -> bool:
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False


def _plain(name: str) -> str:
    """An address as it is compared; a name as it is."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name


def _address_towards(family: int, there: str) -> str:
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((there, 9))
        return str(probe.getsockname()[0])
    return ""
