"""What a master remembers of tenants between requests."""

from collections import Counter

from millrace.domain.tenants import NONE, Quota, Quotas, Rules
from millrace.store.store import Store

GOOD_FOR_S = 2.0
"""For so long a master goes by what it has read of a tenant's places. Its quotas are judged where they are counted."""
_MOST = 10_000


class KnownTenants:
    """What this master has read of tenants lately, and how often it has refused something for a quota."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.refused: Counter[Quota] = Counter()
        self._rules: dict[str, tuple[float, Rules]] = {}

    async def rules_of(self, name: str, *, store: Store, default: Quotas, now_s: float) -> Rules:
        """What is said of a tenant. Where nobody said anything and there are limits by `default`, it has a record from now on."""
        known = self._rules.get(name)
        if known is not None and now_s < known[0]:
            return known[1]
        if known is not None:
            self._rules[name] = now_s + GOOD_FOR_S, known[1]  # who comes meanwhile does not read it, too
        try:
            rules = await _read(name, store, default)
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


async def _read(name: str, store: Store, default: Quotas) -> Rules:
    found = await store.tenant(name)
    if (found is None and default != NONE) or (
        found is not None and found.by_default and found.rules.quotas != default
    ):
        found = await store.set_tenant(name, Rules(quotas=default), by_default=True)
    return Rules() if found is None else found.rules
