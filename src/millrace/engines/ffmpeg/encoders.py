"""Codec -> the encoders that can make it, in order of preference, and the tiny encode that proves one."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from millrace.domain.media.outputs import Plan
from millrace.domain.media.profile import (
    DEFAULT_CRF,
    DEFAULT_PRESET,
    AudioCodec,
    AudioSettings,
    Encoder,
    Profile,
    VideoCodec,
    VideoSettings,
)
from millrace.domain.sessions import family_of
from millrace.engines.engine import Command
from millrace.engines.ffmpeg import hardware
from millrace.engines.ffmpeg.reading import generated, guarded

VIDEO: dict[VideoCodec, tuple[str, ...]] = {
    VideoCodec.H264: ("libx264", "h264_nvenc", "h264_qsv", "h264_vaapi"),
    VideoCodec.H265: ("libx265", "hevc_nvenc", "hevc_qsv", "hevc_vaapi"),
    VideoCodec.AV1: ("libsvtav1", "av1_nvenc", "av1_qsv", "av1_vaapi"),
    VideoCodec.VP9: ("libvpx-vp9", "vp9_qsv", "vp9_vaapi"),
}
"""Software first: the profiles' qualities are measured with it, and its output is the same on every machine. Then hardware, by the
alphabet, as masters count on (`millrace.domain.sessions.chosen_among`).
"""
AUDIO: dict[AudioCodec, tuple[str, ...]] = {
    AudioCodec.AAC: ("aac",),
    AudioCodec.OPUS: ("libopus",),
    AudioCodec.MP3: ("libmp3lame",),
    AudioCodec.FLAC: ("flac",),
}
PICTURE = "mjpeg"
STILL = "png"
ALL = (
    *(name for names in VIDEO.values() for name in names),
    *(name for names in AUDIO.values() for name in names),
    PICTURE,
    STILL,
)
"""Every encoder that a worker should try at its start."""
_FORMS = {PICTURE: "yuvj420p", STILL: "rgb24"}
PROOF_SIZE = "256x144"
"""NVENC refuses pictures narrower than 145 pixels, and SVT-AV1 ones below 64."""


def proof(binary: Path | str, encoder: str) -> Command:
    """A real encode of ten small frames or a fifth of a second, thrown away; on a graphics card with the options of real work."""
    is_audio = encoder in {name for names in AUDIO.values() for name in names}
    clip = "sine=duration=0.2:sample_rate=48000" if is_audio else f"testsrc2=size={PROOF_SIZE}:rate=25:duration=0.4"
    kind = ("-c:a", encoder) if is_audio else _trial(encoder)
    return Command(
        argv=(*guarded(binary), "-v", "error", *hardware.device([encoder]), *generated(clip), *kind, "-f", "null", "-"),
        label=f"prove {encoder}",
    )


def session(binary: Path | str, encoder: str) -> Command:
    """An encode that takes one session, says so by its first frame, and goes on for a minute, or until it is ended."""
    return Command(
        argv=(
            *guarded(binary), "-v", "error", "-progress", "pipe:1", "-stats_period", "0.1", *hardware.device([encoder]), "-re",
            *generated(f"testsrc2=size={PROOF_SIZE}:rate=25:duration=60"), *_trial(encoder), "-f", "null", "-",
        ),
        label=f"open a session of {encoder}",
    )  # fmt: skip


def _trial(encoder: str) -> tuple[str, ...]:
    if family_of(encoder) is None:
        return ("-pix_fmt", _FORMS.get(encoder, "yuv420p"), "-c:v", encoder)
    codec = next(codec for codec, names in VIDEO.items() if encoder in names)
    settings = VideoSettings(codec=codec, preset=DEFAULT_PRESET[codec], crf=DEFAULT_CRF[codec])
    form = hardware.picture_form(settings, encoder) or "format=yuv420p"
    return ("-vf", form, "-c:v", encoder, *hardware.speed_and_rate(settings, encoder), *hardware.closed(encoder))


def candidates(settings: VideoSettings | AudioSettings) -> tuple[str, ...]:
    """The encoders that may make it, in order of preference."""
    if isinstance(settings, AudioSettings):
        return AUDIO[settings.codec]
    names = VIDEO[settings.codec]
    if settings.level is not None:
        # A card's encoder is told of no level, so it would keep none.
        return tuple(name for name in names if family_of(name) is None)
    if settings.encoder is Encoder.AUTO:
        return names
    of_cards = tuple(name for name in names if family_of(name) is not None)
    return (
        of_cards
        if settings.encoder is Encoder.HARDWARE
        else tuple(name for name in of_cards if family_of(name) == settings.encoder)
    )


def chosen(settings: VideoSettings | AudioSettings, working: Iterable[str] | None) -> str:
    """The encoder to use: the first candidate among the `working` ones; the first of all when nothing is known."""
    names = candidates(settings)
    known = None if working is None else frozenset(working)
    return next((name for name in names if known is None or name in known), names[0])


def encoders_of(profile: Profile, working: Iterable[str] | None) -> frozenset[str]:
    """Names of the encoders that the profile would be made with."""
    names = {chosen(rendition.video, working) for rendition in profile.renditions}
    names |= {chosen(entry, working) for entry in profile.audio}
    return frozenset(names | _pictures(profile))


def encoders_in(plan: Plan, working: Iterable[str] | None) -> frozenset[str]:
    """Names of the encoders that pictures and sound of a plan are made with."""
    pictures = {chosen(video.settings, working) for video in plan.videos}
    return frozenset(pictures | {chosen(one.settings, working) for file in plan.files for one in file.audio})


def candidates_of(profile: Profile) -> tuple[tuple[str, ...], ...]:
    """For each codec that the profile writes, the encoders that can make it; a node needs one of each."""
    groups = {candidates(rendition.video) for rendition in profile.renditions}
    groups |= {candidates(entry) for entry in profile.audio}
    return tuple(sorted(groups | {(name,) for name in _pictures(profile)}))


def streams_of(profile: Profile) -> Mapping[str, int]:
    """For each encoder of hardware that could make the profile's pictures, how many it would make at once: one for each rendition."""
    names = (name for rendition in profile.renditions for name in candidates(rendition.video))
    return Counter(name for name in names if family_of(name) is not None)


def _pictures(profile: Profile) -> set[str]:
    return ({PICTURE} if profile.thumbnails else set()) | ({STILL} if profile.comparison else set())
