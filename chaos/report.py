"""What a run has to say: counts, recovery times, latencies; for people as lines, for others as JSON."""

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from chaos.recovery import recoveries

if TYPE_CHECKING:
    from chaos.run import Run

LOST, DOUBLED, STALE, PARTIAL, ORPHANS = ("I1",), ("I4", "I8"), ("I3", "I13"), ("I12",), ("I15",)
"""Which invariants these words stand for."""


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1)]


def document(run: "Run", *, commit: str, load: float) -> dict[str, Any]:
    """The whole report."""
    broken = [one.invariant for one in run.violations]

    def count(invariants: Iterable[str]) -> int:
        return sum(broken.count(one) for one in invariants)

    posts = [one.took_s for one in run.people.took if one.what == "submit"]
    final = run.people.final
    return {
        "seed": run.plan.seed,
        "commit": commit,
        "store": run.plan.store,
        "seconds": run.plan.ends_s,
        "load": round(load, 1),
        "network": "namespaces" if run.grounds.network else "doors",
        "disks": run.grounds.disks,
        "lease_ttl_s": run.plan.rules.ttl_s,
        "accepted": len(run.people.known),
        "completed": final.get("completed", 0),
        "failed": final.get("failed", 0),
        "canceled": final.get("canceled", 0),
        "rejected": final.get("rejected", 0),
        "lost": count(LOST),
        "doubled": count(DOUBLED),
        "stale_writes_sent": run.ghosts.sent,
        "stale_writes_accepted": count(STALE),
        "partial_outputs_visible": count(PARTIAL),
        "outputs_downloaded": run.people.fetched,
        "outputs_read": run.reader.read,
        "orphans": count(ORPHANS),
        "longest_orphan_s": round(run.processes.longest_orphan_s, 2),
        "faults": dict(sorted(run.counted().items())),
        "skipped": sorted(set(run.faults.skipped)),
        "post_s": _spread(posts),
        "recovery_s": {name: _spread(values) for name, values in recoveries(run).items()},
        "settled_after_s": round(run.settled_s - run.healed_s, 1),
        "answers": {str(status): count for status, count in sorted(_by_status(run).items())},
        "violations": [f"{one.invariant} at {one.at_s:.2f} s: {one.text}" for one in run.violations],
    }


def _by_status(run: "Run") -> dict[int, int]:
    found: dict[int, int] = {}
    for (_, status), count in run.farm.statuses.items():
        found[status] = found.get(status, 0) + count
    return found


def _spread(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"count": 0}
    return {
        "count": len(values),
        "p50": round(statistics.median(values), 3),
        "p99": round(quantile(values, 0.99), 3),
        "worst": round(max(values), 3),
        "all": [round(one, 3) for one in values],
    }


def lines(report: dict[str, Any]) -> list[str]:
    """As people read it."""
    words = ("accepted", "completed", "failed", "canceled", "lost", "doubled")
    faults = ", ".join(f"{count} {kind}" for kind, count in report["faults"].items())
    found = [
        f"seed {report['seed']} on {report['store']}, {report['seconds']:g} s, commit {report['commit']}, load {report['load']}",
        ", ".join(f"{report[word]} {word}" for word in words),
        f"stale writes: {report['stale_writes_sent']} sent by ghosts, {report['stale_writes_accepted']} accepted",
        f"partial outputs visible: {report['partial_outputs_visible']}, of {report['outputs_read']} read",
        f"orphans: {report['orphans']}; the longest lived {report['longest_orphan_s']} s",
        f"faults: {faults or 'none'}",
    ]
    if report["skipped"]:
        found.append(f"SKIPPED, as this machine does not permit it: {', '.join(report['skipped'])}")
    found.append("not broken here: wall clocks, which the simulation sets as it likes")
    times = {"POST": report["post_s"], **report["recovery_s"]}
    for name, one in times.items():
        if one["count"]:
            found.append(f"{name}: p50 {one['p50']} s, p99 {one['p99']} s, worst {one['worst']} s ({one['count']})")
        else:
            found.append(f"{name}: not measured in this run")
    found.append(f"every job had ended {report['settled_after_s']} s after the last fault")
    found += [f"VIOLATION of {text}" for text in report["violations"]]
    return found
