"""The requests with which machines join the farm."""

from millrace.client.calls import Answer, Call, Repeat, post, segment
from millrace.wire.v1.enrolment import (
    CertificateRequest,
    Certified,
    InvitationMade,
    InvitationRequest,
    Joined,
    JoinRequest,
)


def invite(request: InvitationRequest) -> Call[InvitationMade]:
    """A token for one machine."""
    # A token that is lost with its reply ends by itself, but nobody should make two.
    return post("/v1/invitations", InvitationMade, request, repeat=Repeat.UNSENT)


def authority() -> Call[bytes]:
    """The authority that signs for the masters, in PEM."""
    return Call(method="GET", path="/v1/authority", read=_body)


def join(request: JoinRequest) -> Call[Joined]:
    """Exchange a token for a key; with the same request to sign it gives the same machine a key again."""
    return post("/v1/join", Joined, request)


def certify(node: str, request: CertificateRequest) -> Call[Certified]:
    """The next certificate of a machine."""
    return post(f"/v1/nodes/{segment(node)}/certificate", Certified, request)


def _body(answer: Answer) -> bytes:
    return answer.body
