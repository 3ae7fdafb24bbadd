"""How the bits of a rendition are spent: quality, rate, bounds, and a quality that is searched for. Reading is strict."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from millrace.domain.document import DocumentReader, kind_of
from millrace.domain.media.profile import (
    CRF_STEP,
    DEFAULT_CRF,
    MAX_CRF,
    MOST_PROBES,
    TWO_PASS,
    Encoder,
    QualityTarget,
    RateMode,
    Unreachable,
    VideoCodec,
    VideoSettings,
    VmafCheck,
)

LOWEST_BPS, HIGHEST_BPS = 10_000, 400_000_000
USUAL_MIN_CRF, BELOW_MAX_CRF = 12, 6
"""Where a search begins and ends by default: what lies outside is never wanted, and encoders behave oddly at the ends."""
USUAL_PROBES = 4


def with_rate_control(reader: DocumentReader, settings: VideoSettings) -> VideoSettings:
    """The settings with the rate control that `reader` stands at; what contradicts itself or the codec is reported."""
    codec = settings.codec
    crf = reader.number("crf", 0, MAX_CRF[codec], None)
    bitrate = reader.bits_per_second("bitrate", LOWEST_BPS, HIGHEST_BPS, None)
    maxrate = reader.bits_per_second("maxrate", LOWEST_BPS, 2 * HIGHEST_BPS, None)
    mode = RateMode(reader.word("mode", RateMode, RateMode.VBR))
    passes = reader.whole("passes", 1, 2, 1)
    quality = _target(reader, codec)
    _exclusions(reader)
    if bitrate and maxrate and maxrate < bitrate:
        reader.report("maxrate", f"is {maxrate}; it must not lie below bitrate ({bitrate})")
    if bitrate and maxrate and codec is VideoCodec.AV1:
        reader.report(
            "maxrate", "cannot be kept by av1 together with bitrate; leave it out, or give crf instead of bitrate"
        )
    if mode is RateMode.CBR and (maxrate or not bitrate):
        reader.report("mode", "cbr needs bitrate and no maxrate: the one rate is both")
    if passes == 2:
        _two_passes(reader, settings, mode, bitrate)
    fixed = bitrate is not None or quality is not None
    return replace(
        settings,
        crf=None if fixed else float(DEFAULT_CRF[codec] if crf is None else crf),
        bitrate_bps=bitrate,
        maxrate_bps=maxrate,
        mode=mode,
        passes=passes,
        quality=quality,
    )


def _exclusions(reader: DocumentReader) -> None:
    if reader.has("crf") and reader.has("bitrate"):
        reader.report("crf", "and bitrate exclude each other: keep one of the two")
    for key in ("crf", "bitrate"):
        if reader.has("quality") and reader.has(key):
            reader.report("quality", f"and {key} exclude each other: keep one of the two")


def _two_passes(reader: DocumentReader, settings: VideoSettings, mode: RateMode, bitrate: int | None) -> None:
    if settings.codec not in TWO_PASS:
        reader.report("passes", f"is 2, which {settings.codec} does not know here; allowed for {', '.join(TWO_PASS)}")
    elif settings.encoder not in (Encoder.AUTO, Encoder.NVENC):
        reader.report("passes", f"is 2, which not every card of encoder: {settings.encoder} knows; allowed with nvenc")
    elif bitrate is None:
        reader.report("passes", "is 2, which needs a bitrate: a quality is kept in one pass")
    elif mode is RateMode.CBR:
        reader.report("passes", "is 2, which cbr has no use for: its rate is the same everywhere")


def _target(reader: DocumentReader, codec: VideoCodec) -> QualityTarget | None:
    if not reader.has("quality"):
        return None
    inner = DocumentReader(reader.raw("quality"), reader.at("quality"), reader.findings)
    if not inner.has("vmaf"):
        inner.report("vmaf", "is missing; allowed: a number from 10 to 99")
    low = inner.number("min_crf", 0, MAX_CRF[codec], USUAL_MIN_CRF)
    high = inner.number("max_crf", 0, MAX_CRF[codec], MAX_CRF[codec] - BELOW_MAX_CRF)
    if low > high:
        inner.report("min_crf", f"is {low:g}; it must not lie above max_crf ({high:g})")
    step = CRF_STEP[codec]
    for key, value in (("min_crf", low), ("max_crf", high)):
        if value % step:
            inner.report(key, f"is {value:g}; {codec} knows steps of {step:g}")
    target = QualityTarget(
        vmaf=float(inner.number("vmaf", 10, 99, 93.0)),
        min_crf=float(low),
        max_crf=float(high),
        max_bitrate_bps=inner.bits_per_second("max_bitrate", LOWEST_BPS, HIGHEST_BPS, None),
        probes=inner.whole("probes", 2, MOST_PROBES, USUAL_PROBES),
        unreachable=Unreachable(inner.word("unreachable", Unreachable, Unreachable.BEST)),
    )
    inner.done()
    return target


def vmaf_check(reader: DocumentReader, otherwise: VmafCheck | None = None) -> VmafCheck | None:
    """The key `vmaf`: true or a mapping with floors asks for a comparison, false for none; where it is missing, `otherwise`."""
    value = reader.raw("vmaf")
    if value is None:
        return otherwise
    if isinstance(value, bool):
        return VmafCheck() if value else None
    if not isinstance(value, Mapping):
        reader.report("vmaf", f"must be true, false or a mapping, not {kind_of(value)}")
        return otherwise
    inner = DocumentReader(value, reader.at("vmaf"), reader.findings)
    found = VmafCheck(
        min_mean=inner.number("min_mean", 0, 100, None),
        min_harmonic_mean=inner.number("min_harmonic_mean", 0, 100, None),
        min_one_percent_low=inner.number("min_one_percent_low", 0, 100, None),
        every=inner.whole("every", 1, 100, None),
    )
    inner.done()
    return found


def rate_document(settings: VideoSettings) -> dict[str, Any]:
    """The keys of the rate control as `with_rate_control` reads them; None for those that are left out."""
    return {
        "crf": None if settings.quality else settings.crf,
        "bitrate": settings.bitrate_bps,
        "maxrate": settings.maxrate_bps,
        "mode": None if settings.mode is RateMode.VBR else str(settings.mode),
        "passes": None if settings.passes == 1 else settings.passes,
        "quality": None if settings.quality is None else target_document(settings.quality),
    }


def target_document(target: QualityTarget) -> dict[str, Any]:
    """The key `quality` as it is read."""
    every = {
        "vmaf": target.vmaf,
        "min_crf": target.min_crf,
        "max_crf": target.max_crf,
        "max_bitrate": target.max_bitrate_bps,
        "probes": target.probes,
        "unreachable": str(target.unreachable),
    }
    return {key: value for key, value in every.items() if value is not None}


def vmaf_document(check: VmafCheck) -> bool | dict[str, Any]:
    """The key `vmaf` as `vmaf_check` reads it."""
    every = {
        "min_mean": check.min_mean,
        "min_harmonic_mean": check.min_harmonic_mean,
        "min_one_percent_low": check.min_one_percent_low,
        "every": check.every,
    }
    return {key: value for key, value in every.items() if value is not None} or True
