"""Options that several commands share, each spelled once."""

import functools
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click
from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.split import Chunking

T = TypeVar("T")


class Output(StrEnum):
    """How a command shows what it found."""

    TABLE = "table"
    JSON = "json"


class Word(click.Choice[str]):
    """One of an enumeration's words, spelled as everywhere else."""

    def __init__(self, words: type[StrEnum]) -> None:
        """`words` are the choices; the command gets a member."""
        super().__init__([word.value for word in words], case_sensitive=False)
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The member that the text names."""
        return self._words(super().convert(value, param, ctx))


class Span(click.ParamType[float]):
    """A length of time such as `30d`, `12h`, `15m` or `90s`, as seconds."""

    name = "span"
    _UNITS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The seconds that the text names."""
        if isinstance(value, int | float):
            return float(value)
        number, unit = str(value)[:-1], str(value)[-1:]
        if number.isascii() and number.isdigit() and len(number) <= 9 and unit in self._UNITS:
            return float(int(number) * self._UNITS[unit])
        return self.fail(f"{value!r} is no length of time; write it as 30d, 12h, 15m or 90s", param, ctx)


DEFAULT_MASTER = "http://127.0.0.1:8080"
DEFAULT_DATA = Path("millrace-data")

PATH = click.Path(path_type=Path)
LOCAL_FILE = click.Path(path_type=Path, dir_okay=False)

master_option = click.option(
    "--master",
    envvar=["MILLRACE_MASTER", "MASTER_URL"],
    default=DEFAULT_MASTER,
    show_default=True,
    metavar="URL[,URL...]",
    help="Address of the master; several, separated by commas, are tried in turn.",
)
key_file_option = click.option(
    "--api-key-file",
    "key_file",
    type=LOCAL_FILE,
    help="File that holds the API key. Without it, MILLRACE_API_KEY or the data folder's key is used.",
)
ca_option = click.option(
    "--ca",
    type=LOCAL_FILE,
    envvar="MILLRACE_CA",
    help="Certificate authority of the master in PEM.",
)


class Target(Struct, frozen=True):
    """Which farm a command speaks to, and what it needs for that."""

    masters: str
    key_file: Path | None
    ca: Path | None


def target_options(command: Callable[..., T]) -> Callable[..., T]:
    """The options of every command that asks a master; it gets them as `target`."""

    @master_option
    @key_file_option
    @ca_option
    @functools.wraps(command)
    def with_target(*, master: str, key_file: Path | None, ca: Path | None, **others: Any) -> T:
        return command(target=Target(master, key_file, ca), **others)

    return with_target


output_option = click.option(
    "--output",
    "-o",
    type=Word(Output),
    envvar="MILLRACE_OUTPUT",
    default=Output.TABLE.value,
    show_default=True,
    help="How to show the result.",
)
chunks_option = click.option(
    "--chunks",
    type=Word(Chunking),
    help="Encode in chunks side by side: auto (where it is faster and proven), always (where it is proven) or never.  [default: auto]",
)
on_damage_option = click.option(
    "--on-damage",
    type=Word(OnDamage),
    help="What becomes of a damaged input: fail, conceal (the decoder hides it) or cut (the damaged places are taken out).  [default: that of the profile, else fail]",
)
failure_class_option = click.option(
    "--failure-class",
    type=Word(FailureClass),
    multiple=True,
    help="Only jobs that failed for this reason; repeatable.",
)
pattern_option = click.option(
    "--pattern",
    multiple=True,
    metavar="GLOB",
    help="Which files of the folder, such as '*.mp4' or '**/*.mov'; repeatable.  [default: films by their suffix]",
)
job_argument = click.argument("job", metavar="JOB")
webhook_argument = click.argument("webhook", metavar="WEBHOOK")
batch_argument = click.argument("batch", metavar="BATCH")
schedule_argument = click.argument("schedule", metavar="SCHEDULE")
node_argument = click.argument("node", metavar="NODE")
json_option = click.option("--json", "as_json", is_flag=True, help="Say in one JSON line when it is ready.")
data_option = click.option("--data", type=PATH, help="Folder for everything that is kept.  [default: millrace-data]")
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one.  [default: 8080]"
)
media_root_option = click.option(
    "--media-root",
    "media_roots",
    type=PATH,
    multiple=True,
    help="Folder that inputs and outputs by path must lie under; repeatable.",
)
input_allow_network_option = click.option(
    "--input-allow-network",
    "input_allow_networks",
    metavar="CIDR",
    multiple=True,
    help="Network that http(s) inputs may lie on although it is not public, such as 10.0.0.0/8; repeatable.",
)
drain_timeout_option = click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    help="Seconds that running tasks get to end after SIGTERM, before they are handed back.",
)

sandbox_option = click.option(
    "--sandbox",
    type=click.Choice(["auto", "require", "off"]),
    help="Whether FFmpeg is shut in: as well as this machine can, wholly or not at all, or not.  [default: auto]",
)


def pairs(option: str, given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` options as pairs.

    Raises:
        click.BadParameter: one has another form.
    """
    found = [text.partition("=") for text in given]
    if not all(key and equals for key, equals, _ in found):
        raise click.BadParameter("write it as KEY=VALUE", param_hint=option)
    return tuple((key, value) for key, _, value in found)
