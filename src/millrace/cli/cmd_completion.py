"""`millrace completion`."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell.

    For bash: eval "$(millrace completion bash)"
    """
    from millrace.cli.app import app  # noqa: PLC0415  app imports this command when it is called

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(app, {}, "millrace", "_MILLRACE_COMPLETE").source())
