"""A machine's own key and certificate, in its state folder: got with a token at the first start, and kept.

`machine.json` has the key and says what belongs to it, and is written last; `machine.key` is a private key that never leaves
the machine, `machine.pem` the certificate for it, `ca.pem` the authority by which it knows the masters.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from millrace.client import enrolment
from millrace.client.client import Client
from millrace.client.http import Terms, trust, unverified
from millrace.config.errors import SettingError
from millrace.config.settings import WorkerSettings
from millrace.domain.invitations import pin_for, pin_of
from millrace.programs.private_file import replace
from millrace.telemetry.logs import logger
from millrace.wire.v1.enrolment import CertificateRequest, Certified, JoinRequest
from millrace.worker.identity import StateFolder, StateUnusableError

log = logger("worker")
RECORD, KEY, CERTIFICATE, AUTHORITY = "machine.json", "machine.key", "machine.pem", "ca.pem"
PATIENCE_S = 60.0
"""For masters that are not there yet when a machine joins."""


class Record(Struct, frozen=True, kw_only=True):
    """What a machine knows of its own. `token` is the SHA-256 of the token that it joined with; `ends` when its certificate
    does, None where it has none.
    """

    node: str
    key: str
    token: str
    ends: datetime | None = None
    authority: bool = False


class Machine:
    """One that has joined."""

    def __init__(self, folder: Path, record: Record) -> None:
        """As it lies in the folder."""
        self._folder = folder
        self.record = record

    @property
    def ca(self) -> Path | None:
        """The authority by which it knows the masters; None where its token named none."""
        return self._folder / AUTHORITY if self.record.authority else None

    @property
    def place(self) -> Path:
        """Where its key is kept."""
        return self._folder / RECORD

    def certificate(self, now: datetime) -> tuple[Path, Path] | tuple[None, None]:
        """What it shows to a master, with the private key; nothing that has ended, for no master would listen."""
        ends = self.record.ends
        if ends is None or ends <= now:
            return None, None
        return self._folder / CERTIFICATE, self._folder / KEY

    def due(self, now: datetime) -> bool:
        """Whether it is time for another certificate."""
        from millrace.edge import certificates  # noqa: PLC0415  only machines with certificates pay for cryptography

        return self.record.ends is not None and certificates.due(now, self.record.ends)

    def request(self) -> CertificateRequest:
        """What to send for the next one."""
        from millrace.edge import certificates  # noqa: PLC0415  as above

        return CertificateRequest(request=certificates.request_for((self._folder / KEY).read_bytes()).decode())

    def keep(self, made: Certified) -> None:
        """Keep another certificate for the same private key."""
        if made.certificate and made.ends is not None:
            replace(self._folder / CERTIFICATE, made.certificate.encode())
            self.record = msgspec.structs.replace(self.record, ends=made.ends)
            replace(self.place, msgspec.json.encode(self.record))


def find_or_join(settings: WorkerSettings) -> Machine | None:
    """The machine that a worker runs on, with a key of its own; None where it has none, and was given no token.

    A token is used once: with the one that it joined with, a machine just goes on.

    Raises:
        SettingError: the token or a file is of no use.
        ClientError: no master answered, or it does not let the machine in.
        StateBusyError, StateUnusableError: the state folder cannot be used.
    """
    folder = settings.state.absolute()
    kept = _read(folder)
    if not settings.join or (kept is not None and kept.record.token == _hash(settings.join)):
        return kept
    if not settings.masters:
        raise SettingError("cannot join: name a master with --master URL")
    state = StateFolder(folder)
    fingerprint = state.open().fingerprint
    try:
        return _join(settings, folder, fingerprint)
    except OSError as error:
        raise StateUnusableError(f"cannot keep the key of this machine in {folder}: {error.strerror}") from error
    finally:
        state.close()


def _join(settings: WorkerSettings, folder: Path, fingerprint: str) -> Machine:
    from millrace.edge import certificates  # noqa: PLC0415  as above

    try:
        pin = pin_of(settings.join)
        ca, pinned = settings.ca, False
        if pin and ca is None:
            replace(folder / AUTHORITY, _authority(settings.masters, pin))
            ca, pinned = folder / AUTHORITY, True
        client = Client(settings.masters, Terms(tls=trust(ca), patience_s=PATIENCE_S))
    except ValueError as error:
        raise SettingError(str(error)) from error
    if not (folder / KEY).exists() or (folder / RECORD).exists():
        replace(folder / KEY, certificates.new_request().key)
        # What there was belongs to the key before.
        (folder / RECORD).unlink(missing_ok=True)
    # A key without a record is that of a machine whose answer was lost: with it, the same token is good again.
    request = certificates.request_for((folder / KEY).read_bytes()).decode()
    with client:
        made = client.do(enrolment.join(JoinRequest(token=settings.join, fingerprint=fingerprint, request=request)))
    if made.certificate:
        replace(folder / CERTIFICATE, made.certificate.encode())
    record = Record(node=made.node, key=made.key, token=_hash(settings.join), ends=made.ends, authority=pinned)
    replace(folder / RECORD, msgspec.json.encode(record))
    log.info("worker.joined", node=made.node, certificate_ends=made.ends.isoformat() if made.ends else "")
    return Machine(folder, record)


def _authority(masters: Sequence[str], pin: bytes) -> bytes:
    """The authority that the token names.

    Raises:
        ValueError: there is another one, or no TLS to begin with.
    """
    if any(not address.startswith("https:") for address in masters):
        raise ValueError(
            "cannot join: this token names an authority, so the address of the master begins with https://"
        )
    with Client(masters, Terms(tls=unverified(), patience_s=PATIENCE_S)) as client:
        found = client.do(enrolment.authority())
        try:
            same = pin_for(found) == pin
        except ValueError:
            same = False
        if not same:
            raise ValueError(
                f"cannot trust the master at {client.address}: its authority is not the one that the token names; it is another "
                "farm's, or somebody sits between"
            )
    return found


def _read(folder: Path) -> Machine | None:
    path = folder / RECORD
    try:
        return Machine(folder, msgspec.json.decode(path.read_bytes(), type=Record))
    except (FileNotFoundError, NotADirectoryError):
        return None  # where it is no folder, the worker says so
    except OSError as error:
        raise StateUnusableError(f"cannot read the key of this machine in {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise SettingError(
            f"cannot use the key of this machine in {path}: {error}; remove the file, and join again with a token of "
            "`millrace nodes invite`"
        ) from error


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
