"""Profiles from plain data and back. Reading is strict: every finding is reported at once, each with its path."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from millrace.domain.document import DocumentReader, kind_of, shown
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.levels import LEVELS, beyond_level, bits_beyond_level, rung
from millrace.domain.media.profile import (
    AUDIO_CODECS,
    DEFAULT_PRESET,
    HDR_BITS,
    HDR_CODECS,
    MOST_LINES,
    PRESETS,
    SMALLEST_SIDE,
    SMALLEST_SIDES,
    VIDEO_CODECS,
    AudioCodec,
    AudioSettings,
    Checks,
    Encoder,
    Generate,
    Hdr,
    Keep,
    Packaging,
    Profile,
    Rendition,
    Subtitles,
    Thumbnails,
    Tracks,
    VideoCodec,
    VideoSettings,
    VmafCheck,
)
from millrace.domain.media.rate_control import rate_document, vmaf_check, vmaf_document, with_rate_control

USUAL_GAIN = 1.0
"""VMAF that a rendition of a per-title ladder must add."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
TRACK = re.compile(r"(?:audio|subtitles)-\d+\Z")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*\Z")
MOST_LANGUAGES = 20
MOST_COMPARED = 20


class ProfileError(Exception):
    """A profile cannot be used. `findings` are (path, what is wrong and what is allowed)."""

    def __init__(self, findings: Sequence[tuple[str, str]]) -> None:
        """Keep every finding; the message joins them."""
        self.findings = tuple(findings)
        super().__init__("cannot use this profile: " + "; ".join(f"{path} {text}" for path, text in findings))


def profile_from(document: Mapping[str, Any]) -> Profile:
    """The profile that `document` (as loaded from YAML or JSON) describes.

    Raises:
        ProfileError: with every finding, its path (`renditions[0].video.crf`) and the allowed values.
    """
    findings: list[tuple[str, str]] = []
    root = DocumentReader(document, "", findings)
    name = root.raw("name")
    if not isinstance(name, str) or not NAME.match(name):
        root.report("name", f"is {shown(name)}; allowed: 1 to 64 letters, digits, dots, dashes and underscores")
        name = "unnamed"
    packaging = Packaging(root.word("packaging", Packaging, Packaging.MP4))
    if not root.has("packaging"):
        root.report("packaging", f"is missing; allowed: {', '.join(Packaging)}")
    segment_s = root.seconds("segment_s", 0.5, 30, Fraction(4))
    metadata = Keep(root.word("metadata", Keep, Keep.DROP))
    checks = _checks(root)
    hdr = Hdr(root.word("hdr", Hdr, Hdr.TONEMAP))
    profile = Profile(
        name=name,
        description=root.text("description", ""),
        packaging=packaging,
        renditions=_renditions(root, packaging, hdr, checks.vmaf),
        audio=_audio(root, packaging),
        subtitles=Subtitles(root.word("subtitles", Subtitles, Subtitles.DROP)),
        metadata=metadata,
        chapters=Keep(root.word("chapters", Keep, metadata)),
        attachments=Keep(root.word("attachments", Keep, Keep.DROP)),
        hdr=hdr,
        on_damage=OnDamage(root.word("on_damage", OnDamage, OnDamage.FAIL)),
        per_title=_per_title(root),
        segment_s=segment_s,
        gop_s=root.seconds("gop_s", 0.1, 30, segment_s),
        thumbnails=_thumbnails(root, packaging),
        comparison=_comparison(root),
        checks=checks,
        generate=_generate(root),
    )
    _whole(root, profile)
    _whole_quality(root, profile)
    root.done()
    if findings:
        raise ProfileError(findings)
    return profile


def _whole(root: DocumentReader, profile: Profile) -> None:
    """Rules that no single key can break."""
    kind = profile.packaging
    if kind.is_audio_only and profile.renditions:
        root.report("renditions", f"must be left out: packaging {kind} holds no video")
    if kind.is_audio_only and not profile.audio:
        root.report("audio", f"is missing: packaging {kind} holds nothing else")
    if kind in VIDEO_CODECS and not profile.renditions:
        root.report("renditions", "is missing or empty; at least one rendition is needed")
    if kind is Packaging.THUMBNAILS and (profile.renditions or profile.audio):
        root.report("packaging", "thumbnails has neither renditions nor audio: leave both out")
    if len(profile.audio) > 1 and not kind.is_segmented and kind is not Packaging.MKV:
        root.report("audio", f"has {len(profile.audio)} entries; allowed with packaging {kind}: one")
    if profile.attachments is Keep.KEEP and kind is not Packaging.MKV:
        root.report("attachments", f"is keep, which only packaging mkv can do, not {kind}")
    _names(root, profile)
    if kind.is_segmented and profile.gop_s != profile.segment_s and root.has("gop_s"):
        ratio = profile.segment_s / profile.gop_s
        if ratio.denominator != 1:
            root.report("gop_s", "must go into segment_s without a rest, so that segments begin with a key frame")


def _names(root: DocumentReader, profile: Profile) -> None:
    """Names of renditions become those of files and folders."""
    names = [rendition.name for rendition in profile.renditions]
    for name in sorted({name for name in names if names.count(name) > 1}):
        root.report("renditions", f"has two entries named {name}; give each its own name")
    for name in (name for name in names if profile.packaging.is_segmented and TRACK.match(name)):
        root.report("renditions", f"has an entry named {name}, which is the folder of a sound or text track")


def _whole_quality(root: DocumentReader, profile: Profile) -> None:
    if profile.comparison and not profile.renditions:
        root.report("comparison", "has nothing to compare: the profile makes no video")
    if profile.checks.vmaf and not profile.renditions:
        root.report("checks.vmaf", "has nothing to compare: the profile makes no video")
    if profile.per_title is not None and not all(rung.video.quality for rung in profile.renditions):
        root.report("per_title", "needs quality in every rendition: what they give is not known otherwise")


def _per_title(root: DocumentReader) -> float | None:
    value = root.raw("per_title", False)
    if isinstance(value, bool):
        return USUAL_GAIN if value else None
    reader = DocumentReader(value, "per_title", root.findings)
    gain = reader.number("min_gain", 0.1, 20, USUAL_GAIN)
    reader.done()
    return float(gain)


def _renditions(root: DocumentReader, packaging: Packaging, hdr: Hdr, vmaf: VmafCheck | None) -> tuple[Rendition, ...]:
    entries = root.raw("renditions", [])
    if not isinstance(entries, list):
        root.report("renditions", f"must be a list, not {kind_of(entries)}")
        return ()
    if len(entries) > 12:
        root.report("renditions", f"has {len(entries)} entries; allowed: at most 12")
        return ()
    found = []
    for number, entry in enumerate(entries):
        reader = DocumentReader(entry, f"renditions[{number}]", root.findings)
        video = _video(DocumentReader(reader.raw("video", {}), reader.at("video"), root.findings), packaging, hdr)
        default = f"{video.height}p" if video.height else "source"
        name = reader.raw("name", default)
        if not isinstance(name, str) or not NAME.match(name):
            reader.report("name", f"is {shown(name)}; allowed: letters, digits, dots, dashes and underscores")
            name = default
        compared = vmaf_check(reader, otherwise=vmaf)
        reader.done()
        found.append(Rendition(name=name, video=video, vmaf=compared))
    return tuple(found)


def _video(reader: DocumentReader, packaging: Packaging, hdr: Hdr) -> VideoSettings:
    codec = VideoCodec(reader.word("codec", VIDEO_CODECS.get(packaging, tuple(VideoCodec)), _first_codec(packaging)))
    keeps_hdr = hdr is Hdr.KEEP
    if keeps_hdr and codec not in HDR_CODECS:
        reader.report(
            "codec",
            f"is {codec}, which cannot hold high dynamic range; allowed with hdr: keep: {', '.join(HDR_CODECS)}",
        )
    depth = reader.whole("bit_depth", HDR_BITS if keeps_hdr else 8, 10, HDR_BITS if keeps_hdr else 8)
    if depth == 9 or (depth == 10 and codec is VideoCodec.H264):
        reader.report(
            "bit_depth", "is not one that players of this codec know; allowed: 8, and 10 for h265, av1 and vp9"
        )
    settings = VideoSettings(
        codec=codec,
        height=reader.even("height", SMALLEST_SIDES.get(codec, SMALLEST_SIDE), MOST_LINES, None),
        preset=reader.word("preset", PRESETS[codec], DEFAULT_PRESET[codec]),
        fps=reader.rate("fps", None),
        bit_depth=depth,
        encoder=_encoder(reader, codec),
    )
    settings = replace(with_rate_control(reader, settings), level=_level(reader, codec))
    _within_level(reader, settings)
    reader.done()
    return settings


def _level(reader: DocumentReader, codec: VideoCodec) -> str | None:
    """The name of a level as its standard writes it; YAML reads 4.1 as a number, and 4.0 too."""
    value, allowed = reader.raw("level"), LEVELS.get(codec, {})
    if value is None:
        return None
    name = (
        f"{value:g}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else str(value).removesuffix(".0")
    )
    if name in allowed:
        return name
    words = f"allowed: {', '.join(allowed)}" if allowed else f"only {' and '.join(LEVELS)} have one here, not {codec}"
    reader.report("level", f"is {shown(value)}; {words}")
    return None


def _within_level(reader: DocumentReader, settings: VideoSettings) -> None:
    """What the profile names has to fit its level; what it leaves to the film is looked at when the film is known."""
    if settings.level is None:
        return
    if settings.encoder is not Encoder.AUTO:
        reader.report(
            "level",
            f"is kept by encoders in software only, and encoder is {settings.encoder}; leave one of the two out",
        )
    fault = beyond_level(settings, rung(settings.height), settings.fps) if settings.height else None
    if fault is not None:
        reader.report("level", f"is {settings.level}, which is too low: the rendition has {fault}")
    bits = bits_beyond_level(settings)
    if bits is not None:
        reader.report("maxrate" if settings.maxrate_bps else "bitrate", bits)


def _encoder(reader: DocumentReader, codec: VideoCodec) -> Encoder:
    """What NVENC cannot make is known; what a card of another family can, its proof says."""
    makers = [one for one in Encoder if one is not Encoder.NVENC or codec is not VideoCodec.VP9]
    return Encoder(reader.word("encoder", makers, Encoder.AUTO))


def _first_codec(packaging: Packaging) -> VideoCodec:
    return VIDEO_CODECS.get(packaging, (VideoCodec.H264,))[0]


def _audio(root: DocumentReader, packaging: Packaging) -> tuple[AudioSettings, ...]:
    entries = root.raw("audio", "none")
    if entries == "none":
        return ()
    if not isinstance(entries, list) or len(entries) > 8:
        root.report("audio", f'must be "none" or a list of at most 8 entries, not {kind_of(entries)}')
        return ()
    codecs = AUDIO_CODECS.get(packaging, tuple(AudioCodec))
    found = []
    for number, entry in enumerate(entries):
        reader = DocumentReader(entry, f"audio[{number}]", root.findings)
        tracks, languages = _tracks(reader, packaging)
        found.append(
            AudioSettings(
                codec=AudioCodec(reader.word("codec", codecs, codecs[0])),
                bitrate_bps=reader.bits_per_second("bitrate", 8_000, 1_000_000, 128_000),
                channels=reader.whole("channels", 1, 8, 2),
                tracks=tracks,
                languages=languages,
            )
        )
        reader.done()
    return tuple(found)


def _tracks(reader: DocumentReader, packaging: Packaging) -> tuple[Tracks, tuple[str, ...]]:
    """`first`, `all`, or a list of languages."""
    value = reader.raw("tracks", Tracks.FIRST)
    words = value if isinstance(value, list) else [value]
    languages = [word for word in words if isinstance(word, str) and LANGUAGE.match(word)]
    if isinstance(value, list) and 0 < len(languages) == len(words) <= MOST_LANGUAGES:
        found, named = Tracks.ALL, tuple(languages)
    elif value in tuple(Tracks):
        found, named = Tracks(value), ()
    else:
        quoted = '; YAML reads no as false, so write "no"' if False in words else ""
        allowed = "allowed: first, all, or a list of languages such as [en, de]"
        reader.report("tracks", f"is {shown(value)}; {allowed}{quoted}")
        return Tracks.FIRST, ()
    if packaging.is_audio_only and found is not Tracks.FIRST:
        reader.report("tracks", f"must be first: packaging {packaging} holds one sound track")
    return found, named


def _thumbnails(root: DocumentReader, packaging: Packaging) -> Thumbnails | None:
    entry = root.raw("thumbnails")
    if packaging is not Packaging.THUMBNAILS:
        if entry is not None:
            root.report("thumbnails", "is only for packaging: thumbnails")
        return None
    reader = DocumentReader({} if entry is None else entry, "thumbnails", root.findings)
    found = Thumbnails(
        interval_s=reader.seconds("interval_s", 0.1, 3600, Fraction(5)),
        width=reader.even("width", 16, 1920, 160),
        columns=reader.whole("columns", 1, 20, 5),
        rows=reader.whole("rows", 1, 20, 5),
    )
    reader.done()
    return found


def _comparison(root: DocumentReader) -> int:
    if not root.has("comparison"):
        return 0
    reader = DocumentReader(root.raw("comparison"), "comparison", root.findings)
    frames = int(reader.whole("frames", 1, MOST_COMPARED, 4))
    reader.done()
    return frames


def _checks(root: DocumentReader) -> Checks:
    reader = DocumentReader(root.raw("checks", {}), "checks", root.findings)
    found = Checks(
        duration_tolerance_s=reader.seconds("duration_tolerance_s", 0, 60, Checks().duration_tolerance_s),
        frame_tolerance=reader.whole("frame_tolerance", 0, 1000, 0),
        vmaf=vmaf_check(reader),
    )
    reader.done()
    return found


def _generate(root: DocumentReader) -> Generate:
    reader = DocumentReader(root.raw("generate", {}), "generate", root.findings)
    usual = Generate()
    found = Generate(
        width=reader.even("width", 16, 8192, usual.width),
        height=reader.even("height", 16, 8192, usual.height),
        rate=reader.rate("rate", usual.rate) or usual.rate,
    )
    reader.done()
    return found


def to_document(profile: Profile) -> dict[str, Any]:
    """The profile as plain JSON data; `profile_from` gives an equal profile back."""
    document: dict[str, Any] = {
        "name": profile.name,
        "description": profile.description,
        "packaging": str(profile.packaging),
        "renditions": [_rendition_document(rung, profile.checks.vmaf) for rung in profile.renditions],
        "audio": [_audio_document(entry) for entry in profile.audio] or "none",
        "subtitles": str(profile.subtitles),
        "metadata": str(profile.metadata),
        "hdr": str(profile.hdr),
        "segment_s": _plain(profile.segment_s),
        "gop_s": _plain(profile.gop_s),
        "checks": {
            "duration_tolerance_s": _plain(profile.checks.duration_tolerance_s),
            "frame_tolerance": profile.checks.frame_tolerance,
        },
        "generate": {
            "width": profile.generate.width,
            "height": profile.generate.height,
            "rate": _ratio(profile.generate.rate),
        },
    }
    # What is as it was before these keys came is left out, so that workers of before can read it.
    if profile.chapters is not profile.metadata:
        document["chapters"] = str(profile.chapters)
    if profile.attachments is not Keep.DROP:
        document["attachments"] = str(profile.attachments)
    if profile.on_damage is not OnDamage.FAIL:
        document["on_damage"] = str(profile.on_damage)
    if profile.per_title is not None:
        document["per_title"] = {"min_gain": profile.per_title}
    if profile.comparison:
        document["comparison"] = {"frames": profile.comparison}
    if profile.checks.vmaf is not None:
        document["checks"]["vmaf"] = vmaf_document(profile.checks.vmaf)
    if profile.thumbnails is not None:
        document["thumbnails"] = {
            "interval_s": _plain(profile.thumbnails.interval_s),
            "width": profile.thumbnails.width,
            "columns": profile.thumbnails.columns,
            "rows": profile.thumbnails.rows,
        }
    return document


def _rendition_document(rung: Rendition, vmaf: VmafCheck | None) -> dict[str, Any]:
    document: dict[str, Any] = {"name": rung.name, "video": _video_document(rung.video)}
    if rung.vmaf != vmaf:
        document["vmaf"] = rung.vmaf is not None and vmaf_document(rung.vmaf)
    return document


def _video_document(video: VideoSettings) -> dict[str, Any]:
    every = {
        "codec": str(video.codec),
        "height": video.height,
        "preset": video.preset,
        **rate_document(video),
        "fps": None if video.fps is None else _ratio(video.fps),
        "encoder": None if video.encoder is Encoder.AUTO else str(video.encoder),
        "bit_depth": video.bit_depth,
        "level": video.level,
    }
    return {key: value for key, value in every.items() if value is not None}


def _audio_document(audio: AudioSettings) -> dict[str, Any]:
    document = {"codec": str(audio.codec), "bitrate": audio.bitrate_bps, "channels": audio.channels}
    if audio.languages:
        return {**document, "tracks": list(audio.languages)}
    return document if audio.tracks is Tracks.FIRST else {**document, "tracks": str(audio.tracks)}


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def _ratio(value: Fraction) -> int | str:
    return int(value) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
