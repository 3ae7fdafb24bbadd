"""`millrace ctl tui`."""

import asyncio
import sys

import click

from millrace.cli.ctl.session import Control, address, async_client, control_options, supervisor
from millrace.cli.failure import CommandError
from millrace.client import supervise


@click.command()
@control_options
def tui(control: Control) -> None:
    """Watch and steer the processes on the whole terminal; `?` says what the keys do.

    Nothing is stopped by leaving it. When the supervisor goes away it waits for the next one. NO_COLOR is heeded.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            "cannot show the processes: this is no terminal; `millrace ctl status` and `events` are for pipes", code=2
        )
    with supervisor(control) as client:
        client.do(supervise.processes())  # a wrong address or key is told before the screen is taken
    from millrace.tui.app import run  # noqa: PLC0415  textual takes a fifth of a second, and only this needs it

    asyncio.run(run(async_client(control), address(control)))
