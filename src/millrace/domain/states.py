"""The states of jobs and tasks: one table of transitions, and the state of a job by that of its lead task.

The SQL CHECK of both databases, the diagram in the docs and the enum in the OpenAPI document are tested against this
module. Every change of a state goes through :func:`check_transition`.
"""

from collections.abc import Mapping
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
        # A divided job that nobody can join any more is planned anew.
        _S.QUEUED: frozenset({_S.QUEUED, _S.ASSIGNED, _S.PAUSED, _S.CANCELED, _S.REJECTED}),
        # A task too short to report its start completes straight from `assigned`. One that was split waits for its parts.
        _S.ASSIGNED: frozenset(
            {_S.PROCESSING, _S.COMPLETED, _S.FAILED, _S.QUEUED, _S.RETRYING, _S.PAUSED, _S.CANCELED, _S.PENDING}
        ),
        _S.PROCESSING: frozenset({_S.COMPLETED, _S.FAILED, _S.QUEUED, _S.RETRYING, _S.PAUSED, _S.CANCELED, _S.PENDING}),
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


UNDER_WAY = frozenset({State.PENDING, State.QUEUED, State.ASSIGNED})
"""States of a lead task that has been split: whichever it is in, the job's parts are being made or joined."""


def job_state(lead: State, *, is_split: bool) -> State:
    """The state of a job by its tasks, of which only the lead has to be looked at.

    What decides a job (a part that fails for good, a person who cancels or pauses it) reaches the lead in the transaction
    in which it happens (:func:`millrace.domain.parts.follow_up`). Of a job that was split, much has been done when its lead waits.
    """
    return State.PROCESSING if is_split and lead in UNDER_WAY else lead
