"""The state table: what is final, what may follow what, and the fold from tasks to a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.states import FINAL, TRANSITIONS, IllegalTransitionError, State, check_transition, fold, sources_of

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
def test_a_job_of_one_task_is_in_its_state(state: State) -> None:
    assert fold([state]) is state


@given(st.lists(states, min_size=1))
def test_the_fold_does_not_depend_on_the_order_and_completes_only_when_all_have(tasks: list[State]) -> None:
    job = fold(tasks)
    assert job is fold(reversed(tasks))
    assert (job is State.COMPLETED) == all(task is State.COMPLETED for task in tasks)
    assert (job is State.FAILED) == (State.FAILED in tasks)


def test_a_job_between_its_tasks_is_processing() -> None:
    assert fold([State.COMPLETED, State.QUEUED]) is State.PROCESSING
    assert fold([State.COMPLETED, State.RETRYING]) is State.RETRYING
