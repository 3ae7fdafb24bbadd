"""What a supervisor tells of changes, in words: the same for commands and on the whole terminal. Pure."""

from collections.abc import Iterator

from millrace.wire.v1.supervise import ReloadView, RescaleView, RollView

_OUTCOMES = {
    "dry-run": "the plan is valid; a reload would",
    "pending": "the plan is being taken over; it will",
    "applied": "the plan is in force; it did",
    "rolled-back": "the plan was taken back, and the one before is in force",
    "failed": "the plan stays in force, and did not get up",
    "superseded": "another plan came before this one was up",
    "abandoned": "the supervisor stops everything, and the plan with it",
}


def reload_sentence(found: ReloadView) -> str:
    """What became of it, on one line."""
    said = _OUTCOMES[found.outcome]
    if found.reason:
        return f"{said.partition(';')[0]}: {found.reason}"
    if said.endswith((" would", " will", " did")):
        return f"{said.rpartition(';')[0]}; {_counts(found) if differs(found) else 'nothing changes'}"
    return said


def differs(found: ReloadView) -> bool:
    """Whether it changes anything."""
    return bool(found.added or found.removed or found.changed or found.whole)


def _counts(found: ReloadView) -> str:
    parts = (
        ("added", found.added),
        ("removed", found.removed),
        ("changed", found.changed),
        ("unchanged", found.unchanged),
    )
    return ", ".join(f"{len(names)} {word}" for word, names in parts if names) or "the whole changed"


def reload_lines(found: ReloadView) -> Iterator[str]:
    """What differs: a line for each process, and one for the whole."""
    yield from (f"+ {name}" for name in found.added)
    yield from (f"- {name}" for name in found.removed)
    for one in found.changed:
        yield f"~ {one.name}: {', '.join(one.keys)}" + (" (replaced)" if one.restarts else " (goes on)")
    if found.whole:
        yield f"~ the whole: {', '.join(found.whole)}"
    yield from (f"{name} was changed over the API and is not saved; it stays so" for name in found.unsaved)
    yield from (f"{name} was changed over the API and was not saved; that is dropped" for name in found.dropped)


def roll_sentence(news: RollView) -> str:
    """What became of replacing the instances of a process."""
    return f"replacing has halted: {news.halted}" if news.halted else "is replaced"


def rescale_sentence(news: RescaleView) -> str:
    """How a process has followed its metric."""
    return f"has {news.now} instances, not {news.before}: {news.reason}"
