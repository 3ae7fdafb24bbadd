"""What every verb of a master works with: the store, chance, the rules' numbers, who waits for work, and whether there is space."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct, field

from millrace.domain import ids
from millrace.domain.order import DEFAULT_AGEING_S
from millrace.domain.retry import DEFAULT_MAX_RETRIES
from millrace.domain.schedules import Outcome
from millrace.domain.tenants import NONE, Quotas
from millrace.domain.tenants import Rules as TenantRules
from millrace.runtime.chance import SystemChance
from millrace.runtime.clock import Clock, SystemClock
from millrace.scheduler.known_tenants import KnownTenants
from millrace.scheduler.space import Space
from millrace.scheduler.waiting import Bell, WaitingRoom
from millrace.store.store import Store


class Rules(Struct, frozen=True, kw_only=True):
    """The numbers that an operator may set."""

    lease_ttl_s: float = 15.0
    heartbeat_s: float = 3.0
    max_retries: int = DEFAULT_MAX_RETRIES
    ageing_s: int = DEFAULT_AGEING_S
    reject_after_s: float = 60.0  # how long a task that no known node can run may wait for one that can
    keep_finished: timedelta | None = timedelta(days=30)
    keep_audit: timedelta | None = timedelta(days=365)
    split: bool = True  # whether a film may be divided over several workers
    hedge: bool = True  # whether a part of it that is slow may be made by a second one
    quotas: Quotas = NONE  # of tenants that nobody said anything of


class Farm(Struct, frozen=True):
    """One master's hold on the farm. Everything that lasts is in the store."""

    store: Store
    clock: Clock = field(default_factory=SystemClock)  # for waits; what is kept carries the store's time
    rules: Rules = field(default_factory=Rules)
    chance: random.Random = field(default_factory=SystemChance)
    waiting: WaitingRoom = field(default_factory=WaitingRoom)
    changes: Bell = field(default_factory=Bell)
    space: Space = field(default_factory=Space)
    tenants: KnownTenants = field(default_factory=KnownTenants)
    runs: Counter[Outcome] = field(default_factory=Counter)  # of schedules, by this master

    def new_id(self, make: Callable[[int, bytes], str], now: datetime) -> str:
        """A fresh id of the kind that `make` gives."""
        return make(int(now.timestamp() * 1000), self.chance.randbytes(10))

    def new_job_id(self, now: datetime) -> str:
        """A fresh job id."""
        return self.new_id(ids.job_id, now)

    async def rules_of(self, tenant: str) -> TenantRules:
        """What is said of a tenant, which has a record from now on where there are limits by default."""
        now_s = self.clock.monotonic()
        return await self.tenants.rules_of(tenant, store=self.store, default=self.rules.quotas, now_s=now_s)
