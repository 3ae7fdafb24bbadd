"""What is known about a media file: facts only, in exact units."""

from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field


class Transfer(StrEnum):
    """Transfer characteristics that need tone mapping (ITU-R BT.2100); any other name is standard dynamic range."""

    PQ = "smpte2084"
    HLG = "arib-std-b67"


class Color(Struct, frozen=True, kw_only=True):
    """Colour as declared, in FFmpeg's names; None where the file says nothing."""

    range: str | None = None
    space: str | None = None
    transfer: str | None = None
    primaries: str | None = None

    @property
    def is_hdr(self) -> bool:
        """True for PQ and HLG."""
        return self.transfer in tuple(Transfer)

    @property
    def hdr_name(self) -> str | None:
        """`PQ` or `HLG`, as HLS names them; None for standard dynamic range."""
        return {str(Transfer.PQ): "PQ", str(Transfer.HLG): "HLG"}.get(self.transfer or "")


class VideoStream(Struct, frozen=True, kw_only=True):
    """One video stream.

    `width` and `height` are coded pixels, before `rotation_degrees` (clockwise, to be applied for display) and `sar`.
    `frames` counts the packets that are shown; `start` and `end` are seconds on the file's own clock (`end` includes the
    last frame's duration). `frame_rate` is exact for constant rates and the average for variable ones; `peak_rate` is
    the rate that would keep nearly every frame of a variable stream. `exact_times` is False where the container keeps no
    presentation times (AVI with B-frames), so that counts may be off by the decoder's delay.
    """

    index: int
    codec: str
    profile: str | None = None
    width: int
    height: int
    sar: Fraction = Fraction(1)
    rotation_degrees: int = 0
    pix_fmt: str | None = None
    bit_depth: int = 8
    frame_rate: Fraction | None = None
    peak_rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 90000)
    frames: int = 0
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    is_vfr: bool = False
    exact_times: bool = True
    field_order: str = "progressive"
    color: Color = field(default_factory=Color)
    attached_picture: bool = False
    keyframes: tuple[Fraction, ...] = ()
    """Times of the key frames in seconds, ascending."""
    key_decoding: tuple[Fraction, ...] = ()
    """For each key frame its decoding time in seconds, which is earlier where frames are reordered."""
    gops: tuple[int, ...] = ()
    """For each key frame, how many frames are shown from it to the next."""
    backsteps: tuple[Fraction, ...] = ()
    """Times of the packets whose decoding time is not after that of the packet before; none in a sound stream."""
    hidden: int = 0
    """Packets that are decoded and not shown, because an edit list says so."""

    @property
    def interlaced(self) -> bool:
        """True when the file declares fields."""
        return self.field_order in ("tt", "bb", "tb", "bt")

    @property
    def display_size(self) -> tuple[Fraction, Fraction]:
        """Width and height in square pixels after rotation, not yet rounded."""
        wide, high = self.width * self.sar, Fraction(self.height)
        return (high, wide) if self.rotation_degrees in (90, 270) else (wide, high)


class AudioStream(Struct, frozen=True, kw_only=True):
    """One audio stream of so many `packets`; `start` and `end` are seconds on the file's own clock without priming samples."""

    index: int
    codec: str
    sample_rate: int
    channels: int
    layout: str | None = None
    language: str | None = None
    packets: int = 0
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(0)

    @property
    def duration(self) -> Fraction:
        """Length in seconds."""
        return self.end - self.start


class SubtitleStream(Struct, frozen=True, kw_only=True):
    """One subtitle stream: `is_text` tells whether it can be converted to another text format, `forced` whether it is for everybody."""

    index: int
    codec: str
    is_text: bool
    language: str | None = None
    forced: bool = False


class Probe(Struct, frozen=True, kw_only=True):
    """A whole file. `start` is the earliest time of any stream, `duration` reaches from there to the last end.

    `chapters` and `attachments` (fonts, pictures) are how many there are.
    """

    formats: tuple[str, ...]
    duration: Fraction
    start: Fraction = Fraction(0)
    size_bytes: int | None = None
    video: tuple[VideoStream, ...] = ()
    audio: tuple[AudioStream, ...] = ()
    subtitles: tuple[SubtitleStream, ...] = ()
    chapters: int = 0
    attachments: int = 0

    @property
    def pictures(self) -> tuple[VideoStream, ...]:
        """The video streams that are moving pictures: cover art is none."""
        return tuple(stream for stream in self.video if not stream.attached_picture)
