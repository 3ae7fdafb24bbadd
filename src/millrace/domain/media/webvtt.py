"""WebVTT (W3C): subtitles cut into segments, and cues of thumbnails that name a rectangle of a sprite (Media Fragments `#xywh=`)."""

import re
from fractions import Fraction
from math import ceil, floor

from msgspec import Struct

from millrace.domain.media.outputs import Sprites

_TIMES = re.compile(r"(?:(\d+):)?(\d\d):(\d\d\.\d{3})[ \t]+-->[ \t]+(?:(\d+):)?(\d\d):(\d\d\.\d{3})(?:[ \t].*)?\Z")
_LEFT_OUT = ("NOTE", "X-TIMESTAMP-MAP")
MOST_REPEATED, FREE_LETTERS = 4, 200
"""How often the text of a film may stand in its segments, on average, and what each may hold besides. Cues that last through many
segments stand in all of them; a few that never end would make of a small file more than a disk holds."""


class Cue(Struct, frozen=True, kw_only=True):
    """One cue: its times in seconds, and its lines as they stand, times and settings among them."""

    start: Fraction
    end: Fraction
    text: str


class Subtitles(Struct, frozen=True, kw_only=True):
    """A whole file: `preamble` is what holds for all cues (styles, regions)."""

    cues: tuple[Cue, ...]
    preamble: tuple[str, ...] = ()


def parse_webvtt(text: str) -> Subtitles:
    """Read a file.

    Raises:
        ValueError: it is no WebVTT.
    """
    blocks = re.split(r"\n{2,}", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
    if not re.match(r"WEBVTT(?:[ \t\n]|\Z)", blocks[0]):
        raise ValueError("cannot read subtitles that do not begin with WEBVTT")
    cues: list[Cue] = []
    preamble: list[str] = []
    for block in blocks[1:]:
        found = next((match for line in block.split("\n")[:2] if (match := _TIMES.match(line))), None)
        if found:
            cues.append(Cue(start=_seconds(*found.groups()[:3]), end=_seconds(*found.groups()[3:]), text=block))
        elif not cues and not block.startswith(_LEFT_OUT):
            preamble.append(block)
    return Subtitles(cues=tuple(cues), preamble=tuple(preamble))


def webvtt_segments(
    subtitles: Subtitles, length: Fraction, duration: Fraction, *, begins_at: Fraction
) -> tuple[tuple[Fraction, str], ...]:
    """Files of `length` seconds each, up to `duration`: seconds and text, with all cues that are shown meanwhile (RFC 8216 3.5).

    `begins_at` is the time on the clock of sound and pictures that is time 0 of the cues. What is shown after the end is left out.
    Where cues last so long that they would stand in too many files, the file is one.
    """
    count = max(1, ceil(duration / length))
    shown = [range(max(0, floor(cue.start / length)), min(count, _last(cue, length) + 1)) for cue in subtitles.cues]
    preamble = sum(map(len, subtitles.preamble))
    repeated = sum(len(cue.text) * len(numbers) for cue, numbers in zip(subtitles.cues, shown, strict=True))
    once = preamble + sum(len(cue.text) for cue in subtitles.cues)
    if repeated + preamble * count > MOST_REPEATED * once + FREE_LETTERS * count:
        length, count, shown = duration, 1, [range(1)] * len(shown)
    texts: list[list[str]] = [[] for _ in range(count)]
    for cue, numbers in zip(subtitles.cues, shown, strict=True):
        for number in numbers:
            texts[number].append(cue.text)
    stamp = f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{int(begins_at * 90_000)},LOCAL:00:00:00.000"
    return tuple(
        (min(length, duration - number * length), "\n\n".join([stamp, *subtitles.preamble, *cues]) + "\n")
        for number, cues in enumerate(texts)
    )


def _last(cue: Cue, length: Fraction) -> int:
    """The last file in which a cue is seen: one that ends with a file is not seen in the next."""
    return max(floor(cue.start / length), ceil(cue.end / length) - 1)


def _seconds(hours: str | None, minutes: str, seconds: str) -> Fraction:
    return int(hours or 0) * 3600 + int(minutes) * 60 + Fraction(seconds)


def thumbnails_vtt(sprites: Sprites, paths: tuple[str, ...], duration: Fraction) -> str:
    """The cue file for sprites at `paths` (in order), for a film of `duration` seconds."""
    columns, per_sprite = sprites.settings.columns, sprites.settings.columns * sprites.settings.rows
    wide, high = sprites.size.width, sprites.size.height
    cues = ["WEBVTT\n"]
    for number in range(sprites.count):
        row, column = divmod(number % per_sprite, columns)
        start = number * sprites.interval
        # The last picture stands until the end.
        end = duration if number == sprites.count - 1 else start + sprites.interval
        cues.append(
            f"{_time(start)} --> {_time(end)}\n{paths[number // per_sprite]}#xywh={column * wide},{row * high},{wide},{high}\n"
        )
    return "\n".join(cues)


def _time(seconds: Fraction) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
