"""`millrace supervise key`."""

import secrets
import sys
from datetime import datetime
from hashlib import sha256

import click

from millrace.cli import show
from millrace.cli.options import Output, output_option


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "admin"]),
    default="operator",
    show_default=True,
    help="What it opens.",
)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which it is good.")
@output_option
def key(name: str, role: str, expires: datetime | None, output: Output) -> None:
    """Make a key: it is printed once, and on stderr what goes under `keys` in an access file, which holds its hash alone."""
    if not name.isprintable() or not name.strip() or len(name) > 200:
        raise click.BadParameter("give 1 to 200 printable characters", param_hint="NAME")
    secret = f"mrs_{secrets.token_urlsafe(32)}"
    entry = {"name": name, "role": role, "sha256": sha256(secret.encode()).hexdigest()}
    if expires is not None:
        entry["expires"] = expires.date().isoformat()
    if output is Output.JSON:
        show.json_document({"key": secret, "entry": entry})
        return
    print(secret)
    import json  # noqa: PLC0415  a line of JSON is one of YAML

    sys.stderr.write(f"keys:\n  - {json.dumps(entry)}\n")
