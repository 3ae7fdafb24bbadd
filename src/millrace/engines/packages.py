"""What completes an output after the encode: the master playlist, subtitle playlists, the cue file of thumbnails."""

from fractions import Fraction

from millrace.domain.media.hls import (
    AudioRendition,
    Bandwidth,
    SubtitleRendition,
    Variant,
    bandwidth,
    master_playlist,
    parse_media_playlist,
    single_file_playlist,
)
from millrace.domain.media.outputs import OutputFile, Plan, Role
from millrace.domain.media.profile import Packaging
from millrace.domain.media.webvtt import thumbnails_vtt
from millrace.engines.engine import Listing
from millrace.engines.isobmff import codecs_string
from millrace.engines.mpegts import h264_codecs_string

MASTER = "master.m3u8"
CUES = "thumbnails.vtt"
AAC_LC = "mp4a.40.2"


def files_to_read(plan: Plan) -> tuple[str, ...]:
    """Playlists, and for CODECS the initialisation segments (CMAF) or first segments (MPEG-TS)."""
    if not plan.packaging.is_segmented:
        return ()
    first = "init.mp4" if plan.packaging is Packaging.CMAF else "seg-00000.ts"
    streams = [file.path for file in plan.files if file.role is not Role.SUBTITLES]
    texts = [file.path for file in plan.files if file.role is Role.SUBTITLES and plan.origin]
    return (*(path for stream in streams for path in (stream, _beside(stream, first))), *texts)


def segments_of(plan: Plan, listing: Listing) -> dict[str, tuple[tuple[str, Fraction], ...]]:
    """The segments that each playlist names, by the playlist's path: (path, seconds). Unreadable playlists have none."""
    found = {}
    for file in plan.files:
        if plan.packaging.is_segmented and file.role is not Role.SUBTITLES:
            try:
                playlist = parse_media_playlist(listing.contents.get(file.path, b"").decode())
            except ValueError:
                continue
            found[file.path] = tuple((_beside(file.path, one.uri), one.duration) for one in playlist.segments)
    return found


def finishing_files(plan: Plan, listing: Listing) -> dict[str, bytes]:
    """The files still to be written.

    Raises:
        ValueError: the listing lacks a playlist or its header, or they cannot be read.
    """
    if plan.sprites:
        paths = tuple(file.path for file in plan.files)
        return {CUES: thumbnails_vtt(plan.sprites, paths, plan.duration).encode()}
    if not plan.packaging.is_segmented:
        return {}
    found = {file.path: _measured(plan, file, listing) for file in plan.files if file.role is not Role.SUBTITLES}
    variants = [
        Variant(
            uri=file.path,
            codecs=found[file.path][1],
            size=file.video.size,
            rate=file.video.rate,
            bandwidth=found[file.path][0],
            video_range=plan.pictures.hdr.hdr_name if plan.pictures and plan.pictures.hdr else None,
        )
        for file in plan.files
        if file.video
    ]
    audio = [
        AudioRendition(
            name=_title(entry.language, number),
            uri=file.path,
            codecs=found[file.path][1],
            channels=entry.channels,
            bandwidth=found[file.path][0],
            language=entry.language,
        )
        for number, (file, entry) in enumerate(
            (file, entry) for file in plan.files if not file.video for entry in file.audio
        )
    ]
    made: dict[str, bytes] = {}
    subtitles: list[SubtitleRendition] = []
    for file in plan.files:
        if file.role is Role.SUBTITLES:
            uri = file.path.removesuffix(".vtt") + ".m3u8"
            if plan.origin:
                made[file.path] = _mapped(_content(listing, file.path), plan)
            made[uri] = single_file_playlist(file.path.rpartition("/")[2], plan.duration).encode()
            entry_language = file.subtitles[0].language
            subtitles.append(
                SubtitleRendition(name=_title(entry_language, len(subtitles)), uri=uri, language=entry_language)
            )
    made[MASTER] = master_playlist(variants, audio, subtitles).encode()
    return made


def _mapped(cues: bytes, plan: Plan) -> bytes:
    """WebVTT whose time 0 is the beginning of the segments (RFC 8216 3.5)."""
    stamp = f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{int(plan.origin * 90_000)},LOCAL:00:00:00.000\n"
    return cues.replace(b"WEBVTT\n", stamp.encode(), 1)


def _measured(plan: Plan, file: OutputFile, listing: Listing) -> tuple[Bandwidth, str]:
    playlist = parse_media_playlist(_content(listing, file.path).decode())
    sizes = [(segment.duration, listing.sizes.get(_beside(file.path, segment.uri), 0)) for segment in playlist.segments]
    if plan.packaging is Packaging.CMAF:
        return bandwidth(sizes), codecs_string(_content(listing, _beside(file.path, "init.mp4")))
    if file.video is None:
        return bandwidth(sizes), AAC_LC
    return bandwidth(sizes), h264_codecs_string(_content(listing, _beside(file.path, "seg-00000.ts")))


def _content(listing: Listing, path: str) -> bytes:
    try:
        return listing.contents[path]
    except KeyError:
        raise ValueError(f"cannot finish the output: {path} is missing") from None


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"


def _title(language: str | None, number: int) -> str:
    return language if language and number == 0 else f"{language or 'Track'} {number + 1}"
