"""From a plan to whole argument lists. Every list is a golden test."""

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from millrace.domain.media.languages import language_code
from millrace.domain.media.outputs import SEGMENT_ORIGIN, AudioOutput, Generated, OutputFile, Plan, Role, SubtitleOutput
from millrace.domain.media.profile import Packaging
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.codecs import audio_options, seconds, video_options
from millrace.engines.ffmpeg.encoders import PICTURE, chosen
from millrace.engines.ffmpeg.filters import audio_filter, ladder_graph, sprite_graph
from millrace.engines.ffmpeg.reading import generated, guarded, source

STRICT = ("-xerror", "-err_detect", "explode")
"""Damage ends the encode: without these FFmpeg conceals it and exits with 0 (measured for truncation and bit rot)."""
HEADERS_BYTES = 64 << 20
"""Indexes, tags and, of sprites, pictures."""
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
FRAGMENTS = (
    *(*LATER, "-hls_segment_type", "fmp4"),
    # Without frag_discont the muxer begins at 0 again.
    *("-hls_segment_options", "movflags=+frag_discont", "-hls_fmp4_init_filename", "init.mp4"),
)


def encode_commands(
    binary: Path | str, plan: Plan, path: Path | None, folder: Path, working: Iterable[str] | None
) -> tuple[Command, ...]:
    """One process that decodes once and writes every file of the plan into `folder`."""
    argv = [*guarded(binary), *PROGRESS, "-n", *STRICT, *_input(plan, path)]
    if plan.pictures:
        graph = sprite_graph(plan, plan.pictures) if plan.sprites else ladder_graph(plan, plan.pictures)
        argv += ["-filter_complex", graph]
    argv += _sprites(plan) if plan.sprites else _files(plan, working)
    folders = tuple(dict.fromkeys((folder / file.path).parent for file in plan.files))
    reads = () if plan.generated is not None or path is None else (path,)
    command = Command(argv=tuple(argv), label="encode", cwd=folder, folders=folders, reads=reads, writes=folder)
    return (replace(command, frames=plan.frames, duration=plan.duration, file_bytes=file_bytes(plan)),)


def file_bytes(plan: Plan) -> int:
    """What no file of an output can reach by right: twice its pictures and sound without compression, and what a header takes."""
    pictures = (video.frames * video.size.width * video.size.height * 3 for video in plan.videos)
    sound = sum(audio.duration * 48_000 * audio.channels * 4 for file in plan.files for audio in file.audio)
    return HEADERS_BYTES + 2 * (max(pictures, default=0) + int(sound))


def _input(plan: Plan, path: Path | None) -> tuple[str, ...]:
    if plan.generated is not None:
        return generated_input(plan.generated)
    if path is None:
        raise ValueError("cannot encode without a source: the plan is not for a generated clip")
    if not path.is_absolute():
        raise ValueError(f"cannot encode {path}: the engine works in another folder, so the path must be absolute")
    return source(path)


def generated_input(clip: Generated) -> tuple[str, ...]:
    """One input with two streams: moving bars with a clock, and a tone. A graph with both keeps them one input."""
    length = seconds(clip.duration)
    bars = f"testsrc2=size={clip.size.width}x{clip.size.height}:rate={clip.rate}:duration={length}[out0]"
    tone = f"sine=frequency=440:sample_rate=48000:duration={length}[out1]"
    return generated(f"{bars};{tone}")


def _files(plan: Plan, working: Iterable[str] | None) -> list[str]:
    argv: list[str] = []
    pad = 0
    for file in plan.files:
        if file.video:
            encoder = chosen(file.video.settings.codec, working)
            threads = plan.split.threads_of(pad)
            argv += ["-map", f"[v{pad}]", *video_options(file.video, encoder, plan.packaging, threads)]
            pad += 1
        argv += file_options(plan, file, working)
    return argv


def file_options(plan: Plan, file: OutputFile, working: Iterable[str] | None) -> list[str]:
    """The sound and the text of a file, and where it is written."""
    argv: list[str] = []
    for number, audio in enumerate(file.audio):
        argv += _audio(audio, number, len(file.audio), chosen(audio.settings.codec, working))
    for number, subtitles in enumerate(file.subtitles):
        argv += ["-map", f"0:{subtitles.stream}", f"-c:s:{number}", subtitles.codec]
        argv += language_options("s", number, subtitles)
    if plan.attachments and file.video:
        argv += attachment_options(0)
    return [*argv, *words_options(plan, 0), *target_options(plan, file)]


def _audio(audio: AudioOutput, number: int, count: int, encoder: str) -> list[str]:
    options = audio_options(audio, encoder)
    if count > 1:
        options = tuple(f"{option}:a:{number}" if option in ("-ac", "-ar") else option for option in options)
        options = tuple(f"{option}:{number}" if option in ("-c:a", "-b:a") else option for option in options)
    return [
        "-map",
        f"0:{audio.stream}",
        f"-filter:a:{number}",
        audio_filter(),
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


def attachment_options(number: int) -> tuple[str, ...]:
    """The attachments of that input, as they are."""
    return ("-map", f"{number}:t", "-c:t", "copy")


def words_options(plan: Plan, number: int) -> tuple[str, ...]:
    """Titles and chapters of that input, as far as they are kept."""
    # The encoder tag stays: it tells how a file was made and nothing about a person.
    metadata, chapters = (str(number if kept else -1) for kept in (plan.keep_metadata, plan.chapters))
    return ("-map_metadata", metadata, "-map_chapters", chapters)


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
        *("-hls_flags", "independent_segments", *(FRAGMENTS if is_cmaf else TRANSPORT)),
        *(("-start_number", str(first)) if first else ()),
        *("-hls_segment_filename", f"file:{folder}/seg-%05d.{'m4s' if is_cmaf else 'ts'}"),
        f"file:{path}",
    )


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
