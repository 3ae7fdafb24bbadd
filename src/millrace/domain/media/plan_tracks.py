"""The audio and subtitle tracks of a plan."""

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.outputs import AudioOutput, SubtitleOutput
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream
from millrace.domain.media.profile import AudioCodec, AudioSettings, Packaging, Profile, Subtitles

SIDECAR = {Packaging.MP4: "mov_text", Packaging.MKV: "subrip", Packaging.WEBM: "webvtt"}
"""What text subtitles become inside a file; in HLS they become WebVTT files."""
KEEPABLE = {Packaging.MP4: ("mov_text",), Packaging.WEBM: ("webvtt",)}


def audio_tracks(profile: Profile, probe: Probe, notes: list[str]) -> tuple[AudioOutput, ...]:
    """The audio renditions, all from the first audio stream. What differs from the profile is added to `notes`."""
    if not profile.audio:
        return ()
    if not probe.audio:
        notes.append("The input has no audio; the output has none either.")
        return ()
    stream = probe.audio[0]
    if len(probe.audio) > 1:
        notes.append(f"The input has {len(probe.audio)} audio streams; the first one (stream {stream.index}) is used.")
    return tuple(_audio_output(entry, stream, probe, number) for number, entry in enumerate(profile.audio))


def _audio_output(settings: AudioSettings, stream: AudioStream, probe: Probe, number: int) -> AudioOutput:
    channels = min(settings.channels, stream.channels)
    if settings.codec is AudioCodec.MP3:
        channels = min(channels, 2)
    # Layouts of 3, 5 and 7 channels are rare and players disagree on them.
    channels = {3: 2, 4: 2, 5: 2, 7: 6}.get(channels, channels)
    return AudioOutput(
        name=f"audio-{number}",
        stream=stream.index,
        channels=channels,
        duration=stream.end - probe.start,
        settings=settings,
        language=stream.language,
    )


def subtitle_tracks(profile: Profile, probe: Probe, notes: list[str]) -> tuple[SubtitleOutput, ...]:
    """The subtitles as the profile's policy and the packaging allow.

    Raises:
        Refused: class request, where they are to be kept and the packaging cannot hold them.
    """
    kind = profile.packaging
    if profile.subtitles is Subtitles.DROP or kind.is_audio_only or kind is Packaging.THUMBNAILS:
        return ()
    made = []
    for number, stream in enumerate(probe.subtitles):
        codec = _kept(kind, stream) if profile.subtitles is Subtitles.KEEP else _converted(kind, stream, notes)
        if codec is not None:
            made.append(
                SubtitleOutput(name=f"subtitles-{number}", stream=stream.index, codec=codec, language=stream.language)
            )
    return tuple(made)


def _kept(kind: Packaging, stream: SubtitleStream) -> str:
    if kind is Packaging.MKV or stream.codec in KEEPABLE.get(kind, ()):
        # Matroska has no mov_text; its text is kept as SubRip.
        return "subrip" if kind is Packaging.MKV and stream.codec == "mov_text" else "copy"
    raise Refused(
        FailureClass.REQUEST,
        f"Subtitles in {stream.codec} (stream {stream.index}) cannot be kept in {kind}; set subtitles to convert or drop, or packaging to mkv.",
    )


def _converted(kind: Packaging, stream: SubtitleStream, notes: list[str]) -> str | None:
    if not stream.is_text:
        notes.append(f"Subtitles in {stream.codec} (stream {stream.index}) are pictures, not text, and are left out.")
        return None
    return SIDECAR.get(kind, "webvtt")
