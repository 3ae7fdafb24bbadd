"""API keys: what people ask about them, and how the edge gets to know them."""

from collections.abc import Awaitable, Callable

from millrace.api.master import Master
from millrace.domain.keys import ApiKey
from millrace.edge.access import grants
from millrace.edge.call import Call
from millrace.edge.keys import Key
from millrace.edge.known_keys import Mark
from millrace.scheduler import keys
from millrace.store.store import Store
from millrace.telemetry.logs import logger
from millrace.wire.v1.keys import KeyList, KeyMade, KeyRequest, KeyView, RotateRequest

log = logger("api")


def looked_up_in(store: Store) -> Callable[[Mark], Awaitable[Key | None]]:
    """How a key of the store is found by the hash of its secret, or by its id."""

    async def find(mark: Mark) -> Key | None:
        found = await store.live_key(mark)
        if found is None:
            return None
        opens = grants(found.role, found.tenant)
        return Key(
            id=found.id, mark=mark, name=found.name, role=found.role.value, grants=opens, tenant=found.tenant,
            machine=found.machine,
        )  # fmt: skip

    return find


async def create(master: Master, call: Call[KeyRequest]) -> KeyMade:
    """Make a key; the reply is the only one that holds its secret."""
    made, secret = await keys.create(master.farm, call.body)
    log.info("keys.created", key=made.id, name=made.name, role=made.role, tenant=made.tenant, by=call.caller)
    return KeyMade(secret=secret, key=_view(made))


async def show_all(master: Master, call: Call[None]) -> KeyList:
    """The live keys, or all."""
    call.only("ended")
    return KeyList(keys=[_view(one) for one in await keys.list_keys(master.farm, ended=call.truth("ended"))])


async def rotate(master: Master, call: Call[RotateRequest | None]) -> KeyMade:
    """Another secret for the same key."""
    grace_s = call.body.grace_s if call.body is not None else 0.0
    changed, secret = await keys.rotate(master.farm, call.path["ref"], grace_s=grace_s)
    await master.forget_keys()
    log.info("keys.rotated", key=changed.id, name=changed.name, grace_s=grace_s, by=call.caller)
    return KeyMade(secret=secret, key=_view(changed))


async def revoke(master: Master, call: Call[None]) -> KeyView:
    """End a key, here at once, with the claims and streams that it waits for."""
    changed = await keys.revoke(master.farm, call.path["ref"])
    log.info("keys.revoked", key=changed.id, name=changed.name, by=call.caller)
    await master.forget_keys()
    return _view(changed)


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        role=key.role,
        tenant=key.tenant,
        hint=key.hint,
        created=key.created_at,
        expires=key.expires_at,
        used=key.used_at,
        revoked=key.revoked_at,
        old_until=key.old_until,
        node=key.machine.node if key.machine is not None else "",
    )
