"""Lines that came at once, as the one text that they were: cut into single lines only for who looks at single ones."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TypeVar, overload

from millrace.process.values import Line, Stream

T = TypeVar("T")
_TEXT = attrgetter("text")
_TRANSIENT = attrgetter("transient")
_MERGED_CHARS = 64 * 1024


class Lazy(Sequence[T]):
    """A sequence that makes what it holds when somebody looks, each time anew, and equals any other that holds the same."""

    __slots__ = ()

    @abstractmethod
    def all(self) -> Sequence[T]:
        """All of it."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.all())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self.all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __repr__(self) -> str:
        return repr(self.all())


class Block(Lazy[Line]):
    r"""Whole lines of one stream: `text` has them with a \n between each two. None is partial, and none transient."""

    __slots__ = ("_count", "stream", "text")

    def __init__(self, stream: Stream, text: str) -> None:
        """At least one line, for an empty text is an empty line."""
        self.stream = stream
        self.text = text
        self._count = text.count("\n") + 1

    def __len__(self) -> int:
        return self._count

    def all(self) -> Sequence[Line]:
        """Line by line."""
        return [Line(self.stream, text) for text in self.text.split("\n")]

    def slices(self, most: int) -> Iterator["Block"]:
        """The same in blocks of at most so many lines."""
        if self._count <= most:
            yield self
            return
        texts = self.text.split("\n")
        for start in range(0, len(texts), most):
            yield Block(self.stream, "\n".join(texts[start : start + most]))


class Lines(Lazy[Line]):
    """Lines of both streams, in the parts in which they came."""

    __slots__ = ("_count", "parts")

    def __init__(self) -> None:
        """None yet."""
        self.parts: list[Sequence[Line]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def all(self) -> Sequence[Line]:
        """Line by line."""
        return [line for part in self.parts for line in part]

    def append(self, part: Sequence[Line]) -> None:
        """Add, small blocks of one stream as one."""
        self._count += len(part)
        last = self.parts[-1] if self.parts else None
        if (
            isinstance(part, Block)
            and isinstance(last, Block)
            and part.stream == last.stream
            and len(part.text) + len(last.text) < _MERGED_CHARS
        ):
            self.parts[-1] = Block(part.stream, f"{last.text}\n{part.text}")
        else:
            self.parts.append(part)


def parts_of(lines: Sequence[Line]) -> Sequence[Sequence[Line]]:
    """The parts in which lines came, in order: blocks, and others."""
    return lines.parts if isinstance(lines, Lines) else (lines,)


def chars_of(lines: Sequence[Line]) -> int:
    """How many characters they have, without their ends."""
    return len(lines.text) - len(lines) + 1 if isinstance(lines, Block) else sum(map(len, map(_TEXT, lines)))


def any_transient(lines: Sequence[Line]) -> bool:
    """Whether a terminal would overwrite one of them."""
    return not isinstance(lines, Block) and any(map(_TRANSIENT, lines))
