"""API keys."""

from datetime import datetime
from typing import Annotated

import msgspec

from millrace.domain.roles import Role
from millrace.wire.v1.base import Reply, Request

MOST_S = 3660 * 86_400
MOST_GRACE_S = 30 * 86_400


class KeyRequest(Request):
    """A key to be made. A name is letters, digits, dots, dashes and underscores; an empty tenant stands for all of them."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]
    role: Role
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$(?!\n)")] = ""
    lasts_s: (
        Annotated[float, msgspec.Meta(gt=0, le=MOST_S, description="Seconds from now; without it, no end.")] | None
    ) = None


class RotateRequest(Request):
    """For how many seconds the secret before stays good."""

    grace_s: Annotated[float, msgspec.Meta(ge=0, le=MOST_GRACE_S)] = 0.0


class KeyView(Reply):
    """A key without its secret. `hint` is how the secret begins; `used` is exact to about a minute; `old_until` is how long
    the secret before the last rotation is good; `node` the only node that it may act as, empty where it may act as any.
    """

    id: str
    name: str
    role: Role
    tenant: str
    hint: str
    created: datetime
    expires: datetime | None
    used: datetime | None
    revoked: datetime | None
    old_until: datetime | None
    node: str = ""


class KeyMade(Reply):
    """A key and its secret, which nobody can show again."""

    secret: str
    key: KeyView


class KeyList(Reply):
    """Keys, oldest first. The key that the masters are started with is not among them."""

    keys: list[KeyView]
