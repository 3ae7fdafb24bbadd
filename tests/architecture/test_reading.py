"""No run of FFmpeg goes without the lists and bounds of engines/ffmpeg/reading.py."""

import ast
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from msgspec.structs import replace

from millrace.domain.media.chunks import with_split
from millrace.domain.media.damage import Damage, OnDamage, Place
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Color, Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.samples import ProbeEncode, with_crf
from millrace.domain.media.split import Chunk, Chunking
from millrace.domain.media.vmaf import measure
from millrace.engines import ffmpeg
from millrace.engines.engine import Command
from millrace.engines.ffmpeg import encoders
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.ffmpeg.reading import (
    LETTER_WIDTH,
    PROBE_MEMORY_BYTES,
    generated,
    guarded,
    letters,
    picture,
    playlist,
    source,
)

FOLDER = Path(ffmpeg.__file__).parent
RATE = Fraction(25)
FILM = Probe(
    formats=("mov",),
    duration=Fraction(20),
    video=(
        VideoStream(
            index=0, codec="h264", width=128, height=72, frame_rate=RATE, frames=500, end=Fraction(20),
            keyframes=tuple(Fraction(at) for at in range(20)), key_decoding=tuple(Fraction(at) for at in range(20)),
        ),
    ),
    audio=(AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, packets=940, end=Fraction(20)),),
)  # fmt: skip
DAMAGE = Damage(
    places=(
        Place(kind="video", stream=0, start=Fraction(3), end=Fraction(4)),
        Place(kind="audio", stream=1, start=Fraction(7), end=Fraction(8)),
    )
)


def commands() -> Iterator[Command]:
    """Every kind of command that the engine makes."""
    engine = FFmpeg("ffmpeg")
    film, out, work = Path("/film.mp4"), Path("/out"), Path("/work")
    yield engine.probe(film)
    yield from engine.damage(film, FILM)
    hdr = replace(FILM, video=(replace(FILM.video[0], color=Color(transfer="smpte2084")),))
    yield from (command for command in [engine.first_picture(film, hdr)] if command)
    yield from (engine.encoder_proof(name) for name in encoders.ALL)
    rungs = [{"video": {"codec": "h264", "height": 72}}]
    yield from quality_commands(engine, film, out, work)
    for packaging in ("mp4", "mkv", "cmaf", "hls", "m4a", "thumbnails"):
        document = {"name": "p", "packaging": packaging}
        if packaging != "thumbnails":
            document |= {"audio": [{"codec": "aac"}], "metadata": "keep"}
        if packaging not in ("thumbnails", "m4a"):
            document |= {"renditions": rungs}
        profile = profile_from(document)
        for probe in (FILM, None):
            whole = plan(profile, probe)
            for made in (whole, with_split(whole, probe, cores=2, chunking=Chunking.ALWAYS)):
                yield from engine.encode(made, film if probe else None, out, work)
                yield from engine.inspect(made, out)
                if not made.split.is_whole:
                    yield from engine.mux(made, film, out, work)
        for on_damage in (OnDamage.CONCEAL, OnDamage.CUT):
            yield from engine.encode(plan(replace(profile, on_damage=on_damage), FILM, damage=DAMAGE), film, out, work)


def quality_commands(engine: FFmpeg, film: Path, out: Path, work: Path) -> Iterator[Command]:
    """Those of two passes, of probe encodes and of comparisons."""
    for packaging in ("mp4", "cmaf"):
        video = {"codec": "h264", "bitrate": "1M", "passes": 2}
        document = {"name": "p", "packaging": packaging, "renditions": [{"video": video}], "checks": {"vmaf": True}}
        document |= {"comparison": {"frames": 2}}
        for probe in (FILM, None):
            made, source_of = plan(profile_from(document), probe), film if probe else None
            yield from engine.first_pass(made, source_of, work)
            yield engine.compare(made, made.files[0], source=source_of, folder=out, work=work, cores=2)
            piece, one = Chunk(number=0, first=100, end=150, seek=Fraction(3)), made.videos[0]
            tried = ProbeEncode(video=with_crf(one, 20), piece=piece, measure=measure(one))
            yield from engine.probe_encode(made, tried, source_of, work)
            yield engine.side_by_side(made, made.files[0], piece, source=source_of, folder=out, work=work).command


def test_every_command_begins_guarded_and_names_each_input_within_the_lists() -> None:
    seen = set()
    for command in commands():
        assert command.argv[: len(guarded("ffmpeg"))] == guarded("ffmpeg"), command.label
        assert command.argv.count("-i") >= 1
        for at, word in enumerate(command.argv):
            if word != "-i":
                continue
            name = command.argv[at + 1]
            plain = name.removeprefix("file:")
            kinds = {one.__name__: one(plain) for one in (source, playlist, picture)} | {"generated": generated(name)}
            wide = command.argv[at - 1].partition("x")[0] if command.argv[at - 2] == "-video_size" else "0"
            kinds["letters"] = letters(plain, int(wide) // LETTER_WIDTH)
            before = [kind for kind, options in kinds.items() if command.argv[: at + 2][-len(options) :] == options]
            assert len(before) == 1, (command.label, command.argv)
            seen.update(before)
        if command.label.startswith(("probe", "check", "list")):
            assert command.memory_bytes == PROBE_MEMORY_BYTES
        elif not command.label.startswith("prove"):
            assert command.file_bytes, command.label
    assert seen == {"source", "playlist", "picture", "generated", "letters"}


def test_inputs_are_named_in_one_place() -> None:
    for path in FOLDER.rglob("*.py"):
        words = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        if path.name == "reading.py":
            assert words.count("-i") == 5
        else:
            assert "-i" not in words, path.name
