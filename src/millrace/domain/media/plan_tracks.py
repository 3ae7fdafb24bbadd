"""The sound, the text and what else goes along: tracks of a plan, chapters, attachments."""

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.languages import same_language
from millrace.domain.media.outputs import AudioOutput, SubtitleOutput
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream
from millrace.domain.media.profile import AudioCodec, AudioSettings, Keep, Packaging, Profile, Subtitles, Tracks
from millrace.domain.media.purposes import words

SIDECAR = {Packaging.MP4: "mov_text", Packaging.MKV: "subrip", Packaging.WEBM: "webvtt"}
"""What text subtitles become inside a file; in HLS they become WebVTT files."""
KEEPABLE = {Packaging.MP4: ("mov_text",), Packaging.WEBM: ("webvtt",)}
WITH_CHAPTERS = (
    *(Packaging.MP4, Packaging.MKV, Packaging.WEBM),
    *(Packaging.M4A, Packaging.MP3, Packaging.OGG),
)
"""Packagings that hold chapters (read back by a test)."""
WITH_PURPOSES = (Packaging.MP4, Packaging.MKV)
"""Files that say who a track is for (read back by a test); HLS and DASH say it in their playlists."""
MOST_TRACKS = 32
"""Sound tracks of one output: each is an encoder of its own, and a film has a handful."""


def audio_tracks(profile: Profile, probe: Probe, notes: list[str]) -> tuple[AudioOutput, ...]:
    """The audio renditions, entry by entry of the profile. What differs from it, or is left out, is added to `notes`.

    Raises:
        Refused: class input, where there would be more of them than one output holds.
    """
    if not profile.audio:
        return ()
    if not probe.audio:
        notes.append("The input has no audio; the output has none either.")
        return ()
    made = [(entry, stream) for entry in profile.audio for stream in _chosen(entry, probe, notes)]
    if len(made) > MOST_TRACKS:
        raise Refused(
            FailureClass.INPUT,
            f"The output would have {len(made)} audio tracks, and at most {MOST_TRACKS} are made; name the languages in tracks.",
        )
    if profile.packaging is Packaging.WEBM:
        for lost in (words(stream.purposes) for _, stream in made if stream.purposes):
            _note(notes, f"The input has an audio track{lost}; webm does not say who a track is for.")
    return tuple(_audio_output(entry, stream, probe, number) for number, (entry, stream) in enumerate(made))


def _chosen(entry: AudioSettings, probe: Probe, notes: list[str]) -> tuple[AudioStream, ...]:
    """The streams that an entry is made of."""
    if entry.languages:
        return _in_languages(entry.languages, probe, notes)
    if entry.tracks is Tracks.ALL:
        return probe.audio
    if len(probe.audio) > 1:
        text = f"The input has {len(probe.audio)} audio streams; the first one (stream {probe.audio[0].index}) is used."
        _note(notes, text)
    return probe.audio[:1]


def _in_languages(languages: tuple[str, ...], probe: Probe, notes: list[str]) -> tuple[AudioStream, ...]:
    """In the order in which they are named. A film in none of them is not made silent: its first sound is used."""
    found = [one for wanted in languages for one in probe.audio if same_language(one.language, wanted)]
    found = list(dict.fromkeys(found))
    missing = [
        wanted for wanted in languages if not any(same_language(one.language, wanted) for one in probe.audio)
    ]  # fmt: skip
    others = [one for one in probe.audio if one not in found]
    if not found:
        first = probe.audio[0]
        _note(notes, f"The input has no audio in {', '.join(missing)}; its first one (stream {first.index}) is used.")
        return (first,)
    if missing:
        _note(notes, f"The input has no audio in {', '.join(missing)}.")
    if others:
        left = ", ".join(f"stream {one.index} ({one.language or 'no language'})" for one in others)
        _note(notes, f"Audio in other languages than those of the profile is left out: {left}.")
    return tuple(found)


def _note(notes: list[str], text: str) -> None:
    """Once, however many entries of a profile say it."""
    if text not in notes:
        notes.append(text)


def kept_chapters(profile: Profile, probe: Probe, notes: list[str]) -> int:
    """How many chapters the output has. Those that it has not are noted."""
    if not probe.chapters or profile.packaging is Packaging.THUMBNAILS:
        return 0
    if profile.chapters is Keep.KEEP and profile.packaging in WITH_CHAPTERS:
        return probe.chapters
    why = "as the profile says" if profile.chapters is Keep.DROP else f"because {profile.packaging} holds none"
    notes.append(f"The input has {_counted(probe.chapters, 'chapter')}, left out {why}.")
    return 0


def kept_attachments(profile: Profile, probe: Probe, notes: list[str]) -> int:
    """How many attachments (fonts of subtitles, pictures) the output has. Those that it has not are noted, as are covers."""
    if profile.packaging is Packaging.THUMBNAILS:
        return 0
    covers = len(probe.video) - len(probe.pictures)
    if covers:
        notes.append(f"The input has {_counted(covers, 'cover picture')}, left out.")
    if not probe.attachments:
        return 0
    if profile.attachments is Keep.KEEP:
        return probe.attachments
    how = "as the profile says" if profile.packaging is Packaging.MKV else f"because {profile.packaging} holds none"
    notes.append(f"The input has {_counted(probe.attachments, 'attachment')}, left out {how}.")
    return 0


def data_notes(probe: Probe) -> list[str]:
    """That streams of data (time codes, positions) are in no output."""
    return (
        [f"The input has {_counted(probe.data, 'stream')} of data, such as time codes, left out."] if probe.data else []
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")


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
        purposes=stream.purposes,
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
                SubtitleOutput(
                    name=f"subtitles-{number}",
                    stream=stream.index,
                    codec=codec,
                    language=stream.language,
                    forced=stream.forced,
                    purposes=stream.purposes,
                )
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
