"""Machines join: a token that is good once, and the key that it is exchanged for."""

from datetime import datetime

from msgspec import Struct

from millrace.domain import ids, invitations
from millrace.domain.invitations import Enrolment, NewInvitation
from millrace.domain.keys import RANDOM_BYTES, ApiKey, digest, hint, spell
from millrace.scheduler.farm import Farm


class NotInvitedError(Exception):
    """The token is of no use: it never was one, has ended, or was used. Another one is needed."""


class Joining(Struct, frozen=True, kw_only=True):
    """A machine that comes with a token. `public` is the SHA-256 of its public key."""

    token: str
    public: bytes
    fingerprint: str


async def invite(farm: Farm, *, lasts_s: float, pin: bytes, by: str) -> tuple[str, datetime]:
    """A new token with this pin (empty: none), and when it ends."""
    token = invitations.spell(farm.chance.randbytes(invitations.RANDOM_BYTES), pin)
    return token, await farm.store.add_invitation(NewInvitation(digest=digest(token), by=by, lasts_s=lasts_s))


async def check_invited(farm: Farm, token: str, *, public: bytes) -> None:
    """Pass where :func:`enrol` would be of use; it writes nothing, so that strangers can cause no writes.

    Raises:
        NotInvitedError: the token is of no use.
    """
    try:
        invitations.pin_of(token)
    except ValueError as error:
        raise NotInvitedError(str(error)) from None
    if not await farm.store.is_invited(digest(token), public):
        raise _nobody()


async def enrol(farm: Farm, joining: Joining) -> tuple[ApiKey, str]:
    """The machine's own key, bound to the node that it is, and the key's secret.

    Raises:
        NotInvitedError: the token is of no use.
    """
    now = await farm.store.now()
    secret = spell(farm.chance.randbytes(RANDOM_BYTES))
    key = await farm.store.enrol(
        Enrolment(
            token=digest(joining.token),
            public=joining.public,
            fingerprint=joining.fingerprint,
            node_id=farm.new_id(ids.node_id, now),
            key_id=farm.new_id(ids.key_id, now),
            digest=digest(secret),
            hint=hint(secret),
        )
    )
    if key is None:
        raise _nobody()
    return key, secret


def _nobody() -> NotInvitedError:
    return NotInvitedError(
        "cannot let this machine join: the token was used, has ended, or never was one; make another with "
        "`millrace nodes invite`"
    )
