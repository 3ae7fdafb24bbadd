"""What the bytes of a piece depend on, beside the source and the program: the argument list that would make it alone, without places."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from millrace.domain.media.outputs import Plan
from millrace.engines.ffmpeg.codecs import is_software
from millrace.engines.ffmpeg.encoders import chosen
from millrace.engines.ffmpeg.filters import is_separable

SOURCE, NAME = "file:<source>", "file:<name>/"


def placeless(argv: Sequence[str], source: Path, name: str) -> tuple[str, ...]:
    """The arguments with the program left out, and with words for where the source lies and what the piece's folder is called.

    Nothing else is left out, though not all of it changes bits: whatever is another word is another piece.
    """
    own = f"file:{name}/"
    return tuple(
        SOURCE if word == f"file:{source}" else NAME + word.removeprefix(own) if name and word.startswith(own) else word
        for word in argv[1:]
    )


def is_repeatable(plan: Plan, working: Iterable[str] | None) -> bool:
    """Whether the same arguments give the same bits of a rendition, whatever is made beside it.

    What an encoder of a graphics card makes depends on the card and its driver, which no argument names.
    """
    encoders = (chosen(video.settings, working) for video in plan.videos)
    return is_separable(plan) and all(map(is_software, encoders))


def by_cores(plan: Plan, number: int, working: Iterable[str] | None) -> bool:
    """Whether the encoder of that rendition chooses its own number of threads, on which what it writes depends."""
    encoder = chosen(plan.videos[number].settings, working)
    return encoder != "libx264" or plan.split.threads_of(number) is None
