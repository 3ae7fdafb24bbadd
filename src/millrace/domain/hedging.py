"""Which parts of a divided job are so slow that a second worker should make them too. Pure.

Two papers give the rule. When idle machines have nothing else to do, a task that is expected to take longer than a new attempt of it is
tried a second time, the one with the longest time left first, and only a tenth of the tasks at once (LATE: M. Zaharia et al., "Improving
MapReduce Performance in Heterogeneous Environments", OSDI 2008). A second request is sent only when the first has been under way for
longer than its like take, so that it costs little in all (J. Dean, L. A. Barroso: "The Tail at Scale", CACM 56(2), 2013). How much
longer, and how many must have ended before one may say so, are what Spark took (`spark.speculation.multiplier` and `.quantile`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from msgspec import Struct

from millrace.domain.parts import RUNNING, part_of, parts_of, rival_of
from millrace.domain.records import Attempt, Kind, Outcome, Standing, Task
from millrace.domain.states import FINAL

SLOWER = 1.5
"""A part is slow that has run for so many times what its like took."""
DONE_SHARE = 0.5
"""Such a share of the chunks must be made before one is called slow."""
LEAST_RUN_S = 5.0
"""Nothing that has run for a shorter time is called slow: handing it over would cost what it gains."""
AT_ONCE = 0.1
"""The share of a job's parts that may have a hedge at one time; one of them always may."""


class Straggler(Struct, frozen=True, kw_only=True):
    """A part that is slow, in the attempt that runs now: for how long it has run, how long its like take, and how long it will still
    take by its own progress (None where it makes none), all in seconds.
    """

    task: Task
    ran_s: float
    expected_s: float
    left_s: float | None

    @property
    def reason(self) -> str:
        """Why it is called slow."""
        left = "it makes no progress" if self.left_s is None else f"it will take {self.left_s:.0f} s more"
        return f"it has run for {self.ran_s:.0f} s, its like take {self.expected_s:.0f} s, and {left}"


def stragglers(
    tasks: Sequence[Task], standings: Sequence[Standing], attempts: Sequence[Attempt], now: datetime
) -> list[Straggler]:
    """The parts of one job that are to get a hedge, the one with the longest time left first.

    `tasks` and `standings` are all of the job, in order, `attempts` all of its tasks; `now` is of their clock. Chunks alone are
    compared, by their frames; sound and text have no like.
    """
    parts = parts_of(tasks)
    frames = {one.task_id: one.frames for one in standings if one.kind is Kind.CHUNK and one.frames}
    pace_s = _pace_s(parts, frames, attempts)
    if pace_s is None:
        return []
    progress = {(one.task_id, one.attempt): one.progress.fraction for one in standings}
    found = []
    for part in parts:
        if part.id not in frames or part.state not in RUNNING or part.claimed_at is None or rival_of(part, parts):
            continue
        ran_s = (now - part.claimed_at).total_seconds()
        expected_s = pace_s * frames[part.id]
        left_s = _left_s(ran_s, progress.get((part.id, part.attempt), 0.0))
        if ran_s >= max(LEAST_RUN_S, SLOWER * expected_s) and (left_s is None or left_s > expected_s):
            found.append(Straggler(task=part, ran_s=ran_s, expected_s=expected_s, left_s=left_s))
    found.sort(key=lambda one: float("inf") if one.left_s is None else one.left_s, reverse=True)
    return found[: _free(parts)]


def _pace_s(parts: Sequence[Task], frames: Mapping[str, int], attempts: Sequence[Attempt]) -> float | None:
    """What a frame took in the chunks that are made, in seconds from the claim to the end; None where too few are."""
    of_parts = {part.id for part in parts}
    paces = [
        (one.ended_at - one.claimed_at).total_seconds() / frames[one.task_id]
        for one in attempts
        if one.outcome is Outcome.COMPLETED and one.ended_at and one.task_id in of_parts and one.task_id in frames
    ]
    chunks = {part_of(part) for part in parts if part.id in frames}
    return median(paces) if paces and len(paces) >= DONE_SHARE * len(chunks) else None


def _left_s(ran_s: float, fraction: float) -> float | None:
    return ran_s * (1 - fraction) / fraction if fraction > 0 else None


def _free(parts: Sequence[Task]) -> int:
    """How many more hedges the job may have now."""
    racing = sum(part.hedges is not None and part.state not in FINAL for part in parts)
    return max(0, max(1, int(AT_ONCE * len({part_of(part) for part in parts}))) - racing)


def seated(slow: Sequence[Straggler], idle: Mapping[str, int]) -> list[Straggler]:
    """Those of them for which another node than their own has nothing to do; `idle` gives the free slots of such nodes."""
    free = dict(idle)
    found = []
    for one in slow:
        others = [node for node, slots in free.items() if slots > 0 and node != one.task.node_id]
        if others:
            taken = max(others, key=lambda node: (free[node], node))
            free[taken] -= 1
            found.append(one)
    return found
