"""Options of each encoder for one rendition."""

from fractions import Fraction

from millrace.domain.media.outputs import SAMPLE_RATE_HZ, AudioOutput, VideoOutput
from millrace.domain.media.profile import AudioCodec, Packaging, VideoCodec, VideoSettings

NVENC_PRESETS = {"ultrafast": "p1", "superfast": "p1", "veryfast": "p2", "faster": "p3", "fast": "p4", "medium": "p4"}


def video_options(
    video: VideoOutput, encoder: str, packaging: Packaging, threads: int | None = None
) -> tuple[str, ...]:
    """Encoder, rate control and GOP. Key frames stand exactly every `gop_frames`, each starting a closed GOP."""
    settings, gop = video.settings, str(video.gop_frames)
    return (
        *("-c:v", encoder),
        *(("-threads", str(threads)) if threads is not None and encoder == "libx264" else ()),
        *_speed_and_quality(settings, encoder),
        *("-g", gop, "-keyint_min", gop, "-force_key_frames", f"expr:eq(mod(n,{gop}),0)"),
        *_closed(settings.codec, encoder),
        *tag(settings.codec, packaging),
    )


def _speed_and_quality(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    if encoder.endswith("_nvenc"):
        return _nvenc(settings)
    if encoder == "libvpx-vp9":
        speed: tuple[str, ...] = ("-deadline", "good", "-cpu-used", settings.preset, "-row-mt", "1")
        # libvpx takes -crf as constant quality only when the bit rate is 0.
        quality = ("-crf", _number(settings.crf), "-b:v", "0") if settings.crf is not None else _rate(settings)
        return (*speed, *quality, *(_bounds(settings) if settings.crf is None else ()))
    quality = ("-crf", _number(settings.crf)) if settings.crf is not None else _rate(settings)
    # SVT-AV1 knows a bound on the rate only together with CRF.
    bounded = encoder != "libsvtav1" or settings.crf is not None
    return ("-preset", settings.preset, *quality, *(_bounds(settings) if bounded else ()))


def _nvenc(settings: VideoSettings) -> tuple[str, ...]:
    speed = ("-preset", NVENC_PRESETS.get(settings.preset, "p5"), "-rc", "vbr", "-no-scenecut", "1", "-forced-idr", "1")
    quality = ("-cq", _number(settings.crf), "-b:v", "0") if settings.crf is not None else _rate(settings)
    return (*speed, *quality, *_bounds(settings))


def _rate(settings: VideoSettings) -> tuple[str, ...]:
    return ("-b:v", str(settings.bitrate_bps))


def _bounds(settings: VideoSettings) -> tuple[str, ...]:
    # A buffer of two seconds at the highest rate is what HLS players are told to expect (Apple authoring guide).
    if settings.maxrate_bps is None:
        return ()
    return ("-maxrate", str(settings.maxrate_bps), "-bufsize", str(settings.maxrate_bps * 2))


def _closed(codec: VideoCodec, encoder: str) -> tuple[str, ...]:
    if encoder == "libx264":
        return ("-sc_threshold", "0", "-flags", "+cgop", "-forced-idr", "1")
    if encoder == "libx265":
        return ("-forced-idr", "1", "-x265-params", "log-level=warning:scenecut=0:open-gop=0")
    if encoder == "libsvtav1":
        return ("-svtav1-params", "scd=0")
    if encoder == "libvpx-vp9":
        return ("-flags", "+cgop")
    del codec
    return ()


def tag(codec: VideoCodec, packaging: Packaging) -> tuple[str, ...]:
    """The sample entry, where the muxer's own choice is not everybody's."""
    # Apple players take H.265 in MP4 only under this sample entry.
    in_mp4 = packaging in (Packaging.CMAF, Packaging.MP4)
    return ("-tag:v", "hvc1") if codec is VideoCodec.H265 and in_mp4 else ()


def audio_options(audio: AudioOutput, encoder: str) -> tuple[str, ...]:
    """Encoder, rate and channels."""
    rate = () if audio.settings.codec is AudioCodec.FLAC else ("-b:a", str(audio.settings.bitrate_bps))
    return ("-c:a", encoder, *rate, "-ac", str(audio.channels), "-ar", str(SAMPLE_RATE_HZ))


def pixel_format(settings: VideoSettings) -> str:
    """4:2:0 throughout: it is what players decode."""
    return "yuv420p10le" if settings.bit_depth > 8 else "yuv420p"


def seconds(value: Fraction) -> str:
    """Seconds for FFmpeg, rounded down to its microsecond so that a boundary is never missed by rounding up."""
    return f"{int(value * 1_000_000) / 1_000_000:.6f}"


def _number(value: float | None) -> str:
    return f"{value:g}"
