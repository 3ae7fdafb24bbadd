"""`millrace supervise`: keep processes as a plan says."""

import os
import sys
from pathlib import Path

import click

from millrace.cli.options import PATH
from millrace.cli.tree import LazyGroup


@click.pass_context
def _supervise(context: click.Context, config: Path | None) -> int | None:
    if context.invoked_subcommand is not None:
        return None
    if config is None:
        raise click.UsageError("name a plan with -c, or a command", context)
    import asyncio  # noqa: PLC0415  not needed for --help

    from millrace.cli.run import collect_garbage, configure_logs  # noqa: PLC0415
    from millrace.cli.supervise.load import read_plan  # noqa: PLC0415
    from millrace.programs.supervise import supervise  # noqa: PLC0415
    from millrace.supervisor.plans.overrides import without_overrides  # noqa: PLC0415

    plan = read_plan(config, os.environ)
    configure_logs()
    collect_garbage()
    sys.exit(asyncio.run(supervise(plan, environ=without_overrides(os.environ), cwd=Path.cwd())))


app = LazyGroup(
    name="supervise",
    help="Keep processes running as a plan says.",
    commands={
        "check": ("millrace.cli.supervise.check:check", "Check a plan; print every fault at once."),
        "convert": (
            "millrace.cli.supervise.convert:convert",
            "Make a plan of PHPeek PM's, supervisord's or a Procfile.",
        ),
        "init": ("millrace.cli.supervise.init:init", "Write a plan to begin with, and what runs it in a container."),
        "schema": ("millrace.cli.supervise.schema:schema", "Print the JSON Schema of plans, for editors."),
    },
    alone=_supervise,
    params=[click.Option(["-c", "--config"], type=PATH, help="The plan, in YAML.")],
)
