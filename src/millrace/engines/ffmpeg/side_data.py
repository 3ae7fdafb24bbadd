"""What FFmpeg says of a stream or of a picture beside its samples: the display it was mastered on, light levels, Dolby Vision.

A container may say it of the stream (libavformat/dump.c prints it), and the pictures themselves may (SEI messages and metadata OBUs, which
the filter `showinfo` prints). Both are read from their lines, versions 5.1 to 9.
"""

import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.probe import DolbyVision, LightLevel, Mastering, Point, Probe, VideoStream
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.reading import guarded, source

_NUMBER = r"(\d+(?:\.\d+)?)"
_POINT = rf"\({_NUMBER},? ?{_NUMBER}\)"
MASTERING = re.compile(
    rf"mastering display metadata.*?has_primaries:(\d) has_luminance:(\d) r{_POINT} g{_POINT} b{_POINT} wp{_POINT} "
    rf"min_luminance={_NUMBER}, max_luminance={_NUMBER}",
    re.IGNORECASE,
)
LIGHT = re.compile(r"content light level metadata.*?MaxCLL=(\d{1,5}), MaxFALL=(\d{1,5})", re.IGNORECASE)
DOLBY = re.compile(r"DOVI configuration record: version: [\d.]+, profile: (\d{1,3}),.* compatibility id: (\d{1,3})")
DYNAMIC = re.compile(r"2094-?40|HDR10\+|Dolby Vision")
SHOWN = re.compile(r"^\[Parsed_showinfo_\d+ @ 0x[0-9a-f]+\]\s+side data - (.*)$")


class SideData(Struct, frozen=True, kw_only=True):
    """What was found."""

    mastering: Mastering | None = None
    light: LightLevel | None = None
    dolby_vision: DolbyVision | None = None
    dynamic_hdr: bool = False


def read_side_data(lines: Iterable[str]) -> SideData:
    """Of the lines below a stream, or those of a picture."""
    found = SideData()
    for line in lines:
        if match := MASTERING.search(line):
            found = replace(found, mastering=_mastering(match))
        elif match := LIGHT.search(line):
            found = replace(found, light=LightLevel(max_cll=int(match[1]), max_fall=int(match[2])))
        elif match := DOLBY.search(line):
            found = replace(found, dolby_vision=DolbyVision(profile=int(match[1]), compatibility=int(match[2])))
        elif DYNAMIC.search(line):
            found = replace(found, dynamic_hdr=True)
    return found


def first_picture(binary: Path | str, path: Path, probe: Probe) -> Command | None:
    """Decode one picture of high dynamic range and print what is said beside it; None for another film.

    x265 and cameras write that into the stream, where a probe that decodes nothing does not see it.
    """
    stream = probe.largest
    if stream is None or not stream.color.is_hdr:
        return None
    shown = ("-map", f"0:{stream.index}", "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-")
    argv = (*guarded(binary), *source(path), *shown)
    return Command(argv=argv, label="look at the first picture", reads=(path,), file_bytes=1)  # it writes none


def with_first_picture(probe: Probe, stderr: str, exit_status: int) -> Probe:
    """The facts with what the first picture says. Where it cannot be decoded they stay as they are: the encode will say why."""
    stream = probe.largest
    if stream is None or exit_status:
        return probe
    lines = (match[1] for line in stderr.splitlines() if (match := SHOWN.match(line)))
    found = read_side_data(lines)
    seen = replace(
        stream,
        mastering=found.mastering or stream.mastering,
        light=found.light or stream.light,
        dynamic_hdr=found.dynamic_hdr or stream.dynamic_hdr,
    )
    return replace(probe, video=tuple(seen if one is stream else one for one in probe.video))


def _mastering(match: re.Match[str]) -> Mastering | None:
    has_primaries, has_luminance, *numbers = match.groups()
    values = [Fraction(number) for number in numbers]
    red, green, blue, white = ((values[at], values[at + 1]) for at in range(0, 8, 2))
    points: tuple[Point, Point, Point, Point] = (red, green, blue, white)
    return Mastering(
        primaries=points if has_primaries == "1" else None,
        luminance=(values[8], values[9]) if has_luminance == "1" else None,
    )


def described(stream: VideoStream, lines: Iterable[str]) -> VideoStream:
    """The stream with what stands below it in the description of its file."""
    found = read_side_data(lines)
    return replace(
        stream,
        mastering=found.mastering,
        light=found.light,
        dolby_vision=found.dolby_vision,
        dynamic_hdr=found.dynamic_hdr,
    )
