"""What the headers of a Matroska file say is what FFmpeg says after it has read the whole file; of what is not sure, nothing is said."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import BARS, FAST, TONE, Bench, ffmpeg

from millrace.engines import cluster_layout as layout
from millrace.engines.engine import EngineFailure
from millrace.engines.ffmpeg import matroska_index
from millrace.engines.ffmpeg import probe as probing

PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=10")
SOUND = ("-f", "lavfi", "-i", "sine=d=10")
FRAMES = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "2")
OPEN = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "open-gop=1:keyint=17:min-keyint=5:bframes=3:log=-1")
OFTEN = ("-cluster_time_limit", "500")
AAC = ("-c:a", "aac")
PLAIN = {
    "reordered.mkv": (*PICTURES, *SOUND, *FRAMES, *AAC, *OFTEN),
    "open.mkv": (*PICTURES, *OPEN, *OFTEN),
    "in_order.mkv": (*PICTURES, *SOUND, *FAST, "-g", "25", *AAC),
    "late.mkv": (*PICTURES, *SOUND, *OPEN, *AAC, "-output_ts_offset", "3.21"),
    "late_sound.mkv": (*PICTURES, "-itsoffset", "0.7", *SOUND, "-map", "0", "-map", "1", *FRAMES, *AAC),
    "late_pictures.mkv": ("-itsoffset", "0.5", *PICTURES, *SOUND, "-map", "0", "-map", "1", *FRAMES, *AAC),
    "variable.mkv": (*PICTURES, "-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", *OPEN),
    "gap.mkv": (*PICTURES, "-vf", "select='not(between(n,60,95))'", "-fps_mode", "vfr", *OPEN),
    "efficient.mkv": (*PICTURES, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25:bframes=3"),
    "nines.webm": (*PICTURES, *SOUND, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-c:a", "libopus"),
    "many.mkv": (*PICTURES, *SOUND, "-map", "0", "-map", "1", "-map", "1", *FRAMES, "-c:a:0", "ac3", "-c:a:1", "libmp3lame"),
    "all_keys.mkv": (*PICTURES, *SOUND, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"),
    "lossless.mkv": (*PICTURES, *SOUND, "-c:v", "ffv1", "-c:a", "flac"),
    "interlaced.mkv": (*PICTURES, "-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", *FRAMES),
    "cues_first.mkv": (*PICTURES, *SOUND, *FRAMES, *AAC, *OFTEN, "-cues_to_front", "1"),
}  # fmt: skip
ODD = {
    "live.webm": (*PICTURES, *SOUND, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus", "-live", "1"),
    "few.mkv": (*BARS, *TONE, *FAST, *AAC, "-frames:v", "20"),
}  # fmt: skip
CLIPS = ("odd.mkv", "surround.mkv", "late_video.mkv", "subtitled.mkv")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("blocks")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*{**PLAIN, **ODD}[name], str(path))
        return path

    return made


@pytest.fixture
def short_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg reads five seconds at the beginning, so that something lies between what it has read."""
    monkeypatch.setattr(probing, "BEGINNING", ("-t", "5"))


@pytest.mark.usefixtures("short_ends")
@pytest.mark.parametrize("name", PLAIN)
def test_a_film_is_described_as_its_packets_are(brief_bench: Bench, own: Callable[[str], Path], name: str) -> None:
    found = brief_bench.briefly(own(name))
    assert found is not None
    assert found == brief_bench.probe(own(name))


@pytest.mark.parametrize("name", CLIPS)
def test_clips_of_other_tests_are_described_so_or_left_to_the_engine(
    brief_bench: Bench, clips: Callable[[str], Path], name: str
) -> None:
    found = brief_bench.briefly(clips(name))
    assert found is None or found == brief_bench.probe(clips(name))


@pytest.mark.parametrize("name", ODD)
def test_what_does_not_say_enough_is_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], name: str
) -> None:
    assert brief_bench.briefly(own(name)) is None


@pytest.mark.usefixtures("short_ends")
def test_sound_of_several_frames_in_a_block_is_counted_by_frames(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "laced.mkv"
    path.write_bytes(rewritten(own("reordered.mkv").read_bytes(), laced))
    found = brief_bench.briefly(path)
    assert found is not None
    assert found == brief_bench.probe(path)
    assert found.audio[0].packets == brief_bench.probe(own("reordered.mkv")).audio[0].packets


@pytest.mark.usefixtures("short_ends")
def test_blocks_in_groups_are_read_like_simple_ones(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "grouped.mkv"
    path.write_bytes(rewritten(own("reordered.mkv").read_bytes(), grouped))
    found = brief_bench.briefly(path)
    assert found is not None
    assert found == brief_bench.probe(path)


def test_a_picture_among_the_attachments_is_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / "covered.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", str(cover))
    attached = ("-attach", str(cover), "-metadata:s:t", "mimetype=image/png")
    ffmpeg("-i", str(own("reordered.mkv")), *attached, "-c", "copy", str(path))
    assert any(one.attached_picture for one in brief_bench.probe(path).video)
    assert brief_bench.briefly(path) is None


@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_a_film_that_was_cut_short_is_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path, kept: float
) -> None:
    whole = own("cues_first.mkv").read_bytes()
    short = tmp_path / "short.mkv"
    short.write_bytes(whole[: int(len(whole) * kept)])
    assert brief_bench.briefly(short) is None
    with pytest.raises(EngineFailure):
        brief_bench.probe(short)


def test_what_follows_a_film_is_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "twice.mkv"
    path.write_bytes(own("reordered.mkv").read_bytes() * 2)
    assert brief_bench.briefly(path) is None


@pytest.mark.usefixtures("short_ends")
@pytest.mark.parametrize("at", ["begin", "end"])
def test_where_ffmpeg_reads_other_packets_nothing_is_said(
    brief_bench: Bench, own: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """As if the headers had been misread: a time is off by a millisecond, and nothing else."""
    read = matroska_index.read_clusters

    def misread(data: layout.Bytes) -> layout.Clusters:
        found = read(data)
        found.streams[0].times[20 if at == "begin" else -2] += 1
        return found

    monkeypatch.setattr(matroska_index, "read_clusters", misread)
    assert brief_bench.briefly(own("reordered.mkv")) is None


@pytest.mark.usefixtures("short_ends")
def test_frames_that_are_shown_later_than_the_beginning_lets_expect_are_left_to_the_engine(
    brief_bench: Bench, own: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two blocks in the midst of frames that were in order change places."""
    changed = 0

    def swap(blocks: Sequence[Block]) -> list[Block]:
        nonlocal changed
        changed += 1
        pictures = [place for place, one in enumerate(blocks) if one.number == 1]
        found = list(blocks)
        if changed == 13:  # at six seconds
            one, other = pictures[3], pictures[5]
            found[one], found[other] = found[other], found[one]
        return found

    path = tmp_path / "swapped.mkv"
    own("in_order.mkv")
    ffmpeg("-i", str(own("in_order.mkv")), "-c", "copy", *OFTEN, str(tmp_path / "often.mkv"))
    path.write_bytes(rewritten((tmp_path / "often.mkv").read_bytes(), swap))
    assert brief_bench.briefly(tmp_path / "often.mkv") is not None
    assert brief_bench.briefly(path) is None


def test_a_short_film_is_read_by_the_engine(bench: Bench, own: Callable[[str], Path]) -> None:
    assert bench.engine.brief(own("reordered.mkv")) is None


class Block:
    """A simple block as it stands in a file, or a group that is written in its place."""

    def __init__(self, number: int, time: int, flags: int, frame: bytes, raw: bytes = b"") -> None:
        self.number, self.time, self.flags, self.frame, self.raw = number, time, flags, frame, raw

    def written(self) -> bytes:
        head = bytes([0x80 | self.number]) + struct.pack(">hB", self.time, self.flags)
        return self.raw or element(layout.SIMPLE_BLOCK, head + self.frame)


def element(name: int, body: bytes) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8) + (0x01 << 56 | len(body)).to_bytes(8) + body


def rewritten(data: bytes, change: Callable[[Sequence[Block]], Sequence[Block]]) -> bytes:
    """The film with the blocks of each cluster changed, its cues before them."""
    walk = layout._Walk(data)
    (_, begin, end) = next(found for found in walk.elements(0, len(data)) if found[0] == layout.SEGMENT)
    head, clusters = b"", []
    for kind, first, last in walk.elements(begin, end):
        if kind in (layout.INFO, layout.TRACKS):
            head += element(kind, data[first:last])
        elif kind == layout.CLUSTER:
            inner = list(walk.elements(first, last))
            time = next(data[start:stop] for each, start, stop in inner if each == layout.TIMESTAMP)
            blocks = [
                block_of(data[start:stop])
                if each == layout.SIMPLE_BLOCK
                else Block(0, 0, 0, b"", element(each, data[start:stop]))
                for each, start, stop in inner
                if each in (layout.SIMPLE_BLOCK, layout.BLOCK_GROUP)
            ]
            body = element(layout.TIMESTAMP, time) + b"".join(one.written() for one in change(blocks))
            clusters.append((int.from_bytes(time), element(layout.CLUSTER, body)))
    place = len(head) + len(cues([(0, 0)] * len(clusters)))
    places = []
    for time_of, cluster in clusters:
        places.append((time_of, place))
        place += len(cluster)
    film = head + cues(places) + b"".join(cluster for _, cluster in clusters)
    return data[: data.index(layout.SEGMENT.to_bytes(4))] + element(layout.SEGMENT, film)


def cues(places: Sequence[tuple[int, int]]) -> bytes:
    def point(time: int, place: int) -> bytes:
        found = element(0xF7, b"\x01") + element(0xF1, place.to_bytes(8))
        return element(0xBB, element(0xB3, time.to_bytes(8)) + element(0xB7, found))

    return element(layout.CUES, b"".join(point(time, place) for time, place in places))


def block_of(content: bytes) -> Block:
    time, flags = struct.unpack(">hB", content[1:4])
    return Block(content[0] & 0x7F, time, flags, content[4:])


def laced(blocks: Sequence[Block]) -> list[Block]:
    """Up to three frames of sound in each block (Xiph's lacing)."""
    sound = [one for one in blocks if one.number == 2]
    found = [one for one in blocks if one.number == 1]
    for first in range(0, len(sound), 3):
        group = sound[first : first + 3]
        if len(group) == 1:
            found.append(group[0])
            continue
        sizes = b"".join(b"\xff" * (len(one.frame) // 255) + bytes([len(one.frame) % 255]) for one in group[:-1])
        frames = bytes([len(group) - 1]) + sizes + b"".join(one.frame for one in group)
        found.append(Block(2, group[0].time, group[0].flags | 0x02, frames))
    return [*found, *(one for one in blocks if one.raw)]


def grouped(blocks: Sequence[Block]) -> list[Block]:
    """Each block in a group, which refers to another one where it is no key frame."""
    found = []
    for one in blocks:
        if one.raw:
            found.append(one)
            continue
        head = bytes([0x80 | one.number]) + struct.pack(">hB", one.time, 0)
        reference = b"" if one.flags & layout.KEY_FRAME else element(layout.REFERENCE, b"\xff")
        found.append(
            Block(0, 0, 0, b"", element(layout.BLOCK_GROUP, element(layout.BLOCK, head + one.frame) + reference))
        )
    return found
