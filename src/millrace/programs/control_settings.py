"""How a supervisor is spoken to; apart from what it takes to answer, as it may be that nobody does."""

from pathlib import Path

from msgspec import Struct

KEY_VARIABLE = "MILLRACE_SUPERVISE_KEY"


class ControlSettings(Struct, frozen=True, kw_only=True):
    """How a supervisor is spoken to.

    `socket` is a path; without one, the usual place is taken where there is one. `enabled` False: no unix socket at all.
    `host` and `port` are an address on TCP, which needs a key, and TLS beyond this machine. `access` is the file that says who
    may do what; `client_ca` the authority of client certificates; `audit` the file of the audit trail.
    """

    enabled: bool = True
    socket: Path | None = None
    host: str = ""
    port: int = 0
    key: str = ""
    certificate: Path | None = None
    certificate_key: Path | None = None
    client_ca: Path | None = None
    access: Path | None = None
    audit: Path | None = None

    @property
    def asks_for_nothing(self) -> bool:
        """Whether nobody will answer, and nothing is named that would have to be checked all the same."""
        return not self.enabled and self == ControlSettings(enabled=False, port=self.port, key=self.key)
