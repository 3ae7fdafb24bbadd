"""What was made, as playlists and manifests describe it: every rendition with its segments, read from the bytes of the files."""

from fractions import Fraction
from itertools import pairwise

from msgspec import Struct

from millrace.domain.media.dash import Segments, Span
from millrace.domain.media.hls import Bandwidth, Segment, bandwidth, parse_media_playlist
from millrace.domain.media.outputs import OutputFile, Plan, Role
from millrace.domain.media.profile import Packaging
from millrace.engines.engine import Listing
from millrace.engines.fragments import Fragment, duration
from millrace.engines.isobmff import Track, codecs_string, track_of
from millrace.engines.mpegts import h264_codecs_string

HEADER = "init.mp4"
AAC_LC = "mp4a.40.2"


class Rendition(Struct, frozen=True, kw_only=True):
    """One rendition of pictures or sound: its segments by name and size in bytes, and of CMAF its track and fragments.

    `fragments` are those of each segment.
    """

    file: OutputFile
    codecs: str
    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]
    track: Track | None = None
    fragments: tuple[tuple[Fragment, ...], ...] = ()

    @property
    def id(self) -> str:
        """The folder of its segments."""
        return self.file.path.rpartition("/")[0]

    @property
    def bandwidth(self) -> Bandwidth:
        """As playlists count it."""
        return bandwidth([(one.duration, size) for one, size in zip(self.segments, self.sizes, strict=True)])


def streams(plan: Plan) -> tuple[OutputFile, ...]:
    """The files of a ladder that are playlists of segments."""
    if not plan.packaging.is_segmented:
        return ()
    return tuple(file for file in plan.files if file.role is not Role.SUBTITLES)


def first_file(plan: Plan) -> str:
    """Where the codec of a rendition is told: its initialisation segment (CMAF) or its first segment (MPEG-TS)."""
    return HEADER if plan.packaging is Packaging.CMAF else "seg-00000.ts"


def renditions(plan: Plan, listing: Listing) -> tuple[Rendition, ...]:
    """Every rendition of a ladder, as it lies in the folder.

    Raises:
        ValueError: a playlist, a header or the fragments of a segment are missing, or cannot be read.
    """
    return tuple(_rendition(plan, file, listing) for file in streams(plan))


def _rendition(plan: Plan, file: OutputFile, listing: Listing) -> Rendition:
    segments = parse_media_playlist(content(listing, file.path).decode()).segments
    if not segments:
        raise ValueError(f"cannot finish the output: {file.path} names no segments")
    paths = [beside(file.path, one.uri) for one in segments]
    head = content(listing, beside(file.path, first_file(plan)))
    is_cmaf = plan.packaging is Packaging.CMAF
    return Rendition(
        file=file,
        codecs=codecs_string(head) if is_cmaf else h264_codecs_string(head) if file.video else AAC_LC,
        segments=segments,
        sizes=tuple(listing.sizes.get(path, 0) for path in paths),
        track=track_of(head) if is_cmaf else None,
        fragments=tuple(_fragments(listing, path) for path in paths) if is_cmaf else (),
    )


def _fragments(listing: Listing, path: str) -> tuple[Fragment, ...]:
    try:
        return listing.fragments[path]
    except KeyError:
        raise ValueError(f"cannot finish the output: {path} is missing, or is no segment") from None


def key_frames(one: Rendition) -> tuple[Segment, ...]:
    """The first picture of every fragment as a segment of its own: as many bytes as are needed to show it.

    Raises:
        ValueError: a fragment begins with another picture than a key frame.
    """
    every = [(segment.uri, each) for segment, found in zip(one.segments, one.fragments, strict=True) for each in found]
    for uri, each in every:
        if not each.sync:
            raise ValueError(f"cannot list the key frames of {one.id}: a fragment of {uri} does not begin with one")
    timescale = one.track.timescale if one.track else 1
    times = [each.time for _, each in every]
    end = times[-1] + every[-1][1].duration
    return tuple(
        Segment(duration=Fraction(later - time, timescale), uri=uri, begin=each.begin, size=each.first_end - each.begin)
        for (uri, each), (time, later) in zip(every, pairwise([*times, end]), strict=True)
    )


def timeline(plan: Plan, one: Rendition) -> Segments:
    """The segments of a CMAF rendition on its own clock.

    Raises:
        ValueError: the presentation does not begin on a tick of it, or a segment does not begin after the one before.
    """
    if one.track is None or not one.fragments:
        raise ValueError(f"cannot describe {one.id}: it has no segments")
    origin = plan.origin * one.track.timescale
    if origin.denominator != 1:
        raise ValueError(f"cannot describe {one.id}: {one.track.timescale} ticks a second do not hit its beginning")
    starts = [found[0].time - one.track.skipped for found in one.fragments]
    end = starts[-1] + duration(one.fragments[-1])
    if any(later <= start for start, later in pairwise([*starts, end])):
        raise ValueError(f"cannot describe {one.id}: its segments do not follow each other in time")
    return Segments(
        timescale=one.track.timescale,
        origin=int(origin),
        spans=tuple(
            Span(start=start, ticks=later - start, size=size)
            for (start, later), size in zip(pairwise([*starts, end]), one.sizes, strict=True)
        ),
    )


def content(listing: Listing, path: str) -> bytes:
    """The bytes of a file. Raises ValueError where it is missing."""
    try:
        return listing.contents[path]
    except KeyError:
        raise ValueError(f"cannot finish the output: {path} is missing") from None


def beside(path: str, name: str) -> str:
    """The path of a name in the folder of `path`."""
    return f"{path.rpartition('/')[0]}/{name}"
