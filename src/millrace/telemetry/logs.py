"""Log events: a stable name and fields, on stderr, as JSON lines or as short text for people.

    log = logger("worker")
    log.info("worker.task_started", task=task.id, attempt=3)
    with context(job=42):            # every event inside carries job=42, in this task and those it starts
        ...

Built on the standard `logging`, so that libraries come out in the same form and pass the same redaction. Nothing is
set up at import: the composition root calls `configure` once. Event names are `room.what_happened`, and do not change.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Literal, TextIO

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from millrace.telemetry.redact import Redactor

Format = Literal["json", "text"]

ROOT = "millrace"

_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default={})  # noqa: B039  never changed in place
_encode_quickly = msgspec.json.Encoder(enc_hook=str).encode
_RESERVED = frozenset({"time", "level", "room", "event"})
_PLAIN = logging.LogRecord("", logging.INFO, "", 0, "%s", (), None).__dict__
"""What a record must have, whoever formats it; making one anew looks up a thread, a process and a file each time."""


class Logger:
    """The events of one room. Fields are keyword arguments with units in their names (`wait_s`, `size_bytes`)."""

    def __init__(self, room: str) -> None:
        """Use `logger`."""
        self._room = room
        self._logger = logging.getLogger(f"{ROOT}.{room}")

    def debug(self, event: str, **fields: object) -> None:
        """For whoever hunts a fault."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something that an operator may want to have seen."""
        self._emit(logging.INFO, event, fields)

    def frequent(self, event: str, fields: Mapping[str, object] | Struct) -> None:
        """As `info`, for what comes thousands of times a second: all that the event loop does in one turn is written at
        once, after it. Outside a loop it is written at once. Where nobody but our own handler listens it goes there
        straight: the way of the standard library costs as much again as the line. The line of a `Struct` costs least.
        """
        if not self._logger.isEnabledFor(logging.INFO):
            return
        handlers = logging.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], _Handler):
            handlers[0].take(self._room, event, fields)
        else:
            self._emit(logging.INFO, event, _mapping(fields), gather=True)

    def warning(self, event: str, **fields: object) -> None:
        """Something that the program coped with, and an operator should look at."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Something that the program could not do. `exc`: its traceback goes into JSON, its last line into text."""
        self._emit(logging.ERROR, event, fields, exc)

    def _emit(
        self,
        level: int,
        event: str,
        fields: Mapping[str, object],
        exc: BaseException | None = None,
        *,
        gather: bool = False,
    ) -> None:
        if self._logger.isEnabledFor(level):
            around = _context.get()
            self._logger.handle(_Record(self._logger.name, level, event, {**around, **fields}, exc, gather=gather))


class _Record(logging.LogRecord):
    """One event. Not made by `Logger.log`, which would first search the stack for a file and a line that no form shows."""

    def __init__(
        self,
        name: str,
        level: int,
        event: str,
        fields: Mapping[str, object],
        exc: BaseException | None,
        *,
        gather: bool,
    ) -> None:
        now = time.time()
        self.__dict__.update(
            _PLAIN, name=name, levelno=level, levelname=logging.getLevelName(level), args=(event,), created=now,
            msecs=now % 1 * 1000, exc_info=None if exc is None else (type(exc), exc, exc.__traceback__), event=event,
            fields=fields, gather=gather,
        )  # fmt: skip


def logger(room: str) -> Logger:
    """The logger of a room; cheap, made at import."""
    return Logger(room)


@contextmanager
def context(**fields: object) -> Iterator[None]:
    """Every event inside the block carries `fields`, also in tasks that are started inside it."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def configure(
    *, form: Format, level: str = "info", stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> logging.Handler:
    """Send all events, and what libraries log, to `stream` (stderr). Called again, it replaces what it had set up.

    `secrets` are values that must never be written, wherever they turn up. Libraries are heard from warnings on.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"cannot log at level {level!r}: use debug, info, warning or error")
    # What no form here shows is not collected: it would cost more than the line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Handler(stream if stream is not None else sys.stderr)
    redactor = Redactor(secrets)
    handler.setFormatter(_Json(redactor) if form == "json" else _Text(redactor))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger(ROOT).setLevel(number)
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, those that are frequent together with what comes after them in the same turn of the event loop."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._asked: asyncio.AbstractEventLoop | None = None  # who is going to flush

    def take(self, room: str, event: str, fields: Mapping[str, object] | Struct) -> None:
        """An event that is frequent, without a record of it where its line needs none."""
        around = _context.get()
        if around:
            fields = {**around, **_mapping(fields)}
        text = (
            self.formatter.quick(time.time(), "info", room, event, fields)
            if isinstance(self.formatter, _Json)
            else None
        )
        if text is None:
            self.handle(_Record(f"{ROOT}.{room}", logging.INFO, event, _mapping(fields), None, gather=True))
        else:
            with self.lock or nullcontext():
                self._lines.append(text)
            self._flush_soon()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001  as the standard library's own
            self.handleError(record)
        if getattr(record, "gather", False):
            self._flush_soon()
        else:
            self.flush()

    def _flush_soon(self) -> None:
        if self._asked is not None and self._asked.is_running():
            return  # it will write this line too, also where another thread has made it
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._asked = loop
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is there, also at the end of the program."""
        with self.lock or nullcontext():
            lines, self._lines, self._asked = self._lines, [], None
            if lines:
                lines.append("")
                with suppress(OSError, ValueError):
                    self.stream.write("\n".join(lines))
                    self.stream.flush()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is the standard library's
        """A full disk or a closed stderr must not disturb the work, and there is nowhere left to say so."""


class _Form(logging.Formatter):
    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor

    def parts(self, record: logging.LogRecord) -> tuple[str, str, dict[str, object]]:
        """Room, event and clean fields, also of records that libraries made."""
        event = getattr(record, "event", None)
        if event is None:
            return record.name, "log.message", {"message": self.redactor.text(record.getMessage())}
        fields: dict[str, object] = getattr(record, "fields", {})
        room = record.name.removeprefix(f"{ROOT}.")
        return room, event, {name: self.redactor.value(value, name) for name, value in fields.items()}


class _Json(_Form):
    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        fields: Mapping[str, object] | None = getattr(record, "fields", None)
        if fields is not None and record.exc_info is None:
            room = record.name.removeprefix(f"{ROOT}.")
            text = self.quick(record.created, level, room, record.event, fields)  # type: ignore[attr-defined]
            if text is not None:
                return text
        room, event, clean = self.parts(record)
        line = {
            "time": _moment(int(record.created * 1000)),
            "level": level,
            "room": room,
            "event": event,
            **_mapping(_unreserved(clean)),
        }
        if record.exc_info is not None:
            line["exception"] = self.redactor.text(self.formatException(record.exc_info))
        return _encoder().encode(line)

    def quick(
        self, at_s: float, level: str, room: str, event: str, fields: Mapping[str, object] | Struct
    ) -> str | None:
        """The line as it is, where nothing in it even looks like a secret: most lines, and all of the access log at a busy
        time. None where each value must be looked at, or cannot be written so.
        """
        try:
            text = _encode_quickly(_unreserved(fields)).decode()
        except (TypeError, UnicodeEncodeError):
            return None
        if self.redactor.suspects(text):
            return None
        comma = "," if len(text) > 2 else ""
        return f'{{"time":"{_moment(int(at_s * 1000))}",{_opening(level, room, event)}{comma}{text[1:]}'


def _unreserved(fields: Mapping[str, object] | Struct) -> Mapping[str, object] | Struct:
    """The fields under other names where these are taken."""
    names = fields.__struct_fields__ if isinstance(fields, Struct) else fields
    if _RESERVED.isdisjoint(names):
        return fields
    return {f"{name}_" if name in _RESERVED else name: value for name, value in _mapping(fields).items()}


def _mapping(fields: Mapping[str, object] | Struct) -> Mapping[str, object]:
    return asdict(fields) if isinstance(fields, Struct) else fields


@lru_cache(maxsize=256)
def _opening(level: str, room: str, event: str) -> str:
    """What all lines of an event share."""
    return _encode_quickly({"level": level, "room": room, "event": event})[1:-1].decode()


@lru_cache(maxsize=8)
def _moment(at_ms: int) -> str:
    """Many lines are of the same millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


@cache
def _encoder() -> "json.JSONEncoder":
    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


class _Text(_Form):
    def format(self, record: logging.LogRecord) -> str:
        _, event, fields = self.parts(record)
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        words = [at, f"{record.levelname.lower():7}", event, *(f"{name}={_plain(v)}" for name, v in fields.items())]
        if record.exc_info is not None and record.exc_info[1] is not None:
            error = record.exc_info[1]
            words.append(f"error={_plain(self.redactor.text(f'{type(error).__name__}: {error}'))}")
        return " ".join(words)


def _plain(value: object) -> str:
    """A value as people read it; quoted where it has spaces or could break the line or the terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and (not text or not text.isprintable() or any(c in text for c in ' ="')):
        return json.dumps(text, ensure_ascii=not text.isprintable())
    return text
