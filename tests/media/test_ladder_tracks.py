"""A film with two sounds, two subtitles, chapters and an attachment, in every packaging: as files, as HLS and as DASH."""

import re
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, FAST, Bench, Made, ffmpeg
from msgspec.structs import replace

from millrace.domain.media.check import check
from millrace.domain.media.hls import parse_media_playlist
from millrace.domain.media.hls_rules import Media, violations
from millrace.domain.media.plan import plan
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.proof import proof
from millrace.engines.packages import judged

SECONDS, RATE = 4, 25
ENGLISH = "1\n00:00:00,100 --> 00:00:01,000\nHello\n\n2\n00:00:02,500 --> 00:00:03,500\nand goodbye\n\n"
GERMAN = "1\n00:00:00,500 --> 00:00:02,000\nGuten Tag\n\n"
CHAPTERS = ";FFMETADATA1\n" + "".join(
    f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={number * 1000}\nEND={number * 1000 + 1000}\ntitle=Part {number}\n"
    for number in range(SECONDS)
)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tones in two languages, so that it can be heard which is which, and all else that a Matroska can hold."""
    folder = tmp_path_factory.mktemp("film")
    for name, text in (("en.srt", ENGLISH), ("de.srt", GERMAN), ("chapters.txt", CHAPTERS), ("font.ttf", "no font")):
        (folder / name).write_text(text)
    inputs: list[str] = []
    for kind, source in (
        ("lavfi", f"testsrc2=s=128x72:r={RATE}:d={SECONDS}"),
        ("lavfi", f"sine=f=400:d={SECONDS}"),
        ("lavfi", f"sine=f=2000:d={SECONDS}"),
        ("srt", str(folder / "en.srt")),
        ("srt", str(folder / "de.srt")),
        ("ffmetadata", str(folder / "chapters.txt")),
    ):
        inputs += ["-f", kind, "-i", source]
    ffmpeg(
        *inputs,
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-map", "4", "-map_chapters", "5", *FAST, "-g", "25"),
        *("-c:a", "aac", "-c:s", "srt", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger"),
        *("-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=ger", "-disposition:s:1", "forced"),
        *("-disposition:a:1", "default", "-attach", str(folder / "font.ttf")),
        *("-metadata:s:t", "mimetype=application/x-truetype-font", str(folder / "film.mkv")),
    )
    return folder / "film.mkv"


def document(packaging: str, **others: Any) -> dict[str, Any]:
    codec, sound = ("vp9", "opus") if packaging == "webm" else ("h264", "aac")
    preset = 8 if codec == "vp9" else "ultrafast"
    heights = (72, 36) if packaging in ("cmaf", "hls") else (72,)
    rungs = [
        {"name": f"{height}p", "video": {"codec": codec, "height": height, "preset": preset}} for height in heights
    ]
    audio = [{"codec": sound, "bitrate": "64k", "channels": 1, "tracks": "all"}]
    given = {"name": "t", "packaging": packaging, "renditions": rungs, "audio": audio, "subtitles": "convert"}
    return {**given, "segment_s": 1, "gop_s": 0.5 if packaging in ("cmaf", "hls") else 1, **others}


@pytest.fixture(scope="session")
def ladders(bench: Bench, film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """The whole package, encoded whole and in chunks."""
    folder = tmp_path_factory.mktemp("ladders")
    profile = profile_from(document("cmaf"))
    return {name: bench.make(profile, film, folder / name, chunks=name) for name in ("never", "always")}


@pytest.fixture(params=["never", "always"])
def ladder(request: Any, ladders: dict[str, Made]) -> Made:
    return ladders[request.param]


def decoded(*arguments: str, kind: str = "framemd5") -> list[list[str]]:
    """Time and hash of every frame of every stream that is mapped."""
    done = subprocess.run(
        [BINARY, "-nostdin", "-v", "error", "-copyts", *arguments, "-f", kind, "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    return [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if not line.startswith("#")]


def printed(*arguments: str) -> Iterator[str]:
    """What FFmpeg says of the streams and chapters of a file."""
    done = subprocess.run([BINARY, "-hide_banner", *arguments], capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        if match := re.match(r"\s+Stream #0:\d+(?:\[\w+\])?(\(\w+\))?: (Video|Audio|Subtitle|Attachment)(.*)", line):
            yield f"{match[2]}{match[1] or ''}{' default' if '(default)' in match[3] else ''}"
        elif match := re.match(r"\s+Chapter #0:\d+: (.*)", line):
            yield match[1]


# HLS and DASH --------------------------------------------------------------------------------------------------------


def test_the_package_is_as_planned_and_keeps_every_rule(bench: Bench, ladder: Made) -> None:
    assert ladder.findings == ()
    listing = bench.listing(ladder.plan, ladder.folder)
    said = judged(ladder.plan, listing, ladder.finished)
    # Tiny pictures and tones vary more than films do.
    assert [one.sentence for one in said if "times its average bit rate" not in one.text] == []


def test_the_rules_hold_by_what_ffmpeg_reads_back(bench: Bench, ladder: Made) -> None:
    media = {}
    for path, probe in ladder.produced.probes.items():
        for stream in probe.video:
            keys = parse_media_playlist((ladder.folder / path).with_name("key-frames.m3u8").read_text())
            media[path] = Media(
                size=next(v.size for v in ladder.plan.videos if v.size.width == stream.width), rate=stream.frame_rate
            )
            assert len(keys.segments) == len(stream.keyframes) / 2 == SECONDS
            starts = [sum(one.duration for one in keys.segments[:number]) for number in range(len(keys.segments))]
            assert starts == [time - stream.start for time in stream.keyframes[::2]]
        for sound in probe.audio:
            media[path] = Media(channels=sound.channels)
    texts = {path: data.decode() for path, data in ladder.finished.items() if path.endswith(".m3u8")}
    sizes = bench.listing(ladder.plan, ladder.folder).sizes
    assert [one.sentence for one in violations("master.m3u8", texts, sizes, media) if one.must] == []


def test_chunks_make_the_package_of_the_whole(ladders: dict[str, Made]) -> None:
    whole, cut = ladders["never"], ladders["always"]
    assert len(cut.plan.split.chunks) >= 2
    assert cut.finished.keys() == whole.finished.keys()
    files = [sorted(path.relative_to(one.folder).as_posix() for path in one.folder.rglob("*")) for one in (cut, whole)]
    assert files[0] == files[1]
    for path in whole.finished:
        texts = [
            re.sub(r"BANDWIDTH=\d+|bandwidth=\"\d+\"|BYTERANGE:\S+", "", one.finished[path].decode())
            for one in (cut, whole)
        ]
        assert texts[0] == texts[1], path
    for name in ("audio-0/seg-00001.m4s", "audio-1/seg-00003.m4s", "subtitles-1.vtt"):
        assert (cut.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_ffmpeg_reads_every_frame_of_the_manifest(ladder: Made) -> None:
    """The same segments through DASH as through HLS: every picture and every piece of sound, at the same times."""
    # Its own list of what may stand in a manifest has no WebVTT.
    manifest = ("-allowed_extensions", "ALL", "-i", str(ladder.folder / "manifest.mpd"))
    assert [line.removesuffix(" default") for line in printed(*manifest)] == [
        "Video", "Video", "Audio(en)", "Audio(de)", "Subtitle(en)", "Subtitle(de)",
    ]  # fmt: skip
    read = decoded(*manifest, "-map", "0:v", "-map", "0:a", "-c", "copy", kind="framecrc")
    for number, path in enumerate(("72p/index.m3u8", "36p/index.m3u8", "audio-0/index.m3u8", "audio-1/index.m3u8")):
        through_hls = decoded("-i", str(ladder.folder / path), "-c", "copy", kind="framecrc")
        through_dash = [line for line in read if line[0] == str(number)]
        assert [line[1:6] for line in through_dash] == [line[1:6] for line in through_hls], path
        if number < 2:
            assert len(through_dash) == SECONDS * RATE


def test_every_key_frame_stands_alone(ladder: Made, tmp_path: Path) -> None:
    """What a player loads to show one picture: the header and the range, and it is the film's picture at that time."""
    for name in ("72p", "36p"):
        folder = ladder.folder / name
        whole = decoded("-i", str(folder / "index.m3u8"))
        header = (folder / "init.mp4").read_bytes()
        frames = parse_media_playlist((folder / "key-frames.m3u8").read_text()).segments
        place = 0
        for frame in frames:
            assert frame.size is not None
            data = (folder / frame.uri).read_bytes()[frame.begin : frame.begin + frame.size]
            (tmp_path / "one.mp4").write_bytes(header + data)
            (shown, *_) = subprocess.run(
                [BINARY, "-nostdin", "-v", "fatal", "-i", str(tmp_path / "one.mp4"), "-frames:v", "1", "-f", "framemd5", "-"],
                capture_output=True, text=True, check=True,
            ).stdout.splitlines()[-1:]  # fmt: skip
            assert shown.split(",")[5].strip() == whole[place][5], (name, frame)
            place += round(frame.duration * RATE)
        assert place == len(whole) == SECONDS * RATE


def test_each_language_is_the_sound_that_it_says(ladder: Made) -> None:
    master = ladder.finished["master.m3u8"].decode()
    for tone, language, name, path in ((400, "en", "English", "audio-0"), (2000, "de", "German", "audio-1")):
        assert f'NAME="{name}",LANGUAGE="{language}"' in master
        sample = subprocess.run(
            [BINARY, "-nostdin", "-v", "error", "-i", str(ladder.folder / path / "index.m3u8"), "-ss", "1", "-t", "1", "-ac", "1", "-f", "s16le", "-"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        levels = memoryview(sample).cast("h")
        crossings = sum((a < 0) != (b < 0) for a, b in pairwise(levels))
        assert crossings == pytest.approx(2 * tone, rel=0.02)


def test_text_comes_in_segments_and_whole(ladder: Made) -> None:
    master = ladder.finished["master.m3u8"].decode()
    assert 'NAME="German (forced)",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES' in master
    whole = (ladder.folder / "subtitles-0.vtt").read_text()
    assert "TIMESTAMP" not in whole
    assert whole.count("-->") == 2
    assert "Guten Tag" in ladder.finished["subtitles-1/seg-00000.vtt"].decode()
    # FFmpeg reads them as players do: by the time stamp, beside pictures that begin at 10 s.
    read = decoded(
        "-i", str(ladder.folder / "subtitles-0" / "index.m3u8"), "-map", "0:s", "-c", "copy", kind="framecrc"
    )
    assert len(read) == 2


def test_the_notes_say_what_is_left_out(ladder: Made) -> None:
    assert ladder.plan.notes == (
        f"The input has {SECONDS} chapters, left out as the profile says.",
        "The input has 1 attachment, left out because cmaf holds none.",
    )


def test_transport_streams_have_tracks_and_text_too(bench: Bench, film: Path, tmp_path: Path) -> None:
    made = bench.make(profile_from(document("hls")), film, tmp_path)
    assert made.findings == ()
    assert {"audio-0/index.m3u8", "audio-1/index.m3u8", "subtitles-1/seg-00000.vtt"} < made.finished.keys()
    assert "manifest.mpd" not in made.finished
    said = judged(made.plan, bench.listing(made.plan, tmp_path), made.finished)
    assert [one.text for one in said if one.must] == []
    assert [one.text for one in said if "key frames" in one.text] == [
        "has no key frames (EXT-X-I-FRAME-STREAM-INF) of 128x72", "has no key frames (EXT-X-I-FRAME-STREAM-INF) of 64x36",
    ]  # fmt: skip


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", ["never", "always"])
@pytest.mark.parametrize("packaging", ["mp4", "mkv", "webm"])
def test_a_file_has_every_track_every_chapter_and_its_attachments(
    bench: Bench, film: Path, tmp_path: Path, packaging: str, chunks: str
) -> None:
    kept = {"metadata": "keep"} | ({"attachments": "keep"} if packaging == "mkv" else {})
    made = bench.make(profile_from(document(packaging, **kept)), film, tmp_path, chunks=chunks)
    assert made.findings == ()
    assert made.plan.split.is_whole is (chunks == "never")
    said = list(printed("-i", str(tmp_path / f"video.{packaging}")))
    assert [one.removesuffix(" default") for one in said if one.startswith("Audio")] == ["Audio(eng)", "Audio(deu)"]
    assert [one for one in said if "Audio" in one and "default" in one] == ["Audio(eng) default"]
    assert [one.removesuffix(" default") for one in said if one.startswith("Subtitle")] == [
        "Subtitle(eng)",
        "Subtitle(deu)",
    ]
    assert [one for one in said if one.startswith("start")] == [
        f"start {number}.000000, end {number + 1}.000000" for number in range(SECONDS)
    ]
    assert said.count("Attachment") == (packaging == "mkv")
    document_: Any = proof(made.plan, made.produced, {})
    assert [one["language"] for one in document_["files"] if one["type"] == "audio"] == ["eng", "ger"]


@pytest.mark.parametrize("chunks", ["never", "always"])
def test_chapters_that_end_before_the_film_begins_count_for_nothing(
    bench: Bench, film: Path, tmp_path: Path, chunks: str
) -> None:
    late = tmp_path / "late.mkv"
    ffmpeg("-i", str(film), "-map", "0:v", "-map", "0:a", "-c", "copy", "-output_ts_offset", "1.21", str(late))
    made = bench.make(profile_from(document("mkv", chapters="keep")), late, tmp_path / "out", chunks=chunks)
    assert made.findings == ()
    assert made.plan.chapters == SECONDS - 1


@pytest.mark.parametrize("packaging", ["m4a", "mp3", "ogg"])
def test_sound_alone_keeps_its_chapters(bench: Bench, film: Path, tmp_path: Path, packaging: str) -> None:
    codec = {"m4a": "aac", "mp3": "mp3", "ogg": "opus"}[packaging]
    given = {"name": "t", "packaging": packaging, "audio": [{"codec": codec}], "chapters": "keep"}
    made = bench.make(profile_from(given), film, tmp_path)
    assert made.findings == ()
    assert made.plan.chapters == SECONDS


def test_a_file_that_lost_a_chapter_or_a_track_is_found(bench: Bench, film: Path, tmp_path: Path) -> None:
    profile = profile_from(document("mkv", metadata="keep"))
    wanted = plan(profile, bench.probe(film))
    bench.encode(replace(wanted, chapters=0), film, tmp_path)
    (tmp_path / "whole.mkv").hardlink_to(tmp_path / "video.mkv")
    (tmp_path / "video.mkv").unlink()
    ffmpeg(
        "-i",
        str(tmp_path / "whole.mkv"),
        "-map",
        "0",
        "-c",
        "copy",
        "-metadata:s:a:1",
        "language=jpn",
        str(tmp_path / "video.mkv"),
    )
    texts = [finding.text for finding in check(wanted, bench.inspect(wanted, tmp_path))]
    assert texts == ["has audio in Japanese; planned: German", f"has 0 chapters; planned: {SECONDS}"]


def test_the_default_is_the_first_sound(bench: Bench, film: Path, tmp_path: Path) -> None:
    given = document("mp4")
    given["audio"][0].pop("tracks")
    made = bench.make(profile_from(given), film, tmp_path)
    assert made.findings == ()
    assert [one.stream for one in made.plan.files[0].audio] == [1]
    assert made.plan.notes[0] == "The input has 2 audio streams; the first one (stream 1) is used."
    assert made.plan.duration == Fraction(SECONDS)
