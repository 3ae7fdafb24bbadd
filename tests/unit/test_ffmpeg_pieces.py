"""Pieces of a film that may be used again: what names each, what is left of a command where some are there already."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from test_ffmpeg_chunks import ENGINE, OUT, PROBE, SOURCE, WORK, planned

from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import AudioStream
from millrace.domain.media.recipe import AS_BEFORE, divided_as, film_key
from millrace.domain.media.split import Chunking, Split
from millrace.engines.engine import Command, Piece
from millrace.engines.ffmpeg.engine import FFmpeg


def whole(**document: Any) -> Plan:
    return replace(planned(**document), split=Split(threads=(2, 1)))


def commands(plan: Plan, *done: Path, engine: FFmpeg = ENGINE, source: Path = SOURCE) -> tuple[Command, ...]:
    return engine.encode(plan, source, OUT, WORK, done=frozenset(done))


def pieces(plan: Plan, *done: Path, engine: FFmpeg = ENGINE, source: Path = SOURCE) -> dict[str, Piece]:
    """Every piece by where it lies."""
    found = [piece for command in commands(plan, *done, engine=engine, source=source) for piece in command.pieces]
    return {piece.path.relative_to(WORK.parent).as_posix(): piece for piece in found}


def test_the_pieces_of_a_ladder_in_chunks() -> None:
    found = pieces(planned(subtitles="convert"))
    assert {name: one.chunk for name, one in found.items()} == {
        "out/audio-0": None,
        "out/subtitles-0.vtt": None,
        "pieces/chunk-00000/360p": 0,
        "pieces/chunk-00000/180p": 0,
        "pieces/chunk-00001/360p": 1,
        "pieces/chunk-00001/180p": 1,
    }
    assert found["pieces/chunk-00001/180p"].name == "frames 240 to 299 of 180p"


def test_the_pieces_of_what_is_made_whole() -> None:
    assert list(pieces(whole())) == ["out/360p", "out/180p", "out/audio-0"]
    assert list(pieces(whole(packaging="mp4", heights=(360,)))) == ["out/video.mp4"]


@pytest.mark.parametrize("plan", [planned(), whole()], ids=["chunks", "whole"])
def test_a_piece_is_named_by_the_command_that_would_make_it_alone(plan: Plan) -> None:
    every = pieces(plan)
    for name, piece in every.items():
        others = [one.path for other, one in every.items() if other != name]
        (command,) = commands(plan, *others)
        assert [one.path for one in command.pieces] == [piece.path]
        own = f"file:{piece.path.name}/"
        assert piece.arguments == tuple(
            "file:<source>" if word == f"file:{SOURCE}" else word.replace(own, "file:<name>/")
            for word in command.argv[1:]
        )


def test_what_is_there_is_not_made_and_the_rest_keeps_its_bits() -> None:
    plan = planned()
    first, second = WORK / "chunk-00001" / "360p", WORK / "chunk-00000" / "180p"
    sides, large, small = commands(plan, first, second)
    assert sides.label == "encode the sound"
    assert large.argv[large.argv.index("-filter_complex") + 1] == (
        "[0:0]fps=30000/1001:start_time=0,trim=end_pts=250,scale=640:360:flags=bicubic,setsar=1,format=yuv420p[v0]"
    )
    # The lower one is scaled from the upper one all the same.
    assert small.argv[small.argv.index("-filter_complex") + 1] == (
        "[0:0]fps=30000/1001,trim=start_pts=240,scale=640:360:flags=bicubic,setsar=1,format=yuv420p,"
        "scale=320:180:flags=bicubic,setsar=1,format=yuv420p[v1]"
    )
    assert (large.folders, small.folders) == ((WORK / "chunk-00000/360p",), (WORK / "chunk-00001/180p",))
    assert small.argv.count("-map") == 1
    assert commands(plan, *(WORK.parent / name for name in pieces(plan))) == ()


def test_of_a_whole_film_every_stream_is_read_although_one_file_is_made() -> None:
    (command,) = commands(whole(), OUT / "360p", OUT / "180p")
    assert "-filter_complex" not in command.argv
    assert command.argv[-6:] == ("-map", "0:0", "-c", "copy", "-f", "null", "-")[-6:]
    (command,) = commands(whole(), OUT / "360p", OUT / "audio-0")
    assert command.argv[-7:] == ("-map", "0:2", "-c", "copy", "-f", "null", "-")
    (command,) = commands(whole())
    assert "null" not in command.argv
    assert commands(whole(), OUT / "360p", OUT / "180p", OUT / "audio-0") == ()


def changed(plan: Plan, number: int, **settings: Any) -> Plan:
    """With other settings of one rendition."""
    files = list(plan.files)
    video = plan.videos[number]
    place = [file.video for file in files].index(video)
    files[place] = replace(files[place], video=replace(video, settings=replace(video.settings, **settings)))
    return replace(plan, files=tuple(files))


def with_chunk(plan: Plan, number: int, **fields: Any) -> Plan:
    chunks = list(plan.split.chunks)
    chunks[number] = replace(chunks[number], **fields)
    return replace(plan, split=replace(plan.split, chunks=tuple(chunks)))


def with_threads(plan: Plan, *threads: int) -> Plan:
    return replace(plan, split=replace(plan.split, threads=threads))


def with_pictures(plan: Plan, **fields: Any) -> Plan:
    assert plan.pictures is not None
    return replace(plan, pictures=replace(plan.pictures, **fields))


FIRST, SECOND = "pieces/chunk-00001/360p", "pieces/chunk-00001/180p"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda plan: changed(plan, 0, crf=24), {SECOND}),
        (lambda plan: changed(plan, 1, crf=24), {FIRST}),
        (lambda plan: changed(plan, 1, preset="slow"), {FIRST}),
        (lambda plan: changed(plan, 1, maxrate_bps=400_000), {FIRST}),
        (lambda plan: with_chunk(plan, 1, seek=Fraction(802, 100)), set()),
        (lambda plan: with_chunk(plan, 1, first=180), set()),
        (lambda plan: with_threads(plan, 1, 2), {FIRST}),
        (lambda plan: with_threads(plan, 2, 1), set()),
        (lambda plan: with_pictures(plan, deinterlace=True), set()),
        (lambda plan: with_pictures(plan, tonemap=True), set()),
        (lambda plan: with_pictures(plan, stream=1), set()),
        (lambda plan: with_pictures(plan, rate=Fraction(30)), set()),
        (lambda plan: replace(plan, keep_metadata=True), set()),
        (lambda plan: planned(heights=(360, 240)), {FIRST}),
        (lambda plan: planned(heights=(300, 180)), set()),
        (lambda plan: planned(gop_s=1), set()),
        (lambda plan: planned(segment_s=2), set()),
        (lambda plan: with_threads(planned(heights=(360, 180, 90)), 1, 1, 1), {FIRST, SECOND}),
        (lambda plan: planned(audio=[{"codec": "aac", "bitrate": "96k"}]), {FIRST, SECOND}),
    ],
)
def test_what_changes_a_rendition_changes_its_name_and_that_of_no_other(
    change: Callable[[Plan], Plan], same: set[str]
) -> None:
    before, after = pieces(planned()), pieces(change(planned()))
    for name in (FIRST, SECOND):
        other = after.get(name)
        assert (other is not None and other.arguments == before[name].arguments) == (name in same), name


def test_a_range_that_ends_elsewhere_is_another_piece() -> None:
    before = pieces(planned())["pieces/chunk-00000/360p"]
    after = pieces(with_chunk(with_chunk(planned(), 0, end=180), 1, first=180))["pieces/chunk-00000/360p"]
    assert before.arguments != after.arguments


def test_places_and_names_make_no_other_piece() -> None:
    plan = planned()
    elsewhere = FFmpeg("/opt/ffmpeg").encode(plan, Path("/tmp/b.mkv"), Path("/j/out"), Path("/j/pieces"))
    assert [one.arguments for command in elsewhere for one in command.pieces] == [
        one.arguments for one in pieces(plan).values()
    ]
    files = tuple(
        replace(file, path=file.path.replace("180p", "low"), video=replace(file.video, name="low"))
        if file.video and file.video.name == "180p"
        else file
        for file in plan.files
    )
    renamed = pieces(replace(plan, files=files))
    assert renamed["pieces/chunk-00001/low"].arguments == pieces(plan)[SECOND].arguments


def test_what_the_encoder_decides_by_the_machine_is_said() -> None:
    assert not any(one.by_cores for one in pieces(planned()).values())
    assert all(one.by_cores for name, one in pieces(with_threads(planned())).items() if "chunk" in name)
    h265 = planned(renditions=[{"name": "360p", "video": {"codec": "h265", "height": 360, "crf": 23}}])
    assert all(one.by_cores for name, one in pieces(h265).items() if "chunk" in name)


def test_what_other_renditions_or_machines_have_a_say_in_is_no_piece() -> None:
    depths = [
        {"name": "360p", "video": {"codec": "h265", "height": 360, "crf": 23, "bit_depth": 10}},
        {"name": "180p", "video": {"codec": "h264", "height": 180, "crf": 23}},
    ]
    ten_bits = replace(PROBE, video=(replace(PROBE.video[0], bit_depth=10, pix_fmt="yuv420p10le"),))
    mixed = planned(renditions=depths, film=ten_bits)
    assert {video.settings.bit_depth for video in mixed.videos} == {8, 10}
    assert list(pieces(mixed)) == ["out/audio-0"]
    card = FFmpeg("ffmpeg", working=frozenset({"h264_nvenc", "aac"}))
    assert list(pieces(planned(), engine=card)) == ["out/audio-0"]


def in_two_passes(bitrate: str, height: int = 360, **more: Any) -> Plan:
    return whole(renditions=[{"name": "360p", "video": {"height": height, "bitrate": bitrate, "passes": 2}}], **more)


def test_two_passes_are_one_piece_with_what_both_of_them_are_asked_for() -> None:
    plan = in_two_passes("1M")
    (both,) = pieces(plan).values()
    assert both.path == OUT
    assert [word for word, before in zip(both.arguments[1:], both.arguments, strict=False) if before == "-pass"] == [
        "1",
        "2",
    ]
    assert not any(str(WORK) in word or str(SOURCE) in word for word in both.arguments)
    elsewhere = [
        one for command in ENGINE.encode(plan, Path("/b.mp4"), Path("/c"), Path("/d")) for one in command.pieces
    ]
    assert [one.arguments for one in elsewhere] == [both.arguments]
    assert pieces(in_two_passes("2M"))["out"].arguments != both.arguments
    assert commands(plan, OUT) == ()
    assert list(pieces(in_two_passes("1M", packaging="mp4"))) == ["out/video.mp4"]
    card = FFmpeg("ffmpeg", working=frozenset({"h264_nvenc", "aac"}))
    assert pieces(plan, engine=card) == {}


def test_a_film_is_divided_as_an_earlier_job_divided_it() -> None:
    before = with_threads(planned(heights=(360,)), 3)
    plan = replace(planned(heights=(360, 180)), split=Split(is_possible=True, threads=(2, 1), reason="whole"))
    after = divided_as(plan, before, Chunking.AUTO)
    assert after.split.chunks == before.split.chunks
    assert after.split.threads == (3, 1)
    assert after.split.reason == f"{AS_BEFORE}two"
    assert divided_as(plan, after, Chunking.AUTO).split.reason == f"{AS_BEFORE}two"
    assert divided_as(plan, before, Chunking.NEVER) == plan
    assert divided_as(after, plan, Chunking.ALWAYS) == after
    assert divided_as(after, plan, Chunking.AUTO).split.is_whole
    impossible = replace(plan, split=Split(reason="whole"))
    assert divided_as(impossible, before, Chunking.AUTO) == impossible
    shared = replace(before, split=replace(before.split, workers=2))
    alone = divided_as(plan, shared, Chunking.AUTO)  # what others made can be joined by one
    assert (alone.split.chunks, alone.split.workers) == (before.split.chunks, 0)
    many = replace(plan, split=replace(plan.split, workers=3, at_once=1))
    assert divided_as(many, before, Chunking.AUTO).split.workers == 3
    assert divided_as(many, before, Chunking.AUTO).split.at_once == 1
    assert divided_as(many, replace(before, split=Split()), Chunking.AUTO) == many


def test_films_that_cannot_be_divided_alike_are_other_films() -> None:
    plan = planned()
    assert film_key("a" * 64, plan) == film_key("a" * 64, planned(heights=(360,)))
    others = [
        film_key("b" * 64, plan),
        film_key("a" * 64, planned(segment_s=2)),
        film_key("a" * 64, with_pictures(plan, rate=Fraction(30))),
        film_key("a" * 64, with_pictures(plan, frames=299)),
    ]
    assert len({film_key("a" * 64, plan), *others}) == 5


def test_streams_of_other_languages_are_read_too() -> None:
    film = replace(
        PROBE,
        audio=(
            *PROBE.audio,
            AudioStream(index=4, codec="ac3", sample_rate=48000, channels=2, language="fra", end=Fraction(10)),
        ),
    )
    both = whole(film=film, audio=[{"codec": "aac", "tracks": "all"}])
    (command,) = commands(both, OUT / "audio-0", OUT / "audio-1")
    assert command.argv[-14:] == (
        *("-map", "0:2", "-c", "copy", "-f", "null", "-"),
        *("-map", "0:4", "-c", "copy", "-f", "null", "-"),
    )
