"""A process as the fields of a form: what of its definition fits into a line, and what a line makes of it. Pure."""

import re
import shlex
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}\Z")


class Form(Enum):
    """How a value is written in a line."""

    WORD = "word"
    NUMBER = "number"
    LIST = "list"  # words as in a shell
    NAMES = "names"  # with commas or blanks between them
    PAIRS = "pairs"  # NAME=value, as in a shell


class Field(Struct, frozen=True):
    """One key of a process in the form. `hint` stands where nothing is written."""

    key: str
    label: str
    form: Form
    hint: str


FIELDS = (
    Field("command", "Command", Form.LIST, "gunicorn shop.wsgi; quote as in a shell"),
    Field("type", "Type", Form.WORD, "service, oneshot"),
    Field("schedule", "Schedule", Form.WORD, "at its times only: 30 2 * * *"),
    Field("scale", "Scale", Form.NUMBER, "1"),
    Field("restart", "Restart", Form.WORD, "always, on-failure, never"),
    Field("depends_on", "Needs", Form.NAMES, "db cache"),
    Field("working_dir", "Folder", Form.WORD, "that of the supervisor"),
    Field("user", "User", Form.WORD, "that of the supervisor"),
    Field("env", "Environment", Form.PAIRS, "NAME=value OTHER='a b' SECRET=${SECRET}"),
)
"""The keys that most processes have. All others are written in the YAML that is shown afterwards."""


class CannotTakeError(ValueError):
    """What stands in a field means nothing; the message is a phrase."""


def line_of(document: Mapping[str, Any], field: Field) -> str | None:
    """What a definition has at a field, in a line; None where it is more than fits into one."""
    value = document.get(field.key)
    if value is None:
        return ""
    if field.form in (Form.WORD, Form.NUMBER):
        return str(value) if _is_word(value) else None
    if field.form is Form.PAIRS:
        fits = isinstance(value, Mapping) and all(map(_is_word, value.values()))
        return shlex.join(f"{name}={one}" for name, one in value.items()) if fits else None
    if not isinstance(value, list) or not all(map(_is_word, value)):
        return None
    return _joined(map(str, value), field.form)


def taken(document: Mapping[str, Any], field: Field, line: str) -> dict[str, Any]:
    """The definition with what a line says at a field; without the key, where it says nothing.

    Raises:
        CannotTakeError: the line cannot be read.
    """
    keys = [*document]
    place = keys.index(field.key) if field.key in keys else len(keys)
    pairs = [(key, value) for key, value in document.items() if key != field.key]
    if line.strip():
        pairs.insert(place, (field.key, _value(field.form, line)))
    return dict(pairs)


def _is_word(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _joined(words: Iterable[str], form: Form) -> str:
    return shlex.join(words) if form is Form.LIST else " ".join(words)


def _value(form: Form, line: str) -> object:
    match form:
        case Form.WORD:
            return line.strip()
        case Form.NUMBER:  # what is no number is refused with the bounds
            return int(line) if _WHOLE.match(line.strip()) else line.strip()
        case Form.NAMES:
            return line.replace(",", " ").split()
        case Form.LIST:
            return _words(line)
        case Form.PAIRS:
            pairs = [word.partition("=") for word in _words(line)]
            wrong = next((name for name, sign, _ in pairs if not sign), None)
            if wrong is not None:
                raise CannotTakeError(f"holds {wrong[:40]!r}, which is no NAME=value")
            return {name: value for name, _, value in pairs}


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise CannotTakeError(f"cannot be taken apart: {str(error).lower()}") from None
