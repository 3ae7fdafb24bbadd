"""Which task goes first: queue and priority give a weight, and the weight buys a head start in time.

A task's rank is the moment of its acceptance less its head start. Lower ranks are claimed first. Within one weight
that is first in, first out; a heavier task overtakes lighter ones that were accepted up to
``(difference of weights) * ageing`` before it; and what has waited longer than that is overtaken by nobody, so nothing
starves. The rank is fixed at acceptance, so that one index serves every claim.
"""

from enum import StrEnum

DEFAULT_AGEING_S = 240
"""Seconds of head start for each unit of weight: live/high (30) overtakes batch/low (1) accepted up to 116 minutes before."""


class Queue(StrEnum):
    """What a job is for. Live work cannot wait, batch work can."""

    LIVE = "live"
    DEFAULT = "default"
    BATCH = "batch"


class Priority(StrEnum):
    """How urgent a job is among those of its queue."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


_QUEUE_WEIGHT = {Queue.LIVE: 10, Queue.DEFAULT: 5, Queue.BATCH: 1}
_PRIORITY_WEIGHT = {Priority.HIGH: 3, Priority.MEDIUM: 2, Priority.LOW: 1}


def weight(queue: Queue, priority: Priority) -> int:
    """From 1 (batch, low) to 30 (live, high)."""
    return _QUEUE_WEIGHT[queue] * _PRIORITY_WEIGHT[priority]


def head_start_ms(weight: int, ageing_s: int = DEFAULT_AGEING_S) -> int:
    """Milliseconds by which a task of this weight counts as accepted earlier than it was."""
    return weight * ageing_s * 1000
