"""The chain of the audit trail: whatever is changed in it is found, and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.chain import Block, Break, Check, Head, follow, oldest_kept, seal


def a_chain(count: int) -> tuple[Head, list[Block]]:
    head, blocks = Head(), []
    for number in range(1, count + 1):
        block = follow(head, at_ms=1_700_000_000_000 + number, block_id=number.to_bytes(16), body=b"entry %d" % number)
        blocks.append(block)
        head = Head(number=block.number, seal=block.seal)
    return head, blocks


def fault(head: Head, blocks: list[Block]) -> Break | None:
    check = Check(head)
    for block in blocks:
        check.take([block])
    return check.end()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_chain_holds(count: int) -> None:
    assert fault(*a_chain(count)) is None


def test_a_chain_whose_beginning_was_forgotten_holds_from_there_on() -> None:
    head, blocks = a_chain(5)
    assert fault(replace(head, oldest=3), blocks[2:]) is None
    assert fault(replace(head, oldest=2), blocks[2:]) == Break(number=2, why="it is missing; 3 stands in its place")


@given(st.integers(0, 4), st.sampled_from(("number", "at_ms", "id", "body", "before", "seal")), st.integers(0, 7))
def test_one_bit_that_is_changed_is_found_where_it_is(index: int, name: str, bit: int) -> None:
    head, blocks = a_chain(5)
    value = getattr(blocks[index], name)
    turned = value ^ (1 << bit) if isinstance(value, int) else bytes([value[0] ^ (1 << bit)]) + value[1:]
    blocks[index] = replace(blocks[index], **{name: turned})
    found = fault(head, blocks)
    assert found is not None
    assert found.number == index + 1


def test_what_is_taken_out_put_in_moved_or_cut_off_is_found() -> None:
    head, blocks = a_chain(5)
    assert fault(head, blocks[:2] + blocks[3:]) == Break(number=3, why="it is missing; 4 stands in its place")
    assert fault(head, blocks[1:]) == Break(number=1, why="it is missing; 2 stands in its place")
    assert fault(head, [blocks[0], blocks[2], blocks[1], *blocks[3:]]) is not None
    assert fault(head, blocks[:4]) == Break(number=5, why="the chain ends at 4, and its head is at 5")
    assert fault(head, []) == Break(number=1, why="the chain ends at 0, and its head is at 5")
    again = follow(Head(number=2, seal=blocks[1].seal), at_ms=1, block_id=bytes(16), body=b"another")
    assert fault(head, [*blocks[:2], again, *blocks[3:]]) == Break(number=4, why="it does not follow the one before it")


def test_a_chain_that_was_sealed_anew_has_another_head() -> None:
    """Which is why a head is worth keeping elsewhere."""
    head, blocks = a_chain(3)
    forged = follow(Head(number=2, seal=blocks[1].seal), at_ms=blocks[2].at_ms, block_id=blocks[2].id, body=b"forged")
    assert fault(Head(number=3, seal=forged.seal), [*blocks[:2], forged]) is None
    assert fault(head, [*blocks[:2], forged]) is not None


def test_what_is_sealed_cannot_move_from_one_field_to_the_next() -> None:
    head, blocks = a_chain(2)
    last = blocks[1]
    moved = replace(last, id=last.id + last.body[:1], body=last.body[1:])
    assert seal(
        before=moved.before, number=2, at_ms=moved.at_ms, block_id=moved.id, body=moved.body
    ) == last.seal, "under the same seal"  # fmt: skip
    assert fault(head, [blocks[0], moved]) == Break(number=2, why="it was changed")


@pytest.mark.parametrize(
    ("times", "oldest"),
    [
        ([], 3),
        ([(3, 10), (4, 11), (5, 99)], 5),
        ([(3, 10), (4, 11), (5, 12), (6, 13), (7, 14), (8, 15), (9, 16)], 9),
        ([(3, 10), (4, 60), (5, 12)], 4),
        ([(3, 10), (5, 12)], 4),
        ([(5, 12)], 3),
    ],
)  # fmt: skip
def test_what_is_old_goes_but_not_beyond_what_is_missing_nor_the_last(
    times: list[tuple[int, int]], oldest: int
) -> None:
    assert oldest_kept(Head(number=9, oldest=3), times, before_ms=50) == oldest
