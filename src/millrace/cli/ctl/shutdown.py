"""`millrace ctl shutdown`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, is_there, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise

_POLL_S = 0.2


@click.command()
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@control_options
@output_option
def shutdown(no_wait: bool, control: Control, output: Output) -> None:
    """Stop everything in order, and end the supervisor; a second time, at once."""
    with supervisor(control) as client:
        found = client.do(supervise.shutdown())
        while not no_wait and is_there(control, client):
            client.pause(_POLL_S)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print("the supervisor stops everything" if no_wait else "the supervisor has ended")
