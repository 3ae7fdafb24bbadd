"""`millrace ctl logs`."""

import sys

import click
import msgspec

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.wire.v1.supervise import LinesView

_POLL_S = 0.3
_MOST = 1000


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--follow", "-f", is_flag=True, help="Go on with what it prints from now on.")
@click.option(
    "--lines", "-n", "limit", type=click.IntRange(1, _MOST), default=100, show_default=True, help="So many lines."
)
@control_options
@output_option
def logs(name: str, follow: bool, limit: int, control: Control, output: Output) -> None:
    """Print the last lines of a process, of all its instances.

    As JSON it is one document; with --follow, one line for each line.
    """
    with supervisor(control) as client:
        found = client.do(supervise.logs(name, limit=limit))
        if output is Output.JSON and not follow:
            show.json_document(found)
            return
        _print(found, output)
        while follow:
            client.pause(_POLL_S)
            while (found := client.do(supervise.logs(name, limit=_MOST, after=found.next))).lines or found.lost:
                _print(found, output)


def _print(found: LinesView, output: Output) -> None:
    if found.lost:
        sys.stderr.write(f"millrace: {found.lost} lines are missing here: they came faster than they were read\n")
    for line in found.lines:
        text = msgspec.json.encode(line).decode() if output is Output.JSON else f"{line.instance} | {line.text}"
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
