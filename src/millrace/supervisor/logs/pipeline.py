"""The way of what one stream says, from lines to entries: whole lines, joined, masked, read, judged, filtered."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct

from millrace.process.block import Block
from millrace.process.values import Line, Stream
from millrace.supervisor.logs.entry import RANK, Entry, Level
from millrace.supervisor.logs.levels import Detector
from millrace.supervisor.logs.lowered import Lowered
from millrace.supervisor.logs.mask import Masker
from millrace.supervisor.logs.multiline import Joiner
from millrace.supervisor.logs.pieces import Pieces
from millrace.supervisor.logs.run import Run, plain_entries
from millrace.supervisor.logs.settings import Filters, JsonLines, Logging
from millrace.supervisor.logs.structured import read_json


class Origin(Struct, frozen=True, kw_only=True):
    """Who speaks."""

    process: str
    instance: str
    stream: Stream


class Pipeline:
    """The stages of one stream of one instance. Time comes in as an argument: `now_s` is monotonic, `at` the wall clock."""

    def __init__(
        self,
        origin: Origin,
        rule: Logging,
        numbers: Iterator[int],
        seen: Callable[[Sequence[Entry]], None] | None = None,
    ) -> None:
        """`numbers` gives each entry its number; `seen` is told of them before the filters."""
        self._origin = origin
        self._numbers = numbers
        self._seen = seen
        self._pieces = Pieces()
        self._joiner = Joiner(rule.multiline) if rule.multiline is not None else None
        self._masker = Masker(rule.redaction)
        self._json = rule.json
        self._detector = Detector(rule.detection)
        self._filters = rule.filters
        self._filtering = rule.filters != Filters()
        # Where no rule looks at single lines, many go through as one text.
        own = rule.redaction.rules
        self._looking = bool(self._joiner or self._json or self._filtering or own or self._seen)

    @property
    def due_s(self) -> float | None:
        """When `tick` has something to do."""
        return None if self._joiner is None else self._joiner.due_s

    def feed(self, lines: Sequence[Line], now_s: float, at: datetime) -> Sequence[Entry]:
        """The entries that are complete now."""
        if isinstance(lines, Block) and not self._looking and self._pieces.idle:
            return self._whole(lines, at)
        return self._joined(self._pieces.feed(lines), now_s, at)

    def tick(self, now_s: float, at: datetime) -> list[Entry]:
        """The entries that nothing was added to for long enough."""
        return self._entries(self._joiner.tick(now_s), at) if self._joiner is not None else []

    def flush(self, at: datetime) -> list[Entry]:
        """Everything that waits; the stream has ended."""
        texts = self._pieces.flush()
        if self._joiner is not None:
            texts = [*self._joiner.feed(texts, 0.0), *self._joiner.flush()]
        return self._entries(texts, at)

    def lost(self, count: int, now_s: float, at: datetime) -> list[Entry]:
        """An entry that says how many lines are missing here, unless it is none, after what came before them."""
        entries = self._joined(self._pieces.lost(), now_s, at)
        if self._joiner is not None:
            entries += self._entries(self._joiner.flush(), at)
        return entries if not count else [*entries, self._entry(lost_note(count), Level.WARN, None, at)]

    def _joined(self, texts: list[str], now_s: float, at: datetime) -> list[Entry]:
        return self._entries(texts if self._joiner is None else self._joiner.feed(texts, now_s), at)

    def _whole(self, lines: Block, at: datetime) -> Run:
        """The same that `_entries` gives, as one text."""
        first, count = next(self._numbers), len(lines)
        deque(islice(self._numbers, count - 1), maxlen=0)
        return Run(
            self._masker.whole(lines.text), count, first=first, time=at, process=self._origin.process,
            instance=self._origin.instance, stream=self._origin.stream, detector=self._detector,
        )  # fmt: skip

    def _entries(self, texts: list[str], at: datetime) -> list[Entry]:
        if not texts:
            return []
        raw = self._masker.own(texts)
        low = Lowered(raw)
        texts = self._masker.shapes(raw, low)
        levels = self._detector.levels(texts, low)
        if self._json is None:
            entries = self._plain(texts, levels, at)
        else:
            entries = [self._read(*each, self._json, at) for each in zip(raw, texts, levels, strict=True)]
        if self._seen is not None:
            self._seen(entries)
        return [entry for entry in entries if self._passes(entry)] if self._filtering else entries

    def _plain(self, texts: Sequence[str], levels: Sequence[Level], at: datetime) -> list[Entry]:
        found = zip(islice(self._numbers, len(texts)), texts, levels, strict=True)
        process, instance, stream = self._origin.process, self._origin.instance, self._origin.stream
        return plain_entries(found, time=at, process=process, instance=instance, stream=stream)

    def _read(self, raw: str, text: str, level: Level, rule: JsonLines, at: datetime) -> Entry:
        """Values are masked one by one, because what hides a secret in the text may break the JSON."""
        found = read_json(raw, rule) if text.startswith("{") else None
        if found is None:
            return self._entry(text, level, None, at)
        told, message, fields = found
        try:
            kept = self._masker.fields(fields) if rule.keep_fields else {}
        except RecursionError:
            return self._entry(text, level, None, at)
        return self._entry(self._masker.plain(message) if message else text, told or level, kept or None, at)

    def _entry(self, message: str, level: Level, fields: Mapping[str, object] | None, at: datetime) -> Entry:
        return Entry(
            number=next(self._numbers), time=at, level=level, process=self._origin.process,
            instance=self._origin.instance, stream=self._origin.stream, message=message, fields=fields,
        )  # fmt: skip

    def _passes(self, entry: Entry) -> bool:
        rule, text = self._filters, entry.message
        if RANK[entry.level] < RANK[rule.min_level] or any(pattern.search(text) for pattern in rule.exclude):
            return False
        return not rule.include or any(pattern.search(text) for pattern in rule.include)


def lost_note(count: int) -> str:
    """Says that lines are missing."""
    return f"[{count} line{'s' if count != 1 else ''} lost here]"
