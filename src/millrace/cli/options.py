"""Options that several commands share, each spelled once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How a command shows what it found."""

    TABLE = "table"
    JSON = "json"


MasterOption = Annotated[
    str,
    typer.Option(
        "--master",
        envvar=["MILLRACE_MASTER", "MASTER_URL"],
        help="Address of the master; several, separated by commas, are tried in turn.",
        metavar="URL[,URL...]",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File that holds the API key. Without it, MILLRACE_API_KEY or the data folder's key is used.",
        dir_okay=False,
    ),
]
DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="MILLRACE_DATA", help="Folder of a master on this machine.", file_okay=False),
]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", envvar="MILLRACE_OUTPUT", help="How to show the result.", case_sensitive=False),
]
JobArgument = Annotated[str, typer.Argument(help="The job's number, such as 42, or its id.", metavar="JOB")]
NodeArgument = Annotated[str, typer.Argument(help="The node's name or its id.", metavar="NODE")]

DEFAULT_MASTER = "http://127.0.0.1:8080"
DEFAULT_DATA = Path("millrace-data")
