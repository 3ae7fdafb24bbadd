"""From a profile and what there is to the size of a pool. Pure.

The rules are those of PHPeek PM's sizing of PHP-FPM, made general: memory first, then CPUs, then the profile's own bounds, and
never more than the memory holds. CPUs count as fractions, where it rounded them up.
"""

from fractions import Fraction
from math import ceil, floor

from msgspec.structs import replace

from millrace.supervisor.tuning.values import Bound, CannotTune, Profile, Resources, Sizing, Tune

_FULL = Fraction(9, 10)  # above this part of the memory we say that little is left


def size(tune: Tune, profile: Profile, resources: Resources) -> Sizing:
    """The size of a pool.

    Raises:
        CannotTune: not even the least that the profile asks for fits.
    """
    profile = replace(profile, **tune.changes)
    share = _exact(tune.share)
    memory_mb, cpus = floor(resources.memory_mb * share), resources.cpus * share
    beside_mb = profile.shared_mb + profile.reserved_mb
    pool_mb = floor(memory_mb * _exact(profile.memory_share)) - beside_mb
    if pool_mb < profile.worker_mb:
        raise CannotTune(
            f"cannot size a pool as {tune.profile}: {profile.memory_share:.0%} of {memory_mb} MiB "
            f"({resources.memory_from}) less {beside_mb} MiB holds no worker of {profile.worker_mb} MiB; "
            "give more memory, or a smaller profile"
        )
    candidates = {
        Bound.MEMORY: pool_mb // profile.worker_mb,
        Bound.CPU: max(1, floor(cpus * _exact(profile.workers_per_cpu)) + profile.extra_workers),
    }
    if profile.max_workers is not None:
        candidates[Bound.MAXIMUM] = profile.max_workers
    bound = min(candidates, key=lambda each: candidates[each])
    workers = candidates[bound]
    if workers < profile.min_workers:
        workers, bound = profile.min_workers, Bound.MINIMUM
    candidates[Bound.MINIMUM] = profile.min_workers
    used_mb = workers * profile.worker_mb + beside_mb
    if used_mb > memory_mb:
        raise CannotTune(
            f"cannot size a pool as {tune.profile}: its least, {workers} workers, takes {used_mb} MiB, and there are "
            f"{memory_mb} MiB ({resources.memory_from}); give more memory, or a smaller min_workers"
        )
    quantities = _quantities(profile, workers)
    return Sizing(
        profile=tune.profile,
        workers=workers,
        bound=bound,
        candidates=candidates,
        used_mb=used_mb,
        resources=resources,
        quantities=quantities,
        variables={name: quantities[what] for name, what in profile.variables.items() if what in quantities},
        warnings=tuple(_warnings(resources, memory_mb, used_mb, bound)),
    )


def _quantities(profile: Profile, workers: int) -> dict[str, str]:
    """What variables may get. A pool without `spare` is static: all of it runs all the time."""
    found = {"workers": workers, "threads": profile.threads}
    if profile.recycle_after:
        found["recycle_after"] = profile.recycle_after
    if profile.spare is not None:
        least = max(1, ceil(workers * _exact(profile.spare.min)))
        start = max(least, ceil(workers * _exact(profile.spare.start)))
        most = min(workers, max(start, ceil(workers * _exact(profile.spare.max))))
        found |= {"start": start, "spare_min": least, "spare_max": most}
    return {"mode": "static" if profile.spare is None else "dynamic", **{name: str(one) for name, one in found.items()}}


def _warnings(resources: Resources, memory_mb: int, used_mb: int, bound: Bound) -> list[str]:
    found = []
    if resources.memory_from == "host":
        found.append("no limit of memory is set, so this is sized to the whole host; set one, or give a share")
    if resources.cpus_from == "host":
        found.append("no limit of CPUs is set, so this is sized to all of the host's; set one, or give a share")
    if bound is Bound.MINIMUM:
        found.append("the least of the profile is more than memory and CPUs ask for; take a smaller profile")
    if used_mb > memory_mb * _FULL:
        found.append(
            f"the full pool takes {used_mb} of {memory_mb} MiB, which leaves little for peaks; give more memory"
        )
    return found


def _exact(number: float) -> Fraction:
    """As it is written: 0.33 is 33/100, so that no rounding of floats decides about a worker."""
    return Fraction(str(number))
