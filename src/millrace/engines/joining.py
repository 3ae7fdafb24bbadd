"""What becomes of the pieces of a film that was encoded in chunks: they are compared, moved together and listed once.

Every chunk writes fragmented MP4 segments on the film's own clock and with the film's own numbers, so joining them is a
matter of names. Containers that are no segments are then written from the joined ones, by copying.
"""

import hashlib
from fractions import Fraction

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.chunks import unit_frames
from millrace.domain.media.hls import Segment, media_playlist, parse_media_playlist
from millrace.domain.media.outputs import Plan, VideoOutput
from millrace.domain.media.profile import Packaging
from millrace.domain.media.split import Chunk
from millrace.engines.engine import EngineFailure, Joined, Listing
from millrace.engines.renditions import HEADER

PLAYLIST = "index.m3u8"
JOINED = "joined"


def chunk_folder(chunk: Chunk) -> str:
    """The folder of a chunk's pieces."""
    return f"chunk-{chunk.number:05d}"


def pieces_to_read(plan: Plan) -> tuple[str, ...]:
    """The playlists and initialisation segments of every chunk and rendition."""
    return tuple(
        f"{chunk_folder(chunk)}/{video.name}/{name}"
        for chunk in plan.split.chunks
        for video in plan.videos
        for name in (PLAYLIST, HEADER)
    )


def join(plan: Plan, pieces: Listing) -> Joined:
    """How the pieces are joined.

    Raises:
        EngineFailure: class output; a piece is missing, or initialisation segments differ.
    """
    moves: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    headers: dict[str, str] = {}
    for video in plan.videos:
        segments: list[Segment] = []
        header = _content(pieces, plan.split.chunks[0], video, HEADER)
        for chunk in plan.split.chunks:
            if _content(pieces, chunk, video, HEADER) != header:
                raise _failed(f"chunk {chunk.number} of {video.name} has another header than the first one")
            found = _segments(plan, pieces, chunk, video)
            moves += [(f"{chunk_folder(chunk)}/{video.name}/{one.uri}", f"{video.name}/{one.uri}") for one in found]
            segments += found
        files[f"{video.name}/{HEADER}"] = header
        files[f"{video.name}/{PLAYLIST}"] = media_playlist(segments, map_uri=HEADER).encode()
        headers[video.name] = hashlib.sha256(header).hexdigest()
    folder = None if plan.packaging is Packaging.CMAF else JOINED
    return Joined(folder=folder, moves=tuple(moves), files=files, headers=headers)


def miscounted(plan: Plan, chunk: Chunk, made: Listing) -> str:
    """Which rendition of a chunk has another number of frames than planned, as a clause; empty where none has.

    Frames are counted in the headers of the segments, which say what was written. `made` lists the chunk's folder, with the fragments in
    those of the renditions. The film's end is where the source ends; how far that may be off is judged with the whole.
    """
    slack = plan.checks.frame_tolerance if chunk.number == plan.split.chunks[-1].number else 0
    for video in plan.videos:
        own = (one for name, found in made.fragments.items() if name.rpartition("/")[0] == video.name for one in found)
        frames = sum(one.samples for one in own)
        if abs(frames - chunk.frames) > slack:
            return f"{frames} frames of {video.name}, where {chunk.frames} were planned"
    return ""


def first_segment(plan: Plan, chunk: Chunk) -> int:
    """The number of a chunk's first segment in the film."""
    return chunk.first // unit_frames(plan)


def _segments(plan: Plan, pieces: Listing, chunk: Chunk, video: VideoOutput) -> tuple[Segment, ...]:
    """A chunk's segments, as many and as long as planned."""
    unit = unit_frames(plan)
    wanted = [min(unit, chunk.end - frame) / video.rate for frame in range(chunk.first, chunk.end, unit)]
    try:
        found = parse_media_playlist(_content(pieces, chunk, video, PLAYLIST).decode()).segments
    except ValueError as error:
        raise _failed(f"the playlist of chunk {chunk.number} of {video.name} cannot be read: {error}") from error
    is_last = chunk is plan.split.chunks[-1]
    # The film's end is where the source ends; how far that may be off is judged with the whole.
    certain = wanted[:-1] if is_last else wanted
    slack = 1 if is_last and plan.checks.frame_tolerance else 0
    half = Fraction(1, 2) / video.rate
    if abs(len(found) - len(wanted)) > slack or any(
        abs(one.duration - length) > half for one, length in zip(found, certain, strict=False)
    ):
        lengths = ", ".join(f"{float(one.duration):g}" for one in found) or "none"
        raise _failed(
            f"chunk {chunk.number} of {video.name} has segments of {lengths} s; "
            f"planned: {', '.join(f'{float(one):g}' for one in wanted)} s"
        )
    return found


def _content(pieces: Listing, chunk: Chunk, video: VideoOutput, name: str) -> bytes:
    path = f"{chunk_folder(chunk)}/{video.name}/{name}"
    content = pieces.contents.get(path)
    if not content:
        raise _failed(f"{path} is missing or empty")
    return content


def _failed(text: str) -> EngineFailure:
    return EngineFailure(Failure(failure_class=FailureClass.OUTPUT, message=f"cannot join the chunks: {text}"))
