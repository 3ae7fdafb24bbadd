"""Machines join: an administrator makes a token, a machine exchanges it for a key and a certificate of its own."""

from collections.abc import Mapping

from millrace.api.master import Master
from millrace.domain.invitations import pin_for
from millrace.edge.call import Answer, Call
from millrace.edge.refusal import RefusalError, invalid, not_found
from millrace.scheduler import enrol
from millrace.telemetry.logs import logger
from millrace.wire.v1.enrolment import (
    LASTS_S,
    CertificateRequest,
    Certified,
    InvitationMade,
    InvitationRequest,
    Joined,
    JoinRequest,
)
from millrace.wire.v1.problems import FieldError

log = logger("api")
CHALLENGE = {"www-authenticate": 'Join realm="millrace"'}
"""Every 401 has one (RFC 9110, 11.6.1)."""


async def invite(master: Master, call: Call[InvitationRequest | None]) -> InvitationMade:
    """Make a token."""
    lasts_s = call.body.lasts_s if call.body is not None else LASTS_S
    pin = pin_for(master.authority.certificate) if master.authority is not None and master.authority.vouches else b""
    token, expires = await enrol.invite(master.farm, lasts_s=lasts_s, pin=pin, by=call.caller)
    log.info("nodes.invited", by=call.caller, expires=expires.isoformat())
    return InvitationMade(token=token, expires=expires, authority=bool(pin))


def made_invitation(reply: InvitationMade) -> Mapping[str, object]:
    """For the audit trail: all but the token."""
    return {"expires": reply.expires}


def made_node(reply: Joined) -> Mapping[str, object]:
    """For the audit trail: who joined."""
    return {"node": reply.node, "certificate_ends": reply.ends}


async def authority(master: Master, _: Call[None]) -> Answer:
    """The authority that signs for the masters. A machine that joins compares it with the pin in its token."""
    if master.authority is None:
        raise not_found("there is no authority here: this master was given its certificate, or has none")
    return Answer(body=master.authority.certificate, media="application/x-pem-file")


async def join(master: Master, call: Call[JoinRequest]) -> Joined:
    """Give a machine a key and a certificate, for a token that nobody has used before."""
    from millrace.edge import certificates  # noqa: PLC0415  only who joins pays for cryptography

    body, request = call.body, call.body.request.encode()
    try:
        public = certificates.public_of(request)
    except ValueError as error:
        raise _unusable(error) from error
    try:
        await enrol.check_invited(master.farm, body.token, public=public)
        key, secret = await enrol.enrol(
            master.farm, enrol.Joining(token=body.token, public=public, fingerprint=body.fingerprint)
        )
    except enrol.NotInvitedError as error:
        raise RefusalError(401, "not-invited", str(error), headers=CHALLENGE) from error
    await master.forget_keys()  # one that the machine had before has ended
    log.info("nodes.joined", node=key.name, key=key.id)
    signed = _sign(master, request, key.id)
    return Joined(
        node=key.name, key=secret, certificate=signed.certificate, authority=signed.authority, ends=signed.ends
    )


async def certify(master: Master, call: Call[CertificateRequest]) -> Certified:
    """The next certificate of a machine."""
    if not call.key_id or call.machine is None:
        raise RefusalError(
            403, "forbidden", "cannot sign: this key is good for any node, so no certificate stands for it"
        )
    try:
        return _sign(master, call.body.request.encode(), call.key_id)
    except ValueError as error:
        raise _unusable(error) from error


def _sign(master: Master, request: bytes, key_id: str) -> Certified:
    if master.authority is None:
        return Certified()
    certificate, ends = master.authority.sign(request, key_id)
    trusted = master.authority.certificate.decode() if master.authority.vouches else ""
    return Certified(certificate=certificate.decode(), authority=trusted, ends=ends)


def _unusable(error: ValueError) -> RefusalError:
    return invalid(FieldError(field="request", message=f"is no request to sign that can be used: {error}"), status=422)
