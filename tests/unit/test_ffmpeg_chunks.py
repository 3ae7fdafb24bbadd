"""Golden tests of chunks: whole argument lists, and what joining decides."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.media.hls import Segment, media_playlist, parse_media_playlist
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.split import Chunk, Split
from millrace.engines.engine import EngineFailure, Listing
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.engines.ffmpeg.reading import playlist, source
from millrace.engines.packages import segments_of

ENGINE = FFmpeg("ffmpeg")
RATE = Fraction(30000, 1001)
PROBE = Probe(
    formats=("matroska",),
    duration=Fraction(10),
    video=(VideoStream(index=0, codec="h264", width=640, height=360, frame_rate=RATE, frames=300, end=300 / RATE),),
    audio=(AudioStream(index=2, codec="ac3", sample_rate=48000, channels=6, language="eng", end=Fraction(10)),),
    subtitles=(SubtitleStream(index=3, codec="subrip", is_text=True, language="eng"),),
)
SOURCE, OUT, WORK = Path("/films/a.mkv"), Path("/jobs/7/out"), Path("/jobs/7/pieces")
START = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-max_alloc", "536870912"]
PROGRESS = ["-progress", "pipe:1", "-stats_period", "0.5", "-n"]
STRICT = ["-xerror", "-err_detect", "explode"]
READ = [*source("")[:-1]]


def planned(
    packaging: str = "cmaf", heights: tuple[int, ...] = (360, 180), film: Probe = PROBE, **document: Any
) -> Plan:
    """300 frames of 29.97, in chunks of 240 and 60."""
    rungs = [{"name": f"{height}p", "video": {"height": height, "crf": 23}} for height in heights]
    profile = profile_from(
        {
            "name": "t",
            "packaging": packaging,
            "renditions": rungs,
            "audio": [{"codec": "aac"}],
            "gop_s": 2,
        }
        | document
    )
    chunks = (Chunk(number=0, first=0, end=240), Chunk(number=1, first=240, end=300, seek=Fraction(801, 100), lead=3))
    return replace(plan(profile, film), split=Split(chunks=chunks, at_once=2, threads=(1, 1), reason="two"))


def test_a_chunk_of_a_ladder() -> None:
    _, first, last = ENGINE.encode(planned(), SOURCE, OUT, WORK)

    def rung(number: int, start: list[str], numbered: str = "", *, midst: bool = False) -> list[str]:
        name = ("360p", "180p")[number]
        return [
            *("-map", f"[v{number}]", "-c:v", "libx264", "-threads", "1", "-preset", "veryfast", "-crf", "23"),
            *(("-x264-params", "zones=0,0,b=1.4") if midst else ()),
            *("-g", "60", "-keyint_min", "60", "-force_key_frames", "expr:eq(mod(n,60),0)"),
            *("-sc_threshold", "0", "-flags", "+cgop", "-forced-idr", "1", "-fps_mode", "passthrough"),
            *(() if midst else ("-bsf:v", "noise=drop='gte(pts*tb*30000/1001+1/2,240)'")),
            *("-map_metadata", "-1", "-map_chapters", "-1"),
            *("-f", "hls", "-hls_time", "4.004000", "-hls_playlist_type", "vod", "-hls_list_size", "0"),
            *("-hls_flags", "independent_segments", "-output_ts_offset", "10.000000", "-hls_segment_type", "fmp4"),
            *("-hls_segment_options", f"movflags=+frag_discont{numbered}"),
            *("-hls_fmp4_init_filename", "init.mp4", *start),
            *("-hls_segment_filename", f"file:{name}/seg-%05d.m4s", f"file:{name}/index.m3u8"),
        ]

    def graph(places: str) -> str:
        return (
            f"[0:0]fps=30000/1001{places},scale=640:360:flags=bicubic,setsar=1,format=yuv420p,split=2[v0][s0];"
            "[s0]scale=320:180:flags=bicubic,setsar=1,format=yuv420p[v1]"
        )

    clock = ["-threads", "1", "-copyts", "-start_at_zero"]
    assert list(first.argv) == [
        *(*START, *PROGRESS, *STRICT, *clock, *READ, "file:/films/a.mkv"),
        *("-filter_complex", graph(":start_time=0,trim=end_pts=250"), *rung(0, []), *rung(1, [])),
    ]
    second = (["-start_number", "2"], ":fragment_index=3")
    assert list(last.argv) == [
        *(*START, *PROGRESS, "-xerror", *clock, "-noaccurate_seek", "-ss", "8.010000", *READ, "file:/films/a.mkv"),
        *(
            "-filter_complex",
            graph(",trim=start_pts=240"),
            *rung(0, *second, midst=True),
            *rung(1, *second, midst=True),
        ),
    ]
    assert (first.cwd, last.cwd) == (WORK / "chunk-00000", WORK / "chunk-00001")
    assert (first.frames, last.frames) == (240, 60)
    assert (last.reads, last.writes) == ((SOURCE,), WORK / "chunk-00001")
    assert last.folders == (WORK / "chunk-00001/360p", WORK / "chunk-00001/180p")


def test_the_longest_chunk_starts_first_and_the_sound_needs_no_turn() -> None:
    chunks = tuple(Chunk(number=n, first=n * 60, end=n * 60 + 60, seek=Fraction(n), lead=n) for n in range(5))
    commands = ENGINE.encode(replace(planned(), split=Split(chunks=chunks)), SOURCE, OUT, WORK)
    assert [command.light for command in commands] == [True, *[False] * 5]
    assert [command.cwd.name[-1] for command in commands[1:] if command.cwd] == list("43210")


def test_the_sound_and_the_text_of_a_ladder_go_straight_to_the_output() -> None:
    command, *_ = ENGINE.encode(planned(subtitles="convert"), SOURCE, OUT, WORK)
    assert command.cwd == command.writes == OUT
    assert command.reads == (SOURCE,)
    assert list(command.argv) == [
        *(*START, *PROGRESS, *STRICT, *READ, "file:/films/a.mkv"),
        *("-map", "0:2", "-filter:a:0", "aresample=async=1:first_pts=0", "-c:a", "aac", "-b:a", "128000"),
        *("-ac", "2", "-ar", "48000", "-metadata:s:a:0", "language=eng", "-map_metadata", "-1", "-map_chapters", "-1"),
        *("-f", "hls", "-hls_time", "4.004000", "-hls_playlist_type", "vod", "-hls_list_size", "0"),
        *("-hls_flags", "independent_segments", "-output_ts_offset", "10.000000", "-hls_segment_type", "fmp4"),
        *("-hls_segment_options", "movflags=+frag_discont", "-hls_fmp4_init_filename", "init.mp4"),
        *("-hls_segment_filename", "file:audio-0/seg-%05d.m4s", "file:audio-0/index.m3u8"),
        *("-map", "0:3", "-c:s:0", "webvtt", "-metadata:s:s:0", "language=eng"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-f", "webvtt", "file:subtitles-0.vtt"),
    ]
    assert ENGINE.mux(planned(), SOURCE, OUT, WORK) == ()


def test_one_file_is_muxed_of_segments_and_sound() -> None:
    made = planned("mp4", (360,), metadata="keep", subtitles="convert")
    sides, *_ = ENGINE.encode(made, SOURCE, OUT, WORK)
    assert sides.cwd == sides.writes == WORK
    assert sides.argv[-5:] == ("-f", "mp4", "-movflags", "+faststart", "file:sides.mp4")
    (command,) = ENGINE.mux(made, SOURCE, OUT, WORK)
    assert command.cwd == command.writes == OUT
    assert command.reads == (WORK, SOURCE)
    assert list(command.argv) == [
        *(*START, "-n", *STRICT),
        *playlist("/jobs/7/pieces/joined/360p/index.m3u8"),
        *(*READ, "file:/jobs/7/pieces/sides.mp4", *READ, "file:/films/a.mkv"),
        *("-map", "0:v:0", "-c:v", "copy", "-map", "1:a:0", "-c:a:0", "copy", "-metadata:s:a:0", "language=eng"),
        *("-map", "1:s:0", "-c:s:0", "copy", "-metadata:s:s:0", "language=eng"),
        *("-map_metadata:s:a:0", "2:s:2", "-map_metadata:s:s:0", "2:s:3"),
        *("-map_metadata", "2", "-map_chapters", "-1", "-f", "mp4", "-movflags", "+faststart", "file:video.mp4"),
    ]


def test_tracks_chapters_and_attachments_are_muxed_into_one_file() -> None:
    two = [{"codec": "aac", "tracks": "all"}]
    german = replace(PROBE.audio[0], index=5, language="de")
    film = replace(PROBE, audio=(*PROBE.audio, german), chapters=2, attachments=1)
    made = planned("mkv", (360,), film=film, audio=two, chapters="keep", attachments="keep")
    sides, *_ = ENGINE.encode(made, SOURCE, OUT, WORK)
    assert "0:t" not in sides.argv
    (command,) = ENGINE.mux(made, SOURCE, OUT, WORK)
    assert list(command.argv)[command.argv.index("1:a:0") - 1 :] == [
        *("-map", "1:a:0", "-c:a:0", "copy", "-metadata:s:a:0", "language=eng", "-disposition:a:0", "+default"),
        *("-map", "1:a:1", "-c:a:1", "copy", "-metadata:s:a:1", "language=deu", "-disposition:a:1", "-default"),
        *("-map", "2:t", "-c:t", "copy", "-map_metadata:s:t:0", "2:s:t:0"),
        *("-map_metadata:g", "-1", "-map_metadata:s", "-1", "-map_chapters", "2", "-f", "matroska", "file:video.mkv"),
    ]


# Joining -------------------------------------------------------------------------------------------------------------

FRAMES = {0: (120, 120), 1: (60,)}


def pieces(**changed: bytes | None) -> Listing:
    """What two chunks of `planned()` leave behind; `changed` by `chunk_rendition_name`, None for what is missing."""
    contents: dict[str, bytes] = {}
    for chunk, lengths in FRAMES.items():
        for name in ("360p", "180p"):
            found = [
                Segment(duration=frames / RATE, uri=f"seg-{number + 2 * chunk:05d}.m4s")
                for number, frames in enumerate(lengths)
            ]
            files = {"index.m3u8": media_playlist(found, map_uri="init.mp4").encode(), "init.mp4": name.encode()}
            for file, data in files.items():
                there = changed.get(f"{chunk}_{name}_{file.partition('.')[0]}", data)
                if there is not None:
                    contents[f"chunk-{chunk:05d}/{name}/{file}"] = there
    return Listing(sizes={}, contents=contents)


def test_segments_are_moved_under_their_numbers_and_listed_once() -> None:
    joined = ENGINE.join(planned(), pieces())
    assert joined.folder is None
    assert [to for _, to in joined.moves] == [
        f"{name}/seg-{number:05d}.m4s" for name in ("360p", "180p") for number in range(3)
    ]
    assert joined.moves[2] == ("chunk-00001/360p/seg-00002.m4s", "360p/seg-00002.m4s")
    assert joined.files["180p/init.mp4"] == b"180p"
    playlist = parse_media_playlist(joined.files["360p/index.m3u8"].decode())
    assert [round(float(one.duration), 3) for one in playlist.segments] == [4.004, 4.004, 2.002]
    assert playlist.ended
    assert playlist.map_uri == "init.mp4"
    assert sorted(joined.headers) == ["180p", "360p"]
    assert set(ENGINE.pieces(planned())) == set(pieces().contents)


def test_one_file_is_joined_among_the_pieces() -> None:
    assert ENGINE.join(planned("mp4", gop_s=4), pieces()).folder == "joined"


SHORT = media_playlist([Segment(duration=Fraction(4), uri="seg-00000.m4s")], map_uri="init.mp4").encode()
LATE = media_playlist(
    [Segment(duration=Fraction(3), uri=f"seg-{n:05d}.m4s") for n in (0, 1)], map_uri="init.mp4"
).encode()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"1_180p_init": b"other"}, "chunk 1 of 180p has another header than the first one"),
        ({"1_360p_init": None}, "chunk-00001/360p/init.mp4 is missing or empty"),
        ({"0_360p_index": b"noise"}, "the playlist of chunk 0 of 360p cannot be read"),
        ({"0_360p_index": SHORT}, "chunk 0 of 360p has segments of 4 s; planned: 4.004, 4.004 s"),
        ({"0_360p_index": LATE}, "chunk 0 of 360p has segments of 3, 3 s; planned: 4.004, 4.004 s"),
    ],
)
def test_pieces_that_do_not_fit_are_not_joined(changed: dict[str, bytes | None], text: str) -> None:
    with pytest.raises(EngineFailure, match="cannot join the chunks") as caught:
        ENGINE.join(planned(), pieces(**changed))
    assert text in caught.value.failure.message
    assert caught.value.failure.failure_class == "output"


def test_a_joined_playlist_is_read_like_any_other() -> None:
    joined = ENGINE.join(planned(), pieces())
    listing = Listing(sizes={}, contents=dict(joined.files))
    assert [path for path, _ in segments_of(planned(), listing)["360p/index.m3u8"]] == [
        f"360p/seg-{number:05d}.m4s" for number in range(3)
    ]
