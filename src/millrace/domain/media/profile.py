"""What is wanted: a profile as values. Reading one from data is in `profile_document`."""

from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field

from millrace.domain.media.damage import OnDamage


class VideoCodec(StrEnum):
    """Video codecs that Millrace makes."""

    H264 = "h264"
    H265 = "h265"
    AV1 = "av1"
    VP9 = "vp9"


class AudioCodec(StrEnum):
    """Audio codecs that Millrace makes."""

    AAC = "aac"
    OPUS = "opus"
    MP3 = "mp3"
    FLAC = "flac"


class Packaging(StrEnum):
    """The form of the output."""

    CMAF = "cmaf"
    """HLS with fragmented MP4 segments (ISO/IEC 23000-19)."""
    HLS = "hls"
    """HLS with MPEG-TS segments."""
    MP4 = "mp4"
    MKV = "mkv"
    WEBM = "webm"
    M4A = "m4a"
    MP3 = "mp3"
    OGG = "ogg"
    FLAC = "flac"
    THUMBNAILS = "thumbnails"

    @property
    def is_segmented(self) -> bool:
        """True for the forms of HLS."""
        return self in (Packaging.CMAF, Packaging.HLS)

    @property
    def is_audio_only(self) -> bool:
        """True for forms that hold no video."""
        return self in (Packaging.M4A, Packaging.MP3, Packaging.OGG, Packaging.FLAC)


class Keep(StrEnum):
    """What happens to metadata, chapters or attachments."""

    KEEP = "keep"
    DROP = "drop"


class Subtitles(StrEnum):
    """What happens to subtitles. `convert` turns text into what the packaging plays and leaves bitmaps out."""

    KEEP = "keep"
    CONVERT = "convert"
    DROP = "drop"


class Tracks(StrEnum):
    """Which sound tracks of the input are made."""

    FIRST = "first"
    ALL = "all"


class Hdr(StrEnum):
    """What happens to PQ and HLG sources. `keep` leaves them as they are, in 10 bits; a source of standard range stays that."""

    TONEMAP = "tonemap"
    KEEP = "keep"
    REFUSE = "refuse"


class RateMode(StrEnum):
    """How a bit rate is kept: on average, or at every moment."""

    VBR = "vbr"
    CBR = "cbr"


class Unreachable(StrEnum):
    """What happens where a quality cannot be had within its bounds: the best that can, or no encode."""

    BEST = "best"
    REFUSE = "refuse"


VIDEO_CODECS = {
    Packaging.CMAF: (VideoCodec.H264, VideoCodec.H265, VideoCodec.AV1),
    Packaging.HLS: (VideoCodec.H264,),
    Packaging.MP4: (VideoCodec.H264, VideoCodec.H265, VideoCodec.AV1, VideoCodec.VP9),
    Packaging.MKV: tuple(VideoCodec),
    Packaging.WEBM: (VideoCodec.AV1, VideoCodec.VP9),
}
AUDIO_CODECS = {
    Packaging.CMAF: (AudioCodec.AAC,),
    Packaging.HLS: (AudioCodec.AAC,),
    Packaging.MP4: (AudioCodec.AAC, AudioCodec.OPUS, AudioCodec.MP3, AudioCodec.FLAC),
    Packaging.MKV: tuple(AudioCodec),
    Packaging.WEBM: (AudioCodec.OPUS,),
    Packaging.M4A: (AudioCodec.AAC,),
    Packaging.MP3: (AudioCodec.MP3,),
    Packaging.OGG: (AudioCodec.OPUS,),
    Packaging.FLAC: (AudioCodec.FLAC,),
}
"""Which codecs a packaging can carry and players of it can play."""

HDR_CODECS = (VideoCodec.H265, VideoCodec.AV1, VideoCodec.VP9)
"""Codecs with 10 bits that players show in high dynamic range."""
HDR_BITS = 10
"""PQ and HLG show bands with fewer (ITU-R BT.2100)."""

X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
PRESETS: dict[VideoCodec, tuple[str, ...]] = {
    VideoCodec.H264: X26X_PRESETS,
    VideoCodec.H265: X26X_PRESETS,
    VideoCodec.AV1: tuple(str(number) for number in range(14)),
    VideoCodec.VP9: tuple(str(number) for number in range(9)),
}
"""Speed names of each codec: x264 and x265 by word, SVT-AV1 0..13, libvpx `cpu-used` 0..8."""
DEFAULT_PRESET = {VideoCodec.H264: "veryfast", VideoCodec.H265: "fast", VideoCodec.AV1: "9", VideoCodec.VP9: "5"}
DEFAULT_CRF = {VideoCodec.H264: 22.0, VideoCodec.H265: 25.0, VideoCodec.AV1: 32.0, VideoCodec.VP9: 32.0}
SMALLEST_SIDE = 16
SMALLEST_SIDES = {VideoCodec.H265: 32}
"""Pixels that a side of a picture must have. x265 writes beyond its buffers below 32 lines (measured on 4.3: 36x20 ends in
a corrupt heap)."""
MOST_LINES = 4320
"""8K: no level of H.264, H.265, VP9 or AV1 holds more than 8192x4352 pixels."""
MAX_CRF = {VideoCodec.H264: 51, VideoCodec.H265: 51, VideoCodec.AV1: 63, VideoCodec.VP9: 63}
CRF_STEP = {VideoCodec.H264: 0.5, VideoCodec.H265: 0.5, VideoCodec.AV1: 1.0, VideoCodec.VP9: 1.0}
"""The steps in which a quality is searched; the encoders of AV1 and VP9 know whole numbers only."""
TWO_PASS = (VideoCodec.H264, VideoCodec.H265, VideoCodec.VP9)
"""Codecs that can look at the whole film first. FFmpeg does not hand SVT-AV1 what a first pass found."""
MOST_PROBES = 8


class QualityTarget(Struct, frozen=True, kw_only=True):
    """The mean VMAF that is wanted, and within which bounds its CRF is searched with at most `probes` probe encodes.

    `max_bitrate_bps` bounds the average rate.
    """

    vmaf: float
    min_crf: float
    max_crf: float
    probes: int
    max_bitrate_bps: int | None = None
    unreachable: Unreachable = Unreachable.BEST


class VmafCheck(Struct, frozen=True, kw_only=True):
    """A comparison of the whole rendition with the source, and the floors that its VMAF must reach; None for no floor.

    Every `every`-th frame is compared; None leaves that to the length of the film.
    """

    min_mean: float | None = None
    min_harmonic_mean: float | None = None
    min_one_percent_low: float | None = None
    every: int | None = None


class Encoder(StrEnum):
    """Which encoders may make a rendition."""

    AUTO = "auto"
    """One in software, and one of a graphics card where none in software works."""
    HARDWARE = "hardware"
    """Any of a graphics card."""
    NVENC = "nvenc"
    QSV = "qsv"
    VAAPI = "vaapi"


class VideoSettings(Struct, frozen=True, kw_only=True):
    """How one rendition's pictures are made.

    `height` names the rung (see `ladder`); None keeps the source's size. One of `crf`, `bitrate_bps` and `quality` is set;
    with `quality`, `crf` is set once it has been found. `maxrate_bps` bounds any. `fps` is a cap. `bit_depth` above the encoder's input is never invented. `level` is the
    one that a decoder must have (`levels`).
    """

    codec: VideoCodec = VideoCodec.H264
    height: int | None = None
    preset: str = "veryfast"
    crf: float | None = None
    bitrate_bps: int | None = None
    maxrate_bps: int | None = None
    mode: RateMode = RateMode.VBR
    passes: int = 1
    quality: QualityTarget | None = None
    fps: Fraction | None = None
    bit_depth: int = 8
    level: str | None = None
    encoder: Encoder = Encoder.AUTO


class Rendition(Struct, frozen=True, kw_only=True):
    """One rung: its name becomes a folder or file name. `vmaf` is how it is compared with the source; None for not at all."""

    name: str
    video: VideoSettings
    vmaf: VmafCheck | None = None


class AudioSettings(Struct, frozen=True, kw_only=True):
    """How one audio rendition is made of each of `tracks`, or of the tracks in these `languages` where there are any.

    `channels` is a cap: fewer are never turned into more.
    """

    codec: AudioCodec = AudioCodec.AAC
    bitrate_bps: int = 128_000
    channels: int = 2
    tracks: Tracks = Tracks.FIRST
    languages: tuple[str, ...] = ()


class Thumbnails(Struct, frozen=True, kw_only=True):
    """Pictures of `width` pixels every `interval_s` seconds, in sprites of `columns` x `rows`."""

    interval_s: Fraction = Fraction(5)
    width: int = 160
    columns: int = 5
    rows: int = 5


class Checks(Struct, frozen=True, kw_only=True):
    """How far an output may lie from the plan. `vmaf` holds for every rendition that says nothing else."""

    duration_tolerance_s: Fraction = Fraction(1, 5)
    frame_tolerance: int = 0
    vmaf: VmafCheck | None = None


class Generate(Struct, frozen=True, kw_only=True):
    """The size and rate of the clip that is made when no input is given."""

    width: int = 1280
    height: int = 720
    rate: Fraction = Fraction(30)


class Profile(Struct, frozen=True, kw_only=True):
    """A whole profile. `segment_s` is the length of a segment (HLS), `gop_s` of a group of pictures (else).

    `per_title` is what VMAF a rendition must add to be made (`per_title`); None makes all of them. `comparison` is how many frames
    are shown beside the source's.
    """

    name: str
    description: str = ""
    packaging: Packaging
    renditions: tuple[Rendition, ...] = ()
    audio: tuple[AudioSettings, ...] = ()
    subtitles: Subtitles = Subtitles.DROP
    metadata: Keep = Keep.DROP
    chapters: Keep = Keep.DROP
    attachments: Keep = Keep.DROP
    hdr: Hdr = Hdr.TONEMAP
    on_damage: OnDamage = OnDamage.FAIL
    per_title: float | None = None
    segment_s: Fraction = Fraction(4)
    gop_s: Fraction = Fraction(4)
    thumbnails: Thumbnails | None = None
    comparison: int = 0
    checks: Checks = field(default_factory=Checks)
    generate: Generate = field(default_factory=Generate)
