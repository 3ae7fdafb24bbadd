"""`millrace keys create` and `rotate`: what shows a secret, once."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Span, Target, Word, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.domain.roles import Role
from millrace.wire.v1.keys import KeyRequest


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--role", type=Word(Role), required=True, help="What it opens.")
@click.option("--tenant", default="", help="The only tenant whose jobs a viewer or submitter sees.")
@click.option("--expires", type=Span(), metavar="SPAN", help="After how long it ends, such as 30d, 12h or 15m.")
@target_options
@output_option
def create(name: str, role: Role, tenant: str, expires: float | None, target: Target, output: Output) -> None:
    """Make an API key. Its secret is printed this once; the farm keeps a hash alone."""
    request = KeyRequest(name=name, role=role, tenant=tenant, lasts_s=expires)
    with connect(target) as client:
        made = client.do(people.create_key(request))
    scope = f" for tenant {made.key.tenant}" if made.key.tenant else ""
    show.secret(
        made.secret,
        made.key,
        output,
        f"key {made.key.name} has role {made.key.role}{scope}; keep it now, nobody can show it again",
    )


@click.command()
@click.argument("key", metavar="KEY")
@click.option("--grace", type=Span(), default="0s", show_default=True, metavar="SPAN", help="How long the secret before stays good.")  # fmt: skip
@target_options
@output_option
def rotate(key: str, grace: float, target: Target, output: Output) -> None:
    """Give an API key, named or by id, another secret. It stays the same key, with its name, role and tenant."""
    with connect(target) as client:
        made = client.do(people.rotate_key(key, grace_s=grace))
    until = made.key.old_until
    old = (
        f"the secret before is good until {until:%Y-%m-%d %H:%M} UTC"
        if until
        else "the secret before opens nothing now"
    )
    show.secret(made.secret, made.key, output, f"key {made.key.name} has another secret; {old}")
