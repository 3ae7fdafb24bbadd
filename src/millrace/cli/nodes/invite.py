"""`millrace nodes invite`."""

import socket
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

import click
import msgspec

from millrace.cli import show
from millrace.cli.options import Output, Span, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import enrolment
from millrace.wire.v1.enrolment import LASTS_S, MOST_S, InvitationRequest


@click.command()
@click.option("--expires", type=Span(), default="15m", show_default=True, metavar="SPAN", help="How long the token is good, at most 7d.")  # fmt: skip
@click.option("--url", metavar="URL[,URL...]", help="Address by which the machine reaches the master; without it, the one of --master.")  # fmt: skip
@target_options
@output_option
def invite(expires: float, url: str | None, target: Target, output: Output) -> None:
    """Let one more machine join: print the command to run there. Its token is good once."""
    if not 1 <= expires <= MOST_S:
        raise click.BadParameter("give one from 1s to 7d", param_hint="--expires")
    with connect(target) as client:
        made = client.do(enrolment.invite(InvitationRequest(lasts_s=expires or LASTS_S)))
    masters = url or ",".join(_from_elsewhere(address.strip()) for address in target.masters.split(","))
    command = f"millrace worker --master {masters} --join {made.token}"
    if output is Output.JSON:
        show.json_document({**msgspec.to_builtins(made), "command": command})
        return
    print(command)
    sys.stderr.write(f"run it on the new machine before {made.expires:%Y-%m-%d %H:%M} UTC; the token is good once\n")
    if not made.authority and masters.startswith("https:"):
        sys.stderr.write(
            "the master's certificate is none of the farm's own, so that machine must trust it: see --ca\n"
        )


def _from_elsewhere(address: str) -> str:
    """An address of this machine's loopback means this machine, which others call by its name."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        return address
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{socket.gethostname()}{port}{parts.path}"
