"""`millrace master`."""

import os
from pathlib import Path
from typing import Annotated

import typer


def master(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder for everything that is kept. [millrace-data]")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="A postgresql:// URL; without it, SQLite in the data folder.")
    ] = None,
    blobs: Annotated[
        str | None,
        typer.Option("--blobs", help="s3://bucket/prefix for uploads and outputs; without it, the data folder."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes any free one. [8080]")] = None,
    tls_certificate: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Private key in PEM.")] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Listen off loopback without TLS, behind a proxy that ends it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say in one JSON line when it is ready.")] = False,
) -> None:
    """Run a master: it keeps jobs and gives them to workers. Any number may share one PostgreSQL."""
    from millrace.cli.run import configure_logs, run, say  # noqa: PLC0415  the programs are imported when they run
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
        plain_http=plain_http or None,
    )
    configure_logs(secrets=[settings.api_key])
    program = MasterProgram(settings)

    def ready() -> None:
        where = f"in {program.key_file}" if program.key_file else "the one that was given"
        text = f"The master is ready at {program.url}\n  API key    {where}"
        say({"url": program.url, "api_key": program.key}, as_json=as_json, text=text)

    run(program, ready=ready, workers=lambda: ())
