"""Tenants: what each may use of the farm, what it uses, and when it has used enough. Pure.

The words are those of the field: a quota has a limit and a use (Kubernetes' ResourceQuota), and is counted by the time of
the database. A store repeats these comparisons within the statement that accepts, so that they hold in every race.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

DAY_S = 86_400
DAY_MS = DAY_S * 1000


class Quota(StrEnum):
    """What can be limited."""

    CONCURRENT = "concurrent"  # tasks that workers hold: further ones wait, and nothing is refused
    QUEUED = "queued"  # jobs that have not ended, whether they wait or run
    PER_DAY = "per_day"  # jobs accepted since midnight UTC
    STORAGE = "storage_bytes"  # uploads as announced, and outputs kept by the master


class Quotas(Struct, frozen=True, kw_only=True):
    """The limits of a tenant; None: as much as it likes."""

    concurrent: int | None = None
    queued: int | None = None
    per_day: int | None = None
    storage_bytes: int | None = None


NONE = Quotas()


class Use(Struct, frozen=True, kw_only=True):
    """How much of each a tenant uses."""

    concurrent: int = 0
    queued: int = 0
    per_day: int = 0
    storage_bytes: int = 0


class Rules(Struct, frozen=True, kw_only=True):
    """What an operator says of a tenant: its limits, how many jobs it has for one of others where both wait, and the places that
    its jobs may name (none: those that all may).
    """

    quotas: Quotas = NONE
    weight: int = 1
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class Tenant(Struct, frozen=True, kw_only=True):
    """A tenant as it stands. `by_default`: nobody said anything of it, its limits are those of the settings."""

    name: str
    rules: Rules
    use: Use
    by_default: bool
    changed_at: datetime


class Over(Struct, frozen=True):
    """A quota that is used up."""

    quota: Quota
    limit: int
    used: int


def over_for_job(quotas: Quotas, use: Use, *, keeps: bool) -> Over | None:
    """The quota that forbids another job; `keeps`: the master would keep its outputs."""
    if quotas.queued is not None and use.queued >= quotas.queued:
        return Over(Quota.QUEUED, quotas.queued, use.queued)
    if quotas.per_day is not None and use.per_day >= quotas.per_day:
        return Over(Quota.PER_DAY, quotas.per_day, use.per_day)
    if keeps and quotas.storage_bytes is not None and use.storage_bytes >= quotas.storage_bytes:
        return Over(Quota.STORAGE, quotas.storage_bytes, use.storage_bytes)
    return None


def over_for_batch(quotas: Quotas, use: Use, *, jobs: int, keeps: bool) -> Over | None:
    """The quota that has no room for so many more jobs at once; `keeps`: the master would keep outputs of one of them."""
    at_last = replace(use, queued=use.queued + jobs - 1, per_day=use.per_day + jobs - 1)
    over = over_for_job(quotas, at_last, keeps=keeps)
    return None if over is None else Over(over.quota, over.limit, getattr(use, over.quota))


def over_for_retry(quotas: Quotas, use: Use) -> Over | None:
    """The quota that forbids that a job which has ended runs again: it was counted for its day already."""
    return over_for_job(Quotas(queued=quotas.queued), use, keeps=False)


def over_for_bytes(quotas: Quotas, use: Use, size: int) -> Over | None:
    """The quota that forbids an upload of that size."""
    limit = quotas.storage_bytes
    return None if limit is None or use.storage_bytes + size <= limit else Over(Quota.STORAGE, limit, use.storage_bytes)


def until_tomorrow_s(now: datetime) -> int:
    """Whole seconds until the next day begins in UTC, at least one."""
    return DAY_S - int(now.timestamp()) % DAY_S


def held_back(tenant: Tenant) -> Over | None:
    """The quota for which a queued job of this tenant waits although a worker may be free."""
    limit = tenant.rules.quotas.concurrent
    used = tenant.use.concurrent
    return None if limit is None or used < limit else Over(Quota.CONCURRENT, limit, used)


def nearest(quotas: Quotas, use: Use) -> Over | None:
    """The quota with the least room for jobs, as used up: others took the last of it at the same moment."""
    rooms = [
        (limit - used, Over(quota, limit, limit))
        for quota, limit, used in (
            (Quota.QUEUED, quotas.queued, use.queued),
            (Quota.PER_DAY, quotas.per_day, use.per_day),
        )
        if limit is not None
    ]
    return min(rooms, key=lambda room: room[0])[1] if rooms else None
