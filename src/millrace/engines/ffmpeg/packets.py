"""Reader of FFmpeg's `framecrc` output over copied packets: exact times of every packet (libavformat/framecrcenc.c)."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from msgspec import Struct, field

from millrace.domain.media.source_map import PacketList

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


class Row(Struct, frozen=True):
    """One packet as it stands there: its times and length in ticks of its stream, its bytes, and its flags."""

    dts: int
    pts: int
    duration: int
    size: int
    flags: int


def packet_rows(text: str, mapping: Mapping[int, int]) -> dict[int, list[Row]]:
    """Every packet by input stream number; `mapping` says which input each output stream is made of."""
    streams: dict[int, list[Row]] = {}
    for number, parts, flags in rows(text):
        row = Row(int(parts[1]), int(parts[2]), int(parts[3]), int(parts[4]), flags)
        streams.setdefault(mapping.get(number, number), []).append(row)
    return streams


def packet_lines(text: str) -> dict[int, list[Line]]:
    """Every packet or frame as it stands there, by output stream number."""
    bases = time_bases(text)
    streams: dict[int, list[Line]] = {number: [] for number in bases}
    for number, parts, flags in rows(text):
        if number in bases:
            time = int(parts[1]) if int(parts[2]) == UNKNOWN_TIME else int(parts[2])
            streams[number].append(Line(time * bases[number], int(parts[3]) * bases[number], flags))
    return streams


def read_packets(text: str) -> dict[int, Packets]:
    """Packets by output stream number."""
    streams = {number: Packets(time_base=base) for number, base in time_bases(text).items()}
    for number, parts, flags in rows(text):
        stream = streams.setdefault(number, Packets())
        stream.add(int(parts[1]), int(parts[2]), int(parts[3]), flags)
    return streams


def sizes(text: str) -> list[int]:
    """The bytes of every packet of the first output stream, in the order of decoding."""
    return [int(parts[4]) for number, parts, _ in rows(text) if number == 0]


def time_bases(text: str) -> dict[int, Fraction]:
    """The time base of each output stream."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#tb "):
            number, _, base = line[4:].partition(":")
            top, _, bottom = base.strip().partition("/")
            found[int(number)] = Fraction(int(top), int(bottom))
    return found


def rows(text: str) -> Iterator[tuple[int, list[str], int]]:
    """For each packet its output stream, the columns as they are printed, and its flags."""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        parts = line.split(",")
        if len(parts) < 6:
            continue
        # Flags are printed only where they differ from a plain key frame.
        yield (
            int(parts[0]),
            parts,
            int(parts[6].partition("=")[2], 0) if len(parts) > 6 and parts[6].startswith(" F=") else KEY,
        )


def read_packet_lists(text: str, mapping: Mapping[int, int]) -> dict[int, PacketList]:
    """All packets by input stream number; `mapping` says which input each output stream is made of."""
    streams = {
        number: PacketList(time_base=base, times=array("q"), sizes=array("Q"), sums=array("Q"), keys=array("Q"))
        for number, base in time_bases(text).items()
    }
    for number, parts, flags in rows(text):
        stream = streams[number]
        if flags & KEY:
            stream.keys.append(len(stream.times))
        stream.times.append(int(parts[2]) if int(parts[2]) != UNKNOWN_TIME else int(parts[1]))
        stream.sizes.append(int(parts[4]))
        stream.sums.append(int(parts[5], 16))
    return {mapping.get(number, number): stream for number, stream in streams.items()}
