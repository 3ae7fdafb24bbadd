"""What the commands share that change a plan: their options, and how they tell what became of it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from millrace.cli.ctl.session import control_options, wait_option
from millrace.cli.options import output_option
from millrace.client.news_words import reload_lines, reload_sentence
from millrace.wire.v1.supervise import ReloadView

T = TypeVar("T")


def change_options(command: Callable[..., T]) -> Callable[..., T]:
    """Whether it is only a rehearsal, how long to wait, and the options of every command."""

    @click.option("--dry-run", is_flag=True, help="Only show what would change.")
    @wait_option(120, "Wait so long to see what becomes of it; 0 does not wait.")
    @control_options
    @output_option
    @functools.wraps(command)
    def with_options(**others: Any) -> T:
        return command(**others)

    return with_options


def tell(found: ReloadView, *, more: str = "") -> None:
    """For people: the outcome, with what else there is to say of it, then each difference on a line."""
    click.echo(reload_sentence(found) + more)
    for line in reload_lines(found):
        click.echo(f"  {line}")


def exit_code(found: ReloadView, *, wait: int) -> int:
    """0 where it went well, or goes on and nobody waits for it."""
    return 0 if found.outcome in ("dry-run", "applied") or (found.outcome == "pending" and not wait) else 1
