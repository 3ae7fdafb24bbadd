"""Weights and ranks: who is claimed first, and that nobody starves."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.order import DEFAULT_AGEING_S, Priority, Queue, head_start_ms, weight


def test_weights_are_those_of_the_table() -> None:
    table = {(queue.value, priority.value): weight(queue, priority) for queue, priority in product(Queue, Priority)}
    assert table == {
        ("live", "high"): 30,
        ("live", "medium"): 20,
        ("live", "low"): 10,
        ("default", "high"): 15,
        ("default", "medium"): 10,
        ("default", "low"): 5,
        ("batch", "high"): 3,
        ("batch", "medium"): 2,
        ("batch", "low"): 1,
    }


kinds = st.tuples(st.sampled_from(Queue), st.sampled_from(Priority))


@given(kinds, kinds)
def test_of_jobs_accepted_together_the_heavier_goes_first(
    one: tuple[Queue, Priority], other: tuple[Queue, Priority]
) -> None:
    first, second = weight(*one), weight(*other)
    assert (first > second) == (-head_start_ms(first) < -head_start_ms(second))


@given(kinds, st.integers(0, 10**9), st.integers(0, 10**9))
def test_within_a_weight_the_first_in_is_the_first_out(kind: tuple[Queue, Priority], earlier: int, gap: int) -> None:
    start = head_start_ms(weight(*kind))
    assert earlier - start <= earlier + gap - start


def test_nothing_is_overtaken_for_longer_than_the_bound() -> None:
    bound_ms = 29 * DEFAULT_AGEING_S * 1000
    starved, live = weight(Queue.BATCH, Priority.LOW), weight(Queue.LIVE, Priority.HIGH)
    assert 0 - head_start_ms(starved) <= bound_ms - head_start_ms(live)
    assert 0 - head_start_ms(starved) > bound_ms - 1 - head_start_ms(live)
