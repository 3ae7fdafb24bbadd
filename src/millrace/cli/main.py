"""The command line: one tree of commands, and one place where errors become sentences and exit codes."""

import sys
from typing import Annotated

import typer

import millrace
from millrace.cli import jobs, nodes, profiles
from millrace.cli.cmd_master import master
from millrace.cli.cmd_transcode import transcode
from millrace.cli.cmd_up import up
from millrace.cli.cmd_worker import worker
from millrace.cli.failure import CommandError
from millrace.client.errors import ClientError, RefusedError
from millrace.config.settings import SettingError

# Plain help: it costs no import of rich, and reads well in a pipe and in the reference.
app = typer.Typer(
    name="millrace",
    help="Turn video into other video, on as many machines as you have.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(transcode)
app.command()(up)
app.command()(master)
app.command()(worker)
app.add_typer(jobs.app, name="jobs")
app.add_typer(nodes.app, name="nodes")
app.add_typer(profiles.app, name="profiles")

INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        print(f"millrace {millrace.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn video into other video, on as many machines as you have."""


def _sentence(error: Exception) -> str:
    """What is wrong; of a refusal with findings, each on a line of its own with what would be right."""
    if not isinstance(error, RefusedError) or not error.errors:
        return str(error)
    lines = [
        f"  {finding.field}: {finding.message}"
        + (f" (allowed: {', '.join(finding.allowed)})" if finding.allowed else "")
        for finding in error.errors
    ]
    return "\n".join(["the master refuses this:", *lines])


def main() -> None:
    """Run the command that the arguments name."""
    try:
        app(prog_name="millrace")
    except (CommandError, SettingError, ClientError) as error:
        sys.stderr.write(f"millrace: {_sentence(error)}\n")
        sys.exit(error.code if isinstance(error, CommandError) else 2 if isinstance(error, SettingError) else 1)
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, and nobody to say it to.
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
