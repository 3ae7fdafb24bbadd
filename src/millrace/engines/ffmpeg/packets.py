"""Reader of FFmpeg's `framecrc` output over copied packets: exact times of every packet (libavformat/framecrcenc.c)."""

from fractions import Fraction

from msgspec import Struct, field

KEY, CORRUPT, DISCARD = 0x1, 0x2, 0x4
UNKNOWN_TIME = -(2**63)


class Packets(Struct):
    """One stream's packets in ticks of `time_base`: presentation times, the key frames among them, the last one's length.

    `corrupt` counts packets that the demuxer marked, `guessed` those without a presentation time of their own.
    """

    time_base: Fraction = Fraction(1, 90000)
    times: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    last_duration: int = 0
    corrupt: int = 0
    guessed: int = 0
    _latest: int = 0

    def add(self, dts: int, pts: int, duration: int, flags: int) -> None:
        """Count a packet, unless an edit list hides it."""
        if flags & CORRUPT:
            self.corrupt += 1
        if flags & DISCARD:
            return
        time = dts if pts == UNKNOWN_TIME else pts
        self.guessed += pts == UNKNOWN_TIME
        if not self.times or time >= self._latest:
            self._latest = time
            self.last_duration = duration
        self.times.append(time)
        if flags & KEY:
            self.keys.append(time)


def read_packets(text: str) -> dict[int, Packets]:
    """Packets by output stream number."""
    streams: dict[int, Packets] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            if line.startswith("#tb "):
                number, _, base = line[4:].partition(":")
                top, _, bottom = base.strip().partition("/")
                streams[int(number)] = Packets(time_base=Fraction(int(top), int(bottom)))
            continue
        parts = line.split(",")
        if len(parts) < 6:
            continue
        # Flags are printed only where they differ from a plain key frame.
        flags = int(parts[6].partition("=")[2], 0) if len(parts) > 6 and parts[6].startswith(" F=") else KEY
        stream = streams.setdefault(int(parts[0]), Packets())
        stream.add(int(parts[1]), int(parts[2]), int(parts[3]), flags)
    return streams
