"""What completes an output after the encode: playlists, the manifest of DASH, segments of subtitles, the cues of thumbnails."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor

from msgspec.structs import replace

from millrace.domain.media import dash
from millrace.domain.media.hls import (
    AudioRendition,
    KeyFrames,
    Segment,
    SubtitleRendition,
    Variant,
    bandwidth,
    master_playlist,
    media_playlist,
    parse_media_playlist,
    target_duration,
)
from millrace.domain.media.hls_rules import Media, Violation
from millrace.domain.media.hls_rules import violations as hls_violations
from millrace.domain.media.languages import language_name, language_tag
from millrace.domain.media.outputs import SAMPLE_RATE_HZ, AudioOutput, OutputFile, Plan, Role, SubtitleOutput
from millrace.domain.media.profile import Packaging
from millrace.domain.media.purposes import words
from millrace.domain.media.webvtt import parse_webvtt, thumbnails_vtt, webvtt_segments
from millrace.engines.engine import Listing
from millrace.engines.renditions import (
    HEADER,
    Rendition,
    beside,
    content,
    first_file,
    key_frames,
    renditions,
    streams,
    timeline,
)

MASTER = "master.m3u8"
MANIFEST = "manifest.mpd"
CUES = "thumbnails.vtt"
KEY_FRAMES = "key-frames.m3u8"
TEXT_SEGMENT_S = 60
"""Text is small: its segments are as long as fits a minute, so that a film has few of them."""


def files_to_read(plan: Plan) -> tuple[str, ...]:
    """Playlists, what tells the codec of each, and subtitles."""
    texts = [file.path for file in plan.files if file.role is Role.SUBTITLES]
    first = first_file(plan)
    return (*(path for file in streams(plan) for path in (file.path, beside(file.path, first))), *texts)


def fragmented(plan: Plan) -> tuple[str, ...]:
    """The folders of segments of fragmented MP4."""
    is_cmaf = plan.packaging is Packaging.CMAF
    return tuple(file.path.rpartition("/")[0] for file in streams(plan)) if is_cmaf else ()


def segments_of(plan: Plan, listing: Listing) -> dict[str, tuple[tuple[str, Fraction], ...]]:
    """The segments that each playlist names, by the playlist's path: (path, seconds). Unreadable playlists have none."""
    found = {}
    for file in streams(plan):
        try:
            playlist = parse_media_playlist(listing.contents.get(file.path, b"").decode())
        except ValueError:
            continue
        found[file.path] = tuple((beside(file.path, one.uri), one.duration) for one in playlist.segments)
    return found


def finishing_files(plan: Plan, listing: Listing) -> dict[str, bytes]:
    """The files still to be written; some of them take the place of what the engine wrote.

    Raises:
        ValueError: the listing lacks a playlist, a header or a segment, or they cannot be read.
    """
    if plan.sprites:
        paths = tuple(file.path for file in plan.files)
        return {CUES: thumbnails_vtt(plan.sprites, paths, plan.duration).encode()}
    if not plan.packaging.is_segmented:
        return {}
    found = renditions(plan, listing)
    names = track_names(plan)
    made = _media_playlists(found)
    pictures = [one for one in found if one.file.video]
    sound = [one for one in found if not one.file.video]
    subtitles, texts = _subtitles(plan, listing, names)
    made |= texts
    winding: list[KeyFrames] = []
    if plan.packaging is Packaging.CMAF:
        winding, listed = _key_frames(plan, pictures)
        made |= listed
        made[MANIFEST] = _manifest(plan, pictures, sound, listing, names).encode()
    variants = [_variant(plan, one) for one in pictures]
    audio = [_audio(one, names) for one in sound]
    made[MASTER] = master_playlist(variants, audio, subtitles, winding).encode()
    broken = [one.sentence for one in judged(plan, listing, made) if one.must]
    if broken:
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise ValueError(f"cannot finish the output: {'; '.join(broken[:3])}{more}")
    return made


def judged(plan: Plan, listing: Listing, made: Mapping[str, bytes]) -> tuple[Violation, ...]:
    """Every rule of HLS and DASH that the package breaks, as it will lie there with the files that were `made`.

    Raises:
        ValueError: as `finishing_files`.
    """
    from millrace.domain.media import dash_rules  # noqa: PLC0415  # not before the encode: it imports what reads XML

    sizes = {**listing.sizes, **{path: len(data) for path, data in made.items()}}
    texts = {path: data.decode() for path, data in made.items() if path.endswith(".m3u8")}
    found = renditions(plan, listing)
    media = {one.file.path: _media(plan, one) for one in found}
    winding = {f"{one.id}/{KEY_FRAMES}": replace(media[one.file.path], lengths=None) for one in found if one.file.video}
    broken = hls_violations(MASTER, texts, sizes, {**media, **winding})
    if MANIFEST not in made:
        return broken
    truth = {one.id: dash_rules.Truth(media=media[one.file.path], segments=timeline(plan, one)) for one in found}
    return (*broken, *dash_rules.violations(MANIFEST, made[MANIFEST].decode(), sizes, truth))


def _media(plan: Plan, one: Rendition) -> Media:
    """What a rendition's files say of themselves, and of what they cannot say, what the check has found in them."""
    video = one.file.video
    return Media(
        codecs=one.codecs,
        size=video.size if video else None,
        rate=video.rate if video else None,
        video_range=_video_range(plan) if video else None,
        channels=None if video else one.file.audio[0].channels,
        language=one.track.language if one.track else None,
        lengths=timeline(plan, one).lengths if one.track else None,
        key_frames=key_frames(one) if video and one.track else None,
    )


def _media_playlists(found: Sequence[Rendition]) -> dict[str, bytes]:
    """The engine's playlists once more, with one target duration for all: FFmpeg rounds that of each by itself."""
    target_s = target_duration(segment.duration for one in found for segment in one.segments)
    return {
        one.file.path: media_playlist(
            one.segments, map_uri=HEADER if one.track else None, target_s=target_s
        ).encode()
        for one in found
    }  # fmt: skip


def _variant(plan: Plan, one: Rendition) -> Variant:
    video = one.file.video
    if video is None:
        raise ValueError(f"cannot list {one.id} as a variant: it has no pictures")
    return Variant(
        uri=one.file.path,
        codecs=one.codecs,
        size=video.size,
        rate=video.rate,
        bandwidth=one.bandwidth,
        video_range=_video_range(plan),
    )


def _video_range(plan: Plan) -> str | None:
    return plan.pictures.hdr.hdr_name if plan.pictures and plan.pictures.hdr else None


def _audio(one: Rendition, names: Mapping[str, str]) -> AudioRendition:
    (entry,) = one.file.audio
    return AudioRendition(
        name=names[entry.name],
        uri=one.file.path,
        codecs=one.codecs,
        channels=entry.channels,
        bandwidth=one.bandwidth,
        language=language_tag(entry.language),
        purposes=entry.purposes,
    )


def _key_frames(plan: Plan, pictures: Sequence[Rendition]) -> tuple[list[KeyFrames], dict[str, bytes]]:
    entries, made = [], {}
    for one in pictures:
        video = one.file.video
        if video is None:
            continue
        frames = key_frames(one)
        path = f"{one.id}/{KEY_FRAMES}"
        made[path] = media_playlist(frames, map_uri=HEADER, key_frames=True).encode()
        rates = bandwidth([(frame.duration, frame.size or 0) for frame in frames])
        entries.append(
            KeyFrames(
                uri=path,
                codecs=one.codecs,
                size=video.size,
                bandwidth=rates,
                video_range=_video_range(plan),
            )
        )
    return entries, made


def _subtitles(
    plan: Plan, listing: Listing, names: Mapping[str, str]
) -> tuple[list[SubtitleRendition], dict[str, bytes]]:
    """Each whole file (which stays for DASH and for pages) cut into segments beside it."""
    entries: list[SubtitleRendition] = []
    made: dict[str, bytes] = {}
    length = plan.segment * max(1, floor(TEXT_SEGMENT_S / plan.segment))
    for file, entry in _texts(plan):
        whole = parse_webvtt(content(listing, file.path).decode(errors="replace"))
        pieces = webvtt_segments(whole, length, plan.duration, begins_at=plan.origin)
        uris = [f"seg-{number:05d}.vtt" for number in range(len(pieces))]
        folder = file.path.removesuffix(".vtt")
        made |= {f"{folder}/{uri}": text.encode() for uri, (_, text) in zip(uris, pieces, strict=True)}
        segments = [Segment(duration=seconds, uri=uri) for uri, (seconds, _) in zip(uris, pieces, strict=True)]
        made[f"{folder}/index.m3u8"] = media_playlist(segments).encode()
        entries.append(
            SubtitleRendition(
                name=names[entry.name],
                uri=f"{folder}/index.m3u8",
                bandwidth=bandwidth([(seconds, len(text.encode())) for seconds, text in pieces]),
                language=language_tag(entry.language),
                forced=entry.forced,
                purposes=entry.purposes,
            )
        )
    return entries, made


def _texts(plan: Plan) -> list[tuple[OutputFile, SubtitleOutput]]:
    return [(file, entry) for file in plan.files if file.role is Role.SUBTITLES for entry in file.subtitles]


def _manifest(
    plan: Plan,
    pictures: Sequence[Rendition],
    sound: Sequence[Rendition],
    listing: Listing,
    names: Mapping[str, str],
) -> str:
    return dash.manifest(
        [
            dash.Picture(
                id=one.id,
                codecs=one.codecs,
                size=video.size,
                rate=video.rate,
                segments=timeline(plan, one),
                video_range=_video_range(plan),
            )
            for one in pictures
            if (video := one.file.video)
        ],
        [_dash_sound(plan, one, names) for one in sound],
        [
            dash.Text(
                id=entry.name,
                path=file.path,
                size=listing.sizes.get(file.path, 0),
                name=names[entry.name],
                language=language_tag(entry.language),
                forced=entry.forced,
                purposes=entry.purposes,
            )
            for file, entry in _texts(plan)
        ],
    )


def _dash_sound(plan: Plan, one: Rendition, names: Mapping[str, str]) -> dash.Sound:
    (entry,) = one.file.audio
    return dash.Sound(
        id=one.id,
        codecs=one.codecs,
        channels=entry.channels,
        sample_rate=SAMPLE_RATE_HZ,
        segments=timeline(plan, one),
        track=(entry.stream, entry.channels),
        name=names[entry.name],
        language=language_tag(entry.language),
        purposes=entry.purposes,
    )


def track_names(plan: Plan) -> dict[str, str]:
    """What people read in a player's menu, by the name of the track: its language, and a number where that stands there already."""
    found: dict[str, str] = {}
    for kind in (AudioOutput, SubtitleOutput):
        taken: dict[str, int] = {}
        for file in plan.files:
            for entry in (*file.audio, *file.subtitles):
                if not isinstance(entry, kind):
                    continue
                forced = isinstance(entry, SubtitleOutput) and entry.forced
                name = language_name(entry.language) + words(entry.purposes, forced=forced)
                taken[name] = taken.get(name, 0) + 1
                found[entry.name] = name if taken[name] == 1 else f"{name} {taken[name]}"
    return found
