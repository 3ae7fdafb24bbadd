"""Options of each encoder for one rendition."""

from fractions import Fraction
from pathlib import Path

from msgspec import Struct

from millrace.domain.media.levels import level_of
from millrace.domain.media.outputs import SAMPLE_RATE_HZ, AudioOutput, VideoOutput
from millrace.domain.media.profile import AudioCodec, Packaging, RateMode, VideoCodec, VideoSettings
from millrace.domain.sessions import family_of
from millrace.engines.ffmpeg import hardware


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
) -> tuple[str, ...]:
    """Encoder, rate control and GOP. Key frames stand exactly every `gop_frames`, each starting a closed GOP."""
    settings, gop = video.settings, str(video.gop_frames)
    return (
        *("-c:v", encoder),
        *(("-threads", str(threads)) if threads is not None and encoder == "libx264" else ()),
        *_speed_and_rate(settings, encoder),
        *_pass(stage, encoder),
        *("-g", gop, "-keyint_min", gop, "-force_key_frames", f"expr:eq(mod(n,{gop}),0)"),
        *_closed(encoder),
        *_level(settings, encoder),
        *_own_parameters(settings, encoder, stage),
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
        return (*rate, *_constant_rate(settings.bitrate_bps, encoder))
    return (*rate, *_bounds(settings))


def _constant_quality(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    quality = ("-crf", f"{settings.crf:g}")
    if encoder == "libvpx-vp9":
        # libvpx takes -crf as constant quality only when the bit rate is 0, and any other rate as a bound on the average.
        return (*quality, "-b:v", str(settings.maxrate_bps or 0), *_bounds(settings))
    return (*quality, *_bounds(settings))


def _bounds(settings: VideoSettings) -> tuple[str, ...]:
    level = level_of(settings)
    maxrate = settings.maxrate_bps if level is None else settings.maxrate_bps or level.bits_per_second
    if maxrate is None:
        return ()
    # A buffer of two seconds at the highest rate is what HLS players are told to expect (Apple authoring guide).
    buffer = maxrate * 2 if level is None else min(maxrate * 2, level.buffer_bits)
    return ("-maxrate", str(maxrate), "-bufsize", str(buffer))


def _level(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    # x265 takes it among its own parameters only; cards each have their own way to count them.
    if settings.level is None or encoder == "libx265" or not is_software(encoder):
        return ()
    return ("-level", settings.level)


def _constant_rate(bitrate_bps: int, encoder: str) -> tuple[str, ...]:
    """A buffer of one second at one rate. Where the wrapper asks for it, the lowest rate is the highest as well."""
    least = ("-minrate", str(bitrate_bps)) if encoder == "libvpx-vp9" else ()
    # Without filling, x264 falls below the rate wherever the picture needs less.
    filled = ("-nal-hrd", "cbr") if encoder == "libx264" else ()
    return (*least, "-maxrate", str(bitrate_bps), "-bufsize", str(bitrate_bps), *filled)


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


def _own_parameters(settings: VideoSettings, encoder: str, stage: Pass | None) -> tuple[str, ...]:
    """What the encoder knows by its own names only."""
    is_constant = settings.mode is RateMode.CBR
    if encoder == "libx265":
        level = "" if settings.level is None else f":level-idc={settings.level}:high-tier=0"
        passes = "" if stage is None else f":pass={stage.number}:stats={_escaped(f'{stage.stats}.log')}"
        return (
            "-x265-params",
            f"log-level=warning:scenecut=0:open-gop=0{':strict-cbr=1' if is_constant else ''}{level}{passes}",
        )
    if encoder == "libsvtav1":
        # Its constant rate needs pictures that follow each other without reordering.
        return ("-svtav1-params", "scd=0:pred-struct=1" if is_constant else "scd=0")
    return ()


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
