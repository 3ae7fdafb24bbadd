"""Which files of a folder are meant, and where what is made of each goes."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
})  # fmt: skip
"""What films are called that lie in a folder."""


def films_in(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """The files that match a pattern, or without any those that are called as films are; none that is hidden, each once.

    Raises:
        OSError: the folder cannot be read.
        ValueError: a pattern is none.
    """
    with_any = (
        _matching(folder, patterns) if patterns else (one for one in _listed(folder) if one.suffix.lower() in SUFFIXES)
    )
    for path in sorted(set(with_any)):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file():
            yield path


def why(error: OSError | ValueError) -> str:
    """Why the films of a folder cannot be found, without what names the folder again."""
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _listed(folder: Path) -> Iterable[Path]:
    return list(folder.iterdir())


def _matching(folder: Path, patterns: Sequence[str]) -> Iterable[Path]:
    next(folder.iterdir(), None)  # a pattern finds nothing in a folder that cannot be read, and does not say so
    try:
        return [path for pattern in patterns for path in folder.glob(pattern)]
    except NotImplementedError as error:
        raise ValueError(f"a pattern is relative to the folder: {error}") from error


def output_of(film: Path, folder: Path, destination: str, beside: Collection[Path]) -> str:
    """Where what is made of a film goes: into a folder of its name, in the same place below the destination.

    Of films `beside` each other whose names differ in their suffixes alone, each keeps its own.
    """
    inner = film.relative_to(folder)
    alone = not any(one != film and one.with_suffix("") == film.with_suffix("") for one in beside)
    return f"{destination.rstrip('/')}/{(inner.with_suffix('') if alone else inner).as_posix()}"
