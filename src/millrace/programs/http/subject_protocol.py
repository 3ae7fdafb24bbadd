"""HTTP over mutual TLS: the app finds in the scope whose certificate was verified."""

import asyncio
from collections.abc import Mapping
from typing import Any

from millrace.edge.access import SUBJECT
from millrace.programs.http.protocol import HttpProtocol

_SHORT = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
    "localityName": "L", "stateOrProvinceName": "ST",
}  # fmt: skip


class SubjectProtocol(HttpProtocol):
    """One connection whose client showed a certificate of the authority that is asked for, or none where it need not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its own
        """A client has come, and OpenSSL has verified it."""
        super().connection_made(transport)
        if shown := transport.get_extra_info("peercert"):
            self.app_state = {SUBJECT: subject_of(shown)}


def subject_of(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The attributes of its subject with the short names of RFC 4514, as `ssl.SSLSocket.getpeercert` gives them."""
    return tuple(f"{_SHORT.get(name, name)}={value}" for part in certificate.get("subject", ()) for name, value in part)
