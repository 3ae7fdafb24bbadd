"""What a master tells a worker in answer to a heartbeat: pure comparison of what the store says with what the node says."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from millrace.domain.records import Report, Task
from millrace.domain.states import State

UNSEEN_GRACE = timedelta(seconds=10)
"""A task claimed longer ago than this, and not in the node's heartbeat, never reached the node: its claim was lost."""


class Action(StrEnum):
    """What the worker is to do with a task."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"  # stop the engine; the attempt is no longer this node's


class Directive(Struct, frozen=True):
    """An action on one attempt of one task."""

    task_id: str
    attempt: int
    action: Action


def directives(held: Iterable[Task], reports: Iterable[Report]) -> tuple[Directive, ...]:
    """What to do about each task that the node reports."""
    by_id = {task.id: task for task in held}
    found = []
    for report in reports:
        task = by_id.get(report.task_id)
        if task is None or task.attempt != report.attempt:
            found.append(Directive(report.task_id, report.attempt, Action.CANCEL))
        elif task.state is State.PAUSED and not report.paused:
            found.append(Directive(task.id, task.attempt, Action.PAUSE))
        elif task.state is not State.PAUSED and report.paused:
            found.append(Directive(task.id, task.attempt, Action.RESUME))
    return tuple(found)


def never_arrived(held: Iterable[Task], reports: Iterable[Report], now: datetime) -> tuple[Task, ...]:
    """The tasks that the store gave to the node and the node does not know."""
    known = {(report.task_id, report.attempt) for report in reports}
    return tuple(
        task
        for task in held
        if (task.id, task.attempt) not in known and task.claimed_at is not None and now - task.claimed_at > UNSEEN_GRACE
    )
