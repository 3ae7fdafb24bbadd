"""The options that say what a job is to be, and the request that they make: for one job, many, or one that comes again."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from millrace.cli.failure import CommandError
from millrace.cli.options import Word, chunks_option, on_damage_option, pairs
from millrace.cli.profiles.load import profile_or_document
from millrace.domain.order import Priority, Queue
from millrace.domain.sla import Classification
from millrace.edge.decode import field_error
from millrace.wire.v1.jobs import JobRequest

T = TypeVar("T")
Wish = dict[str, object]
"""Fields of a job's request."""

_OPTIONS = (
    click.option("--profile", "-p", help="A profile's name, a scenario, or a YAML file."),
    click.option("--scenario", help="A scenario such as 1080p30-h264."),
    click.option("--overwrite", is_flag=True, help="Replace an earlier output there, never anything else."),
    click.option(
        "--queue", type=Word(Queue), default=Queue.DEFAULT.value, show_default=True, help="What the job is for."
    ),
    click.option(
        "--priority", type=Word(Priority), default=Priority.MEDIUM.value, show_default=True, help="How urgent it is."
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "ffmpeg", "gstreamer"]),
        default="auto",
        show_default=True,
        help="What runs it.",
    ),
    click.option("--classification", type=Word(Classification), help="What its service level is judged by."),
    click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label for the job; repeatable."),
    click.option("--require", multiple=True, metavar="KEY=VALUE", help="A label that the node must carry; repeatable."),
    click.option(
        "--set",
        "parameters",
        multiple=True,
        metavar="KEY=VALUE",
        help="A change of the profile, such as crf=20; repeatable.",
    ),
    click.option("--duration", type=float, metavar="SECONDS", help="Seconds of the generated test clip."),
    chunks_option,
    on_damage_option,
    click.option("--timeout", type=float, metavar="SECONDS", help="Seconds that the job may run."),
    click.option("--max-retries", type=int, help="Attempts beyond the first."),
    click.option("--tenant", default="default", show_default=True, help="Whose job it is."),
)


def wish_options(command: Callable[..., T]) -> Callable[..., T]:
    """The options of every command that submits jobs; it gets what they say as `wish`."""

    @functools.wraps(command)
    def with_wish(
        *,
        profile: str | None,
        scenario: str | None,
        overwrite: bool,
        queue: Queue,
        priority: Priority,
        engine: str,
        classification: Classification | None,
        label: tuple[str, ...],
        require: tuple[str, ...],
        parameters: tuple[str, ...],
        duration: float | None,
        chunks: object,
        on_damage: object,
        timeout: float | None,
        max_retries: int | None,
        tenant: str,
        **others: Any,
    ) -> T:
        wish: Wish = {
            "profile": profile_or_document(profile) if profile else None,
            "scenario": scenario,
            "overwrite": overwrite,
            "queue": queue,
            "priority": priority,
            "engine": engine,
            "classification": classification,
            "tenant": tenant,
            "labels": dict(pairs("--label", label)),
            "requires": dict(pairs("--require", require)),
            "parameters": {
                "duration_s": duration,
                "chunks": chunks,
                "on_damage": on_damage,
                **dict(pairs("--set", parameters)),
            },
            "timeout_s": timeout,
            "max_retries": max_retries,
        }
        return command(wish=wish, **others)

    for option in reversed(_OPTIONS):
        with_wish = option(with_wish)
    return with_wish


def request_of(wish: Wish, *, what: str = "submit") -> JobRequest:
    """The request that a wish makes.

    Raises:
        CommandError: it makes none; `what` cannot be done.
    """
    try:
        # What --set gives is text; the shape says which of it is a number.
        return msgspec.convert(wish, JobRequest, strict=False)
    except msgspec.ValidationError as error:
        wrong = field_error(str(error), JobRequest)
        raise CommandError(f"cannot {what}: {wrong.field}: {wrong.message}", code=2) from error


def absolute(location: str | None) -> str | None:
    """A path as the user's shell means it, from the root; URLs as they are."""
    if location is None or "://" in location or location.startswith("-"):
        return location
    return os.path.abspath(location)  # noqa: PTH100  `..` goes, links stay as the user named them


def check_key(key: str | None) -> None:
    """Pass an idempotency key that a header can hold."""
    if key is not None and not key.isprintable():
        raise CommandError("cannot submit: the idempotency key holds a line break or another control character", code=2)
