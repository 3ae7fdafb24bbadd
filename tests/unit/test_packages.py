"""What completes a ladder, from a listing of its folder."""

import struct
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.media.hls import Segment, media_playlist, parse_media_playlist
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import Listing
from millrace.engines.fragments import Fragment
from millrace.engines.packages import files_to_read, finishing_files, fragmented, judged

PROBE = Probe(
    formats=("matroska",),
    duration=Fraction(10),
    video=(
        VideoStream(
            index=0, codec="h264", width=640, height=360, frame_rate=Fraction(25), frames=250, end=Fraction(10)
        ),
    ),
    audio=(
        AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, language="eng", end=Fraction(10)),
        AudioStream(index=2, codec="aac", sample_rate=48_000, channels=2, language="ger", end=Fraction(10)),
    ),
    subtitles=(
        SubtitleStream(index=3, codec="subrip", is_text=True, language="eng"),
        SubtitleStream(index=4, codec="subrip", is_text=True, language="fre", forced=True),
    ),
)
WORDS = b"WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n"


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def header(timescale: int, language: str, entry: bytes) -> bytes:
    packed = sum((ord(letter) - 0x60) << shift for letter, shift in zip(language, (10, 5, 0), strict=True))
    mdhd = box(b"mdhd", struct.pack(">5I2H", 0, 0, 0, timescale, 0, packed, 0))
    stsd = box(b"stsd", bytes(8), entry)
    return box(b"moov", box(b"trak", box(b"mdia", mdhd, box(b"minf", box(b"stbl", stsd)))))


AVC = box(b"avc1", bytes(78), box(b"avcC", bytes([1, 0x64, 0, 0x1E])))
AAC = box(
    b"mp4a",
    bytes(28),
    box(b"esds", bytes(4), bytes([3, 25, 0, 1, 0, 4, 17, 0x40, *bytes(12), 5, 2, 0x11, 0x90, 6, 1, 2])),
)


def planned(packaging: str = "cmaf", **document: Any) -> Plan:
    rungs = [{"name": f"{height}p", "video": {"height": height}} for height in (360, 180)]
    given = {"name": "t", "packaging": packaging, "renditions": rungs, "audio": [{"codec": "aac", "tracks": "all"}]}
    return plan(profile_from({**given, "subtitles": "convert", "segment_s": 4, **document}), PROBE)


def fragment(begin: int, time: int, duration: int) -> Fragment:
    return Fragment(
        begin=begin, first_end=begin + 300, time=time, decode_time=time, duration=duration, samples=9, sync=True
    )


def listing(wanted: Plan) -> Listing:
    """A ladder of 10 s in segments of 4 s and fragments of 2 s, of which the sound's are a little longer and shorter."""
    sizes: dict[str, int] = {}
    contents: dict[str, bytes] = {}
    fragments: dict[str, tuple[Fragment, ...]] = {}
    for number, file in enumerate(one for one in wanted.files if not one.subtitles):
        folder, scale = file.path.rpartition("/")[0], 12_800 if file.video else 48_000
        # Sound is cut where its frames end.
        lengths = [Fraction(length) for length in (("4", "4", "2") if file.video else ("4.6", "3.4", "2"))]
        start = 10 * scale
        segments = [Segment(duration=length, uri=f"seg-{n:05d}.m4s") for n, length in enumerate(lengths)]
        contents[file.path] = media_playlist(segments, map_uri="init.mp4", target_s=5 + number).encode()
        language = (("eng", "deu")[file.audio[0].stream - 1]) if file.audio else "und"
        contents[f"{folder}/init.mp4"] = header(scale, language, AVC if file.video else AAC)
        for n, length in enumerate(lengths):
            sizes[f"{folder}/seg-{n:05d}.m4s"] = 4000 - 700 * n
            parts = int(length / 2)
            ticks = int(length * scale / parts)
            fragments[f"{folder}/seg-{n:05d}.m4s"] = tuple(
                fragment(50 + 1500 * part, start + part * ticks, ticks) for part in range(parts)
            )
            start += parts * ticks
    for file in wanted.files:
        if file.subtitles:
            contents[file.path] = WORDS
    sizes |= {path: len(data) for path, data in contents.items()}
    return Listing(sizes=sizes, contents=contents, fragments=fragments)


WANTED = planned()
LISTING = listing(WANTED)


def test_what_is_read_is_what_is_needed() -> None:
    assert set(files_to_read(WANTED)) == set(LISTING.contents)
    assert fragmented(WANTED) == ("360p", "180p", "audio-0", "audio-1")
    assert fragmented(planned("hls")) == ()
    assert (
        files_to_read(plan(profile_from({"name": "t", "packaging": "mp4", "renditions": [{"video": {}}]}), PROBE)) == ()
    )


def test_a_ladder_is_completed() -> None:
    made = finishing_files(WANTED, LISTING)
    assert sorted(made) == [
        "180p/index.m3u8", "180p/key-frames.m3u8", "360p/index.m3u8", "360p/key-frames.m3u8",
        "audio-0/index.m3u8", "audio-1/index.m3u8", "manifest.mpd", "master.m3u8",
        "subtitles-0/index.m3u8", "subtitles-0/seg-00000.vtt", "subtitles-1/index.m3u8", "subtitles-1/seg-00000.vtt",
    ]  # fmt: skip
    # One target duration for all, that of the longest segment of sound, whatever the engine said.
    assert {
        made[path].decode().partition("TARGETDURATION:")[2][0] for path in made if path.endswith("p/index.m3u8")
    } == {"5"}
    frames = parse_media_playlist(made["360p/key-frames.m3u8"].decode()).segments
    assert [(one.uri[:9], one.begin, one.size, one.duration) for one in frames] == [
        ("seg-00000", 50, 300, 2), ("seg-00000", 1550, 300, 2), ("seg-00001", 50, 300, 2),
        ("seg-00001", 1550, 300, 2), ("seg-00002", 50, 300, 2),
    ]  # fmt: skip
    assert b"X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n00:01.000 -->" in made["subtitles-0/seg-00000.vtt"]
    master = made["master.m3u8"].decode()
    assert 'NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio-0/index.m3u8"' in master
    assert 'NAME="German",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio-1/index.m3u8"' in master
    assert (
        'NAME="French (forced)",LANGUAGE="fr",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES,URI="subtitles-1/index.m3u8"'
        in master
    )
    manifest = made["manifest.mpd"].decode()
    assert [word for word in ('lang="en"', 'lang="de"', 'lang="fr"') if word in manifest] == [
        'lang="en"',
        'lang="de"',
        'lang="fr"',
    ]
    assert '<S t="128000" d="51200" r="1"/>' in manifest
    assert [one for one in judged(WANTED, LISTING, made) if one.must] == []


def test_a_package_that_breaks_a_rule_is_not_completed() -> None:
    """Whatever wrote it: here the sound says another language than was planned."""
    contents = {**LISTING.contents, "audio-1/init.mp4": header(48_000, "jpn", AAC)}
    with pytest.raises(
        ValueError, match=r"^cannot finish the output: master.m3u8 claims the language de .* the files say jpn"
    ):
        finishing_files(WANTED, replace(LISTING, contents=contents))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contents": {**LISTING.contents, "360p/init.mp4": b""}}, "cannot find a track"),
        ({"contents": {path: data for path, data in LISTING.contents.items() if path != "360p/init.mp4"}}, "360p/init.mp4 is missing"),
        ({"contents": {**LISTING.contents, "subtitles-0.vtt": b"1\n00:00:01,000"}}, "do not begin with WEBVTT"),
        ({"fragments": {path: found for path, found in LISTING.fragments.items() if path != "180p/seg-00001.m4s"}}, "180p/seg-00001.m4s is missing, or is no segment"),
        (
            {"fragments": {**LISTING.fragments, "180p/seg-00001.m4s": (replace(fragment(50, 179_200, 51_200), sync=False),)}},
            "a fragment of seg-00001.m4s does not begin with one",
        ),
        ({"contents": {**LISTING.contents, "180p/index.m3u8": b"#EXTM3U\n"}}, "180p/index.m3u8 names no segments"),
        (
            {"fragments": {**LISTING.fragments, "audio-1/seg-00001.m4s": LISTING.fragments["audio-1/seg-00000.m4s"]}},
            "cannot describe audio-1: its segments do not follow each other in time",
        ),
        ({"sizes": {**LISTING.sizes, "180p/seg-00001.m4s": 0}}, "names seg-00001.m4s, which is missing or empty"),
        ({"sizes": {**LISTING.sizes, "180p/seg-00001.m4s": 1600}}, "names bytes of seg-00001.m4s that it does not have"),
        ({"sizes": {**LISTING.sizes, "180p/seg-00003.m4s": 9}}, "manifest.mpd leaves out 180p/seg-00003.m4s"),
    ],
)  # fmt: skip
def test_what_is_missing_or_broken_is_told(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot ") as wrong:
        finishing_files(WANTED, replace(LISTING, **change))
    assert says in str(wrong.value)
