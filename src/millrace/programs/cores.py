"""How many processor cores this process may keep busy."""

import os
from pathlib import Path

MEMORY_OF_A_CORE = 10**9
"""Bytes without which a core has no use: a chunk of a ladder of 1080p takes 0.4 of it, one rendition 0.25 (measured), and
one chunk more runs than there are cores."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(given: int | None) -> int:
    """As many as were given, or those that there are, as far as the memory reaches for all of them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return given or max(1, min(cores(), memory // MEMORY_OF_A_CORE))


def cores(quota: Path = QUOTA) -> int:
    """The cores that the scheduler gives us, at most what the container's quota allows (cgroup v2), at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = quota.read_text().split()
        if time != "max":
            allowed = min(allowed, int(time) // int(period))
    except (OSError, ValueError):
        pass  # no cgroup v2, or none of ours
    return max(1, allowed)
