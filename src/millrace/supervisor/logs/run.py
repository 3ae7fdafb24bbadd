"""Entries that are one line each and came at once: one text, cut into entries only for who looks at single ones."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Self

from millrace.process.block import Lazy
from millrace.process.values import Stream
from millrace.supervisor.logs.entry import Entry, Level
from millrace.supervisor.logs.levels import Detector
from millrace.supervisor.logs.lowered import Lowered


class Run(Lazy[Entry]):
    r"""Entries with the numbers from `first` on, all of one stream and one time. `text` has a \n between each two messages."""

    __slots__ = ("_count", "_detector", "first", "instance", "process", "stream", "text", "time")

    def __init__(
        self,
        text: str,
        count: int,
        *,
        first: int,
        time: datetime,
        process: str,
        instance: str,
        stream: Stream,
        detector: Detector,
    ) -> None:
        r"""`text` holds `count` messages, without secrets; the levels are looked for when somebody asks."""
        self.text = text
        self.first = first
        self.time = time
        self.process = process
        self.instance = instance
        self.stream = stream
        self._count = count
        self._detector = detector

    def __len__(self) -> int:
        return self._count

    def all(self) -> Sequence[Entry]:
        """Entry by entry."""
        texts = self.text.split("\n")
        levels = self._detector.levels(texts, Lowered.of(self.text))
        return plain_entries(
            zip(range(self.first, self.first + self._count), texts, levels, strict=True),
            time=self.time,
            process=self.process,
            instance=self.instance,
            stream=self.stream,
        )

    def last(self, count: int) -> Self:
        """The newest of them, at most `count`; without the others in memory."""
        gone = self._count - count
        if gone <= 0:
            return self
        text = "\n".join(self.text.rsplit("\n", count)[1:])
        return type(self)(
            text, count, first=self.first + gone, time=self.time, process=self.process, instance=self.instance,
            stream=self.stream, detector=self._detector,
        )  # fmt: skip


def plain_entries(
    found: Iterable[tuple[int, str, Level]], *, time: datetime, process: str, instance: str, stream: Stream
) -> list[Entry]:
    """Entries without fields, from number, message and level of each."""
    return [
        Entry(number=number, time=time, level=level, process=process, instance=instance, stream=stream, message=message)
        for number, message, level in found
    ]
