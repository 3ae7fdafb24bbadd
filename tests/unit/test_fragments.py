"""Movie fragments, byte by byte."""

import io
import struct

import pytest

from millrace.engines.fragments import MOST_BOXES, MOST_SAMPLES, NON_SYNC, Fragment, read_fragments
from millrace.engines.isobmff import Track, track_of


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def numbers(*values: int) -> bytes:
    return b"".join(struct.pack(">i" if value < 0 else ">I", value) for value in values)


TFHD = box(b"tfhd", numbers(0x020038, 1, 512, 900, NON_SYNC))
"""Defaults: 512 ticks, 900 bytes, no key frame; places count from the fragment's header."""


def tfdt(time: int) -> bytes:
    return box(b"tfdt", b"\1\0\0\0", struct.pack(">Q", time))


def fragment(*runs: bytes, head: bytes = TFHD, time: bytes | None = None, payload: bytes = bytes(3000)) -> bytes:
    traf = box(b"traf", head, tfdt(128_000) if time is None else time, *runs)
    return box(b"moof", box(b"mfhd", bytes(8)), traf) + box(b"mdat", payload)


# The data begins behind the headers: 24 of the file's own boxes, then this fragment's.
FULL = box(b"trun", numbers(0x01000F05, 2, 500, 0, 512, 2000, 0, 1024, 256, 700, NON_SYNC, -256))
PLAIN = box(b"trun", numbers(0x00000005, 3, 500, 0))


def read(data: bytes) -> tuple[Fragment, ...]:
    return read_fragments(io.BytesIO(data))


def test_a_fragment_says_where_its_first_picture_ends_and_when_it_is_shown() -> None:
    ahead = box(b"styp", b"msdh", bytes(4)) + box(b"sidx", bytes(4))
    (found,) = read(ahead + fragment(FULL))
    assert found == Fragment(
        begin=28, first_end=28 + 500 + 2000, time=129_024, decode_time=128_000, duration=768, samples=2, sync=True
    )  # fmt: skip


def test_what_samples_do_not_say_is_the_default() -> None:
    (found,) = read(fragment(PLAIN))
    assert (found.first_end, found.time, found.duration, found.samples) == (1400, 128_000, 3 * 512, 3)
    assert found.sync
    (found,) = read(fragment(box(b"trun", numbers(0x00000001, 1, 500))))
    assert not found.sync


def test_a_segment_may_have_several_fragments_and_short_times() -> None:
    early = box(b"tfdt", numbers(0, 640))
    first, second = read(fragment(PLAIN, time=early) + fragment(PLAIN))
    assert (first.begin, first.time) == (0, 640)
    assert (second.begin, second.time) == (len(fragment(PLAIN, time=early)), 128_000)


def test_a_large_box_of_data_is_stepped_over() -> None:
    whole = fragment(PLAIN)
    cut = whole.index(b"mdat") - 4
    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + 3000) + bytes(3000)
    assert len(read(whole[:cut] + wide + fragment(PLAIN))) == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot find a movie fragment"),
        (box(b"mdat", bytes(9)), "cannot find a movie fragment"),
        (fragment(PLAIN)[:-1], "leaves the file"),
        (b"\0\0\0\7moof" + bytes(20), "leaves the file"),
        (struct.pack(">I4sQ", 1, b"moof", 1 << 60) + bytes(16), "leaves the file"),
        (box(b"free") * (MOST_BOXES + 1), "more than"),
        (box(b"moof", bytes(2 << 20)), "more than a megabyte"),
        (box(b"moof", box(b"mfhd", bytes(8))), "0 boxes traf"),
        (fragment(PLAIN, PLAIN), "2 boxes trun"),
        (fragment(box(b"trun", numbers(0x00000001, 0, 500))), "of 0 samples"),
        (fragment(box(b"trun", numbers(0x00000001, MOST_SAMPLES + 1, 500))), "samples; one has"),
        (fragment(box(b"trun", numbers(0x00000201, 4, 500, 10, 10))), "cut short"),
        (fragment(PLAIN, head=box(b"tfhd", numbers(0x020000, 1))), "leaves out"),
        (fragment(PLAIN, head=box(b"tfhd", numbers(0x000038, 1, 512, 900, 0))), "not counted from its own header"),
        (fragment(PLAIN, head=box(b"tfhd", numbers(0x020038, 1))), "cut short"),
        (fragment(PLAIN, time=box(b"tfdt", b"")), "cut short"),
    ],
)
def test_what_is_no_fragment_is_told(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=rf"cannot .*{says}|{says}"):
        read(data)


def header(mdhd: bytes, *edits: bytes) -> bytes:
    return box(b"ftyp", b"iso5") + box(b"moov", box(b"trak", *edits, box(b"mdia", box(b"mdhd", mdhd))))


LANGUAGE = (ord("d") - 0x60) << 10 | (ord("e") - 0x60) << 5 | (ord("u") - 0x60)


def test_a_track_is_read_from_the_initialisation_segment() -> None:
    short = numbers(0, 0, 0, 12_800, 0) + struct.pack(">HH", LANGUAGE, 0)
    assert track_of(header(short)) == Track(timescale=12_800, language="deu")
    wide = b"\1\0\0\0" + bytes(16) + numbers(48_000) + bytes(8) + struct.pack(">HH", 0x55C4, 0)
    # An empty edit first, which delays; then the one that tells what is skipped.
    edits = box(b"edts", box(b"elst", numbers(0, 2, 480, -1, 0x10000, 0, 1024, 0x10000)))
    assert track_of(header(wide, edits)) == Track(timescale=48_000, skipped=1024)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header(b""),
        header(bytes(24)),
        header(numbers(0, 0, 0, 9, 0, 0), box(b"edts", box(b"elst", numbers(0, 7)))),
        header(numbers(0, 0, 0, 9, 0, 0)) + header(numbers(0, 0, 0, 9, 0, 0))[12:],
    ],
)
def test_what_is_no_initialisation_segment_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot"):
        track_of(data)
