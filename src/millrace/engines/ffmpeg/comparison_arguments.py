"""The argument list of a picture that shows a frame of the source beside the same frame of a rendition."""

from fractions import Fraction
from pathlib import Path

from millrace.domain.media.comparison import caption
from millrace.domain.media.outputs import OutputFile, Plan, VideoOutput
from millrace.domain.media.split import Chunk
from millrace.engines.engine import Command, Illustration
from millrace.engines.ffmpeg import arguments as whole
from millrace.engines.ffmpeg.chunk_arguments import ON_THE_FILMS_CLOCK, reading
from millrace.engines.ffmpeg.codecs import pixel_format, seconds
from millrace.engines.ffmpeg.encoders import STILL
from millrace.engines.ffmpeg.filters import START, TONEMAP, on_grid, ratio, scaled
from millrace.engines.ffmpeg.reading import LETTER_WIDTH, guarded, letters, playlist, source

LARGE_FROM = 640
"""Pixels of a half from which its caption is written in letters of twice the size."""
QUARTER = Fraction(1, 4)


def side_by_side(
    binary: Path | str, plan: Plan, file: OutputFile, moment: Chunk, *, path: Path | None, folder: Path, work: Path
) -> Illustration:
    """The source's frame on the left, brought to the size of the rendition by the plan's own filters, and the rendition's on the
    right.
    """
    if plan.pictures is None or file.video is None:
        raise ValueError(f"cannot compare {file.path}: it has no pictures")
    video, name = file.video, f"{file.video.name}-{moment.number}"
    times = 2 if video.size.width >= LARGE_FROM else 1
    columns = 2 * video.size.width // (LETTER_WIDTH * times)
    place = f",trim=start_pts={moment.first}:end_pts={moment.end}"
    # What is read from its beginning may begin late: there the grid is filled up, as it is for the whole film.
    grid = on_grid(plan.pictures, f"{START if moment.seek is None else ''}{place}")
    # Screens show standard range.
    toned = f"{TONEMAP}," if plan.pictures.hdr else ""
    # Both come to RGB from the form that the rendition has, or its rounding would be seen as a difference.
    shown = f"{scaled(video.size)},format={pixel_format(video.settings)},{toned}format=rgb24,setpts=0"
    graph = (
        f"[0:{plan.pictures.stream}]{grid}{shown}[s];"
        f"[1:v:0]fps={ratio(video.rate)}{place},{shown}[d];[s][d]hstack=shortest=1[b];"
        f"[2:v:0]scale=iw*{times}:ih*{times}:flags=neighbor,format=rgb24,pad={2 * video.size.width}:ih,setpts=0[c];[c][b]vstack[p]"
    )
    read = whole.source_input(plan, path) if path is None else reading(plan, moment, path, 1)
    argv = [*guarded(binary), *whole.PROGRESS, "-n", *read, *_made(file.path, video, moment, folder)]
    argv += [*letters(f"{name}.txt", columns), "-filter_complex", graph, "-map", "[p]", "-frames:v", "1"]
    argv += ["-c:v", STILL, *whole.metadata_options(None), "-f", "image2", "-update", "1", f"file:{name}.png"]
    argv += whole.into_nowhere(
        sorted({stream for each in plan.files for stream in whole.beside_pictures(each)}), length_s=0
    )
    command = Command(
        argv=tuple(argv),
        label=f"show frame {moment.first} of {video.name}",
        share=1 / len(plan.comparison),
        cwd=work,
        folders=(work,),
        frames=1,
        reads=tuple(one for one in (path, folder) if one is not None),
        writes=work,
        file_bytes=whole.HEADERS_BYTES + 6 * video.size.width * video.size.height,
    )
    return Illustration(command=command, files={f"{name}.txt": _line(video, moment, columns)}, picture=f"{name}.png")


def _made(path: str, video: VideoOutput, moment: Chunk, folder: Path) -> tuple[str, ...]:
    """The rendition from the key frame before the moment.

    A quarter of a frame behind it a seek in a file finds it, or an earlier one. In a playlist FFmpeg reads on to the first key frame
    that is not before the time that it is told, so that is a quarter of a frame too early.
    """
    is_list = path.endswith(".m3u8")
    key = moment.first // video.gop_frames * video.gop_frames
    at = (key + (-QUARTER if is_list else QUARTER)) / video.rate
    seek = ("-noaccurate_seek", "-ss", seconds(at)) if key else ()
    made = f"{folder}/{path}"
    return ("-xerror", *ON_THE_FILMS_CLOCK, *seek, *(playlist(made) if is_list else source(made)))


def _line(video: VideoOutput, moment: Chunk, columns: int) -> bytes:
    """The caption: what is on the left, and from the middle on what is on the right, as far as there is room."""
    left, right = caption(video, moment)
    half = columns // 2
    return f"{left[: half - 1]:<{half}}{right[: columns - half]}".encode("ascii", errors="replace")
