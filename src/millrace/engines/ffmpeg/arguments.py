"""From a plan to whole argument lists. Every list is a golden test."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from millrace.domain.media.languages import language_code
from millrace.domain.media.outputs import (
    SEGMENT_ORIGIN,
    AudioOutput,
    Generated,
    OutputFile,
    Plan,
    Role,
    SubtitleOutput,
    VideoOutput,
)
from millrace.domain.media.profile import Packaging
from millrace.engines.engine import Command, Done, Piece
from millrace.engines.ffmpeg.codecs import Pass, audio_options, is_software, picture_form, seconds, video_options
from millrace.engines.ffmpeg.encoders import PICTURE, chosen
from millrace.engines.ffmpeg.filters import audio_filter, ladder_graph, ladder_options, sprite_graph
from millrace.engines.ffmpeg.hardware import device
from millrace.engines.ffmpeg.reading import generated, guarded, source
from millrace.engines.ffmpeg.repeatable import by_cores, is_repeatable, placeless

STRICT = ("-xerror", "-err_detect", "explode")
"""Damage ends the encode: without these FFmpeg conceals it and exits with 0 (measured for truncation and bit rot)."""
MENDING = ("-max_error_rate", "1")
"""Damage is known and was planned for: it is concealed, whatever there is of it."""
HEADERS_BYTES = 64 << 20
"""Indexes, tags and, of sprites, pictures."""
NOWHERE = ("-f", "null", "-")
PASSES = Path("/passes")
"""Where first passes are said to lie in what names a piece: each attempt has another folder for them."""
Tagged = AudioOutput | SubtitleOutput
PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")
MUXERS = {
    Packaging.MP4: ("-f", "mp4", "-movflags", "+faststart"),
    Packaging.MKV: ("-f", "matroska"),
    Packaging.WEBM: ("-f", "webm"),
    Packaging.M4A: ("-f", "ipod", "-movflags", "+faststart"),
    Packaging.MP3: ("-f", "mp3"),
    Packaging.OGG: ("-f", "ogg"),
    Packaging.FLAC: ("-f", "flac"),
}

LATER = ("-output_ts_offset", seconds(SEGMENT_ORIGIN))
"""Segments begin late enough that no encoder's delay falls below time 0, where muxers would move each rendition by its
own delay and pull sound and pictures apart (measured on 6.0 and 9.0.2: 80 ms)."""
TRANSPORT = (*LATER, "-hls_segment_type", "mpegts")


def encode_commands(
    binary: Path | str,
    plan: Plan,
    path: Path | None,
    folder: Path,
    *,
    work: Path,
    working: Iterable[str] | None,
    done: Done = frozenset(),
) -> tuple[Command, ...]:
    """One process that decodes once and writes every file of the plan into `folder`, but those that are `done`; none where all are.
    First passes have left theirs in `work`.
    """
    files = [file for file in plan.files if place_of(folder, file) not in done]
    if not files or folder in done:
        return ()

    def argv(made: Sequence[OutputFile], work: Path) -> tuple[str, ...]:
        read = [*strictness(plan), *card(plan, working), *source_input(plan, path)]
        start = [*guarded(binary), *PROGRESS, "-n", *read]
        if plan.sprites is None:
            return (*start, *_files(plan, made, work, working))
        graph = sprite_graph(plan, plan.pictures) if plan.pictures else ""
        return (*start, "-filter_complex", graph, *_sprites(plan))

    command = Command(
        argv=argv(files, work), label="encode", cwd=folder, folders=tuple(dict.fromkeys((folder / file.path).parent for file in files)),
        reads=(*(() if plan.generated is not None or path is None else (path,)), *((work,) if plan.is_two_pass else ())),
        writes=folder, frames=plan.frames, duration=plan.duration, file_bytes=file_bytes(plan),
    )  # fmt: skip
    if path is None or plan.generated is not None or plan.sprites is not None or not is_repeatable(plan, working):
        return (command,)
    if plan.is_two_pass:
        # Which file of a first pass belongs to which rendition depends on what else is made, so all of it is one piece.
        first = first_pass_commands(binary, plan, path, PASSES, working)
        words = (
            word for each in (*(one.argv for one in first), argv(files, PASSES)) for word in placeless(each, path, "")
        )
        numbers = range(len(plan.videos))
        place = place_of(folder, files[0]) if len(files) == 1 else folder
        both = Piece(
            name="all files",
            path=place,
            arguments=tuple(words),
            by_cores=any(by_cores(plan, number, working) for number in numbers),
        )
        return (replace(command, pieces=(both,)),)
    pieces = (
        Piece(
            name=file.path,
            path=place_of(folder, file),
            arguments=placeless(argv([file], work), path, file.path.rpartition("/")[0]),
            by_cores=file.video is not None and by_cores(plan, plan.videos.index(file.video), working),
        )
        for file in files
    )
    return (replace(command, pieces=tuple(pieces)),)


def place_of(folder: Path, file: OutputFile) -> Path:
    """Where all of a file lies: a playlist has its segments beside it."""
    path = folder / file.path
    return path.parent if path.suffix == ".m3u8" else path


def first_pass_commands(
    binary: Path | str, plan: Plan, path: Path | None, work: Path, working: Iterable[str] | None
) -> tuple[Command, ...]:
    """One process that looks at the film for every rendition that is made in two passes; none where nothing is.

    FFmpeg names what a pass finds by the place of the stream among all that it writes. So that both passes count alike, streams
    that this one does not make are copied into nowhere.
    """
    looked = [file.video for file in plan.files if file.video and _looks_first(file.video, working)]
    if not looked or plan.pictures is None:
        return ()
    unused = (f"[v{number}]nullsink" for number, video in enumerate(plan.videos) if video not in looked)
    argv = [*guarded(binary), *PROGRESS, *strictness(plan), *card(plan, working), *source_input(plan, path)]
    graph = ladder_graph(plan, plan.pictures, picture_forms(plan, working))
    argv += ["-filter_complex", ";".join((graph, *unused))]
    for file in plan.files:
        if file.video in looked:
            number = plan.videos.index(file.video)
            options = _video(plan, number, Pass(number=1, stats=_stats(work, file.video)), working)
            argv += ["-map", f"[v{number}]", *options, *NOWHERE]
        elif file.video:
            argv += into_nowhere([plan.pictures.stream])
        argv += into_nowhere(beside_pictures(file))
    reads = () if path is None else (path,)
    command = Command(argv=tuple(argv), label="first pass", cwd=work, folders=(work,), frames=plan.frames)
    return (replace(command, reads=reads, writes=work, file_bytes=file_bytes(plan)),)


def strictness(plan: Plan) -> tuple[str, ...]:
    """Whether damage of the source ends a command."""
    return STRICT if plan.mending is None else MENDING


def beside_pictures(file: OutputFile) -> tuple[int, ...]:
    """The streams of the source that a file's sound and text come from."""
    return (*(one.stream for one in file.audio), *(one.stream for one in file.subtitles))


def into_nowhere(streams: Iterable[int], *, length_s: int | None = None) -> list[str]:
    """Streams of the source that are read and not used, to their end or for so many seconds.

    FFmpeg takes for the beginning of an MPEG-TS that of the streams which are read: without its sound, pictures that begin
    after that would stand elsewhere on the grid.
    """
    until = () if length_s is None else ("-t", str(length_s))
    return [word for stream in streams for word in ("-map", f"0:{stream}", "-c", "copy", *until, *NOWHERE)]


def picture_forms(plan: Plan, working: Iterable[str] | None) -> list[str]:
    """For each rendition, the filters that end its chain."""
    return [picture_form(video.settings, chosen(video.settings, working)) for video in plan.videos]


def card(plan: Plan, working: Iterable[str] | None) -> tuple[str, ...]:
    """The graphics card of the encoders that need to be told of one."""
    return device(chosen(video.settings, working) for video in plan.videos)


def _looks_first(video: VideoOutput, working: Iterable[str] | None) -> bool:
    return video.settings.passes == 2 and is_software(chosen(video.settings, working))


def _stats(work: Path, video: VideoOutput) -> Path:
    return work / f"{video.name}.pass"


def _video(plan: Plan, number: int, stage: Pass | None, working: Iterable[str] | None) -> tuple[str, ...]:
    video = plan.videos[number]
    encoder = chosen(video.settings, working)
    return video_options(video, encoder, plan.packaging, plan.split.threads_of(number), stage=stage)


def file_bytes(plan: Plan) -> int:
    """What no file of an output can reach by right: twice its pictures and sound without compression, and what a header takes."""
    pictures = (video.frames * video.size.width * video.size.height * 3 for video in plan.videos)
    sound = sum(audio.duration * 48_000 * audio.channels * 4 for file in plan.files for audio in file.audio)
    return HEADERS_BYTES + 2 * (max(pictures, default=0) + int(sound))


def source_input(plan: Plan, path: Path | None) -> tuple[str, ...]:
    """The source of the plan from its beginning, or the clip that is generated instead."""
    if plan.generated is not None:
        return generated_input(plan.generated)
    if path is None:
        raise ValueError("cannot encode without a source: the plan is not for a generated clip")
    if not path.is_absolute():
        raise ValueError(f"cannot encode {path}: the engine works in another folder, so the path must be absolute")
    return (*_unread(plan), *source(path))


def _unread(plan: Plan) -> tuple[str, ...]:
    """Keeps damaged pictures from the decoder: noise in their headers makes it show sound ones from before at wrong times."""
    if plan.mending is None or plan.pictures is None:
        return ()
    runs = [run for place in plan.mending.damage.places for run in place.packets]
    dropped = "+".join(f"between(n,{first},{last})" for first, last in runs)
    return (f"-bsf:{plan.pictures.stream}", f"noise=drop='{dropped}'") if dropped else ()


def generated_input(clip: Generated) -> tuple[str, ...]:
    """One input with two streams: moving bars with a clock, and a tone. A graph with both keeps them one input."""
    length = seconds(clip.duration)
    bars = f"testsrc2=size={clip.size.width}x{clip.size.height}:rate={clip.rate}:duration={length}[out0]"
    tone = f"sine=frequency=440:sample_rate=48000:duration={length}[out1]"
    return generated(f"{bars};{tone}")


def _files(plan: Plan, made: Sequence[OutputFile], work: Path, working: Iterable[str] | None) -> Iterator[str]:
    """The arguments that make these files of the plan. What only the others need is read and not used."""
    others = [file for file in plan.files if file not in made]
    without = [number for number, video in enumerate(plan.videos) if any(video is file.video for file in others)]
    if plan.pictures and len(without) < len(plan.videos):
        yield from ladder_options(plan, plan.pictures, picture_forms(plan, working), without=without)
    for file in made:
        if file.video:
            number = plan.videos.index(file.video)
            second = Pass(number=2, stats=_stats(work, file.video)) if _looks_first(file.video, working) else None
            yield from ("-map", f"[v{number}]", *_video(plan, number, second, working))
        yield from file_options(plan, file, working)
    unused = {stream for file in others for stream in _streams(plan, file)}
    yield from into_nowhere(sorted(unused - {stream for file in made for stream in _streams(plan, file)}))


def _streams(plan: Plan, file: OutputFile) -> tuple[int, ...]:
    """The streams of the source that a file is made of."""
    pictures = (plan.pictures.stream,) if plan.pictures and file.video else ()
    return (*pictures, *beside_pictures(file))


def file_options(plan: Plan, file: OutputFile, working: Iterable[str] | None) -> list[str]:
    """The sound and the text of a file, and where it is written."""
    argv: list[str] = []
    for number, audio in enumerate(file.audio):
        sound = audio_filter(audio, plan.mending)
        argv += _audio(audio, sound, number, len(file.audio), chosen(audio.settings, working))
    for number, subtitles in enumerate(file.subtitles):
        argv += ["-map", f"0:{subtitles.stream}", f"-c:s:{number}", subtitles.codec]
        argv += language_options("s", number, subtitles)
    if plan.attachments and file.video:
        argv += attachment_options(plan, 0)
    return [*argv, *words_options(plan, 0), *target_options(plan, file)]


def _audio(audio: AudioOutput, sound: str, number: int, count: int, encoder: str) -> list[str]:
    options = audio_options(audio, encoder)
    if count > 1:
        options = tuple(f"{option}:a:{number}" if option in ("-ac", "-ar") else option for option in options)
        options = tuple(f"{option}:{number}" if option in ("-c:a", "-b:a") else option for option in options)
    return [
        "-map",
        f"0:{audio.stream}",
        f"-filter:a:{number}",
        sound,
        *options,
        *language_options("a", number, audio),
        *default_options(number, count),
    ]


def language_options(kind: str, number: int, stream: Tagged) -> tuple[str, ...]:
    """The language of a stream where it is known, as containers write it: MP4 takes three letters and nothing else."""
    code = language_code(stream.language) or stream.language
    return (f"-metadata:s:{kind}:{number}", f"language={code}") if code else ()


def default_options(number: int, count: int) -> tuple[str, ...]:
    """The first of several sound tracks is the one that plays, whatever the input says of them."""
    return (f"-disposition:a:{number}", "-default" if number else "+default") if count > 1 else ()


def attachment_options(plan: Plan, number: int) -> tuple[str, ...]:
    """The attachments of that input, as they are, with the names and kinds without which Matroska takes none."""
    named = range(0 if plan.keep_metadata else plan.attachments)
    return (
        *("-map", f"{number}:t", "-c:t", "copy"),
        *(word for at in named for word in (f"-map_metadata:s:t:{at}", f"{number}:s:t:{at}")),
    )


def words_options(plan: Plan, number: int) -> tuple[str, ...]:
    """Titles and chapters of that input, as far as they are kept."""
    return metadata_options(number if plan.keep_metadata else None, chapters=number if plan.chapters else None)


def metadata_options(number: int | None, *, chapters: int | None = None) -> tuple[str, ...]:
    """Titles of that input and chapters of that one, or none."""
    # The encoder tag stays: it tells how a file was made and nothing about a person.
    titles: tuple[str, ...] = ("-map_metadata", "-1" if number is None else str(number))
    if number is None and chapters is not None:
        # Without a kind it would take away the titles of the chapters, too.
        titles = ("-map_metadata:g", "-1", "-map_metadata:s", "-1")
    return (*titles, "-map_chapters", "-1" if chapters is None else str(chapters))


def target_options(plan: Plan, file: OutputFile) -> tuple[str, ...]:
    """Output names are relative to the working directory: FFmpeg's HLS muxer takes folders with `%` or `:` for patterns."""
    if file.role is Role.SUBTITLES:
        return ("-f", "webvtt", f"file:{file.path}")
    if plan.packaging.is_segmented:
        return segments_of(plan, file.path)
    return (*MUXERS[plan.packaging], f"file:{file.path}")


def segments_of(plan: Plan, path: str, *, first: int = 0) -> tuple[str, ...]:
    """A media playlist and its segments, numbered from `first`."""
    is_cmaf = plan.packaging is Packaging.CMAF
    folder = path.rpartition("/")[0]
    return (
        *("-f", "hls", "-hls_time", seconds(plan.segment), "-hls_playlist_type", "vod", "-hls_list_size", "0"),
        *("-hls_flags", "independent_segments", *(_fragments(first) if is_cmaf else TRANSPORT)),
        *(("-start_number", str(first)) if first else ()),
        *("-hls_segment_filename", f"file:{folder}/seg-%05d.{'m4s' if is_cmaf else 'ts'}"),
        f"file:{path}",
    )


def _fragments(first: int) -> tuple[str, ...]:
    """Segments of fragmented MP4. Their fragments, one in each, are numbered through the film from 1 (ISO/IEC 14496-12, 8.8.5)."""
    numbers = f":fragment_index={first + 1}" if first else ""
    # Without frag_discont the muxer begins at 0 again.
    options = ("-hls_segment_options", f"movflags=+frag_discont{numbers}")
    return (*LATER, "-hls_segment_type", "fmp4", *options, "-hls_fmp4_init_filename", "init.mp4")


def _sprites(plan: Plan) -> list[str]:
    argv = [
        "-map",
        "[v0]",
        "-c:v",
        PICTURE,
        "-q:v",
        "4",
        "-fps_mode",
        "passthrough",
        *words_options(plan, 0),
    ]
    return [*argv, "-f", "image2", "-start_number", "1", "file:sprite-%03d.jpg"]
