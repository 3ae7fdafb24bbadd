"""The states of jobs and tasks: one table of transitions and the fold from tasks to a job.

The SQL CHECK of both databases, the diagram in the docs and the enum in the OpenAPI document are tested against this
module. Every change of a state goes through :func:`check_transition`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job or a task stands. The two share the words."""

    PENDING = "pending"  # accepted, not runnable yet: starts later, or waits for other tasks
    QUEUED = "queued"  # runnable, waiting for a worker
    ASSIGNED = "assigned"  # leased; the worker fetches its inputs
    PROCESSING = "processing"  # the engine runs
    PAUSED = "paused"  # held by a person, or frozen to make room for live work
    RETRYING = "retrying"  # waits out the back-off after a transient failure
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"  # no machine of the farm could ever run it, or the request is impossible


FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELED, State.REJECTED})
"""States that only the explicit `retry` verb leaves, and `completed` never."""

WITH_FAILURE = frozenset({State.FAILED, State.REJECTED, State.RETRYING})
"""States in which a job's failure is news; while another attempt runs it belongs to the attempt that failed."""

HELD = frozenset({State.ASSIGNED, State.PROCESSING, State.PAUSED})
"""States in which a worker may hold the task under a lease."""

_S = State
TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.QUEUED, _S.PAUSED, _S.FAILED, _S.CANCELED, _S.REJECTED}),
        _S.QUEUED: frozenset({_S.ASSIGNED, _S.PAUSED, _S.CANCELED, _S.REJECTED}),
        # A task too short to report its start completes straight from `assigned`.
        _S.ASSIGNED: frozenset(
            {_S.PROCESSING, _S.COMPLETED, _S.FAILED, _S.QUEUED, _S.RETRYING, _S.PAUSED, _S.CANCELED}
        ),
        _S.PROCESSING: frozenset({_S.COMPLETED, _S.FAILED, _S.QUEUED, _S.RETRYING, _S.PAUSED, _S.CANCELED}),
        # A held task whose worker is lost, or hands it back, stays held.
        _S.PAUSED: frozenset(
            {
                _S.PAUSED,
                _S.PENDING,
                _S.QUEUED,
                _S.ASSIGNED,
                _S.PROCESSING,
                _S.COMPLETED,
                _S.FAILED,
                _S.RETRYING,
                _S.CANCELED,
            }
        ),
        _S.RETRYING: frozenset({_S.QUEUED, _S.PAUSED, _S.FAILED, _S.CANCELED}),
        _S.FAILED: frozenset({_S.QUEUED}),
        _S.CANCELED: frozenset({_S.QUEUED}),
        _S.REJECTED: frozenset({_S.QUEUED}),
        _S.COMPLETED: frozenset(),
    }
)
"""From each state, the states that may follow."""


class IllegalTransitionError(Exception):
    """A change of state that the table does not allow. Nothing was changed."""

    def __init__(self, source: State, target: State) -> None:
        allowed = ", ".join(sorted(TRANSITIONS[source])) or "nothing: it is final"
        super().__init__(f"cannot go from {source} to {target}; from {source} the next state may be {allowed}")
        self.source = source
        self.target = target


def check_transition(source: State, target: State) -> None:
    """Pass, or raise :class:`IllegalTransitionError`."""
    if target not in TRANSITIONS[source]:
        raise IllegalTransitionError(source, target)


def sources_of(target: State) -> frozenset[State]:
    """The states from which `target` may follow."""
    return frozenset(source for source, targets in TRANSITIONS.items() if target in targets)


# A job shows the most telling state among its tasks; the order is the rule.
_FOLD = (
    _S.FAILED,
    _S.REJECTED,
    _S.CANCELED,
    _S.PAUSED,
    _S.PROCESSING,
    _S.ASSIGNED,
    _S.RETRYING,
    _S.QUEUED,
    _S.PENDING,
    _S.COMPLETED,
)


def fold(tasks: Iterable[State]) -> State:
    """The state of a job from the states of its tasks (at least one).

    One final failure decides the job. A job with some tasks completed and others waiting is `processing`.
    """
    states = set(tasks)
    if State.COMPLETED in states and states & {State.QUEUED, State.PENDING}:
        states.add(State.PROCESSING)
    return next(state for state in _FOLD if state in states)
