"""`millrace supervise`: keep processes as a plan says."""

import os
from pathlib import Path

import click

from millrace.cli.options import LOCAL_FILE, PATH
from millrace.cli.supervise.changes_file import CHANGES
from millrace.cli.tree import LazyGroup


@click.pass_context
def _supervise(
    context: click.Context,
    config: Path | None,
    socket: Path | None,
    no_socket: bool,
    listen: tuple[str, int] | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    access: Path | None,
    audit_log: Path | None,
    changes: Path | None,
) -> int | None:
    if context.invoked_subcommand is not None:
        return None
    if config is None:
        raise click.UsageError("name a plan with -c, or a command", context)
    if no_socket and socket is not None and context.get_parameter_source("socket") is not ENVIRONMENT:
        raise click.UsageError("give either --socket or --no-socket", context)
    from millrace.cli.lean import hand_over  # noqa: PLC0415  not needed for --help
    from millrace.cli.order import Order  # noqa: PLC0415
    from millrace.cli.supervise.load import read_plan  # noqa: PLC0415
    from millrace.programs.control_settings import KEY_VARIABLE, ControlSettings  # noqa: PLC0415
    from millrace.supervisor.plans.overrides import without_overrides  # noqa: PLC0415

    layers = read_plan(config, os.environ, changes)
    host, port = listen or ("", 0)
    control = ControlSettings(
        enabled=not no_socket, socket=socket, host=host, port=port, key=os.environ.get(KEY_VARIABLE, ""), certificate=tls_cert,
        certificate_key=tls_key, client_ca=tls_client_ca, access=access, audit=audit_log,
    )  # fmt: skip
    order = Order(layers=layers, config=config, changes=changes, control=control, environ=without_overrides(os.environ))
    hand_over(order)
    return order.carried_out()


ENVIRONMENT = click.core.ParameterSource.ENVIRONMENT


class _Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT, with the host of IPv6 in brackets."""

    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The host and the port."""
        host, _, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
            self.fail(f"{value!r} is no HOST:PORT, such as 127.0.0.1:9180", param, ctx)
        return host, int(port)


app = LazyGroup(
    name="supervise",
    help=(
        "Keep processes running as a plan says. Exit codes: 0 everything ended well, or was told to and did, 1 something "
        "had failed for good, 2 the plan cannot work, 3 told to end, not all did in its time, and was killed."
    ),
    commands={
        "check": ("millrace.cli.supervise.check:check", "Check a plan; print every fault at once."),
        "convert": (
            "millrace.cli.supervise.convert:convert",
            "Make a plan of PHPeek PM's, supervisord's or a Procfile.",
        ),
        "init": ("millrace.cli.supervise.init:init", "Write a plan to begin with, and what runs it in a container."),
        "key": ("millrace.cli.supervise.key:key", "Make a key for an access file."),
        "tune": ("millrace.cli.supervise.tune:tune", "Size a pool of workers to the memory and the CPUs."),
        "schema": ("millrace.cli.supervise.schema:schema", "Print the JSON Schema of plans, for editors."),
    },
    alone=_supervise,
    params=[
        click.Option(["-c", "--config"], type=PATH, help="The plan, in YAML."),
        CHANGES,
        click.Option(
            ["--socket"],
            type=PATH,
            envvar="MILLRACE_SUPERVISE_SOCKET",
            help="Unix socket for `millrace ctl`.  [default: millrace/supervise.sock in $XDG_RUNTIME_DIR, or in /run for root]",
        ),
        click.Option(["--no-socket"], is_flag=True, help="Make no unix socket."),
        click.Option(
            ["--listen"],
            type=_Address(),
            help="Answer on TCP, too; needs MILLRACE_SUPERVISE_KEY, and TLS beyond this machine.",
        ),
        click.Option(["--tls-cert"], type=LOCAL_FILE, help="Certificate for --listen, in PEM."),
        click.Option(["--tls-key"], type=LOCAL_FILE, help="Private key of that certificate, in PEM."),
        click.Option(
            ["--tls-client-ca"],
            type=LOCAL_FILE,
            help="Hear on TCP only who shows a certificate of this authority, in PEM.",
        ),
        click.Option(
            ["--access"],
            type=LOCAL_FILE,
            help="Who may do what: keys, users, certificates, networks, and how often, in YAML.",
        ),
        click.Option(["--audit-log"], type=PATH, help="Write who changed what to this file, a JSON document a line."),
    ],
)
