"""Machines that join the farm with a token."""

from datetime import datetime
from typing import Annotated

import msgspec

from millrace.wire.v1.base import Reply, Request
from millrace.wire.v1.work import Fingerprint

LASTS_S = 900.0
MOST_S = 7 * 86_400

Pem = Annotated[str, msgspec.Meta(min_length=1, max_length=8192, description="In PEM.")]


class InvitationRequest(Request):
    """A token for one machine, and for how many seconds it is good."""

    lasts_s: Annotated[float, msgspec.Meta(ge=1, le=MOST_S)] = LASTS_S


class InvitationMade(Reply):
    """A token, which nobody can show again. `authority`: it pins the authority that signs for the masters."""

    token: str
    expires: datetime
    authority: bool


class JoinRequest(Request):
    """A machine joins with a token and a request to sign for its own key (PKCS #10, ECDSA on P-256)."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    fingerprint: Fingerprint
    request: Pem


class CertificateRequest(Request):
    """A machine wants its next certificate."""

    request: Pem


class Certified(Reply):
    """The certificate of a machine in PEM, and when it ends; empty where the masters have no authority, and keys are all there
    is. `authority` is the one to know masters by; empty where theirs comes from another.
    """

    certificate: str = ""
    authority: str = ""
    ends: datetime | None = None


class Joined(Certified, kw_only=True):
    """The machine's own API key, which is good for this node alone."""

    node: str
    key: str
