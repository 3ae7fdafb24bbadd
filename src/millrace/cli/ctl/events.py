"""`millrace ctl events`."""

import sys

import click
import msgspec

from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.wire.v1.supervise import ChangeView


@click.command()
@control_options
@output_option
def events(control: Control, output: Output) -> None:
    """Print every change as it comes, until the supervisor ends. As JSON, one document a line."""
    with supervisor(control) as client:
        for change in supervise.changes(client):
            if change is None:
                sys.stderr.write("millrace: changes are missing here; `millrace ctl status` shows how it is now\n")
                continue
            text = msgspec.json.encode(change).decode() if output is Output.JSON else _text(change)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


def _text(change: ChangeView) -> str:
    at = change.at.astimezone().strftime("%H:%M:%S")
    if change.now is None:
        return f"{at}  {change.instance}  was scaled away"
    ready = ", ready" if change.now.ready else ""
    reason = f": {change.now.reason}" if change.now.reason else ""
    return f"{at}  {change.instance}  {change.now.state}{ready}{reason}"
