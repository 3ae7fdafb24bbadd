"""`millrace master`."""

import os
from pathlib import Path

import click

from millrace.cli.options import PATH, data_option, json_option, port_option


@click.command()
@data_option
@click.option("--store", help="A postgresql:// URL; without it, SQLite in the data folder.")
@click.option("--blobs", help="s3://bucket/prefix for uploads and outputs; without it, the data folder.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@port_option
@click.option("--fd", type=click.IntRange(3), help="Listen on this open socket, as systemd hands it over (3), instead.")
@click.option("--tls-cert", "tls_certificate", type=PATH, help="Certificate chain in PEM; without it, one of the farm's own off loopback.")  # fmt: skip
@click.option("--tls-key", type=PATH, help="Private key in PEM.")
@click.option("--tls-names", metavar="NAME[,NAME...]", help="Further host names and addresses for the farm's own certificate.")  # fmt: skip
@click.option(
    "--new-ca", is_flag=True, help="Make a new certificate authority for the farm; all workers must join again."
)
@click.option("--worker-auth", type=click.Choice(["any", "mtls"]), help="What workers must show: any (a key or a certificate), or mtls (a certificate).  [default: any]")  # fmt: skip
@click.option("--plain-http", is_flag=True, help="Listen off loopback without TLS, behind a proxy that ends it.")
@click.option("--webhook-allow-network", "webhook_allow_networks", multiple=True, metavar="CIDR", help="Network that webhooks may go to although it is not public, such as 10.0.0.0/8; repeatable.")  # fmt: skip
@json_option
def master(
    data: Path | None,
    store: str | None,
    blobs: str | None,
    host: str | None,
    port: int | None,
    fd: int | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_names: str | None,
    new_ca: bool,
    worker_auth: str | None,
    plain_http: bool,
    webhook_allow_networks: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a master: it keeps jobs and gives them to workers. Any number may share one PostgreSQL."""
    from millrace.cli.run import run, say  # noqa: PLC0415  not needed for --help
    from millrace.cli.setting_up import configure_logs  # noqa: PLC0415  not needed for --help
    from millrace.config.settings import MasterSettings, read  # noqa: PLC0415
    from millrace.programs.master import MasterProgram  # noqa: PLC0415

    settings = read(
        MasterSettings,
        os.environ,
        data=data,
        store=store,
        blobs=blobs,
        host=host,
        port=port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_names=tls_names,
        worker_auth=worker_auth,
        plain_http=plain_http or None,
        webhook_allow_networks=",".join(webhook_allow_networks) or None,
    )
    configure_logs(secrets=[settings.api_key])
    program = MasterProgram(settings, descriptor=fd, new_ca=new_ca)

    def ready() -> None:
        where = f"in {program.key_file}" if program.key_file else "the one that was given"
        text = f"The master is ready at {program.url}\n  API key    {where}"
        document = {"url": program.url, "api_key": program.key}
        if program.ca is not None:
            text += f"\n  authority  in {program.ca}"
            document["ca"] = str(program.ca)
        say(document, as_json=as_json, text=text)

    run(program, ready=ready, workers=lambda: (), broken=program.wait_broken)
