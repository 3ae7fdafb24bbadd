"""How many of a server's places one caller may hold."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.edge.shares import GREED, Shares


def _take_all(shares: Shares, owner: str) -> int:
    count = 0
    while shares.take(owner):
        count += 1
    return count


def test_one_alone_gets_three_quarters_and_the_next_ones_what_is_left_to_all() -> None:
    shares = Shares(100)
    assert _take_all(shares, "greedy") == 75
    assert _take_all(shares, "another") == 19
    assert shares.held("greedy") == 75
    shares.give_back("greedy")
    assert (shares.held("greedy"), shares.take("greedy")) == (74, False)  # it has more than its share since others came
    assert shares.take("newcomer")


def test_what_is_given_back_can_be_taken_again() -> None:
    shares = Shares(4)
    for _ in range(3):
        assert _take_all(shares, "one") == 3
        for _ in range(3):
            shares.give_back("one")
        assert shares.held("one") == 0


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=200))
def test_whoever_has_none_finds_one_while_there_is_any(most: int, steps: list[tuple[int, bool]]) -> None:
    shares = Shares(most)
    held: dict[str, int] = {}
    for number, comes in steps:
        owner = str(number)
        if comes:
            left = most - sum(held.values())
            has = held.get(owner, 0)
            assert shares.take(owner) is (has < GREED * left)
            if has < GREED * left:
                held[owner] = has + 1
        elif held.get(owner):
            shares.give_back(owner)
            held[owner] -= 1
        assert sum(held.values()) <= most
        assert shares.held(owner) == held.get(owner, 0)
