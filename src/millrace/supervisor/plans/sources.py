"""The texts that make one plan: the plan's own and what it includes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from millrace.supervisor.plans.text_file import text_in
from millrace.supervisor.yaml_text import Findings, read

_PARTS = ("global", "processes")


class Sources(Struct):
    """One document out of several texts.

    `places` maps a path to the included file, or the variable, and the line in it; the plan itself has the name "". `filled`
    are the paths of values that hold variables. `files` are those that were taken in, or are missing, `folders` those in which
    a file would be taken in that is not there yet. `texts` are the texts themselves, their variables as they stand.
    """

    document: Any = None
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    findings: Findings = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def place(self, path: str) -> tuple[str, int]:
        """Where a path stands, or the nearest thing around it."""
        while path and path not in self.places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.places.get(path, ("", 0)) if path else ("", 0)


def gather(text: str, environ: Mapping[str, str], folder: Path | None) -> Sources:
    """The document of a plan with everything that it includes; paths and patterns in `include` start from `folder`."""
    own = read(text, environ)
    found = Sources(
        document=own.document,
        places={path: ("", line) for path, line in own.lines.items()},
        filled=own.filled,
        findings=own.findings,
        texts=[text],
    )
    if isinstance(own.document, Mapping):
        for path in _included(found, folder):
            _include(found, path, environ, folder)
    return found


def _included(found: Sources, folder: Path | None) -> Iterator[Path]:
    names = found.document.get("include")
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return  # reading says so
    seen: set[Path] = set()
    for name in names:
        if folder is None:
            found.findings.append(("include", f"names {name}, and this plan comes from no folder; send one whole plan"))
            continue
        try:
            paths = _matching(folder, name)
        except (OSError, ValueError, NotImplementedError):
            paths = []
        if _is_pattern(name):
            found.folders += _searched(folder, name)
        elif not paths:
            found.files.append(folder / name)
        if not paths and not _is_pattern(name):
            found.findings.append(("include", f"names {name}, and there is no such file in {folder}; correct the name"))
        for path in paths:
            if path not in seen:
                seen.add(path)
                yield path


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _matching(folder: Path, name: str) -> list[Path]:
    """The files that a name or pattern means, in the order of their names; a pattern may mean none."""
    whole = folder / name
    if not _is_pattern(name):
        return [whole] if whole.is_file() else []
    root = Path(whole.anchor) if whole.is_absolute() else Path()
    return sorted(path for path in root.glob(str(whole.relative_to(root))) if path.is_file())


def _searched(folder: Path, pattern: str) -> list[Path]:
    """The folders that a pattern looks into."""
    outer = (folder / pattern).parent
    if not _is_pattern(str(outer)):
        return [outer]
    root = Path(outer.anchor) if outer.is_absolute() else Path()
    return [path for path in root.glob(str(outer.relative_to(root))) if path.is_dir()]


def _include(found: Sources, path: Path, environ: Mapping[str, str], folder: Path | None) -> None:
    name = _shown(path, folder)
    try:
        text = text_in(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        found.findings.append(("include", f"names {name}, which cannot be read: {why}; correct it or take it out"))
        return
    part = read(text, environ)
    found.files.append(path)
    found.texts.append(text)
    if not isinstance(part.document, Mapping):
        why = "; ".join(message for _, message in part.findings) or "is no mapping"
        found.findings.append(("include", f"names {name}, which {why}"))
        return
    found.findings += part.findings
    for key, value in part.document.items():
        if key == "version":
            continue
        if key not in _PARTS or not isinstance(value, Mapping):
            message = "must be a mapping" if key in _PARTS else "cannot stand here; allowed: global, processes, version"
            found.findings.append(("include", f"names {name}, in which {key} {message}"))
            continue
        _merge(found, str(key), value, name)
    for at, line in part.lines.items():
        found.places.setdefault(at, (name, line))
    found.filled |= part.filled


def _merge(found: Sources, part: str, entries: Mapping[Any, Any], name: str) -> None:
    there = found.document.get(part)
    if there is None:
        found.document[part] = there = {}
    if not isinstance(there, dict):
        return  # reading says so
    for key, value in entries.items():
        if key in there:
            first = found.place(f"{part}.{key}")[0] or "the plan itself"
            found.findings.append((f"{part}.{key}", f"stands in {first} and in {name}; keep one"))
        else:
            there[key] = value


def _shown(path: Path, folder: Path | None) -> str:
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)
