"""`millrace ctl logs`."""

import sys
from collections.abc import Sequence

import click
import msgspec

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.client.client import Client
from millrace.wire.v1.supervise import LinesView, LineView, StackLines

_POLL_S = 0.3
_MOST = 1000
_ASKS_PER_S = 50
"""Half of what a supervisor allows a caller by itself; where there are many processes, each is asked less often."""


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=known_names)
@click.option("--follow", "-f", is_flag=True, help="Go on with what it prints from now on.")
@click.option(
    "--lines", "-n", "limit", type=click.IntRange(1, _MOST), default=100, show_default=True, help="So many lines."
)
@control_options
@output_option
def logs(name: str | None, follow: bool, limit: int, control: Control, output: Output) -> None:
    """Print the last lines of a process, of all its instances; without NAME, of all processes.

    As JSON it is one document; with --follow, one line for each line.
    """
    with supervisor(control) as client:
        names: list[str] = []
        if follow:
            names = [name] if name else [one.name for one in client.do(supervise.processes()).processes]
        # Where to go on is asked before the last lines are, so that no line falls in between.
        ends = {one: client.do(supervise.logs(one, limit=1)).next for one in names}
        found: LinesView | StackLines
        if name is None:
            found = client.do(supervise.logs_of_all(limit=limit))
        else:
            found = client.do(supervise.logs(name, limit=limit))
        if output is Output.JSON and not follow:
            show.json_document(found)
            return
        _print(found.lines, output)
        for line in found.lines:
            process = line.instance.rpartition("-")[0]
            if process in ends:
                ends[process] = max(ends[process], line.number)
        while ends:
            client.pause(max(_POLL_S, len(ends) / _ASKS_PER_S))
            ends = {one: _go_on(client, one, end, output) for one, end in ends.items()}


def _go_on(client: Client, name: str, after: int, output: Output) -> int:
    """Print what came after a line; the number of the last one now."""
    while (more := client.do(supervise.logs(name, limit=_MOST, after=after))).lines or more.lost:
        _print(more.lines, output, lost=more.lost)
        after = more.next
    return after


def _print(lines: Sequence[LineView], output: Output, *, lost: int = 0) -> None:
    if lost:
        sys.stderr.write(f"millrace: {lost} lines are missing here: they came faster than they were read\n")
    for line in lines:
        text = msgspec.json.encode(line).decode() if output is Output.JSON else f"{line.instance} | {line.text}"
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
