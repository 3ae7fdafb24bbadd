"""Codec -> the encoders that can make it, in order of preference, and the tiny encode that proves one."""

from collections.abc import Iterable
from pathlib import Path

from millrace.domain.media.outputs import Plan
from millrace.domain.media.profile import AudioCodec, Profile, VideoCodec
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.reading import generated, guarded

VIDEO: dict[VideoCodec, tuple[str, ...]] = {
    VideoCodec.H264: ("libx264", "h264_nvenc"),
    VideoCodec.H265: ("libx265", "hevc_nvenc"),
    VideoCodec.AV1: ("libsvtav1", "av1_nvenc"),
    VideoCodec.VP9: ("libvpx-vp9",),
}
"""Software first: the profiles' qualities are measured with it, and its output is the same on every machine."""
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
    """A real encode of ten small frames or a fifth of a second, thrown away."""
    is_audio = encoder in {name for names in AUDIO.values() for name in names}
    clip = "sine=duration=0.2:sample_rate=48000" if is_audio else f"testsrc2=size={PROOF_SIZE}:rate=25:duration=0.4"
    kind = ("-c:a",) if is_audio else ("-pix_fmt", _FORMS.get(encoder, "yuv420p"), "-c:v")
    return Command(
        argv=(*guarded(binary), "-v", "error", *generated(clip), *kind, encoder, "-f", "null", "-"),
        label=f"prove {encoder}",
    )


def chosen(codec: VideoCodec | AudioCodec, working: Iterable[str] | None) -> str:
    """The encoder to use: the first candidate among the `working` ones; the first of all when nothing is known."""
    names = VIDEO[codec] if isinstance(codec, VideoCodec) else AUDIO[codec]
    known = None if working is None else frozenset(working)
    return next((name for name in names if known is None or name in known), names[0])


def encoders_of(profile: Profile, working: Iterable[str] | None) -> frozenset[str]:
    """Names of the encoders that the profile would be made with."""
    names = {chosen(rendition.video.codec, working) for rendition in profile.renditions}
    names |= {chosen(entry.codec, working) for entry in profile.audio}
    return frozenset(names | _pictures(profile))


def encoders_in(plan: Plan, working: Iterable[str] | None) -> frozenset[str]:
    """Names of the encoders that pictures and sound of a plan are made with."""
    pictures = {chosen(video.settings.codec, working) for video in plan.videos}
    return frozenset(pictures | {chosen(one.settings.codec, working) for file in plan.files for one in file.audio})


def candidates_of(profile: Profile) -> tuple[tuple[str, ...], ...]:
    """For each codec that the profile writes, the encoders that can make it; a node needs one of each."""
    groups = {VIDEO[rendition.video.codec] for rendition in profile.renditions}
    groups |= {AUDIO[entry.codec] for entry in profile.audio}
    return tuple(sorted(groups | {(name,) for name in _pictures(profile)}))


def _pictures(profile: Profile) -> set[str]:
    return ({PICTURE} if profile.thumbnails else set()) | ({STILL} if profile.comparison else set())
