"""How many processor cores this process may keep busy."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


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
