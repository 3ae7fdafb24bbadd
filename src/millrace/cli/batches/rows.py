"""The rows of a batch, from a folder or a CSV file. A row is what it asks for, and how a person finds it."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.films import films_in, output_of, why
from millrace.cli.jobs.request import Wish, absolute
from millrace.wire.v1.base import Document
from millrace.wire.v1.batches import MOST_JOBS
from millrace.wire.v1.jobs import JobRequest

_PAIRS = frozenset({"labels", "requires", "parameters"})
_LISTS = frozenset({"after"})
COLUMNS = tuple(field for field in JobRequest.__struct_fields__ if field != "tenant")
"""What a CSV file may have: the fields of a job; `labels`, `requires` and `parameters` as `KEY=VALUE;KEY=VALUE`."""


class Row(Struct, frozen=True):
    """One job of a batch: where it stands, and the request as plain data. What is wrong with it, the master says."""

    where: str
    document: Document


def of_folder(wish: Wish, folder: Path, patterns: Sequence[str]) -> list[Row]:
    """A row for each film of a folder.

    Raises:
        CommandError: the folder cannot be read, or has none.
    """
    try:
        films = list(films_in(folder.absolute(), patterns))
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot submit the folder {folder}: {why(error)}", code=2) from error
    destination = wish["output"]
    rows = []
    for film in films:
        output = None if destination is None else output_of(film, folder.absolute(), str(destination), films)
        rows.append(Row(film.name, _document(wish | {"input": str(film), "output": output})))
    return _bounded(rows, f"the folder {folder} has no such films")


def of_table(wish: Wish, path: Path) -> list[Row]:
    """A row for each line of a CSV file with a line of headings; what a line leaves empty is as the options say.

    Raises:
        CommandError: the file cannot be read, is no such file, or has no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_lines(wish, path, file.read().splitlines(keepends=True)))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", code=2) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"cannot read {path} as CSV in UTF-8: {error}", code=2) from error
    return _bounded(rows, f"{path} has no rows below its headings")


def _lines(wish: Wish, path: Path, lines: Sequence[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines, strict=True)
    headings = [heading.strip() for heading in reader.fieldnames or ()]
    unknown = [heading for heading in headings if heading not in COLUMNS]
    if unknown or "input" not in headings or len(set(headings)) < len(headings):
        wrong = f"there is no column {unknown[0]!r}" if unknown else "a column `input` is needed, and each once"
        raise CommandError(
            f"cannot read {path}: {wrong}; its first line names columns among {', '.join(COLUMNS)}", code=2
        )
    reader.fieldnames = headings
    for cells in reader:
        where = f"line {reader.line_num}"
        if None in cells or None in cells.values():
            raise CommandError(f"cannot read {path}: {where} has not as many cells as there are headings", code=2)
        given = {name: _value(name, cell.strip()) for name, cell in cells.items() if cell.strip()}
        yield Row(f"{where} ({given.get('input', 'no input')})", _document(_merged(wish, given)))


def _value(name: str, cell: str) -> object:
    if name in _PAIRS:
        parts = (one.partition("=") for one in cell.split(";") if one.strip())
        return {key.strip(): value.strip() for key, _, value in parts}
    if name in _LISTS:
        return cell.replace(";", " ").split()
    return absolute(cell) if name in {"input", "output"} else cell


def _merged(wish: Wish, given: Wish) -> Wish:
    """What the options say, as far as the line does not. Who names a profile does not want the other's scenario."""
    merged = wish | given
    if "profile" in given or "scenario" in given:
        merged |= {name: given.get(name) for name in ("profile", "scenario")}
    for name in _PAIRS & given.keys():
        base, more = wish[name], given[name]
        if isinstance(base, dict) and isinstance(more, dict):
            merged[name] = base | more
    return merged


def _document(wish: Wish) -> Document:
    """The request as plain data, its texts turned into what they stand for; where they stand for nothing, as they are."""
    try:
        found: Document = msgspec.to_builtins(msgspec.convert(wish, JobRequest, strict=False))
    except msgspec.ValidationError:
        return {name: value for name, value in wish.items() if value is not None and value != ()}
    return found


def _bounded(rows: list[Row], none: str) -> list[Row]:
    if not rows:
        raise CommandError(f"cannot submit a batch: {none}", code=2)
    if len(rows) > MOST_JOBS:
        raise CommandError(
            f"cannot submit a batch of {len(rows)} jobs: {MOST_JOBS} are the most; make several of it", code=2
        )
    return rows
