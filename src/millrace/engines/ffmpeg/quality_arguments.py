"""Argument lists that compare a rendition with its source by libvmaf, and that encode a piece of the film as a probe."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from millrace.domain.media.outputs import OutputFile, Pictures, Plan, VideoOutput
from millrace.domain.media.profile import Packaging
from millrace.domain.media.samples import ProbeEncode
from millrace.domain.media.split import Chunk
from millrace.domain.media.vmaf import Measure, measure
from millrace.engines.engine import Command, Piece
from millrace.engines.ffmpeg import arguments as whole
from millrace.engines.ffmpeg.chunk_arguments import reading
from millrace.engines.ffmpeg.codecs import is_software, picture_form, pixel_format, video_options
from millrace.engines.ffmpeg.encoders import chosen
from millrace.engines.ffmpeg.filters import START, TONEMAP, mended, on_grid, places, ratio, scaled
from millrace.engines.ffmpeg.hardware import device
from millrace.engines.ffmpeg.reading import guarded, playlist, source
from millrace.engines.ffmpeg.repeatable import placeless
from millrace.engines.ffmpeg.vmaf_log import BYTES_PER_FRAME

LOG_HEAD_BYTES = 1 << 20


class Compared(Struct, frozen=True, kw_only=True):
    """What is compared: `video` as it was made, with the source's pictures that stand in the `chunk`'s places (None: all, as
    they were `mended`).
    """

    pictures: Pictures
    video: VideoOutput
    measure: Measure
    chunk: Chunk | None = None
    mended: str = ""


def compare_command(
    binary: Path | str, plan: Plan, file: OutputFile, *, path: Path | None, folder: Path, work: Path, cores: int
) -> Command:
    """A whole rendition against the source; the log is written into `work`."""
    if plan.pictures is None or file.video is None:
        raise ValueError(f"cannot compare {file.path}: it has no pictures")
    made = f"{folder}/{file.path}"
    mending = mended(plan.pictures, plan.mending)
    one = Compared(pictures=plan.pictures, video=file.video, measure=measure(file.video), mended=mending)
    argv = [*guarded(binary), *whole.PROGRESS, *whole.strictness(plan), *whole.source_input(plan, path)]
    # What was made has to be sound: that is checked already, and where the source is not, one switch would stand for both.
    strict = whole.STRICT if plan.mending is None else ()
    argv += [*strict, *(playlist(made) if made.endswith(".m3u8") else source(made))]
    argv += _comparison(one, log_name(file.video.name), cores)
    argv += whole.into_nowhere(sorted({stream for each in plan.files for stream in whole.beside_pictures(each)}))
    return _command(argv, f"compare {file.path}", plan, reads=(path, folder), work=work, frames=file.video.frames)


def probe_commands(
    binary: Path | str, plan: Plan, probe: ProbeEncode, *, path: Path | None, work: Path, working: Iterable[str] | None
) -> tuple[Command, Command]:
    """Encode a piece of the film, and compare it with the film; one core each, since several run side by side."""
    if plan.pictures is None:
        raise ValueError("cannot encode a probe of a plan without pictures")
    video, piece, name = probe.video, probe.piece, probe_file(probe)
    kept = places(piece, to_the_end=False)
    read = whole.source_input(plan, path) if path is None else reading(plan, piece, path, 1)
    encoder = chosen(video.settings, working)
    form = picture_form(video.settings, encoder)
    graph = f"[0:{plan.pictures.stream}]{on_grid(plan.pictures, kept)}{scaled(video.size)},{form}[v0]"
    argv = [*guarded(binary), *whole.PROGRESS, "-n", *device([encoder]), *read, "-filter_complex", graph]
    argv += ["-map", "[v0]", *video_options(video, encoder, Packaging.MKV, 1), "-fps_mode", "passthrough"]
    argv += [*whole.metadata_options(None), "-f", "matroska", f"file:{name}"]
    label = f"CRF {video.settings.crf:g} of {video.name} at frame {piece.first}"
    encode = _command(argv, f"try {label}", plan, reads=(path,), work=work, frames=piece.frames)
    one = Compared(pictures=plan.pictures, video=video, measure=probe.measure, chunk=piece)
    argv = [*guarded(binary), *whole.PROGRESS, *read, *source(work / name), *_comparison(one, log_name(probe.name), 1)]
    return encode, _command(argv, f"look at {label}", plan, reads=(path,), work=work, frames=piece.frames)


def trial_piece(
    binary: Path | str,
    plan: Plan,
    probes: Sequence[ProbeEncode],
    *,
    path: Path | None,
    work: Path,
    place: Path,
    working: Iterable[str] | None,
) -> Piece | None:
    """What is found by these probes of one rendition, as something to be kept at `place`; None where the same commands may find something else."""
    encoder = chosen(probes[0].video.settings, working)
    if path is None or not is_software(encoder):
        return None
    commands = (probe_commands(binary, plan, one, path=path, work=work, working=working) for one in probes)
    return Piece(
        name=f"probes of {probes[0].video.name}",
        path=place,
        arguments=tuple(word for pair in commands for one in pair for word in placeless(one.argv, path, str(work))),
        by_cores=encoder != "libx264",
    )


def log_name(name: str) -> str:
    """The file that the scores of a comparison are written to."""
    return f"{name}.vmaf.json"


def probe_file(probe: ProbeEncode) -> str:
    """The file that a piece is encoded into."""
    return f"{probe.name}.mkv"


def _command(
    argv: Iterable[str], label: str, plan: Plan, *, reads: tuple[Path | None, ...], work: Path, frames: int
) -> Command:
    return Command(
        argv=tuple(argv),
        label=label,
        cwd=work,
        folders=(work,),
        frames=frames,
        reads=tuple(path for path in reads if path is not None),
        writes=work,
        file_bytes=max(whole.file_bytes(plan), LOG_HEAD_BYTES + BYTES_PER_FRAME * frames),
    )


def _comparison(one: Compared, log: str, threads: int) -> tuple[str, ...]:
    """The nth picture of the source's grid against the nth of what was made: no clock can pull them apart."""
    # The models know standard range only.
    toned = f"{TONEMAP}," if one.pictures.hdr else ""
    fitted = f"{scaled(one.measure.size)},{toned}format={pixel_format(one.video.settings)}"
    counted = f"{fitted},settb=1/({ratio(one.video.rate)}),setpts=N"
    kept = START if one.chunk is None else places(one.chunk, to_the_end=False)
    vmaf = (
        f"libvmaf=model=version={one.measure.model}:log_fmt=json:log_path={log}"
        f":n_threads={threads}:n_subsample={one.measure.every}:shortest=1"
    )
    graph = f"[0:{one.pictures.stream}]{on_grid(one.pictures, kept, one.mended)}{counted}[r];[1:v:0]{counted}[d];[d][r]{vmaf}[v]"
    return ("-filter_complex", graph, "-map", "[v]", "-fps_mode", "passthrough", *whole.NOWHERE)
