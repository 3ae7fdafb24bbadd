"""Tenants: what an operator says of them, and what a verb has to know of that."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType

from millrace.domain.tenants import Over, Quotas, Rules, Tenant, held_back, over_for_retry
from millrace.scheduler.errors import NotFoundError, QuotaError
from millrace.scheduler.farm import Farm
from millrace.scheduler.locations import check_place
from millrace.wire.v1.tenants import TenantRequest

T = TypeVar("T")
U = TypeVar("U")


def refuse(farm: Farm, name: str, over: Over, *, what: str, retry_after_s: int | None = None) -> QuotaError:
    """The error for a quota that is used up; `what` cannot be done."""
    farm.tenants.refused[over.quota] += 1
    return QuotaError(name, over, what=what, retry_after_s=retry_after_s)


async def check_retry(farm: Farm, name: str) -> None:
    """Pass where one more job of the tenant may wait.

    Raises:
        QuotaError: its quota is used up.
    """
    tenant = await farm.store.tenant(name)
    over = None if tenant is None else over_for_retry(tenant.rules.quotas, tenant.use)
    if over is not None:
        raise refuse(farm, name, over, what="run the job again")


async def why_held_back(farm: Farm, name: str) -> str:
    """Why a queued job of the tenant waits although a worker may be free, as a sentence; empty where it is for no quota."""
    tenant = await farm.store.tenant(name)
    over = None if tenant is None else held_back(tenant)
    if over is None:
        return ""
    return f"tenant {name} runs {over.used} tasks, and its quota `{over.quota}` is {over.limit}: it waits until one has ended"


async def list_tenants(farm: Farm) -> Sequence[Tenant]:
    """Every tenant of which there is a record, by name."""
    return await farm.store.tenants()


async def find(farm: Farm, name: str) -> Tenant:
    """One of them.

    Raises:
        NotFoundError: there is no record of it.
    """
    found = await farm.store.tenant(name)
    if found is None:
        raise NotFoundError(f"there is no record of tenant {name[:64]!r}; `millrace tenants set` makes one")
    return found


async def change(farm: Farm, name: str, request: TenantRequest) -> Tenant:
    """Keep what the request says; what it leaves out stays as it is.

    Raises:
        InvalidError: a place cannot be one.
    """
    for field, places in (("inputs", request.inputs), ("outputs", request.outputs)):
        for number, place in enumerate(_or(places, [])):
            check_place(f"{field}[{number}]", place, writes=field == "outputs")
    before = await farm.store.tenant(name)
    rules = before.rules if before is not None else Rules()
    given: Mapping[str, int | UnsetType | None] = {
        "concurrent": request.concurrent,
        "queued": request.queued,
        "per_day": request.per_day,
        "storage_bytes": request.storage_bytes,
    }
    quotas = Quotas(**{word: _or(limit, getattr(rules.quotas, word)) for word, limit in given.items()})
    wanted = Rules(
        quotas=quotas,
        weight=_or(request.weight, rules.weight),
        inputs=tuple(_or(request.inputs, rules.inputs)),
        outputs=tuple(_or(request.outputs, rules.outputs)),
    )
    changed = await farm.store.set_tenant(name, wanted)
    farm.tenants.forget(name)
    return changed


def _or(value: T | UnsetType, other: U) -> T | U:
    return other if value is UNSET else value


async def remove(farm: Farm, name: str) -> None:
    """Forget what was said of a tenant: it has the limits of the settings again.

    Raises:
        NotFoundError: there is no record of it.
    """
    await find(farm, name)
    await farm.store.remove_tenant(name)
    farm.tenants.forget(name)
