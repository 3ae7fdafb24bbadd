"""How a pool is sized, from its part of a plan."""

from millrace.domain.document import shown
from millrace.supervisor.plans.reader import Reader, nearest
from millrace.supervisor.tuning.catalogue import profiles
from millrace.supervisor.tuning.values import Tune

_WHOLES = {
    "worker_mb": (1, 1 << 20), "shared_mb": (0, 1 << 20), "reserved_mb": (0, 1 << 20), "min_workers": (1, 10_000),
    "max_workers": (1, 10_000), "threads": (1, 1000), "recycle_after": (0, 1_000_000_000),
}  # fmt: skip
_NUMBERS = {"memory_share": (0.05, 1.0), "workers_per_cpu": (0.01, 1000.0)}


def tune_of(reader: Reader) -> Tune | None:
    """What stands under `tune`: the name of a profile, or a mapping with it and what is otherwise. None where there is none."""
    reader.note("tune", type="string")
    if not reader.has("tune"):
        return None
    if isinstance(name := reader.raw("tune"), str):
        return _known(reader, "tune", Tune(profile=name))
    inner = reader.inner("tune")
    found = {key: inner.whole(key, low, high, None) for key, (low, high) in _WHOLES.items()}
    found |= {key: inner.number(key, low, high, None) for key, (low, high) in _NUMBERS.items()}
    changes = {key: value for key, value in found.items() if value is not None}
    if changes.get("min_workers", 1) > changes.get("max_workers", 10_000):
        inner.report("min_workers", "is more than max_workers; the least cannot be more than the most")
    share = inner.number("share", 0.01, 1.0, 1.0)
    name = inner.text("profile", "", 100)
    inner.done()
    return _known(inner, "profile", Tune(profile=name, share=share, changes=changes))


def _known(reader: Reader, key: str, tune: Tune) -> Tune | None:
    if tune.profile in profiles():
        return tune
    hint = nearest(tune.profile, profiles())
    what = f"is {shown(tune.profile)}, and there is no such profile" if tune.profile else "is missing; name a profile"
    reader.report(key, f"{what}; {hint}allowed: {', '.join(profiles())}")
    return None
