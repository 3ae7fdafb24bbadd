"""Real films with seeded damage: bits, bytes, numbers, pieces that are cut, doubled, moved or taken from another film."""

import random
from collections.abc import Sequence

NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\1",
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
)


def mutated(films: Sequence[bytes], seed: int) -> bytes:
    """The film of a seed. The same seed and films give the same bytes."""
    dice = random.Random(seed)
    film = bytearray(dice.choice(films))
    for _ in range(dice.choice((1, 1, 2, 4, 16, 64))):
        # Most of what is worth breaking stands in the headers, at the beginning or at the end.
        reach = dice.choice((64, 1024, len(film)))
        at = (
            min(len(film) - 1, dice.randrange(reach))
            if dice.random() < 0.7
            else max(0, len(film) - 1 - dice.randrange(reach))
        )
        _damage(film, at, films, dice)
        if len(film) < 16:
            break
    return bytes(film)


def _damage(film: bytearray, at: int, films: Sequence[bytes], dice: random.Random) -> None:
    length = dice.choice((1, 4, 16, 256, 4096))
    match dice.randrange(7):
        case 0:
            film[at] ^= 1 << dice.randrange(8)
        case 1:
            film[at] = dice.randrange(256)
        case 2:
            number = dice.choice(NUMBERS)
            film[at : at + len(number)] = number
        case 3:
            del film[at : at + length]
        case 4:
            film[at:at] = film[at : at + length]
        case 5:
            other = dice.choice(films)
            begin = dice.randrange(len(other))
            film[at : at + length] = other[begin : begin + length]
        case _:
            film[at : at + length] = dice.randbytes(length)
