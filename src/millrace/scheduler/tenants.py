"""Tenants: what an operator says of them, and what a verb has to know of that."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from msgspec import UNSET, UnsetType

from millrace.domain.tenants import NONE, Over, Quota, Quotas, Rules, Tenant, held_back, over_for_retry
from millrace.scheduler.errors import NotFoundError, QuotaError
from millrace.scheduler.locations import check_place
from millrace.wire.v1.tenants import TenantRequest

if TYPE_CHECKING:
    from millrace.scheduler.farm import Farm

T = TypeVar("T")
U = TypeVar("U")
GOOD_FOR_S = 2.0
"""For so long a master goes by what it has read of a tenant's places. Its quotas are judged where they are counted."""
_MOST = 10_000


class KnownTenants:
    """What this master has read of tenants lately, and how often it has refused something for a quota."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.refused: Counter[Quota] = Counter()
        self._rules: dict[str, tuple[float, Rules]] = {}

    async def rules_of(self, farm: "Farm", name: str) -> Rules:
        """What is said of a tenant. Where nobody said anything and there are limits by default, it has a record from now on."""
        now_s = farm.clock.monotonic()
        known = self._rules.get(name)
        if known is not None and now_s < known[0]:
            return known[1]
        if known is not None:
            self._rules[name] = now_s + GOOD_FOR_S, known[1]  # who comes meanwhile does not read it, too
        try:
            rules = await _read(farm, name)
        except BaseException:
            self._rules.pop(name, None)
            raise
        if len(self._rules) >= _MOST:
            self._rules.clear()
        self._rules[name] = now_s + GOOD_FOR_S, rules
        return rules

    def forget(self, name: str) -> None:
        """It was changed."""
        self._rules.pop(name, None)


async def _read(farm: "Farm", name: str) -> Rules:
    found = await farm.store.tenant(name)
    default = farm.rules.quotas
    if (found is None and default != NONE) or (
        found is not None and found.by_default and found.rules.quotas != default
    ):
        found = await farm.store.set_tenant(name, Rules(quotas=default), by_default=True)
    return Rules() if found is None else found.rules


def refuse(farm: "Farm", name: str, over: Over, *, what: str, retry_after_s: int | None = None) -> QuotaError:
    """The error for a quota that is used up; `what` cannot be done."""
    farm.tenants.refused[over.quota] += 1
    return QuotaError(name, over, what=what, retry_after_s=retry_after_s)


async def check_retry(farm: "Farm", name: str) -> None:
    """Pass where one more job of the tenant may wait.

    Raises:
        QuotaError: its quota is used up.
    """
    tenant = await farm.store.tenant(name)
    over = None if tenant is None else over_for_retry(tenant.rules.quotas, tenant.use)
    if over is not None:
        raise refuse(farm, name, over, what="run the job again")


async def why_held_back(farm: "Farm", name: str) -> str:
    """Why a queued job of the tenant waits although a worker may be free, as a sentence; empty where it is for no quota."""
    tenant = await farm.store.tenant(name)
    over = None if tenant is None else held_back(tenant)
    if over is None:
        return ""
    return f"tenant {name} runs {over.used} tasks, and its quota `{over.quota}` is {over.limit}: it waits until one has ended"


async def list_tenants(farm: "Farm") -> Sequence[Tenant]:
    """Every tenant of which there is a record, by name."""
    return await farm.store.tenants()


async def find(farm: "Farm", name: str) -> Tenant:
    """One of them.

    Raises:
        NotFoundError: there is no record of it.
    """
    found = await farm.store.tenant(name)
    if found is None:
        raise NotFoundError(f"there is no record of tenant {name[:64]!r}; `millrace tenants set` makes one")
    return found


async def change(farm: "Farm", name: str, request: TenantRequest) -> Tenant:
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


async def remove(farm: "Farm", name: str) -> None:
    """Forget what was said of a tenant: it has the limits of the settings again.

    Raises:
        NotFoundError: there is no record of it.
    """
    await find(farm, name)
    await farm.store.remove_tenant(name)
    farm.tenants.forget(name)
