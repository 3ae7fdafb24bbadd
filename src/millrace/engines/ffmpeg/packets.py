"""Reader of FFmpeg's `framecrc` output over copied packets: exact times of every packet (libavformat/framecrcenc.c)."""

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from io import StringIO
from itertools import pairwise, takewhile

from msgspec import Struct, field

KEY, CORRUPT, DISCARD = 0x1, 0x2, 0x4
UNKNOWN_TIME = -(2**63)


class Packets(Struct):
    """One stream's packets in ticks of `time_base`: presentation times, those and the decoding times of the
    key frames among them, the last one's length.

    `corrupt` counts packets that the demuxer marked, `guessed` those without a presentation time of their own, `hidden`
    those that an edit list hides. `backsteps` are times of packets that do not come after the one before.
    """

    time_base: Fraction = Fraction(1, 90000)
    times: list[int] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    last_duration: int = 0
    corrupt: int = 0
    guessed: int = 0
    hidden: int = 0
    backsteps: list[int] = field(default_factory=list)
    _latest: int = 0
    _decoded: int = UNKNOWN_TIME

    def add(self, dts: int, pts: int, duration: int, flags: int) -> None:
        """Count a packet, unless an edit list hides it."""
        if flags & CORRUPT:
            self.corrupt += 1
        if flags & DISCARD:
            self.hidden += 1
            return
        time = dts if pts == UNKNOWN_TIME else pts
        self.guessed += pts == UNKNOWN_TIME
        if dts <= self._decoded:
            self.backsteps.append(time)
        self._decoded = dts
        if not self.times or time >= self._latest:
            self._latest = time
            self.last_duration = duration
        self.times.append(time)
        if flags & KEY:
            self.keys.append((time, dts))

    def gops(self) -> tuple[int, ...]:
        """For each key frame in order of time, how many frames are shown from it to the next."""
        times = sorted(self.times)
        places = [*(bisect_left(times, key) for key, _ in sorted(self.keys)), len(times)]
        return tuple(later - earlier for earlier, later in pairwise(places))


class Line(Struct, frozen=True):
    """One packet or frame: when it is shown and for how long, in seconds, and its flags."""

    time: Fraction
    duration: Fraction
    flags: int


def read_packets(text: str) -> dict[int, Packets]:
    """Packets by output stream number."""
    streams = {number: Packets(time_base=base) for number, base in time_bases(text).items()}
    for number, dts, pts, duration, flags in _fields(text):
        streams.setdefault(number, Packets()).add(dts, pts, duration, flags)
    return streams


def packet_lines(text: str) -> dict[int, list[Line]]:
    """Every packet or frame as it stands there, by output stream number."""
    bases = time_bases(text)
    streams: dict[int, list[Line]] = {number: [] for number in bases}
    for number, dts, pts, duration, flags in _fields(text):
        if number in bases:
            time = dts if pts == UNKNOWN_TIME else pts
            base = bases[number]
            streams[number].append(Line(time * base, duration * base, flags))
    return streams


def time_bases(text: str) -> dict[int, Fraction]:
    """The length of a tick in seconds, by output stream number."""
    bases = {}
    for line in takewhile(lambda line: line.startswith("#"), StringIO(text)):  # the head of a text of many megabytes
        if line.startswith("#tb "):
            number, _, base = line[4:].partition(":")
            top, _, bottom = base.strip().partition("/")
            bases[int(number)] = Fraction(int(top), int(bottom))
    return bases


def _fields(text: str) -> Iterator[tuple[int, int, int, int, int]]:
    """Stream number, decoding time, presentation time, length (ticks) and flags of each line."""
    for line in text.splitlines():
        parts = line.split(",")
        if line.startswith("#") or len(parts) < 6:
            continue
        # Flags are printed only where they differ from a plain key frame.
        flags = int(parts[6].partition("=")[2], 0) if len(parts) > 6 and parts[6].startswith(" F=") else KEY
        yield int(parts[0]), int(parts[1]), int(parts[2]), int(parts[3]), flags
