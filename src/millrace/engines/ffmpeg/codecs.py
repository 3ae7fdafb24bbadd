"""Options of each encoder for one rendition."""

from fractions import Fraction
from pathlib import Path

from msgspec import Struct

from millrace.domain.media.outputs import SAMPLE_RATE_HZ, AudioOutput, VideoOutput
from millrace.domain.media.profile import AudioCodec, Packaging, RateMode, VideoCodec, VideoSettings
from millrace.domain.media.rate_bound import GOES_ON_FULL, bound_of
from millrace.domain.media.split import Chunk
from millrace.domain.sessions import family_of
from millrace.engines.ffmpeg import hardware

FINER_KEY_FRAME = "zones=0,0,b=1.4"
"""x264 quantizes a key frame 1.4 times as finely as the frames after it (`ipratio`), but not the first one of an encode (ratecontrol.c,
`rate_estimate_qscale`): measured, its quantizer is 3 more, and all of its GOP is up to 2.4 dB worse. A zone of that frame says the ratio."""


class Pass(Struct, frozen=True, kw_only=True):
    """One of the two passes over a film, and where the first leaves for the second what it found: a path without an ending."""

    number: int
    stats: Path


def video_options(
    video: VideoOutput,
    encoder: str,
    packaging: Packaging,
    threads: int | None = None,
    *,
    stage: Pass | None = None,
    chunk: Chunk | None = None,
) -> tuple[str, ...]:
    """Encoder, rate control and GOP. Key frames stand exactly every `gop_frames`, each starting a closed GOP. A `chunk` goes on where the
    one before it ends.
    """
    settings, gop = video.settings, str(video.gop_frames)
    return (
        *("-c:v", encoder),
        *(("-threads", str(threads)) if threads is not None and encoder == "libx264" else ()),
        *_speed_and_rate(settings, encoder),
        *(_in_the_midst(settings, encoder) if chunk and chunk.first else ()),
        *_pass(stage, encoder),
        *("-g", gop, "-keyint_min", gop, "-force_key_frames", f"expr:eq(mod(n,{gop}),0)"),
        *_closed(encoder),
        *_level(settings, encoder),
        *_own_parameters(settings, encoder, stage, chunk),
        *tag(settings.codec, packaging),
    )


def is_software(encoder: str) -> bool:
    """Whether the encoder is none of a graphics card, which makes its passes by itself."""
    return family_of(encoder) is None


def _speed_and_rate(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    if settings.crf is None and settings.bitrate_bps is None:
        raise ValueError("cannot encode with a quality that has not been searched yet")
    if not is_software(encoder):
        return hardware.speed_and_rate(settings, encoder)
    speed: tuple[str, ...] = ("-preset", settings.preset)
    if encoder == "libvpx-vp9":
        speed = ("-deadline", "good", "-cpu-used", settings.preset, "-row-mt", "1")
    return (*speed, *_rate_control(settings, encoder))


def _rate_control(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    if settings.bitrate_bps is None:
        return _constant_quality(settings, encoder)
    rate = ("-b:v", str(settings.bitrate_bps))
    if settings.mode is RateMode.CBR:
        return (*rate, *_constant_rate(settings, encoder))
    return (*rate, *_bounds(settings))


def _constant_quality(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    quality = ("-crf", f"{settings.crf:g}")
    if encoder == "libvpx-vp9":
        # libvpx takes -crf as constant quality only when the bit rate is 0, and any other rate as a bound on the average.
        return (*quality, "-b:v", str(settings.maxrate_bps or 0), *_bounds(settings))
    return (*quality, *_bounds(settings))


def _bounds(settings: VideoSettings) -> tuple[str, ...]:
    bound = bound_of(settings)
    return () if bound is None else ("-maxrate", str(bound.rate_bps), "-bufsize", str(bound.buffer_bits))


def _in_the_midst(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    """How x264 begins a chunk that others come before, so that it looks like the midst of a film."""
    if encoder != "libx264":
        return ()
    bound = bound_of(settings)
    full = () if bound is None else ("-rc_init_occupancy", str(int(bound.buffer_bits * GOES_ON_FULL)))
    return (*full, "-x264-params", FINER_KEY_FRAME)


def _level(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    # x265 takes it among its own parameters only; cards each have their own way to count them.
    if settings.level is None or encoder == "libx265" or not is_software(encoder):
        return ()
    return ("-level", settings.level)


def _constant_rate(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    """One rate. Where the wrapper asks for it, the lowest rate is the highest as well."""
    least = ("-minrate", str(settings.bitrate_bps)) if encoder == "libvpx-vp9" else ()
    # Without filling, x264 falls below the rate wherever the picture needs less.
    filled = ("-nal-hrd", "cbr") if encoder == "libx264" else ()
    return (*least, *_bounds(settings), *filled)


def _pass(stage: Pass | None, encoder: str) -> tuple[str, ...]:
    if stage is None or encoder == "libx265":  # which takes it among its own parameters
        return ()
    return ("-pass", str(stage.number), "-passlogfile", str(stage.stats))


def _closed(encoder: str) -> tuple[str, ...]:
    if encoder == "libx264":
        return ("-sc_threshold", "0", "-flags", "+cgop", "-forced-idr", "1")
    if encoder == "libx265":
        return ("-forced-idr", "1")
    return ("-flags", "+cgop") if encoder == "libvpx-vp9" else hardware.closed(encoder)


def _own_parameters(settings: VideoSettings, encoder: str, stage: Pass | None, chunk: Chunk | None) -> tuple[str, ...]:
    """What the encoder knows by its own names only."""
    is_constant = settings.mode is RateMode.CBR
    if encoder == "libx265":
        level = "" if settings.level is None else f":level-idc={settings.level}:high-tier=0"
        passes = "" if stage is None else f":pass={stage.number}:stats={_escaped(f'{stage.stats}.log')}"
        return (
            "-x265-params",
            f"log-level=warning:scenecut=0:open-gop=0{':strict-cbr=1' if is_constant else ''}{level}{_x265_of(settings, chunk)}{passes}",
        )
    if encoder == "libsvtav1":
        # Its constant rate needs pictures that follow each other without reordering.
        return ("-svtav1-params", "scd=0:pred-struct=1" if is_constant else "scd=0")
    return ()


def _x265_of(settings: VideoSettings, chunk: Chunk | None) -> str:
    """What x265 is told of a chunk with a bound on its rate."""
    if chunk is None or bound_of(settings) is None:
        return ""
    # It would tell its settings in the header, which all chunks share.
    return f":info=0:vbv-init={float(GOES_ON_FULL):g}" if chunk.first else ":info=0"


def _escaped(text: str) -> str:
    """A value in a list of `name=value` with colons between (av_dict_parse_string)."""
    return "".join(f"\\{letter}" if letter in "\\:='" else letter for letter in text)


def tag(codec: VideoCodec, packaging: Packaging) -> tuple[str, ...]:
    """The sample entry, where the muxer's own choice is not everybody's."""
    # Apple players take H.265 in MP4 only under this sample entry.
    in_mp4 = packaging in (Packaging.CMAF, Packaging.MP4)
    return ("-tag:v", "hvc1") if codec is VideoCodec.H265 and in_mp4 else ()


def audio_options(audio: AudioOutput, encoder: str) -> tuple[str, ...]:
    """Encoder, rate and channels."""
    rate = () if audio.settings.codec is AudioCodec.FLAC else ("-b:a", str(audio.settings.bitrate_bps))
    return ("-c:a", encoder, *rate, "-ac", str(audio.channels), "-ar", str(SAMPLE_RATE_HZ))


def picture_form(settings: VideoSettings, encoder: str) -> str:
    """The filters at the end of a rendition's chain that give its encoder what it takes."""
    return hardware.picture_form(settings, encoder) or f"format={pixel_format(settings)}"


def pixel_format(settings: VideoSettings) -> str:
    """4:2:0 throughout: it is what players decode."""
    return "yuv420p10le" if settings.bit_depth > 8 else "yuv420p"


def seconds(value: Fraction) -> str:
    """Seconds for FFmpeg, rounded down to its microsecond so that a boundary is never missed by rounding up."""
    return f"{int(value * 1_000_000) / 1_000_000:.6f}"
