"""API keys: make, find, rotate, revoke. A secret leaves here once, and nothing but its hash stays."""

from collections.abc import Sequence

from millrace.domain import ids
from millrace.domain.keys import FIRST, RANDOM_BYTES, ApiKey, NewKey, digest, hint, spell
from millrace.domain.roles import OF_TENANTS
from millrace.scheduler.errors import ConflictError, Finding, InvalidError, NotFoundError
from millrace.scheduler.expire import reclaim
from millrace.scheduler.farm import Farm
from millrace.wire.v1.keys import KeyRequest

MOST = 10_000
"""Live keys. It bounds what a list holds; two that come at once may make one more."""


async def create(farm: Farm, request: KeyRequest) -> tuple[ApiKey, str]:
    """A new key and its secret.

    Raises:
        InvalidError: the name or the tenant cannot be.
        ConflictError: a live key has the name, or there are too many.
    """
    if request.tenant and request.role not in OF_TENANTS:
        words = " and ".join(sorted(OF_TENANTS))
        raise InvalidError(
            Finding("tenant", f"binds {words} only: a key with role {request.role} is for the whole farm")
        )
    if request.name == FIRST or ids.is_key_id(request.name) or ids.is_node_id(request.name):
        raise InvalidError(Finding("name", f"is {FIRST!r} or an id, which are taken; choose another"))
    if len(await farm.store.keys(ended=False)) >= MOST:
        raise ConflictError(f"cannot make another key: there are {MOST} already; revoke some")
    secret = _new_secret(farm)
    made = await farm.store.add_key(
        NewKey(
            id=farm.new_id(ids.key_id, farm.clock.now()),
            name=request.name,
            role=request.role,
            tenant=request.tenant,
            digest=digest(secret),
            hint=hint(secret),
            lasts_s=request.lasts_s,
        )
    )
    if made is None:
        raise ConflictError(f"cannot make the key: another one is called {request.name}; revoke that one, or rotate it")
    return made, secret


async def list_keys(farm: Farm, *, ended: bool) -> Sequence[ApiKey]:
    """The live keys, oldest first; with `ended` also the others."""
    return await farm.store.keys(ended=ended)


async def rotate(farm: Farm, ref: str, *, grace_s: float) -> tuple[ApiKey, str]:
    """Another secret for a key, which stays what it is; the one before is good for `grace_s` more.

    Raises:
        NotFoundError: there is no such key.
        ConflictError: it has ended, or is the one that the masters are started with.
    """
    key = await _find(farm, ref, "rotate")
    if key.machine is not None:
        raise ConflictError(
            f"cannot rotate key {key.name}: it is a machine's own, and nobody else would know the new secret; let the machine "
            "join again with a token of `millrace nodes invite`"
        )
    secret = _new_secret(farm)
    changed = await farm.store.rotate_key(key.id, digest=digest(secret), hint=hint(secret), grace_s=grace_s)
    if changed is None:
        raise ConflictError(f"cannot rotate key {key.name}: it has ended; make a new one")
    return changed, secret


async def revoke(farm: Farm, ref: str) -> ApiKey:
    """End a key; one that was revoked already stays so. With that of a machine, what the machine holds goes back.

    Raises as :func:`rotate`.
    """
    key = await _find(farm, ref, "revoke")
    if key.machine is not None and key.revoked_at is None:
        await farm.store.expel(key.machine.node)
        await reclaim(farm)
    changed = await farm.store.revoke_key(key.id)
    if changed is None:
        raise NotFoundError(_nobody(ref))
    return changed


def _new_secret(farm: Farm) -> str:
    return spell(farm.chance.randbytes(RANDOM_BYTES))


async def _find(farm: Farm, ref: str, verb: str) -> ApiKey:
    if ref == FIRST:
        raise ConflictError(
            f"cannot {verb} key {FIRST}: it is the one that the masters are started with, and the last way in; to replace "
            "it, change MILLRACE_API_KEY, or remove the file api-key in the data folder, and start the masters anew"
        )
    found = await farm.store.key(ref)
    if found is None:
        raise NotFoundError(_nobody(ref))
    return found


def _nobody(ref: str) -> str:
    return f"there is no key {ref[:64]!r}; `millrace keys list` shows those there are"
