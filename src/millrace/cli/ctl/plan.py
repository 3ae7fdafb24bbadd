"""`millrace ctl plan`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@control_options
@output_option
def plan(control: Control, output: Output) -> None:
    """Print the plan in force, as YAML: what is not as it would be by itself, with secrets as ***."""
    with supervisor(control) as client:
        found = client.do(supervise.plan())
    if output is Output.JSON:
        show.json_document(found)
        return
    import yaml  # noqa: PLC0415  not needed for JSON

    click.echo(yaml.safe_dump(found.plan, sort_keys=False, allow_unicode=True), nl=False)
