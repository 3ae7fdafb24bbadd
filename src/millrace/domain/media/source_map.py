"""Where the packets of a film lie in its file, and which bytes of it the maker of a part reads. Pure."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import floor

from msgspec import Struct

from millrace.domain.media.byte_ranges import GAP_BYTES, Span, joined
from millrace.domain.media.chunks import FFMPEG_EARLY
from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.split import Chunk

READ_AHEAD = 48
"""Packets that FFmpeg may take after the last one that it needs, beside one for each thread of its decoder: 8 wait for the decoder and as
many pictures for the filters, up to 16 are reordered, and some are in the hands of each."""
NOTICED = frozenset({"h264", "hevc", "vp9", "prores", "mpeg4", "mjpeg", "aac", "ac3", "eac3", "flac"})
"""Codecs of which a packet of zeros is known to end in an error or in a missing frame (a test looks). Others would give a black picture or
silence for a hole, so their films are fetched whole."""
OPENING_SLACK = 8
"""Packets more than FFmpeg says that it reads to know what is in the file."""


class PacketList(Struct, frozen=True, kw_only=True):
    """One stream's packets in the order in which they are decoded.

    `times` are when each is shown, in ticks of `time_base`, `sizes` their bytes, `sums` their Adler-32 that begins at 0, and `keys` the
    numbers of the key frames.
    """

    time_base: Fraction
    times: "array[int]"
    sizes: "array[int]"
    sums: "array[int]"
    keys: "array[int]"


class SourceMap(Struct, frozen=True, kw_only=True):
    """Where things lie in a file.

    Attributes:
        size: bytes in all.
        structure: what whoever opens the file may read, whatever it then does.
        places: for each stream whose packets were found, where each of them begins.
        packets: the packets of all streams.
        opening: packets, of all streams together, that are read when the file is opened.
        is_continuous: whether the reader goes from byte to byte, so that it needs what lies between two packets (Matroska).
        begins: where reading may begin after a seek, ascending; empty where at any packet.
        gap: how many bytes between two packets are fetched with them.
    """

    size: int
    structure: tuple[Span, ...]
    places: "Mapping[int, array[int]]"
    packets: Mapping[int, PacketList]
    opening: int
    is_continuous: bool = False
    begins: Sequence[int] = ()
    gap: int = GAP_BYTES

    @property
    def opened_end(self) -> int:
        """Behind the last byte that is read before anything is sought."""
        return max((end for _, end in self._opened()), default=0)

    def chunk(self, plan: Plan, probe: Probe, chunk: Chunk) -> tuple[Span, ...] | None:
        """What is read for one chunk; None where that is not known."""
        if plan.pictures is None or not self._knows([plan.pictures.stream], probe):
            return None
        wanted = self._numbers(plan, probe, chunk, self.packets[plan.pictures.stream], plan.pictures.rate)
        return joined([*self._opened(), *self._read([self._spans(plan.pictures.stream, wanted)])], gap=self.gap)

    def sides(self, plan: Plan, probe: Probe) -> tuple[Span, ...] | None:
        """What is read for sound and text; None where that is not known."""
        files = [file for file in plan.files if file.audio or file.subtitles]
        streams = {one.stream for file in files for one in file.audio} | {
            one.stream for file in files for one in file.subtitles
        }
        if self.is_continuous or not self._knows(streams, probe):
            return None
        return joined([*self._opened(), *(span for one in sorted(streams) for span in self._spans(one))], gap=self.gap)

    def _knows(self, streams: Iterable[int], probe: Probe) -> bool:
        codecs = {one.index: one.codec for one in probe.video} | {one.index: one.codec for one in probe.audio}
        return all(one in self.places and codecs.get(one) in NOTICED for one in streams)

    def _opened(self) -> Iterable[Span]:
        """What is read before anything is sought. Which streams the packets belong to is not said, so it may be those of any."""
        first = [self._spans(stream, range(self.opening + OPENING_SLACK)) for stream in sorted(self.places)]
        return (*self.structure, *self._read(first))

    def _read(self, groups: Sequence[Sequence[Span]]) -> Sequence[Span]:
        """What is read for groups of packets, each from its first to its last."""
        if not self.is_continuous:
            return [span for group in groups for span in group]
        return [(self._begin_of(group[0][0]), group[-1][1]) for group in groups if group]

    def _begin_of(self, place: int) -> int:
        return max((begin for begin in self.begins if begin <= place), default=0)

    def _spans(self, stream: int, numbers: range | None = None) -> Sequence[Span]:
        places, sizes = self.places[stream], self.packets[stream].sizes
        wanted = range(len(places)) if numbers is None else range(numbers.start, min(numbers.stop, len(places)))
        return [(places[number], places[number] + sizes[number]) for number in wanted]

    def _numbers(self, plan: Plan, probe: Probe, chunk: Chunk, packets: PacketList, rate: Fraction) -> range:
        """The packets from the key frame at which reading begins to the last one that may be read.

        FFmpeg seeks by the time of presentation or by that of decoding, earlier than it was told where it takes the container to be
        ordered by decoding time, and in MP4 by a rule of its own where frames of an open GOP lead a key frame. So a key frame that lies
        so near is not relied on, and the one before it is taken.
        """
        first = 0
        if chunk.seek is not None:
            reach = floor((probe.start + chunk.seek - FFMPEG_EARLY) / packets.time_base)
            first = max((number for number in packets.keys if packets.times[number] <= reach), default=0)
        shown = floor((probe.start + (chunk.end + plan.ahead + 1) / rate) / packets.time_base)
        last = max((number for number, time in enumerate(packets.times) if time <= shown), default=first)
        return range(first, last + 1 + READ_AHEAD + max(plan.split.threads, default=0))
