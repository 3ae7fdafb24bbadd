"""Options of the encoders of graphics cards, by family: NVIDIA's NVENC, Intel's Quick Sync, and VAAPI of AMD's and Intel's.

Names and values are those of `ffmpeg -h encoder=...`; which of them works on a machine its proof says (`encoders.proof`).
"""

from collections.abc import Iterable

from millrace.domain.media.profile import RateMode, VideoCodec, VideoSettings
from millrace.domain.sessions import family_of

NVENC_PRESETS = {"ultrafast": "p1", "superfast": "p1", "veryfast": "p2", "faster": "p3", "fast": "p4", "medium": "p4"}
QSV_PRESETS = ("veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
UPLOAD = "hwupload"
AV1_STEPS = 4
"""VAAPI counts the quantizer of AV1 to 255, where the profiles' CRF ends at 63."""


def speed_and_rate(settings: VideoSettings, encoder: str) -> tuple[str, ...]:
    """Preset and rate control. CRF is what comes nearest in each family; none of them means the same picture."""
    family = family_of(encoder)
    if family == "nvenc":
        return _nvenc(settings)
    return _qsv(settings) if family == "qsv" else _vaapi(settings)


def closed(encoder: str) -> tuple[str, ...]:
    """What makes each forced key frame the beginning of a closed GOP."""
    family = family_of(encoder)
    if family == "qsv":
        # Quick Sync's own key frames would come between those that were asked for.
        adaptive = () if encoder == "vp9_qsv" else ("-adaptive_i", "0", "-adaptive_b", "0", "-forced_idr", "1")
        return ("-flags", "+cgop", *adaptive)
    if family == "vaapi":
        return ("-flags", "+cgop", "-idr_interval", "0")
    return ()


def device(encoders: Iterable[str]) -> tuple[str, ...]:
    """What a command says of the card before its inputs: VAAPI takes pictures only from the memory of one."""
    needed = any(family_of(encoder) == "vaapi" for encoder in encoders)
    return ("-init_hw_device", "vaapi=card", "-filter_hw_device", "card") if needed else ()


def picture_form(settings: VideoSettings, encoder: str) -> str | None:
    """The filters that bring pictures into the form that the encoder takes; None where it takes what software does."""
    family = family_of(encoder)
    if family not in ("qsv", "vaapi"):
        return None
    form = f"format={'p010le' if settings.bit_depth > 8 else 'nv12'}"
    return f"{form},{UPLOAD}" if family == "vaapi" else form


def _nvenc(settings: VideoSettings) -> tuple[str, ...]:
    passes = ("-multipass", "fullres") if settings.passes == 2 else ()
    preset = NVENC_PRESETS.get(settings.preset, "p5")
    quality = () if settings.crf is None else ("-cq", f"{settings.crf:g}", "-b:v", "0")
    head = ("-preset", preset, "-rc", str(settings.mode), *passes, "-no-scenecut", "1", "-forced-idr", "1")
    return (*head, *quality, *_rate(settings))


def _qsv(settings: VideoSettings) -> tuple[str, ...]:
    preset = settings.preset if settings.preset in QSV_PRESETS else QSV_PRESETS[0]
    quality = () if settings.crf is None else ("-global_quality", str(max(1, round(settings.crf))))
    return ("-preset", preset, *quality, *_rate(settings))


def _vaapi(settings: VideoSettings) -> tuple[str, ...]:
    if settings.crf is None:
        return ("-rc_mode", settings.mode.upper(), *_rate(settings))
    steps = AV1_STEPS if settings.codec is VideoCodec.AV1 else 1
    quality = ("-global_quality", str(max(1, round(settings.crf * steps))))
    if settings.maxrate_bps is None:
        return ("-rc_mode", "CQP", *quality)
    return ("-rc_mode", "QVBR", *quality, "-b:v", str(settings.maxrate_bps), *_rate(settings))


def _rate(settings: VideoSettings) -> tuple[str, ...]:
    """The rate and its bounds. A constant rate has a buffer of one second, a bound one of two, as in software."""
    rate, most = settings.bitrate_bps, settings.maxrate_bps
    asked = () if rate is None else ("-b:v", str(rate))
    if rate is not None and settings.mode is RateMode.CBR:
        return (*asked, "-maxrate", str(rate), "-bufsize", str(rate))
    return asked if most is None else (*asked, "-maxrate", str(most), "-bufsize", str(most * 2))
