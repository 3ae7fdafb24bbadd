"""Argument lists for a film that is encoded in chunks: one for each chunk, one for sound and text, one that muxes."""

from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.chunks import unit_frames
from millrace.domain.media.outputs import OutputFile, Pictures, Plan
from millrace.domain.media.profile import Packaging
from millrace.domain.media.split import Chunk
from millrace.engines.engine import Command, Done, Piece
from millrace.engines.ffmpeg import arguments as whole
from millrace.engines.ffmpeg.codecs import seconds, tag, video_options
from millrace.engines.ffmpeg.encoders import chosen
from millrace.engines.ffmpeg.filters import ladder_options, ratio
from millrace.engines.ffmpeg.reading import guarded, playlist, source
from millrace.engines.ffmpeg.repeatable import by_cores, is_repeatable, placeless
from millrace.engines.joining import JOINED, PLAYLIST, chunk_folder, first_segment

SIDES = "sides"
"""The file that holds sound and text until they are muxed, where the packaging is one file."""
ON_THE_FILMS_CLOCK = ("-copyts", "-start_at_zero")
"""A chunk's frames keep the times that they have in the film, and so their places on the grid."""


class Encoding(Struct, frozen=True, kw_only=True):
    """What the argument lists are made of: `source` is read (None where it is not), `folder` gets the output, and `work` its
    pieces, of which those that are `done` lie there already.
    """

    binary: Path | str
    plan: Plan
    source: Path | None
    folder: Path
    work: Path
    working: Iterable[str] | None
    done: Done = frozenset()

    @property
    def film(self) -> Path:
        """The source, where there must be one."""
        if self.source is None:
            raise ValueError("cannot encode without a source")
        return self.source


def chunk_commands(one: Encoding, pictures: Pictures) -> tuple[Command, ...]:
    """A command for each chunk of which anything is to be made, the longest first."""
    ordered = sorted(one.plan.split.chunks, key=lambda chunk: (-(chunk.frames + chunk.lead), chunk.number))
    return tuple(command for chunk in ordered for command in chunk_command(one, pictures, chunk))


def chunk_command(one: Encoding, pictures: Pictures, chunk: Chunk) -> tuple[Command, ...]:
    """The command of one chunk; none where all of it is done."""
    plan, folder = one.plan, one.work / chunk_folder(chunk)
    done = [number for number, video in enumerate(plan.videos) if folder / video.name in one.done]
    made = [number for number in range(len(plan.videos)) if number not in done]
    if not made:
        return ()
    command = Command(
        argv=_chunk_argv(one, pictures, chunk, made),
        label=f"encode frames {chunk.first} to {chunk.end - 1}",
        share=chunk.frames / pictures.frames,
        cwd=folder,
        folders=tuple(folder / plan.videos[number].name for number in made),
        frames=chunk.frames,
        file_bytes=whole.file_bytes(plan),
        reads=(one.film,),
        writes=folder,
        pieces=tuple(_chunk_piece(one, pictures, chunk, number) for number in made if is_repeatable(plan, one.working)),
        chunk=chunk,
    )
    return (command,)


def _chunk_argv(one: Encoding, pictures: Pictures, chunk: Chunk, made: Collection[int]) -> tuple[str, ...]:
    """The arguments that make some renditions of a chunk, by their places in the ladder."""
    plan = one.plan
    without = [number for number in range(len(plan.videos)) if number not in made]
    card, forms = whole.card(plan, one.working), whole.picture_forms(plan, one.working)
    argv = [*guarded(one.binary), *whole.PROGRESS, "-n", *card, *reading(plan, chunk, one.film, _decoder_threads(plan))]
    argv += ladder_options(plan, pictures, forms, chunk, without=without)
    for number, video in enumerate(plan.videos):
        if number in without:
            continue
        encoder = chosen(video.settings, one.working)
        argv += ["-map", f"[v{number}]"]
        threads = plan.split.threads_of(number)
        argv += video_options(video, encoder, Packaging.CMAF, threads, chunk=chunk)
        # What the grid gives is final: one frame for each place, at its own time.
        argv += ["-fps_mode", "passthrough"]
        if plan.ahead and chunk is not plan.split.chunks[-1]:
            argv += ["-bsf:v", f"noise=drop='gte(pts*tb*{ratio(video.rate)}+1/2,{chunk.end})'"]
        # Chapters would be those of the chunk, in a header that all chunks must share.
        kept = plan.keep_metadata and plan.packaging is Packaging.CMAF
        argv += ["-map_metadata", "0" if kept else "-1", "-map_chapters", "-1"]
        argv += whole.segments_of(
            replace(plan, packaging=Packaging.CMAF, segment=unit_frames(plan) / video.rate),
            f"{video.name}/{PLAYLIST}",
            first=first_segment(plan, chunk),
        )
    return tuple(argv)


def _chunk_piece(one: Encoding, pictures: Pictures, chunk: Chunk, number: int) -> Piece:
    """A rendition of a chunk."""
    plan, video = one.plan, one.plan.videos[number]
    return Piece(
        name=f"frames {chunk.first} to {chunk.end - 1} of {video.name}",
        path=one.work / chunk_folder(chunk) / video.name,
        arguments=placeless(_chunk_argv(one, pictures, chunk, (number,)), one.film, video.name),
        by_cores=by_cores(plan, number, one.working),
        chunk=chunk.number,
    )


def _decoder_threads(plan: Plan) -> int | None:
    return plan.split.threads[0] if plan.split.threads else None


def reading(plan: Plan, chunk: Chunk, path: Path, threads: int | None) -> tuple[str, ...]:
    """The source from a place at or before the chunk's first frame, on the clock of the whole film."""
    decoder = ("-threads", str(threads)) if threads is not None else ()
    # Frames before the first place fall out by their number, so the seek need not drop any (and its own clock may differ).
    seek = () if chunk.seek is None else ("-noaccurate_seek", "-ss", seconds(chunk.seek))
    # Behind a seek, strict detection takes the leading pictures of an open GOP for damage; real damage is in the log.
    strict = ("-xerror",) if chunk.seek is not None and plan.mending is None else whole.strictness(plan)
    return (*strict, *decoder, *ON_THE_FILMS_CLOCK, *seek, *source(path))


def sides_commands(one: Encoding) -> tuple[Command, ...]:
    """Sound and text, continuously from the beginning to the end: at a join, an encoder's delay would be heard."""
    plan = one.plan
    cwd = one.folder if plan.packaging.is_segmented else one.work
    files = [file for file in sides_files(plan) if whole.place_of(cwd, file) not in one.done]
    if not files:
        return ()
    folders = tuple(dict.fromkeys((cwd / file.path).parent for file in files))
    command = Command(
        argv=_sides_argv(one, files), label="encode the sound", share=0.02, cwd=cwd, folders=folders, light=True
    )
    command = replace(command, duration=plan.duration, file_bytes=whole.file_bytes(plan))
    pieces = (
        Piece(
            name=file.path,
            path=whole.place_of(cwd, file),
            arguments=placeless(_sides_argv(one, [file]), one.film, file.path.rpartition("/")[0]),
        )
        for file in files
    )
    return (replace(command, reads=(one.film,), writes=cwd, pieces=tuple(pieces)),)


def _sides_argv(one: Encoding, files: Iterable[OutputFile]) -> tuple[str, ...]:
    argv = [*guarded(one.binary), *whole.PROGRESS, "-n", *whole.STRICT, *source(one.film)]
    for file in files:
        argv += whole.file_options(one.plan, file, one.working)
    return tuple(argv)


def sides_files(plan: Plan) -> tuple[OutputFile, ...]:
    """The files of sound and text: those of the output, or one that is muxed into every rendition."""
    if plan.packaging.is_segmented:
        return tuple(file for file in plan.files if file.video is None)
    first = plan.files[0]
    if not first.audio and not first.subtitles:
        return ()
    return (replace(first, path=f"{SIDES}.{plan.packaging}", video=None),)


def mux_commands(one: Encoding) -> tuple[Command, ...]:
    """The command that copies joined segments, sound and text into the output's containers; none for CMAF."""
    plan = one.plan
    if plan.packaging is Packaging.CMAF:
        return ()
    files = [file for file in plan.files if file.video]
    inputs: list[str] = []
    for file in files:
        name = file.video.name if file.video else ""
        inputs += playlist(f"{one.work}/{JOINED}/{name}/{PLAYLIST}")
    sides = sides_files(plan) if not plan.packaging.is_segmented else ()
    for side in sides:
        inputs += source(one.work / side.path)
    beside = len(files)
    described = beside + len(sides)
    if muxes_from_source(plan):
        inputs += source(one.film)
    argv = [*guarded(one.binary), "-n", *whole.STRICT, *inputs]
    for number, file in enumerate(files):
        argv += ["-map", f"{number}:v:0", "-c:v", "copy", *_tag(plan, file)]
        argv += _copied("a", beside, file.audio) if sides else []
        argv += _copied("s", beside, file.subtitles) if sides else []
        if plan.keep_metadata and plan.packaging is Packaging.MP4:
            argv += [*_titles("a", described, file.audio), *_titles("s", described, file.subtitles)]
        argv += whole.attachment_options(plan, described) if plan.attachments else ()
        argv += [*whole.words_options(plan, described), *whole.target_options(plan, file)]
    folders = tuple(dict.fromkeys((one.folder / file.path).parent for file in files))
    command = Command(argv=tuple(argv), label="join", share=0.0, cwd=one.folder, folders=folders)
    reads = (one.work, one.film) if muxes_from_source(plan) else (one.work,)
    return (replace(command, reads=reads, writes=one.folder, file_bytes=whole.file_bytes(plan)),)


def muxes_from_source(plan: Plan) -> bool:
    """Whether titles, chapters or attachments are taken from the source when what was joined is muxed."""
    return (plan.keep_metadata or plan.chapters + plan.attachments > 0) and plan.packaging is not Packaging.CMAF


def _copied(kind: str, number: int, streams: tuple[whole.Tagged, ...]) -> list[str]:
    argv: list[str] = []
    for place, stream in enumerate(streams):
        argv += ["-map", f"{number}:{kind}:{place}", f"-c:{kind}:{place}", "copy"]
        argv += whole.language_options(kind, place, stream)
        argv += whole.default_options(place, len(streams)) if kind == "a" else ()
    return argv


def _titles(kind: str, number: int, streams: tuple[whole.Tagged, ...]) -> list[str]:
    """What the source says of the tracks: a copy of an MP4 loses their titles, which are read as something else than they are written."""
    places = enumerate(streams)
    return [word for at, one in places for word in (f"-map_metadata:s:{kind}:{at}", f"{number}:s:{one.stream}")]


def _tag(plan: Plan, file: OutputFile) -> tuple[str, ...]:
    return tag(file.video.settings.codec, plan.packaging) if file.video else ()
