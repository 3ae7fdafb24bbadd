"""`millrace watch`."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from millrace.cli import show
from millrace.cli.failure import CommandError
from millrace.cli.films import films_in, why
from millrace.cli.jobs.request import Wish, absolute, wish_options
from millrace.cli.options import PATH, Output, Span, Target, output_option, pattern_option, target_options
from millrace.cli.session import connect
from millrace.cli.watch.folder import Folder

LOOK_S = 1.0


@click.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--out", "destination", help="Folder or s3:// prefix; each film gets a folder of its name in it.")
@pattern_option
@click.option(
    "--settle",
    type=Span(),
    default="5s",
    show_default=True,
    metavar="SPAN",
    help="For how long a file has to stand still.",
)
@click.option("--done", type=PATH, help="Move films here once their jobs have completed; on the same file system.")
@click.option("--once", is_flag=True, help="End when every film that is there has been submitted.")
@wish_options
@target_options
@output_option
def watch(
    folder: Path,
    destination: str | None,
    pattern: tuple[str, ...],
    settle: float,
    done: Path | None,
    once: bool,
    wish: Wish,
    target: Target,
    output: Output,
) -> int:
    """Submit every film that comes into a folder, once it stands still, and say what becomes of it. Ctrl-C ends it; its jobs go on.

    The workers have to see the folder under the same path. Whoever watches again submits nothing a second time.
    """
    folder = folder.absolute()
    try:
        list(films_in(folder, pattern))
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot watch {folder}: {why(error)}", code=2) from error
    out, moved = absolute(destination), None if done is None else done.absolute()
    for where, option in ((out, "--out"), (moved, "--done")):
        if where is not None and "://" not in str(where) and Path(where).is_relative_to(folder):
            raise CommandError(f"cannot watch {folder}: {option} lies in it; name another folder", code=2)
    told = _Told(output)
    with connect(target) as client:
        watched = Folder(
            client, folder, wish | {"output": out}, patterns=pattern, settle_s=settle, done=moved, tell=told
        )
        watched.request_for(folder / "film.mp4", {})  # what is wrong with the options is wrong now
        told("watches", folder, {})
        while True:
            watched.look()
            if once and watched.is_still and (moved is None or not watched.running):
                break
            client.pause(LOOK_S)
    return 1 if told.bad else 0


class _Told:
    """What is said, line by line: to people, or as one JSON document on each."""

    def __init__(self, output: Output) -> None:
        self._json = output is Output.JSON
        self.bad = False

    def __call__(self, what: str, path: Path | None, more: Mapping[str, object]) -> None:
        self.bad |= what == "refused" or (what == "ended" and more["state"] != "completed")
        if self._json:
            named = {} if path is None else {"file": str(path)}
            sys.stdout.write(msgspec.json.encode({"event": what.replace(" ", "_"), **named, **more}).decode() + "\n")
        else:
            sys.stdout.write(_line(what, path, more) + "\n")
        sys.stdout.flush()


def _line(what: str, path: Path | None, more: Mapping[str, object]) -> str:
    name = show.harmless("" if path is None else path.name)
    why = show.harmless(str(more.get("why", "")))
    return {
        "watches": f"watching {show.harmless(str(path))}; Ctrl-C ends it",
        "submitted": f"{name}: job {more.get('job')} is {more.get('state')}",
        "known": f"{name}: was submitted before",
        "ended": f"{name}: job {more.get('job')} is {more.get('state')}" + (f": {why}" if why else ""),
        "refused": f"{name}: refused: {why}",
        "stays": f"{name}: stays here: {why}",
        "waits": f"waiting: {why}",
        "goes on": "going on",
    }[what]
