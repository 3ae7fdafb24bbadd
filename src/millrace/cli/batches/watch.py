"""`millrace batches watch`."""

import sys

import click

from millrace.cli.options import Output, Target, batch_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import many
from millrace.client.client import Client
from millrace.domain.states import FINAL, State
from millrace.wire.v1.batches import BatchDetail

_POLL_S = 1.0
BAD = FINAL - {State.COMPLETED}


@click.command()
@batch_argument
@click.option("--quiet", "-q", is_flag=True, help="Say nothing until the end.")
@target_options
@output_option
def watch(batch: str, quiet: bool, target: Target, output: Output) -> int:
    """Follow a batch to its end; exit 0 if all of its jobs completed, 1 if not."""
    from millrace.cli.batches.show import record  # noqa: PLC0415  it imports this

    with connect(target) as client:
        found = follow(client, batch, quiet=quiet or output is Output.JSON)
    record(found, output)
    return outcome(found)


def follow(client: Client, batch_id: str, *, quiet: bool) -> BatchDetail:
    """The batch as it ended; until then a line says on stderr how far it is, on a terminal always in the same place."""
    said = ""
    drawn = sys.stderr.isatty()
    while True:
        found = client.do(many.batch(batch_id))
        line = progress(found)
        if not quiet and line != said:
            sys.stderr.write(f"\r{line.ljust(len(said))}" if drawn else f"{line}\n")
            sys.stderr.flush()
            said = line
        if found.done:
            break
        client.pause(_POLL_S)
    if drawn and said:
        sys.stderr.write("\n")
    return found


def progress(batch: BatchDetail) -> str:
    """How far it is, in one line."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(batch.counts.items()))
    return f"{100 * batch.fraction:3.0f} %  {states}"


def outcome(batch: BatchDetail) -> int:
    """The exit code that a batch ends with."""
    return 1 if any(batch.counts.get(state) for state in BAD) else 0
