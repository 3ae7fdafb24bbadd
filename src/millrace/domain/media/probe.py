"""What is known about a media file: facts only, in exact units."""

from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field

from millrace.domain.media.purposes import Purpose


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


Point = tuple[Fraction, Fraction]
"""x and y of a colour (CIE 1931)."""


class Mastering(Struct, frozen=True, kw_only=True):
    """The display that a film was mastered on (SMPTE ST 2086), None for what is not said.

    `primaries` are red, green, blue and white, `luminance` the darkest and the brightest in cd/m2.
    """

    primaries: tuple[Point, Point, Point, Point] | None = None
    luminance: tuple[Fraction, Fraction] | None = None


class LightLevel(Struct, frozen=True, kw_only=True):
    """The brightest pixel of a film and its brightest frame on average, in cd/m2 (CTA-861.3)."""

    max_cll: int
    max_fall: int


class DolbyVision(Struct, frozen=True, kw_only=True):
    """What a file says of its Dolby Vision; `compatibility` is what the pictures are for others (0: nothing, 1: HDR10, 2: SDR, 4: HLG)."""

    profile: int
    compatibility: int

    @property
    def is_closed(self) -> bool:
        """True where the pictures are in Dolby's own colours (IPT), which other decoders show green and purple."""
        return self.profile == 5 or (self.profile in (10, 20) and self.compatibility == 0)


class VideoStream(Struct, frozen=True, kw_only=True):
    """One video stream.

    `width` and `height` are the pixels that are decoded and not cropped off, before `rotation_degrees` (clockwise, to be applied for
    display) and `sar`.
    `frames` counts the packets that are shown; `start` and `end` are seconds on the file's own clock (`end` includes the
    last frame's duration). `frame_rate` is exact for constant rates and the average for variable ones; `peak_rate` is
    the rate that would keep nearly every frame of a variable stream. `exact_times` is False where the container keeps no
    presentation times (AVI with B-frames), so that counts may be off by the decoder's delay. `chroma` is 4:2:0, 4:2:2 and the like,
    RGB, or grey; `dynamic_hdr` is True where metadata of high dynamic range change from scene to scene (HDR10+).
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
    chroma: str = "4:2:0"
    alpha: bool = False
    mastering: Mastering | None = None
    light: LightLevel | None = None
    dolby_vision: DolbyVision | None = None
    dynamic_hdr: bool = False
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
    purposes: tuple[Purpose, ...] = ()
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
    purposes: tuple[Purpose, ...] = ()


class Probe(Struct, frozen=True, kw_only=True):
    """A whole file. `start` is the earliest time of any stream, `duration` reaches from there to the last end.

    `chapters`, `attachments` (fonts, pictures) and `data` (streams of time codes and the like) are how many there are.
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
    data: int = 0

    @property
    def pictures(self) -> tuple[VideoStream, ...]:
        """The video streams that are moving pictures: cover art is none."""
        return tuple(stream for stream in self.video if not stream.attached_picture)

    @property
    def largest(self) -> VideoStream | None:
        """The moving pictures that are made something of: the largest, of equal ones the first. None without any."""
        return max(self.pictures, key=lambda one: (one.width * one.height, -one.index), default=None)
