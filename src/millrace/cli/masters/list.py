"""`millrace masters list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people


@click.command()
@target_options
@output_option
def list_masters(target: Target, output: Output) -> None:
    """List the masters of the farm. The one that leads also does what one is enough for: it takes back what lost workers held,
    queues what is due, and deletes what is old. Any of them answers everything.
    """
    with connect(target) as client:
        found = client.do(people.masters())
    if output is Output.JSON:
        show.json_document(found)
        return
    show.table(
        ["name", "leads", "here", "version", "since"],
        [
            [
                show.escape(one.name),
                "yes" if one.leads else "",
                "yes" if one.id == found.here else "",
                show.escape(one.version),
                show.moment(one.started),
            ]
            for one in found.masters
        ],
        empty="No master was seen in the last seconds, not even the one that answers: its database is slow.",
    )
