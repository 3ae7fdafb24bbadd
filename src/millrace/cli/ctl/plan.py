"""`millrace ctl plan`."""

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor
from millrace.cli.options import Output, output_option
from millrace.client import supervise


@click.command()
@click.argument("name", metavar="[NAME]", required=False, shell_complete=known_names)
@control_options
@output_option
def plan(name: str | None, control: Control, output: Output) -> None:
    """Print the plan in force, as YAML: what is not as it would be by itself, with secrets as ***.

    With NAME, print that process as it is written, with its variables: what `ctl set NAME -` takes. *** in it stands for the
    secret that is there.
    """
    with supervisor(control) as client:
        if name is not None:
            written = client.do(supervise.definition(name))[0]
            if output is Output.JSON:
                show.json_document(written)
            else:
                click.echo(written.yaml, nl=False)
            return
        found = client.do(supervise.plan())
    if output is Output.JSON:
        show.json_document(found)
        return
    import yaml  # noqa: PLC0415  not needed for JSON

    click.echo(yaml.safe_dump(found.plan, sort_keys=False, allow_unicode=True), nl=False)
