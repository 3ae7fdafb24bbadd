"""From a profile and the facts about a source to a plan, or to a refusal with a sentence. Pure.

Decisions (each is a test):
- Pictures and audio of an output begin together: what begins late is padded (first frame repeated, silence), so that
  renditions in separate files stay in step without edit lists that some players ignore.
- Pictures always lie on the exact grid of one rate. A variable source is put on the grid of its own shortest common
  frame distance, at most 60: nothing that a viewer saw is lost, and key frames stay aligned by frame count.
- Renditions of one plan share one rate, the highest that any of their caps allows: segments must align.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.accepted import accept, accept_filling
from millrace.domain.media.comparison import moments
from millrace.domain.media.damage import Damage, Mending
from millrace.domain.media.ladder import Size, fitted, ladder
from millrace.domain.media.levels import beyond_level
from millrace.domain.media.outputs import (
    AudioOutput,
    Generated,
    OutputFile,
    Pictures,
    Plan,
    Role,
    Sprites,
    SubtitleOutput,
    VideoOutput,
)
from millrace.domain.media.parameters import with_parameters
from millrace.domain.media.plan_color import RGB, color_notes, made_color, refuse_closed, sample_notes
from millrace.domain.media.plan_mending import mended, shortened, without_chapters, without_cuts, without_text
from millrace.domain.media.plan_tracks import audio_tracks, data_notes, kept_attachments, kept_chapters, subtitle_tracks
from millrace.domain.media.probe import AudioStream, Probe, VideoStream
from millrace.domain.media.profile import (
    SMALLEST_SIDE,
    SMALLEST_SIDES,
    Checks,
    Hdr,
    Keep,
    Profile,
    Rendition,
    Thumbnails,
)
from millrace.domain.media.rates import FALLBACK_RATE, capped, frames_until

__all__ = ["Plan", "plan", "plan_generated"]

MAX_VARIABLE_RATE = Fraction(60)
MAX_RATE = Fraction(240)
ON_AIR = {"mpegts", "mpeg"}
FIELD_CODECS = ("h264", "mpeg2video", "vc1")
"""Codecs of broadcasts that say of each picture whether it is two fields."""


def plan(
    profile: Profile,
    probe: Probe | None,
    *,
    parameters: Mapping[str, Any] | None = None,
    damage: Damage | None = None,
) -> Plan:
    """What to make of the probed source; without one (None), of a generated test clip. `damage` is what was found in it, where an
    encode has ended at some.

    Raises:
        Refused: class input or request, with a sentence, for what cannot become a correct output.
    """
    if probe is None:
        return plan_generated(profile, parameters=parameters)
    wanted, generated_s = with_parameters(profile, parameters or {})
    if generated_s is not None:
        raise Refused(
            FailureClass.REQUEST, "duration_s is the length of a generated clip; leave it out when there is an input."
        )
    accept(probe)
    return _planned(wanted, probe, None, damage)


def plan_generated(profile: Profile, *, parameters: Mapping[str, Any] | None = None) -> Plan:
    """A plan for a generated clip of the profile's size and rate; `duration_s` among the parameters, 10 by default.

    Raises:
        Refused: class request, for a parameter that makes no sense.
    """
    wanted, duration_s = with_parameters(profile, parameters or {})
    made = wanted.generate
    frames = max(1, frames_until(Fraction(10) if duration_s is None else duration_s, made.rate))
    clip = Generated(size=Size(width=made.width, height=made.height), rate=made.rate, duration=frames / made.rate)
    video = VideoStream(
        index=0,
        codec="rawvideo",
        width=made.width,
        height=made.height,
        pix_fmt="yuv420p",
        frame_rate=made.rate,
        frames=frames,
        end=clip.duration,
    )
    audio = AudioStream(index=1, codec="pcm_s16le", sample_rate=48_000, channels=1, layout="mono", end=clip.duration)
    return _planned(wanted, Probe(formats=("lavfi",), duration=clip.duration, video=(video,), audio=(audio,)), clip)


def _planned(profile: Profile, probe: Probe, clip: Generated | None, damage: Damage | None = None) -> Plan:
    notes: list[str] = []
    audio = audio_tracks(profile, probe, notes)
    pictures: Pictures | None = None
    videos: tuple[VideoOutput, ...] = ()
    sprites: Sprites | None = None
    stream: VideoStream | None = None
    mending: Mending | None = None
    checks = profile.checks
    if not profile.packaging.is_audio_only:
        stream = _picture_stream(profile, probe, notes)
        pictures = _pictures(profile, probe, stream, notes)
        checks = _checks(profile, stream, probe.start, pictures.rate)
    elif not audio:
        raise Refused(FailureClass.INPUT, "The input has no audio stream, and the profile makes audio only.")
    if damage is not None:
        mending = mended(profile.on_damage, damage, pictures, audio, notes)
        pictures, audio = without_cuts(mending, pictures), shortened(mending, audio)
    if stream is not None and pictures is not None:
        if profile.thumbnails:
            sprites = _sprites(profile.thumbnails, stream, pictures)
        else:
            videos = _videos(profile, stream, pictures, notes)
    subtitles = without_text(mending, subtitle_tracks(profile, probe, notes), notes)
    chapters = without_chapters(mending, kept_chapters(profile, probe, notes), notes)
    attachments = kept_attachments(profile, probe, notes)
    notes += data_notes(probe)
    duration = pictures.frames / pictures.rate if pictures else max(entry.duration for entry in audio)
    files = _sprite_files(sprites) if sprites else _files(profile, videos, audio, subtitles)
    made = Plan(
        profile=profile.name,
        packaging=profile.packaging,
        files=files,
        duration=duration,
        checks=checks,
        segment=videos[0].gop_frames * _gops_per_segment(profile) / videos[0].rate if videos else profile.segment_s,
        pictures=pictures,
        sprites=sprites,
        generated=clip,
        keep_metadata=profile.metadata is Keep.KEEP,
        chapters=chapters,
        attachments=attachments,
        per_title=profile.per_title,
        notes=tuple(notes),
        mending=mending,
    )
    if mending is not None:
        return made  # the same places of both are not the same moments any more, or not the same pictures
    return replace(made, comparison=moments(made, None if clip else probe, profile.comparison))


def _picture_stream(profile: Profile, probe: Probe, notes: list[str]) -> VideoStream:
    stream = probe.largest
    if stream is None:
        what = "only cover art" if probe.video else "no video stream"
        raise Refused(
            FailureClass.INPUT, f"The input has {what}, and profile {profile.name} makes video; use profile audio."
        )
    if len(probe.pictures) > 1:
        notes.append(
            f"The input has {len(probe.pictures)} video streams; the largest one (stream {stream.index}) is used."
        )
    if stream.frames < 1:
        raise Refused(FailureClass.INPUT, "The input's video stream holds no frames.")
    if min(stream.display_size) < SMALLEST_SIDE:
        raise Refused(
            FailureClass.INPUT,
            f"The input's picture of {stream.width}x{stream.height} is too small; at least {SMALLEST_SIDE} pixels a side are needed.",
        )
    refuse_closed(stream)
    if stream.color.is_hdr and profile.hdr is Hdr.REFUSE:
        raise Refused(
            FailureClass.REQUEST,
            "The input is HDR and the profile refuses it; set hdr: tonemap to convert it, or hdr: keep.",
        )
    return stream


def _pictures(profile: Profile, probe: Probe, stream: VideoStream, notes: list[str]) -> Pictures:
    source = stream.frame_rate or FALLBACK_RATE
    if stream.is_vfr:
        source = min(stream.peak_rate or source, MAX_VARIABLE_RATE)
    caps = [rendition.video.fps for rendition in profile.renditions]
    cap = None if any(one is None for one in caps) or not caps else max(one for one in caps if one)
    rate = min(capped(source, cap), MAX_RATE)
    frames = frames_until(stream.end - probe.start, rate)
    if stream.is_vfr and not profile.thumbnails:
        notes.append(f"The input's frame rate varies; the output has a constant {_rate_text(rate)} frames per second.")
    accept_filling(frames, stream)
    # One very short frame still is a picture.
    frames = max(frames, 1)
    # Thumbnails are for pages, which show them in standard range.
    keeps = stream.color.is_hdr and profile.hdr is Hdr.KEEP and not profile.thumbnails
    tonemap = stream.color.is_hdr and not keeps
    # What comes over the air changes between programmes, and a probe sees the beginning.
    may_change = bool(ON_AIR & set(probe.formats)) and stream.codec in FIELD_CODECS
    color = made_color(stream, tonemap=tonemap)
    notes += color_notes(stream, tonemap=tonemap)
    return Pictures(
        stream=stream.index,
        rate=rate,
        frames=frames,
        deinterlace=stream.interlaced or may_change,
        only_marked=not stream.interlaced and may_change,
        from_rgb=stream.chroma == RGB and not profile.thumbnails,  # JPEG is of BT.601
        tonemap=tonemap,
        hdr=color if keeps else None,
        color=color,
        mastering=stream.mastering if keeps else None,
        light=stream.light if keeps else None,
        captions=rate == stream.frame_rate and not stream.is_vfr,
    )


def _videos(profile: Profile, stream: VideoStream, pictures: Pictures, notes: list[str]) -> tuple[VideoOutput, ...]:
    heights = [rendition.video.height for rendition in profile.renditions]
    # Encoders refuse slivers: a rung that would be one is left out.
    rungs = [
        (index, size)
        for index, size in ladder(stream.display_size, heights)
        if min(size.width, size.height) >= _smallest(profile.renditions[index])
    ]
    if not rungs:
        raise Refused(
            FailureClass.INPUT,
            "The input's picture is so small, or so long and thin, that no rendition of it can be encoded.",
        )
    gop_frames = max(1, frames_until(profile.gop_s, pictures.rate))
    made = []
    for index, size in rungs:
        made.append(
            VideoOutput(
                name=_rung_name(profile.renditions[index], stream, size),
                size=size,
                rate=pictures.rate,
                frames=pictures.frames,
                gop_frames=gop_frames,
                settings=profile.renditions[index].video,
                vmaf=profile.renditions[index].vmaf,
            )
        )
    for video in made:
        if (fault := beyond_level(video.settings, video.size, video.rate)) is not None:
            raise Refused(
                FailureClass.REQUEST,
                f"Rendition {video.name} would have {fault}; give it less height or fps, or a higher level.",
            )
    notes += sample_notes(stream, max(video.settings.bit_depth for video in made))
    if any(fitted(stream.display_size, height) is None for height in heights):
        wide, high = (int(side) for side in stream.display_size)
        sizes = ", ".join(f"{video.size.width}x{video.size.height}" for video in made)
        notes.append(f"The input has {wide}x{high} pixels and is never enlarged: made {sizes}.")
    return tuple(made)


def _smallest(rendition: Rendition) -> int:
    return SMALLEST_SIDES.get(rendition.video.codec, SMALLEST_SIDE)


def _rung_name(rendition: Rendition, stream: VideoStream, size: Size) -> str:
    """A rung made smaller than its name says is named by what it is, unless the profile's author chose the name."""
    height = rendition.video.height
    if height is None or rendition.name != f"{height}p" or fitted(stream.display_size, height):
        return rendition.name
    return f"{min(size.width, size.height)}p"


def _checks(profile: Profile, stream: VideoStream, start: Fraction, rate: Fraction) -> Checks:
    """The profile's tolerances, wider where the source's own times leave the number of frames open.

    Some containers (AVI) keep no presentation times, and a length that ends between two places of the grid may be
    rounded either way.
    """
    slack = 0 if stream.exact_times else 2
    length = (stream.end - start) * rate
    if abs(length - round(length)) > Fraction(1, 4):
        slack += 1
    return replace(profile.checks, frame_tolerance=profile.checks.frame_tolerance + slack)


def _gops_per_segment(profile: Profile) -> int:
    return max(1, round(profile.segment_s / profile.gop_s)) if profile.packaging.is_segmented else 1


def _files(
    profile: Profile,
    videos: tuple[VideoOutput, ...],
    audio: tuple[AudioOutput, ...],
    subtitles: tuple[SubtitleOutput, ...],
) -> tuple[OutputFile, ...]:
    kind = profile.packaging
    if kind.is_segmented:
        return (
            *(OutputFile(path=f"{one.name}/index.m3u8", role=Role.VIDEO, video=one) for one in videos),
            *(OutputFile(path=f"{one.name}/index.m3u8", role=Role.AUDIO, audio=(one,)) for one in audio),
            *(OutputFile(path=f"{one.name}.vtt", role=Role.SUBTITLES, subtitles=(one,)) for one in subtitles),
        )
    if kind.is_audio_only:
        return (OutputFile(path=f"audio.{kind}", role=Role.AUDIO, audio=audio),)
    return tuple(
        OutputFile(
            path=f"video.{kind}" if len(videos) == 1 else f"{one.name}.{kind}",
            role=Role.MOVIE,
            video=one,
            audio=audio,
            subtitles=subtitles,
        )
        for one in videos
    )


def _sprites(settings: Thumbnails, stream: VideoStream, pictures: Pictures) -> Sprites:
    wide, high = stream.display_size
    scale = min(Fraction(1), settings.width / wide)
    size = Size(width=max(2, int(wide * scale / 2) * 2), height=max(2, int(high * scale / 2) * 2))
    interval = max(settings.interval_s, 1 / pictures.rate)
    # An interval has a picture when a frame begins in it; the last frame tells how many there are.
    last_frame_s = (pictures.frames - 1) / pictures.rate
    return Sprites(settings=settings, size=size, interval=interval, count=int(last_frame_s / interval) + 1)


def _sprite_files(sprites: Sprites) -> tuple[OutputFile, ...]:
    return tuple(
        OutputFile(path=f"sprite-{number:03d}.jpg", role=Role.SPRITE) for number in range(1, sprites.files + 1)
    )


def _rate_text(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
