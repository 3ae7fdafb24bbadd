"""What every program that stays does first: say how events are written, and begin to collect garbage.

Apart from `run`, whose imports are those of masters and workers: a supervisor has no use for them.
"""

import gc
import os
import sys
from collections.abc import Sequence

from millrace.cli.failure import CommandError
from millrace.telemetry import logs

_OF_MANY_REQUESTS = 10_000
"""Objects; a few hundred requests that wait for the same commit hold fewer, and a megabyte holds them."""


def log_form() -> str:
    """How events are written: text for a terminal, JSON lines for anything else, unless MILLRACE_LOG says otherwise."""
    return os.environ.get("MILLRACE_LOG", "text" if sys.stderr.isatty() else "json")


def configure_logs(*, secrets: Sequence[str] = ()) -> None:
    """Send events to stderr in the form of :func:`log_form`."""
    form = log_form()
    level = os.environ.get("MILLRACE_LOG_LEVEL", "info")
    if form not in {"text", "json"}:
        raise CommandError(f"cannot use MILLRACE_LOG: {form!r} is neither text nor json", code=2)
    try:
        logs.configure(
            form="text" if form == "text" else "json", level=level, secrets=[text for text in secrets if text]
        )
    except ValueError as error:
        raise CommandError(f"cannot use MILLRACE_LOG_LEVEL: {error}", code=2) from error


def collect_garbage(*, busy: bool = False) -> None:
    """The start is over (see `app`): what was made until now stays for good, what comes is looked after.

    `busy`: the program may have hundreds of requests in hand at once. Nearly all that these make is in use until the answer,
    so that to look at it again and again, as the default of 700 objects has it, finds nothing.
    """
    gc.freeze()
    if busy:
        gc.set_threshold(_OF_MANY_REQUESTS, *gc.get_threshold()[1:])
    gc.enable()
