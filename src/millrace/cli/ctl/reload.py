"""`millrace ctl reload`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.client.news_words import reload_lines, reload_sentence


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--discard", is_flag=True, help="Drop what was changed by add, set and remove, and not saved.")
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
def reload(dry_run: bool, discard: bool, wait: int, control: Control, output: Output) -> int:
    """Read the plan again, and keep what it says now.

    What is unchanged keeps running. A plan with faults changes nothing; one whose processes do not get up in time is taken
    back. Exit code 1 in both cases. What was changed by `ctl add`, `set` and `remove` and is not saved stays on top of it.
    """
    with supervisor(control) as client:
        found = client.do(supervise.reload(wait_s=wait, dry_run=dry_run, discard=discard))
    if output is Output.JSON:
        show.json_document(found)
    else:
        click.echo(reload_sentence(found))
        for line in reload_lines(found):
            click.echo(f"  {line}")
    return 0 if found.outcome in ("dry-run", "applied") or (found.outcome == "pending" and not wait) else 1
