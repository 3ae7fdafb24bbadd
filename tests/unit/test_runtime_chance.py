"""The system's chance, fetched ahead: no byte of it is given twice, and none of a secret is fetched before it is asked for."""

import os
from typing import Any

from millrace.runtime.chance import SystemChance


def test_every_piece_is_as_long_as_asked_and_no_piece_comes_twice() -> None:
    chance = SystemChance()
    pieces = [chance.randbytes(length) for _ in range(2000) for length in (10, 16, 7)]
    assert [len(piece) for piece in pieces] == [10, 16, 7] * 2000
    assert len({piece[:7] for piece in pieces}) == len(pieces)
    assert chance.randbytes(0) == b""


def test_small_pieces_follow_each_other_in_what_the_kernel_gave_and_long_ones_come_straight_from_it(
    monkeypatch: Any,
) -> None:
    given: list[bytes] = []

    def urandom(size: int) -> bytes:
        given.append(bytes(number % 251 for number in range(len(given), len(given) + size)))
        return given[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    chance = SystemChance()
    first, second = chance.randbytes(10), chance.randbytes(10)
    assert first + second == given[0][:20]
    assert len(given) == 1
    assert chance.randbytes(32) == given[1]
    assert len(given[1]) == 32  # no more than was asked for
    assert chance.randbytes(10) == given[0][20:30]
    for _ in range(len(given[0]) // 10):
        piece = chance.randbytes(10)
    assert len(given) == 3
    assert piece in given[2]
