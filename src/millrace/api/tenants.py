"""Tenants, as people ask for them."""

import re
from collections.abc import Mapping
from contextlib import suppress

from msgspec import to_builtins

from millrace.api.master import Master
from millrace.domain.tenants import Quotas, Tenant, Use
from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.scheduler import tenants
from millrace.store.store import StoreError
from millrace.telemetry.logs import logger
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.tenants import QuotasView, QuotaView, TenantList, TenantRequest, TenantView

log = logger("api")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def show_all(master: Master, call: Call[None]) -> TenantList:
    """Every tenant of which there is a record."""
    call.only()
    return TenantList(tenants=[view(one) for one in await tenants.list_tenants(master.farm)])


async def show(master: Master, call: Call[None]) -> TenantView:
    """One of them; a key that is bound to a tenant sees that one alone."""
    return view(await tenants.find(master.farm, call.path["tenant"]))


async def change(master: Master, call: Call[TenantRequest]) -> TenantView:
    """Limit a tenant, or change its limits."""
    name = call.path["tenant"]
    if not _NAME.fullmatch(name):
        raise invalid(FieldError(field="tenant", message="must be 1 to 64 letters, digits, dashes and underscores"))
    changed = await tenants.change(master.farm, name, call.body)
    log.info("tenants.changed", tenant=name, by=call.caller)
    return view(changed)


async def remove(master: Master, call: Call[None]) -> None:
    """Forget what was said of a tenant."""
    await tenants.remove(master.farm, call.path["tenant"])
    log.info("tenants.removed", tenant=call.path["tenant"], by=call.caller)


async def watch(master: Master, call: Call[TenantRequest]) -> Mapping[str, object] | None:
    """What is said of the tenant that a request names, for the audit trail."""
    with suppress(StoreError):
        found = await master.farm.store.tenant(call.path["tenant"])
        if found is not None:
            return {"tenant": found.name, "by_default": found.by_default, **to_builtins(found.rules)}
    return None


def view(tenant: Tenant) -> TenantView:
    """As it goes out."""
    return TenantView(
        tenant=tenant.name,
        quotas=_quotas(tenant.rules.quotas, tenant.use),
        weight=tenant.rules.weight,
        inputs=list(tenant.rules.inputs),
        outputs=list(tenant.rules.outputs),
        by_default=tenant.by_default,
        changed=tenant.changed_at,
    )


def _quotas(limits: Quotas, use: Use) -> QuotasView:
    return QuotasView(
        concurrent=QuotaView(limit=limits.concurrent, used=use.concurrent),
        queued=QuotaView(limit=limits.queued, used=use.queued),
        per_day=QuotaView(limit=limits.per_day, used=use.per_day),
        storage_bytes=QuotaView(limit=limits.storage_bytes, used=use.storage_bytes),
    )
