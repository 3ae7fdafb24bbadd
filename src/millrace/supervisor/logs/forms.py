"""Entries as bytes to write."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter

import msgspec
from msgspec import Struct

from millrace.process.values import Stream
from millrace.supervisor.logs.entry import Entry, Level
from millrace.supervisor.logs.run import Run

_encode_lines = msgspec.json.Encoder(enc_hook=str).encode_lines
_encode = msgspec.json.Encoder(enc_hook=str).encode

_MESSAGE = attrgetter("message")
_FIELDS = attrgetter("fields")
_TIME = attrgetter("time")


class _Row(Struct, frozen=True, omit_defaults=True, gc=False):
    time: datetime
    level: Level
    process: str
    instance: str
    stream: Stream
    message: str
    fields: Mapping[str, object] | None = None
    labels: Mapping[str, str] | None = None


def as_json(entries: Sequence[Entry], labels: Mapping[str, str]) -> bytes:
    """One JSON object for each entry, on a line of its own."""
    some = labels or None
    return _encode_lines(
        [_Row(e.time, e.level, e.process, e.instance, e.stream, e.message, e.fields, some) for e in entries]
    )


def as_text(entries: Sequence[Entry], *, dated: bool = False) -> bytes:
    """Lines after the name of the instance, for people; `dated`: also after the time and the stream.

    All entries are of one stream and instance.
    """
    if isinstance(entries, Run):
        before = _dated(entries.time, entries.instance, entries.stream) if dated else _named(entries.instance)
        return _lines(before, entries.text)
    if not entries:
        return b""
    form = _message if any(map(_FIELDS, entries)) else _MESSAGE
    instance, stream = entries[0].instance, entries[0].stream
    if not dated:
        return _lines(_named(instance), "\n".join(map(form, entries)))
    # What was read at once has one time, and is written in one piece.
    return b"".join(
        _lines(_dated(time, instance, stream), "\n".join(map(form, same))) for time, same in groupby(entries, _TIME)
    )


def as_plain(entries: Sequence[Entry]) -> bytes:
    """Lines as they were printed."""
    if isinstance(entries, Run):
        return _lines("", entries.text)
    return _lines("", "\n".join(map(_message, entries))) if entries else b""


def _named(instance: str) -> str:
    return f"{instance} | "


def _dated(time: datetime, instance: str, stream: Stream) -> str:
    return f"{time.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {instance} {stream} | "


def _lines(before: str, text: str) -> bytes:
    return f"{before}{text.replace(chr(10), chr(10) + before) if before else text}\n".encode("utf-8", "replace")


def _message(entry: Entry) -> str:
    if entry.fields is None:
        return entry.message
    pairs = (f"{name}={_value(value)}" for name, value in entry.fields.items())
    return " ".join((entry.message, *pairs))


def _value(value: object) -> str:
    plain = isinstance(value, str) and value and value.isprintable() and not any(sign in value for sign in ' ="')
    return str(value) if plain else _encode(value).decode()
