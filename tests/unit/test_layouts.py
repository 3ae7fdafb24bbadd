"""Indexes that nobody would write: each ends with a reason, and none takes long or reads where nothing is."""

import io
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from millrace.engines import cluster_layout
from millrace.engines.cluster_layout import read_clusters
from millrace.engines.sample_layout import read_samples


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I", 8 + len(body)) + kind + body


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def movie(
    *, runs: bytes = numbers(1, 1, 2, 1), offsets: bytes = numbers(2, 8, 20), sizes: bytes = numbers(0, 3, 4, 5, 6)
) -> bytes:
    """One track of three samples in two chunks, behind 40 bytes of media."""
    stsz, stco, stsc = (
        box(kind, numbers(0), body) for kind, body in ((b"stsz", sizes), (b"stco", offsets), (b"stsc", runs))
    )
    tables = box(b"stbl", stsz, stco, stsc)
    track = box(b"trak", box(b"mdia", box(b"minf", tables)))
    return box(b"mdat", bytes(40)) + box(b"moov", track)


def test_samples_lie_where_the_tables_say() -> None:
    found = read_samples(io.BytesIO(movie()))
    assert found.tracks == (((8, 17), (20, 26)),)
    assert found.spans == ((16, 48),)


def test_samples_of_one_size_and_places_of_64_bits() -> None:
    wide = box(b"co64", numbers(0), numbers(1), struct.pack(">Q", 9))
    data = movie(sizes=numbers(4, 3), offsets=numbers(1, 9), runs=numbers(1, 1, 3, 1))
    assert read_samples(io.BytesIO(data)).tracks == (((9, 21),),)
    narrow = box(b"stco", numbers(0), numbers(1, 9))
    grown = data.replace(narrow, wide)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = grown.index(kind) - 4
        (size,) = struct.unpack(">I", grown[place : place + 4])
        grown = grown[:place] + struct.pack(">I", size + len(wide) - len(narrow)) + grown[place + 4 :]
    assert read_samples(io.BytesIO(grown)).tracks == (((9, 21),),)


@pytest.mark.parametrize(
    "bad",
    [
        {"runs": numbers(2, 1, 2, 1, 0xFFFFFFFF, 1, 1)},  # of four thousand million chunks
        {"runs": numbers(1, 2, 1, 1)},
        {"offsets": numbers(2, 8, 0xFFFFFFF0)},
        {"sizes": numbers(0, 0xFFFFFFFF, 4)},
        {"sizes": b"\0\0"},
        {"offsets": b""},
    ],
)
def test_tables_that_contradict_themselves_are_refused(bad: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="index"):
        read_samples(io.BytesIO(movie(**bad)))


def element(name: int, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return name.to_bytes((name.bit_length() + 7) // 8) + (0x01 << 56 | len(body)).to_bytes(8) + body


def matroska(*blocks: bytes, cues: bool = True, track: bytes = b"", beside: bytes = b"", more: bytes = b"") -> bytes:
    track = element(0xAE, element(0xD7, b"\x01"), element(0x83, b"\x01"), track)
    clusters = [element(0x1F43B675, element(0xE7, b"\0"), block) for block in blocks]
    found = (element(0x1654AE6B, track, more), beside, *clusters, *((element(0x1C53BB6B),) if cues else ()))
    return element(0x1A45DFA3) + element(0x18538067, *found)


def block(content: bytes, *, flags: int = 0) -> bytes:
    return element(0xA3, b"\x81\0\0", bytes([flags]), content)


def test_blocks_lie_in_their_clusters() -> None:
    data = matroska(block(b"one"), element(0xA0, element(0xA1, b"\x81\0\0\0", b"two")))
    found = read_clusters(data)
    ((first, second),) = found.tracks
    assert (data[slice(*first)], data[slice(*second)]) == (b"one", b"two")
    assert len(found.spans) == 2
    assert found.spans[0][1] == found.spans[1][0]


PICTURE = element(0x1941A469, element(0x61A7, element(0x4660, b"image/jpeg")))
ODD = {
    "something behind it": matroska(block(b"one")) + element(0xEC),
    "a clock of its own": matroska(block(b"one"), track=element(0x23314F, struct.pack(">d", 2))),
    "compressed": matroska(block(b"one"), track=element(0x6D80)),
    "tracks again": matroska(block(b"one"), beside=element(0x1654AE6B)),
    "tracks of one number": matroska(block(b"one"), more=element(0xAE, element(0xD7, b"\x01"), element(0x83, b"\x01"))),
    "a picture": matroska(block(b"one"), beside=PICTURE),
    "an unknown element": matroska(block(b"one"), beside=element(0xBA)),
    "an unknown element among the blocks": matroska(block(b"one"), element(0xAF)),
    "two blocks in a group": matroska(element(0xA0, element(0xA1, b"\x81\0\0\0"), element(0xA1, b"\x81\0\0\0"))),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_of_what_is_odd_it_is_said_that_it_is(name: str) -> None:
    assert not read_clusters(ODD[name]).is_plain
    assert read_clusters(matroska(block(b"one"), element(0xA0, element(0xA1, b"\x81\0\0\0")), element(0xEC))).is_plain


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_blocks_are_read_whatever_the_form_of_their_length(width: int) -> None:
    def sized(size: int) -> bytes:
        return (1 << 7 * width | size).to_bytes(width)

    good = b"\xa3" + sized(7) + b"\x81\xff\xfe\x80one"
    (track,) = read_clusters(matroska(good, good)).streams
    assert (list(track.times), bytes(track.flags)) == ([-2, -2], b"\x80\x80")
    assert [end - begin for begin, end in zip(track.begins, track.ends, strict=True)] == [3, 3]
    for size, words in (((1 << 7 * width) - 1, "left open"), (3, "cut short"), (8, "leaves what holds it|cut short")):
        with pytest.raises(ValueError, match=words):
            read_clusters(matroska(b"\xa3" + sized(size) + b"\x81\xff\xfe\x80one"))


def test_several_frames_in_one_block_are_left_to_others() -> None:
    assert read_clusters(matroska(block(b"one"), block(b"two", flags=0x02))).tracks == ((),)


def test_clusters_that_no_cue_leads_to_are_refused() -> None:
    with pytest.raises(ValueError, match="no cues"):
        read_clusters(matroska(block(b"one"), cues=False))


def test_elements_without_end_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_layout, "MOST_ELEMENTS", 100)
    with pytest.raises(ValueError, match="more than 100 elements"):
        read_clusters(matroska(element(0xEC) * 200))


def test_whatever_the_bytes_they_are_an_index_or_none() -> None:
    chance = random.Random(48)
    for whole in (movie(), matroska(block(b"one"), block(b"two"))):
        for _ in range(2000):
            data = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            cut = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
            for found in (tried(read_samples, io.BytesIO(cut)), tried(read_clusters, cut)):
                assert all(0 <= begin <= end <= len(cut) for track in found for begin, end in track)


def tried(read: Callable[[Any], Any], what: object) -> Any:
    """The tracks, or none."""
    try:
        return read(what).tracks
    except ValueError:
        return ()
