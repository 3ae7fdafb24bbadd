"""Files of a few bytes that ask for much: each must end within its limit, with a reason that has a name."""

import os
import threading
import zlib
from pathlib import Path

from hostile import containers as made
from hostile.corpus import ANYHOW, ATTACKS, Attack, Kit, Make

GRACE_S = 2.0
"""Beyond its limit."""
OURS = [
    "large_picture_in_a_film", "large_picture_that_says_it_is_small", "wide_picture", "wide_pixels", "pictures_that_grow",
    "gap_of_hours", "gap_of_years", "gap_of_sound", "length_of_years", "frame_that_lasts_for_years", "streams_300",
    "streams_10000", "attachments", "tags_of_ten_million_lines", "tags_of_100_megabytes", "block_that_inflates",
    "frames_100000", "hole_of_a_terabyte",
]  # fmt: skip
"""Those of the corpus."""
BOMBS: list[Attack] = [one for one in ATTACKS if one.name in OURS]


def _bomb(ends: str = "input", *, suffix: str = ".mkv", timeout_s: float | None = None):
    def enter(make: Make) -> Make:
        name = make.__name__
        BOMBS.append(Attack(name=name, case=0, make=make, ends=ends, suffix=suffix, timeout_s=timeout_s))
        return make

    return enter


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@_bomb(suffix=".wav")
def sound_of_two_gigahertz(kit: Kit, path: Path) -> None:
    _write(path, made.wav(2_000_000_000, 1, 96_000, bytes(96_000)))


@_bomb(suffix=".wav")
def sound_of_thousands_of_channels(kit: Kit, path: Path) -> None:
    _write(path, made.wav(48_000, 4_000, 800_000, bytes(800_000)))


@_bomb("timeout", suffix=".wav", timeout_s=3.0)
def sound_of_a_terabyte(kit: Kit, path: Path) -> None:
    """A hole in the file system, which reads as silence."""
    _write(path, made.wav(48_000, 2, 0xFFFFFFFF))
    os.truncate(path, 1 << 40)


@_bomb("timeout", suffix=".mkv", timeout_s=3.0)
def a_million_packets_of_nothing(kit: Kit, path: Path) -> None:
    """More packets than are taken: each costs a line of the probe."""
    tracks = [made.picture_track(1, 64, 64), made.sound_track(2, 48_000)]
    blocks = b"".join(
        made.element(0xA3, b"\x82" + (at % 30_000).to_bytes(2, "big") + b"\x80" + bytes(2)) for at in range(30_000)
    )
    clusters = (made.element(0x1F43B675, made.whole(0xE7, number * 30_000), blocks) for number in range(34))
    _write(path, made.matroska(tracks, made.block(1, 0, kit.jpeg), made.block(1, 40, kit.jpeg), *clusters))


@_bomb("timeout", suffix=".gif", timeout_s=2.0)
def a_million_frames(kit: Kit, path: Path) -> None:
    _write(path, made.gif(1_000_000))


@_bomb("timeout", timeout_s=2.0)
def large_pictures_without_end(kit: Kit, path: Path) -> None:
    """Each is as large as may be, and takes a hundred thousand bytes of file and a third of a second of work."""
    picture = made.png(8192, 4320)
    blocks = b"".join(made.block(1, at * 40, picture) for at in range(500))
    _write(path, made.matroska([made.picture_track(1, 8192, 4320, fourcc=b"MPNG")], blocks))


@_bomb(ANYHOW)
def chapters_of_a_million(kit: Kit, path: Path) -> None:
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.chapters(200_000, b"\n" * 200)))


@_bomb(ANYHOW)
def nested_elements(kit: Kit, path: Path) -> None:
    inner = b""
    for _ in range(5_000):
        inner = made.element(0xB6, inner)
    _write(path, made.slides(kit.jpeg, (0, 40, 80), made.element(0x1043A770, made.element(0x45B9, inner))))


@_bomb(ANYHOW, suffix=".mp4")
def index_of_a_billion(kit: Kit, path: Path) -> None:
    data = bytearray(kit.plain.read_bytes())
    for box in (b"stsz", b"stco", b"stsc"):
        at = data.index(box) + (12 if box == b"stsz" else 8)
        data[at : at + 4] = b"\x3f\xff\xff\xff"
    _write(path, bytes(data))


@_bomb(ANYHOW)
def pictures_in_other_sizes_without_end(kit: Kit, path: Path) -> None:
    """Each picture has another size than the one before, and each is declared larger than its data."""
    blocks = (made.block(1, at * 40, made.jpeg_of(kit.jpeg, 4000 + at, 4000)) for at in range(200))
    _write(path, made.matroska([made.picture_track(1, 4000, 4000)], *blocks))


@_bomb(ANYHOW)
def blocks_that_inflate_a_thousand_times(kit: Kit, path: Path) -> None:
    bomb = zlib.compress(bytes(9_000_000), 9)
    track = made.compressed(made.picture_track(1, 64, 64))
    _write(path, made.matroska([track], *(made.block(1, at * 40, bomb) for at in range(1000))))


class Growing:
    """Sound that gets longer, faster than anybody reads it. It is a hole in the file system, so that no disk is filled."""

    def __init__(self, path: Path) -> None:
        self._path, self._stop = path, threading.Event()
        path.write_bytes(made.wav(48_000, 2, 0xFFFFFFFF))
        self._grow()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._stop.wait(0.01):
            self._grow()

    def _grow(self) -> None:
        os.truncate(self._path, self._path.stat().st_size + 1_000_000_000)
