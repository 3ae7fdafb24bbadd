"""The chain of the audit trail: each block is sealed together with the seal before it, so that none can be changed, taken out,
put in or moved without breaking every seal after it. Pure.

A seal is SHA-256 over the seal before (32 bytes), the number and the time (8 bytes each, big-endian), the id (16 bytes) and the
body. Who can write to the database can seal everything anew; only a head that was kept elsewhere shows that.
"""

import zlib
from collections.abc import Iterable, Sequence
from hashlib import sha256

from msgspec import Struct

FIRST = bytes(32)
"""What the first block is sealed with."""
ID_BYTES = 16


class Block(Struct, frozen=True, kw_only=True):
    """Entries that were written at once. `number` counts from 1 without a gap; `at_ms` is the store's time since 1970."""

    number: int
    at_ms: int
    id: bytes
    body: bytes
    before: bytes
    seal: bytes


class Head(Struct, frozen=True, kw_only=True):
    """Where a chain ends: the number of its last block with that one's seal (0: there is none), and the first that is kept."""

    number: int = 0
    seal: bytes = FIRST
    oldest: int = 1


class Break(Struct, frozen=True, kw_only=True):
    """The first block that is not what it was, and what is wrong with it."""

    number: int
    why: str


def seal(*, before: bytes, number: int, at_ms: int, block_id: bytes, body: bytes) -> bytes:
    """The seal of a block."""
    return sha256(b"%b%b%b%b%b" % (before, number.to_bytes(8), at_ms.to_bytes(8), block_id, body)).digest()


def follow(head: Head, *, at_ms: int, block_id: bytes, body: bytes) -> Block:
    """The block after a head."""
    number = head.number + 1
    sealed = seal(before=head.seal, number=number, at_ms=at_ms, block_id=block_id, body=body)
    return Block(number=number, at_ms=at_ms, id=block_id, body=body, before=head.seal, seal=sealed)


def oldest_kept(head: Head, times: Iterable[tuple[int, int]], before_ms: int) -> int:
    """The first block to keep when what was written before a moment goes; `times` are numbers and times from the oldest on.

    It stops at the last block, at one that is not old (a clock may have jumped back after it), and where one is missing: what
    somebody has taken out must not look as if its time had come.
    """
    oldest = head.oldest
    for number, at_ms in times:
        if number != oldest or at_ms >= before_ms or number >= head.number:
            break
        oldest += 1
    return oldest


def pack(entries: Sequence[bytes]) -> bytes:
    """The body of a block: a line for each entry."""
    return zlib.compress(b"\n".join(entries), 1)


def unpack(body: bytes) -> list[bytes]:
    """The entries of a block.

    Raises:
        ValueError: it is none.
    """
    try:
        return zlib.decompress(body).split(b"\n")
    except zlib.error as error:
        raise ValueError("cannot read a block of the audit trail: it is damaged") from error


class Check:
    """Goes along a chain, from its oldest block on."""

    def __init__(self, head: Head) -> None:
        """`head` is where the chain says that it ends."""
        self._head = head
        self._next = head.oldest
        self._before = FIRST if head.oldest == 1 else None
        self.broken: Break | None = None

    def take(self, blocks: Sequence[Block]) -> Break | None:
        """Look at the next blocks; tells the first fault, and looks at nothing after it."""
        for block in blocks:
            if self.broken is None:
                self.broken = self._fault(block)
        return self.broken

    def end(self) -> Break | None:
        """Every block was there to be looked at; what became of it."""
        last = self._next - 1
        if self.broken is None and (
            last != self._head.number or (last and self._before not in (self._head.seal, None))
        ):
            self.broken = Break(
                number=last + 1, why=f"the chain ends at {last}, and its head is at {self._head.number}"
            )
        return self.broken

    def _fault(self, block: Block) -> Break | None:
        if block.number != self._next:
            return Break(number=self._next, why=f"it is missing; {block.number} stands in its place")
        if self._before is not None and block.before != self._before:
            return Break(number=block.number, why="it does not follow the one before it")
        sealed = seal(
            before=block.before, number=block.number, at_ms=block.at_ms, block_id=block.id, body=block.body
        )  # fmt: skip
        # With ids of another length, a byte could move from the body to the id under the same seal.
        if len(block.id) != ID_BYTES or sealed != block.seal:
            return Break(number=block.number, why="it was changed")
        self._next, self._before = block.number + 1, block.seal
        return None
