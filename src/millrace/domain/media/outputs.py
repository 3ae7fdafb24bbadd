"""What will be made, as data: everything that argument lists, the check and the playlists need to know."""

from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field

from millrace.domain.media.damage import Mending
from millrace.domain.media.ladder import Size
from millrace.domain.media.probe import Color, LightLevel, Mastering
from millrace.domain.media.profile import (
    AudioSettings,
    Checks,
    Packaging,
    Thumbnails,
    VideoCodec,
    VideoSettings,
    VmafCheck,
)
from millrace.domain.media.purposes import Purpose
from millrace.domain.media.quality_search import Choice
from millrace.domain.media.split import Chunk, Split

SEGMENT_ORIGIN = Fraction(10)
"""Seconds on their own clock at which segments begin, as usual in HLS: players show it as 0."""
SAMPLE_RATE_HZ = 48_000
"""Of all sound: Opus needs it, and segments then align with common frame rates."""
TRANSPORT_DELAY = Fraction(7, 5)
"""What FFmpeg's MPEG-TS muxer adds, so that the clock reference can run ahead (`-muxdelay`, `-muxpreload`)."""


class Generated(Struct, frozen=True, kw_only=True):
    """A test clip instead of an input: moving bars and a tone."""

    size: Size
    rate: Fraction
    duration: Fraction


class Pictures(Struct, frozen=True, kw_only=True):
    """How the source's pictures become the common picture that every rendition is scaled from.

    The decoder turns the picture upright; then it is deinterlaced (bwdif, one frame per frame; `only_marked`: the pictures of which the
    stream says that they are two fields), brought to YUV where it is `from_rgb`, and to `rate` on an
    exact grid from time 0 (`frames` pictures), tone-mapped where `tonemap`, and scaled in square pixels. `color` is the one that the
    output then has, as far as it is known, and `hdr` the same where it is of high dynamic range; with that go `mastering` and `light`.
    `captions` in the pictures stay where each of these is made one picture: else their letters would come twice, or not.
    """

    stream: int
    rate: Fraction
    frames: int
    deinterlace: bool = False
    only_marked: bool = False
    from_rgb: bool = False
    tonemap: bool = False
    hdr: Color | None = None
    color: Color | None = None
    mastering: Mastering | None = None
    light: LightLevel | None = None
    captions: bool = True


class Role(StrEnum):
    """What a file of the output is for."""

    VIDEO = "video"
    AUDIO = "audio"
    MOVIE = "movie"
    SUBTITLES = "subtitles"
    SPRITE = "sprite"


class VideoOutput(Struct, frozen=True, kw_only=True):
    """One rendition's pictures. `gop_frames` apart, from frame 0, stand the key frames. `vmaf` asks for a comparison with the source,
    and `search` is how the CRF was found.
    """

    name: str
    size: Size
    rate: Fraction
    frames: int
    gop_frames: int
    settings: VideoSettings
    vmaf: VmafCheck | None = None
    search: Choice | None = None


class AudioOutput(Struct, frozen=True, kw_only=True):
    """One audio rendition. `duration` is in seconds from time 0 of the output."""

    name: str
    stream: int
    channels: int
    duration: Fraction
    settings: AudioSettings
    language: str | None = None
    purposes: tuple[Purpose, ...] = ()


class SubtitleOutput(Struct, frozen=True, kw_only=True):
    """One subtitle stream: `codec` is FFmpeg's name of what is written, or `copy`. `forced` ones are shown to everybody."""

    name: str
    stream: int
    codec: str
    language: str | None = None
    forced: bool = False
    purposes: tuple[Purpose, ...] = ()


class OutputFile(Struct, frozen=True, kw_only=True):
    """One file (or playlist with its segments) and the streams in it; `path` is relative, with slashes."""

    path: str
    role: Role
    video: VideoOutput | None = None
    audio: tuple[AudioOutput, ...] = ()
    subtitles: tuple[SubtitleOutput, ...] = ()


class Sprites(Struct, frozen=True, kw_only=True):
    """`count` pictures of `size`, `interval` seconds apart, in grids of columns x rows, one file for each grid."""

    settings: Thumbnails
    size: Size
    interval: Fraction
    count: int

    @property
    def files(self) -> int:
        """How many sprite files there are."""
        return -(-self.count // (self.settings.columns * self.settings.rows))


AHEAD = 10
"""Frames of the next chunk that the encoder of a chunk is shown, and that are thrown away. x264 and x265 look so far ahead at the preset
veryfast (`rc-lookahead`), and spend fewer bits on what they take for the end of the film."""
LOOKING_AHEAD = (VideoCodec.H264, VideoCodec.H265)
"""Codecs whose encoders do. A chunk of SVT-AV1 is the same, bit for bit, without."""


class Plan(Struct, frozen=True, kw_only=True):
    """The whole output. `duration` is that of the pictures, or of the audio where there are none (seconds).

    `per_title` is the VMAF that a rendition must add to be made, once its quality has been searched; None makes all.
    `notes` are sentences for a person about what was decided differently from what the profile asks. `split` is how the
    work is divided (`chunks`); a plan that nobody has divided is made whole. `chapters` and `attachments` are how many of the
    source's go into every file. `comparison` are the frames of which pictures are made beside the source's
    (:mod:`millrace.domain.media.comparison`). `mending` is what is made of a source that was found to be damaged.
    """

    profile: str
    packaging: Packaging
    files: tuple[OutputFile, ...]
    duration: Fraction
    checks: Checks
    segment: Fraction
    pictures: Pictures | None = None
    sprites: Sprites | None = None
    generated: Generated | None = None
    keep_metadata: bool = False
    chapters: int = 0
    attachments: int = 0
    per_title: float | None = None
    comparison: tuple[Chunk, ...] = ()
    notes: tuple[str, ...] = ()
    split: Split = field(default_factory=Split)
    mending: Mending | None = None

    @property
    def origin(self) -> Fraction:
        """The time on the output's own clock at which it begins."""
        if not self.packaging.is_segmented:
            return Fraction(0)
        return SEGMENT_ORIGIN + (TRANSPORT_DELAY if self.packaging is Packaging.HLS else 0)

    @property
    def frames(self) -> int:
        """Frames of the first rendition: what the engine's frame counter runs to. 0 without pictures."""
        return next((file.video.frames for file in self.files if file.video), 0)

    @property
    def ahead(self) -> int:
        """How many frames of the next chunk an encoder is shown."""
        return AHEAD if any(one.settings.codec in LOOKING_AHEAD for one in self.videos) else 0

    @property
    def videos(self) -> tuple[VideoOutput, ...]:
        """Every rendition with pictures."""
        return tuple(file.video for file in self.files if file.video)

    @property
    def is_two_pass(self) -> bool:
        """Whether a rendition is made in two passes over the film."""
        return any(video.settings.passes == 2 for video in self.videos)
