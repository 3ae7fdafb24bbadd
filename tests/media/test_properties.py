"""What a source is beside pictures and sound: kept, converted as declared, or refused before work starts. One test for each row of the
table in docs/explanation/media.md that none of the other modules has.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, FAST, Bench, Made, ffmpeg, pixels
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.check import check
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import LightLevel
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import EngineFailure

SIZE = "96x64"
PQ = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
MASTERED = "max-cll=1000,400:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
HDR10_PLUS = bytes.fromhex("b5003c0001040140000c8084d04268213408ca03ff00")
"""Dynamic metadata of one scene (SMPTE ST 2094-40, in a message of ITU-T T.35)."""
CAPTIONS = bytes.fromhex("b50031474139340341fffc9420ff")
"""One pair of bytes of CEA-608 (ATSC A/53, part 4)."""
CHAPTERS = """;FFMETADATA1
title=Größe 映画
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=Anfang · 初め
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Ende €
"""


def bars(rate: int = 25, seconds: float = 1) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=s={SIZE}:r={rate}:d={seconds}")


def document(packaging: str, codec: str, **others: Any) -> dict[str, Any]:
    preset = {"h264": "ultrafast", "h265": "ultrafast", "av1": 13, "vp9": 8}[codec]
    return {
        "name": "t", "packaging": packaging, "segment_s": 0.5, "gop_s": 0.5,
        "renditions": [{"name": "r", "video": {"codec": codec, "preset": preset}}], **others,
    }  # fmt: skip


def made(bench: Bench, source: Path, out: Path, packaging: str = "mp4", codec: str = "h264", **others: Any) -> Made:
    """The output, proven."""
    chunks = others.pop("chunks", None)
    done = bench.make(profile_from(document(packaging, codec, **others)), source, out, chunks=chunks)
    assert done.findings == ()
    return done


def picture(done: Made) -> Any:
    (video,) = done.produced.probes[done.plan.files[0].path].video
    return video


def said(path: Path, *arguments: str) -> str:
    """What FFmpeg says of a file."""
    read = [BINARY, "-nostdin", "-hide_banner", "-i", str(path), *arguments]
    return subprocess.run(read, capture_output=True, text=True, check=False).stderr


def beside(path: Path) -> str:
    """What is said beside the samples of the first pictures."""
    shown = said(path, "-frames:v", "3", "-vf", "showinfo", "-f", "null", "-")
    return "\n".join(line for line in shown.splitlines() if "side data - " in line)


def with_sei(stream: bytes, payload: bytes, kind: str) -> bytes:
    """A stream of Annex B in which each picture has registered user data (ITU-T T.35) before it, one slice a picture."""
    heads = {
        "h264": (b"\x06", 31, (1, 5)),
        "hevc": (bytes((39 << 1, 1)), 0x7E, tuple(2 * number for number in range(32))),
    }
    head, mask, slices = heads[kind]
    found = b""
    for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        if unit[0] & mask in slices:
            found += b"\0\0\0\1" + head + bytes((4, len(payload))) + payload + b"\x80"
        found += b"\0\0\0\1" + unit
    return found


def with_box(data: bytes, entry: bytes, box: bytes) -> bytes:
    """An MP4 with its index at the end, and one box more in the sample entry of its only track."""
    found, at, end = bytearray(data), 0, len(data)
    grown = []
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", entry):
        while bytes(found[at + 4 : at + 8]) != name:
            at += int.from_bytes(found[at : at + 4])
            assert at < end, name
        grown.append(at)
        end = at + int.from_bytes(found[at : at + 4])
        at += 16 if name == b"stsd" else 8
    found[end:end] = box
    for at in grown:
        found[at : at + 4] = (int.from_bytes(found[at : at + 4]) + len(box)).to_bytes(4)
    return bytes(found)


def box(name: bytes, *words: int, rest: bytes = b"") -> bytes:
    body = b"".join(word.to_bytes(4, signed=True) for word in words) + rest
    return (8 + len(body)).to_bytes(4) + name + body


def dolby(profile: int, compatibility: int) -> bytes:
    """A configuration record of Dolby Vision in MP4."""
    rest = bytes((1, 0)) + (profile << 9 | 6 << 3 | 0b101).to_bytes(2) + bytes((compatibility << 4, *bytes(19)))
    return box(b"dvcC", rest=rest)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a source by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("properties")

    def found(name: str) -> Path:
        path = folder / name
        if not path.exists():
            MAKERS[name](path, found)
        return path

    return found


Found = Callable[[str], Path]


def _encoded(*arguments: str) -> Callable[[Path, Found], None]:
    return lambda path, _: ffmpeg(*arguments, str(path))


def _boxed(of: str, entry: bytes, added: bytes) -> Callable[[Path, Found], None]:
    return lambda path, found: path.write_bytes(with_box(found(of).read_bytes(), entry, added)) and None


def _shown(*how: str) -> Callable[[Path, Found], None]:
    return lambda path, found: ffmpeg(*how, "-i", str(found("corner.mp4")), "-c", "copy", str(path))


def _told(of: str, kind: str, payload: bytes) -> Callable[[Path, Found], None]:
    def make(path: Path, found: Found) -> None:
        stream = path.with_suffix(f".{kind}")
        stream.write_bytes(with_sei(found(of).read_bytes(), payload, kind))
        ffmpeg("-r", "25", "-f", kind, "-i", str(stream), "-c", "copy", str(path))

    return make


def _film(path: Path, _: Found) -> None:
    """Three sounds, two texts, chapters, an attachment, titles."""
    folder = path.parent
    (folder / "words.srt").write_text("1\n00:00:00,100 --> 00:00:00,800\nGröße\n\n")
    (folder / "chapters.txt").write_text(CHAPTERS)
    (folder / "font.ttf").write_text("no font")
    tones = [word for pitch in (440, 880, 220) for word in ("-f", "lavfi", "-i", f"sine=f={pitch}:d=1")]
    texts = ("-i", str(folder / "words.srt"), "-i", str(folder / "words.srt"), "-i", str(folder / "chapters.txt"))
    maps = [word for number in range(6) for word in ("-map", str(number))]
    languages = {"a:0": "eng", "a:1": "ger", "a:2": "eng", "s:0": "ger", "s:1": "eng"}
    tags = [word for at, name in languages.items() for word in (f"-metadata:s:{at}", f"language={name}")]
    ffmpeg(
        *bars(), *tones, *texts, *maps, "-map_metadata", "6", "-map_chapters", "6", *FAST, "-g", "10", "-bf", "0", "-c:a", "aac",
        *("-c:s", "srt", *tags, "-metadata:s:a:2", "title=Kommentar", "-metadata:s:s:0", "title=Erzwungen"),
        *("-disposition:a:2", "comment", "-disposition:s:0", "forced", "-disposition:s:1", "hearing_impaired"),
        *("-attach", str(folder / "font.ttf"), "-metadata:s:t", "mimetype=application/x-truetype-font", str(path)),
    )  # fmt: skip


def _on_air(path: Path, found: Found) -> None:
    """More seconds in whole pictures than a probe looks at, then a part in fields."""
    listed = path.with_suffix(".txt")
    listed.write_text(f"file {found('whole.ts').name}\nfile {found('fields.ts').name}\n")
    ffmpeg("-f", "concat", "-i", str(listed), "-c", "copy", str(path))


FIELDS = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct")
STRIPES = f"nullsrc=s={SIZE}:r=50:d=2,geq=lum='255*lt(mod(X-4*N,32),16)':cb=128:cr=128"
CORNER = f"color=black:s={SIZE}:r=25:d=0.4,drawbox=x=0:y=0:w=48:h=32:color=white:t=fill"
MAKERS: dict[str, Callable[[Path, Found], None]] = {
    "hdr10.mp4": _encoded(*bars(), "-vf", PQ, *X265, f"log-level=error:keyint=10:bframes=0:{MASTERED}"),
    "hdr10.hevc": lambda path, found: ffmpeg("-i", str(found("hdr10.mp4")), "-c", "copy", str(path)),
    "hdr10plus.mp4": _told("hdr10.hevc", "hevc", HDR10_PLUS),
    "dolby5.mp4": _boxed("hdr10.mp4", b"hev1", dolby(5, 0)),
    "dolby8.mp4": _boxed("hdr10.mp4", b"hev1", dolby(8, 1)),
    "plain.h264": _encoded(*bars(), *FAST, "-bf", "0", "-pix_fmt", "yuv420p"),
    "captions.mp4": _told("plain.h264", "h264", CAPTIONS),
    "wide.mp4": _encoded(*bars(), "-vf", "format=yuv420p,setparams=color_primaries=smpte432:color_trc=iec61966-2-1:colorspace=bt709", *FAST),
    "full.mov": _encoded(*bars(seconds=0.4), "-pix_fmt", "yuvj420p", "-c:v", "mjpeg"),
    "red.mkv": _encoded("-f", "lavfi", "-i", f"color=0xC81414:s={SIZE}:r=25:d=0.2,format=gbrp", "-c:v", "ffv1"),
    "studio.mov": _encoded(*bars(seconds=0.2), "-pix_fmt", "yuva444p10le", "-c:v", "prores_ks", "-profile:v", "4"),
    "clear.webm": _encoded(*bars(seconds=0.2), "-pix_fmt", "yuva420p", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "corner.mp4": _encoded("-f", "lavfi", "-i", CORNER, *FAST, "-pix_fmt", "yuv420p"),
    "anamorphic.mp4": _encoded("-f", "lavfi", "-i", f"{CORNER},setsar=4/3", *FAST, "-pix_fmt", "yuv420p"),
    "mirrored.mp4": _shown("-display_hflip"),
    "upside.mp4": _shown("-display_vflip"),
    "turned_mirrored.mp4": _shown("-display_rotation", "90", "-display_hflip"),
    "slanted.mp4": _shown("-display_rotation", "30"),
    "turned_anamorphic.mp4": lambda path, found: ffmpeg("-display_rotation", "-90", "-i", str(found("anamorphic.mp4")), "-c", "copy", str(path)),
    "cropped.mp4": _boxed("corner.mp4", b"avc1", box(b"clap", 64, 1, 40, 1, 8, 1, -6, 1)),
    "bottom_first.mp4": _encoded(*bars(50), "-vf", "tinterlace=interleave_bottom,setfield=bff", "-flags", "+ilme+ildct", *FAST, "-x264-params", "bff=1"),
    "whole.ts": _encoded(*bars(seconds=12), *FAST, "-pix_fmt", "yuv420p"),
    "fields.ts": _encoded("-f", "lavfi", "-i", STRIPES, *FIELDS, *FAST, "-pix_fmt", "yuv420p"),
    "on_air.ts": _on_air,
    "film.mkv": _film,
    "timed.mov": _encoded(*bars(seconds=0.4), *FAST, "-timecode", "01:00:00:00"),
}  # fmt: skip


# High dynamic range -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packaging", "codec", "chunks"),
    [
        ("mp4", "h265", "always"), ("mp4", "vp9", "always"), ("mkv", "h265", "never"), ("webm", "av1", "always"), ("webm", "vp9", "never"),
    ],
)  # fmt: skip
def test_high_dynamic_range_is_kept_every_way_out(
    bench: Bench, sources: Any, tmp_path: Path, packaging: str, codec: str, chunks: str
) -> None:
    done = made(bench, sources("hdr10.mp4"), tmp_path / "out", packaging, codec, hdr="keep", chunks=chunks)
    assert done.plan.split.is_whole is (chunks == "never")
    assert done.plan.pictures.light == LightLevel(max_cll=1000, max_fall=400)
    assert done.plan.pictures.mastering.luminance[1] == 1000
    found = picture(done)
    assert (found.color.hdr_name, found.color.primaries, found.color.space, found.bit_depth) == (
        "PQ",
        "bt2020",
        "bt2020nc",
        10,
    )
    assert found.light == done.plan.pictures.light
    assert found.mastering.primaries == done.plan.pictures.mastering.primaries


@pytest.mark.parametrize("source", ["hdr10plus.mp4", "dolby8.mp4"])
def test_what_changes_from_scene_to_scene_is_left_out_with_a_note(
    bench: Bench, sources: Any, tmp_path: Path, source: str
) -> None:
    # Of the codecs, VP9 in Matroska would carry some of it along.
    done = made(bench, sources(source), tmp_path / "out", "mkv", "vp9", hdr="keep")
    assert any("change from scene to scene" in note for note in done.plan.notes)
    assert ("2094" in beside(sources(source))) is (source == "hdr10plus.mp4")
    shown = beside(tmp_path / "out" / "video.mkv")
    assert "Mastering display" in shown
    assert "2094" not in shown
    assert "DOVI" not in said(tmp_path / "out" / "video.mkv")


def test_tone_mapped_pictures_tell_of_no_other_display(bench: Bench, sources: Any, tmp_path: Path) -> None:
    done = made(bench, sources("hdr10.mp4"), tmp_path / "out")
    color = picture(done).color
    assert (color.transfer, color.primaries, color.space, color.range) == ("bt709", "bt709", "bt709", "tv")
    assert "side data - Mastering" not in beside(tmp_path / "out" / "video.mp4")
    assert "side data - Content light" not in beside(tmp_path / "out" / "video.mp4")


def test_dolby_visions_own_colors_are_refused_before_work_starts(bench: Bench, sources: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Dolby Vision profile 5, whose colours only Dolby's decoder shows") as told:
        made(bench, sources("dolby5.mp4"), tmp_path / "out")
    assert told.value.failure_class is FailureClass.INPUT


# Colours and samples -------------------------------------------------------------------------------------------------


def test_wide_color_and_full_range_are_kept(bench: Bench, sources: Any, tmp_path: Path) -> None:
    for codec, packaging in (("h264", "mp4"), ("vp9", "webm")):
        wide = picture(made(bench, sources("wide.mp4"), tmp_path / codec, packaging, codec)).color
        assert (wide.primaries, wide.transfer, wide.space) == ("smpte432", "iec61966-2-1", "bt709")
    full = picture(made(bench, sources("full.mov"), tmp_path / "full")).color
    assert (full.range, full.space) == ("pc", "bt470bg")


def test_rgb_becomes_what_players_take_it_for(bench: Bench, sources: Any, tmp_path: Path) -> None:
    done = made(bench, sources("red.mkv"), tmp_path / "out")
    color = picture(done).color
    assert (color.space, color.range) == ("bt709", "tv")
    # 16 + 219 * (0.2126 * 200 + 0.7152 * 20 + 0.0722 * 20) / 255 (ITU-R BT.709); BT.601 would give 79.
    read = [BINARY, "-v", "error", "-i", str(tmp_path / "out" / "video.mp4"), "-frames:v", "1", "-f", "rawvideo", "-"]
    assert abs(subprocess.run(read, capture_output=True, check=True).stdout[0] - 66) <= 1


def test_what_samples_lose_is_told(bench: Bench, sources: Any) -> None:
    profile = profile_from(document("mp4", "h264"))
    notes = " ".join(plan(profile, bench.probe(sources("studio.mov"))).notes)
    assert "The input has 12 bits a sample, the output 8." in notes
    assert "The input has colours in 4:4:4, the output in 4:2:0." in notes
    assert "may be transparent" in notes
    assert "may be transparent" in " ".join(plan(profile, bench.probe(sources("clear.webm"))).notes)
    assert plan(profile, bench.probe(sources("corner.mp4"))).notes == ()


# Shape ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size", "white"),
    [
        ("mirrored.mp4", (96, 64), "upper right"),
        ("upside.mp4", (96, 64), "lower left"),
        ("turned_mirrored.mp4", (64, 96), None),
        ("turned_anamorphic.mp4", (64, 128), "upper right"),
    ],
)
def test_a_picture_comes_out_as_it_is_shown(
    bench: Bench, sources: Any, tmp_path: Path, source: str, size: tuple[int, int], white: str | None
) -> None:
    done = made(bench, sources(source), tmp_path / "out", chunks="always")
    video = picture(done)
    assert (video.width, video.height, video.sar, video.rotation_degrees) == (*size, 1, 0)
    shown = pixels(tmp_path / "out" / "video.mp4", 2, 2)
    # FFmpeg's own player turns it so.
    assert [light > 128 for light in shown] == [light > 128 for light in pixels(sources(source), 2, 2)]
    if white:
        corners = ("upper left", "upper right", "lower left", "lower right")
        assert [corner for corner, light in zip(corners, shown, strict=True) if light > 128] == [white]


def test_what_is_not_a_quarter_turn_is_refused(bench: Bench, sources: Any) -> None:
    with pytest.raises(EngineFailure, match="turned by 30 degrees; only quarter turns"):
        bench.probe(sources("slanted.mp4"))


def test_what_a_container_crops_stays_in_shape(bench: Bench, sources: Any, tmp_path: Path) -> None:
    done = made(bench, sources("cropped.mp4"), tmp_path / "out")
    assert (picture(done).width, picture(done).height) == (64, 40)


# Fields --------------------------------------------------------------------------------------------------------------


def test_a_part_in_fields_behind_one_in_pictures_is_deinterlaced(bench: Bench, sources: Any, tmp_path: Path) -> None:
    source = sources("on_air.ts")
    assert bench.probe(source).video[0].field_order == "progressive"
    out = tmp_path / "out"
    done = made(bench, source, out)
    assert done.plan.pictures.only_marked
    assert done.plan.frames == 14 * 25
    # Its 26th picture in fields, and what was made of it.
    assert combed(frame(out / "video.mp4", 12 * 25 + 25)) < 0.2 * combed(frame(sources("fields.ts"), 25))


def frame(path: Path, number: int) -> bytes:
    """The luma of a frame by its number."""
    chosen = ("-vf", f"select=eq(n\\,{number}),format=gray", "-frames:v", "1", "-f", "rawvideo", "-")
    return subprocess.run([BINARY, "-v", "error", "-i", str(path), *chosen], capture_output=True, check=True).stdout


def combed(luma: bytes) -> int:
    """How much rows differ from the mean of their neighbours: what fields shot apart look like."""
    rows = [luma[number * 96 : number * 96 + 96] for number in range(64)]
    triples = zip(rows, rows[1:], rows[2:], strict=False)
    return sum(abs(2 * b - a - c) for above, here, below in triples for a, b, c in zip(above, here, below, strict=True))


# What goes along ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunks", "metadata"), [("never", "keep"), ("always", "drop")])
def test_what_goes_along_is_kept_in_matroska(
    bench: Bench, sources: Any, tmp_path: Path, chunks: str, metadata: str
) -> None:
    kept = {"metadata": metadata, "chapters": "keep", "attachments": "keep", "subtitles": "keep"}
    audio = [{"codec": "aac", "tracks": "all"}]
    done = made(bench, sources("film.mkv"), tmp_path / "out", "mkv", **kept, audio=audio, chunks=chunks)
    assert done.plan.split.is_whole is (chunks == "never")
    found = done.produced.probes["video.mkv"]
    assert [(one.language, one.purposes) for one in found.audio] == [("eng", ()), ("deu", ()), ("eng", ("commentary",))]
    assert [(one.language, one.forced, one.purposes) for one in found.subtitles] == [
        ("deu", True, ()), ("eng", False, ("hard of hearing",)),
    ]  # fmt: skip
    assert (found.chapters, found.attachments) == (2, 1)
    shown = said(tmp_path / "out" / "video.mkv")
    assert shown.index("Anfang · 初め") < shown.index("Ende €")
    for title in ("Größe 映画", "Kommentar", "Erzwungen"):
        assert (title in shown) is (metadata == "keep"), title
    assert "application/x-truetype-font" in shown
    wrong = replace(found, audio=tuple(replace(one, purposes=()) for one in found.audio))
    texts = [one.text for one in check(done.plan, replace(done.produced, probes={"video.mkv": wrong}))]
    assert texts == ["has audio for everybody; planned: (commentary)"]


@pytest.mark.parametrize("chunks", ["never", "always"])
def test_titles_of_tracks_are_kept_in_mp4(bench: Bench, sources: Any, tmp_path: Path, chunks: str) -> None:
    audio = [{"codec": "aac", "tracks": "all"}]
    done = made(
        bench, sources("film.mkv"), tmp_path / "out", metadata="keep", subtitles="convert", audio=audio, chunks=chunks
    )
    shown = said(tmp_path / "out" / "video.mp4")
    for title in (
        "Größe 映画",
        "Kommentar",
        "Erzwungen",
        "Anfang · 初め",
        "Ende €",
        "(comment)",
        "(forced)",
        "(hearing impaired)",
    ):
        assert title in shown, title
    assert done.plan.notes == ("The input has 1 attachment, left out because mp4 holds none.",)


def test_who_a_track_is_for_is_said_in_playlists(bench: Bench, sources: Any, tmp_path: Path) -> None:
    audio = [{"codec": "aac", "tracks": "all"}]
    done = made(bench, sources("film.mkv"), tmp_path / "out", "cmaf", subtitles="convert", audio=audio)
    words = done.finished["master.m3u8"].decode()
    assert 'NAME="English (commentary)",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=NO' in words
    assert 'NAME="English (hard of hearing)"' in words
    assert (
        'CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"'
        in words
    )
    manifest = done.finished["manifest.mpd"].decode()
    assert '<Role schemeIdUri="urn:mpeg:dash:role:2011" value="commentary"/>' in manifest
    assert '<Accessibility schemeIdUri="urn:tva:metadata:cs:AudioPurposeCS:2007" value="2"/>' in manifest


def test_time_codes_are_left_out_with_a_note(bench: Bench, sources: Any) -> None:
    notes = plan(profile_from(document("mp4", "h264")), bench.probe(sources("timed.mov"))).notes
    assert "The input has 1 stream of data, such as time codes, left out." in notes


def test_captions_in_pictures_are_kept_by_h264_alone(bench: Bench, sources: Any, tmp_path: Path) -> None:
    assert "Closed Captions" in beside(sources("captions.mp4"))
    for codec, kept in (("h264", True), ("h265", False)):
        made(bench, sources("captions.mp4"), tmp_path / codec, codec=codec)
        assert ("Closed Captions" in beside(tmp_path / codec / "video.mp4")) is kept
    halved = [{"video": {"codec": "h264", "preset": "ultrafast", "fps": 12}}]
    made(bench, sources("captions.mp4"), tmp_path / "halved", renditions=halved)
    assert "Closed Captions" not in beside(tmp_path / "halved" / "video.mp4")
