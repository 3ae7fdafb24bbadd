"""`millrace supervise schema`."""

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of plans, for editors."""
    from millrace.cli.show import json_document  # noqa: PLC0415  not needed for --help
    from millrace.supervisor.plan_document import keys  # noqa: PLC0415
    from millrace.supervisor.plans.schema import schema as of  # noqa: PLC0415

    json_document(of(keys()))
