"""The state table: what is final, what may follow what, and the state of a job by that of its lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.states import (
    FINAL,
    TRANSITIONS,
    IllegalTransitionError,
    State,
    check_transition,
    job_state,
    sources_of,
)

states = st.sampled_from(State)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_completed_is_left_by_nothing_and_other_final_states_only_by_retry() -> None:
    assert TRANSITIONS[State.COMPLETED] == frozenset()
    for state in FINAL - {State.COMPLETED}:
        assert TRANSITIONS[state] == {State.QUEUED}


def test_every_state_can_be_reached_from_acceptance_and_can_end() -> None:
    reached = {State.PENDING, State.QUEUED}
    while new := set().union(*(TRANSITIONS[state] for state in reached)) - reached:
        reached |= new
    assert reached == set(State)
    for state in State:
        assert state in FINAL or State.CANCELED in TRANSITIONS[state]


@given(states, states)
def test_the_check_and_the_table_agree(source: State, target: State) -> None:
    if target in TRANSITIONS[source]:
        check_transition(source, target)
        assert source in sources_of(target)
    else:
        with pytest.raises(IllegalTransitionError, match=f"cannot go from {source} to {target}"):
            check_transition(source, target)
        assert source not in sources_of(target)


@given(states)
def test_a_job_that_was_not_split_is_in_the_state_of_its_task(state: State) -> None:
    assert job_state(state, is_split=False) is state


@given(states)
def test_a_job_that_was_split_is_processing_until_somebody_holds_it_or_it_ends(state: State) -> None:
    waits = state in (State.PENDING, State.QUEUED, State.ASSIGNED)
    assert job_state(state, is_split=True) is (State.PROCESSING if waits else state)
