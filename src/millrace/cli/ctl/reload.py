"""`millrace ctl reload`."""

from collections.abc import Iterator

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.wire.v1.supervise import ReloadView

_OUTCOMES = {
    "dry-run": "the plan is valid; a reload would",
    "pending": "the plan is being taken over; it will",
    "applied": "the plan is in force; it did",
    "rolled-back": "the plan was taken back, and the one before is in force",
    "failed": "the plan stays in force, and did not get up",
    "superseded": "another plan came before this one was up",
    "abandoned": "the supervisor stops everything, and the plan with it",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--wait",
    type=click.IntRange(0, 3600),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long to see what becomes of it; 0 does not wait.",
)
@control_options
@output_option
def reload(dry_run: bool, wait: int, control: Control, output: Output) -> int:
    """Read the plan again, and keep what it says now.

    What is unchanged keeps running. A plan with faults changes nothing; one whose processes do not get up in time is taken
    back. Exit code 1 in both cases.
    """
    with supervisor(control) as client:
        found = client.do(supervise.reload(wait_s=wait, dry_run=dry_run))
    if output is Output.JSON:
        show.json_document(found)
    else:
        click.echo(reload_sentence(found))
        for line in _lines(found):
            click.echo(line)
    return 0 if found.outcome in ("dry-run", "applied") or (found.outcome == "pending" and not wait) else 1


def reload_sentence(found: ReloadView) -> str:
    """What became of it, on one line."""
    said = _OUTCOMES[found.outcome]
    if found.reason:
        return f"{said.partition(';')[0]}: {found.reason}"
    nothing = not (found.added or found.removed or found.changed or found.whole)
    if said.endswith((" would", " will", " did")):
        return f"{said.rpartition(';')[0]}; {'nothing changes' if nothing else _counts(found)}"
    return said


def _counts(found: ReloadView) -> str:
    parts = (
        ("added", found.added),
        ("removed", found.removed),
        ("changed", found.changed),
        ("unchanged", found.unchanged),
    )
    return ", ".join(f"{len(names)} {word}" for word, names in parts if names) or "the whole changed"


def _lines(found: ReloadView) -> Iterator[str]:
    yield from (f"  + {name}" for name in found.added)
    yield from (f"  - {name}" for name in found.removed)
    for one in found.changed:
        yield f"  ~ {one.name}: {', '.join(one.keys)}" + (" (replaced)" if one.restarts else " (goes on)")
    if found.whole:
        yield f"  ~ the whole: {', '.join(found.whole)}"
