"""A finished file decoded from its beginning to its end, only to count what comes out."""

from fractions import Fraction
from pathlib import Path

from millrace.domain.media.proof_check import Decoded
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.arguments import STRICT
from millrace.engines.ffmpeg.probe import made_input
from millrace.engines.ffmpeg.reading import guarded

COUNTED = (
    *("-map", "0:v?", "-map", "0:a?", "-fps_mode", "passthrough"),
    # Pictures as they lie in the decoder's memory: nobody has to copy or sum up their pixels.
    *("-c:v", "wrapped_avframe", "-c:a", "pcm_s16le", "-f", "framecrc", "-"),
)


def decode_command(binary: Path | str, path: str, folder: Path) -> Command:
    """Decode a file, or a playlist with its segments, in `folder`; any damage ends it. A line on stdout for each picture, and for
    each piece of sound.
    """
    return Command(
        argv=(*guarded(binary), *STRICT, "-copyts", *made_input(path), *COUNTED),
        label=f"decode {path}",
        cwd=folder,
        reads=(folder,),
    )


class Count:
    """Reads those lines (libavformat/framecrcenc.c) one after the other."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._kinds: dict[int, str] = {}
        self._bases: dict[int, Fraction] = {}
        self._frames = 0
        self._latest: int | None = None
        self._rises = True
        self._ticks: dict[int, int] = {}

    def feed(self, line: str) -> None:
        """Take a line."""
        if line.startswith("#"):
            word, _, rest = line[1:].partition(" ")
            number, _, value = rest.partition(":")
            if word == "media_type":
                self._kinds[int(number)] = value.strip()
            elif word == "tb":
                self._bases[int(number)] = Fraction(value.strip())
            return
        parts = line.split(",")
        if len(parts) < 6:
            return
        stream, time, ticks = int(parts[0]), int(parts[2]), int(parts[3])
        if self._kinds.get(stream) == "video":
            self._frames += 1
            self._rises = self._rises and (self._latest is None or time > self._latest)
            self._latest = time
        else:
            self._ticks[stream] = self._ticks.get(stream, 0) + ticks

    def total(self, rate_hz: int, fault: str = "") -> Decoded:
        """What was counted; samples at so many in a second."""
        sound = [number for number, kind in sorted(self._kinds.items()) if kind == "audio"]
        samples = tuple(round(self._ticks.get(number, 0) * self._bases[number] * rate_hz) for number in sound)
        return Decoded(frames=self._frames, rises=self._rises, samples=samples, fault=fault)
