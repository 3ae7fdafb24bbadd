"""Commands that are imported when they are called: `millrace transcode` must not wait for what only others need."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import click


class LazyGroup(click.Group):
    """A group whose commands are named by `module:attribute`, each with the sentence that the group's help shows."""

    def __init__(
        self,
        *,
        name: str,
        help: str,  # noqa: A002  click's word
        commands: Mapping[str, tuple[str, str]],
        alone: Callable[..., object] | None = None,
        params: Sequence[click.Parameter] = (),
    ) -> None:
        """`commands` maps a command's name to where it stands and what it does; `alone` runs where none is given."""
        super().__init__(
            name=name,
            help=help,
            no_args_is_help=True,
            invoke_without_command=alone is not None,
            callback=alone,
            params=list(params),
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        self._lazy = dict(commands)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The names, in the order in which they were given."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import the command."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in self._lazy.items()])
