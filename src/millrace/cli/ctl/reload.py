"""`millrace ctl reload`."""

import click

from millrace.cli import show
from millrace.cli.ctl.changing import change_options, exit_code, tell
from millrace.cli.ctl.session import Control, supervisor
from millrace.cli.options import Output
from millrace.client import supervise


@click.command()
@change_options
@click.option("--discard", is_flag=True, help="Drop what was changed by add, set and remove, and not saved.")
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
        tell(found)
    return exit_code(found, wait=wait)
