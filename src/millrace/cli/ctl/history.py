"""`millrace ctl history`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.wire.v1.supervise import JobHistory, RunList

_MOST = 1000


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=known_names)
@click.option("--type", "kind", type=click.Choice(["service", "oneshot", "scheduled"]), help="Only this type.")
@click.option("--lines", "-n", "limit", type=click.IntRange(1, _MOST), default=20, show_default=True, help="So many.")
@control_options
@output_option
def history(name: str | None, kind: str | None, limit: int, control: Control, output: Output) -> None:
    """Show the last runs that ended: of all processes, or of NAME; of a scheduled one, also who wanted them."""
    with supervisor(control) as client:
        found: JobHistory | RunList
        if name is not None and client.do(supervise.process(name)).type == "scheduled":
            found = client.do(supervise.history(name, limit=min(limit, 100)))
        else:
            found = client.do(supervise.runs(process=name, type=kind, limit=limit))
    if output is Output.JSON:
        show.json_document(found)
    elif isinstance(found, JobHistory):
        rows = [
            (
                str(one.number),
                show.moment(one.due),
                one.by,
                show.span_or_dash(one.seconds),
                one.outcome or "-",
                show.escape(one.how),
            )
            for one in found.runs
        ]
        show.table(("#", "due", "by", "took", "outcome", "how it ended"), rows, empty="nothing has run yet")
    else:
        ends = [
            (one.instance, show.moment(one.began), show.span_or_dash(one.seconds), one.why, show.escape(one.how))
            for one in found.runs
        ]
        show.table(("instance", "began", "took", "why", "how it ended"), ends, empty="nothing has ended yet")
