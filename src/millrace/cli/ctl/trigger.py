"""`millrace ctl trigger`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor, wait_option
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("name", metavar="NAME", shell_complete=known_names)
@wait_option(0, "Wait so long for the end of the run; it goes on in any case.")
@control_options
@output_option
def trigger(name: str, wait: int, control: Control, output: Output) -> int:
    """Run a scheduled process now, also one that is paused. With --wait, exit 1 unless the run has succeeded by then."""
    with supervisor(control) as client:
        found = client.do(supervise.trigger(name, wait_s=wait))
    run = found.run
    if output is Output.JSON:
        show.json_document(found)
    elif found.settled:
        print(f"run {run.number} of {name} {run.outcome}: {run.how}")
    else:
        print(f"run {run.number} of {name} {'goes on' if run.began or wait else 'was asked for'}")
    return 1 if wait and run.outcome != "succeeded" else 0
