from fractions import Fraction

import pytest
from msgspec.structs import replace

from millrace.domain.media.hls import (
    AudioRendition,
    Bandwidth,
    KeyFrames,
    Segment,
    SubtitleRendition,
    Variant,
    bandwidth,
    master_playlist,
    media_playlist,
    parse_media_playlist,
)
from millrace.domain.media.ladder import Size
from millrace.engines.isobmff import codecs_string
from millrace.engines.mpegts import h264_codecs_string

MEDIA = (
    '#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:2.002000,\nseg-0.m4s\n#EXTINF:1.5,title\nseg-1.m4s\n#EXT-X-ENDLIST\n'
)


def test_a_media_playlist_is_read() -> None:
    found = parse_media_playlist(MEDIA)
    assert [(one.duration, one.uri) for one in found.segments] == [
        (Fraction(1001, 500), "seg-0.m4s"),
        (Fraction(3, 2), "seg-1.m4s"),
    ]
    assert found.map_uri == "init.mp4"
    assert found.ended


@pytest.mark.parametrize("text", ["", "hello", "#EXTM3U\nseg-0.m4s\n", "#EXTM3U\n#EXTINF:x,\ns\n"])
def test_what_is_no_playlist_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_media_playlist(text)


def test_bandwidth_is_that_of_the_worst_stretch() -> None:
    four = Fraction(4)
    assert bandwidth([(four, 1000), (four, 3000), (four, 2000)]) == Bandwidth(peak_bps=6000, average_bps=4000)
    # A rest of 80 ms is weighed with its neighbour.
    assert bandwidth([(four, 1000), (Fraction(2, 25), 1000)]).peak_bps == pytest.approx(2000 * 8 / 4.08, abs=1)
    assert bandwidth([]) == Bandwidth(peak_bps=1, average_bps=1)


def test_the_whole_master_playlist() -> None:
    variants = [
        Variant(
            uri=f"{height}p/index.m3u8",
            codecs=codecs,
            size=Size(width=width, height=height),
            rate=Fraction(30000, 1001),
            bandwidth=Bandwidth(peak_bps=height * 1000, average_bps=height * 900),
        )
        for width, height, codecs in ((640, 360, "avc1.64001e"), (1280, 720, "avc1.64001f"))
    ]
    sounds = [
        AudioRendition(
            name=name, uri=f"audio-{number}/index.m3u8", codecs="mp4a.40.2", channels=2, language=language,
            bandwidth=Bandwidth(peak_bps=peak, average_bps=peak - 10_000),
        )
        for number, (name, language, peak) in enumerate((("English", "en", 120_000), ("Unknown", "und", 130_000)))
    ]  # fmt: skip
    small = Bandwidth(peak_bps=2_000, average_bps=1_000)
    titles = [
        SubtitleRendition(name="French", uri="subtitles-0/index.m3u8", language="fr", bandwidth=small),
        SubtitleRendition(
            name="French (forced)", uri="subtitles-1/index.m3u8", language="fr", forced=True, bandwidth=small
        ),
    ]
    keys = KeyFrames(
        uri="720p/key-frames.m3u8", codecs="avc1.64001f", size=Size(width=1280, height=720),
        bandwidth=Bandwidth(peak_bps=60_000, average_bps=50_000),
    )  # fmt: skip
    assert master_playlist(variants, sounds, titles, [keys]) == (
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",'
        'URI="audio-0/index.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Unknown",LANGUAGE="und",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",'
        'URI="audio-1/index.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="French",LANGUAGE="fr",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,'
        'URI="subtitles-0/index.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="French (forced)",LANGUAGE="fr",DEFAULT=NO,AUTOSELECT=YES,'
        'FORCED=YES,URI="subtitles-1/index.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=852000,AVERAGE-BANDWIDTH=769000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,'
        'FRAME-RATE=29.970,AUDIO="audio",SUBTITLES="subtitles"\n720p/index.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=492000,AVERAGE-BANDWIDTH=445000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,'
        'FRAME-RATE=29.970,AUDIO="audio",SUBTITLES="subtitles"\n360p/index.m3u8\n'
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=60000,AVERAGE-BANDWIDTH=50000,CODECS="avc1.64001f",RESOLUTION=1280x720,'
        'URI="720p/key-frames.m3u8"\n'
    )


def test_key_frames_are_ranges_of_the_segments() -> None:
    frames = [
        Segment(duration=Fraction(1001, 500), uri="seg-0.m4s", begin=24, size=4000),
        Segment(duration=Fraction(1, 2), uri="seg-0.m4s", begin=90_000, size=5000),
    ]
    text = media_playlist(frames, map_uri="init.mp4", key_frames=True)
    assert text == (
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        '#EXT-X-I-FRAMES-ONLY\n#EXT-X-MAP:URI="init.mp4"\n'
        "#EXTINF:2.002000,\n#EXT-X-BYTERANGE:4000@24\nseg-0.m4s\n"
        "#EXTINF:0.500000,\n#EXT-X-BYTERANGE:5000@90000\nseg-0.m4s\n#EXT-X-ENDLIST\n"
    )
    assert list(parse_media_playlist(text).segments) == frames


def test_playlists_of_one_film_may_agree_on_a_target() -> None:
    short = [Segment(duration=Fraction(3, 10), uri="seg-0.vtt")]
    assert "TARGETDURATION:1\n" in media_playlist(short)
    assert "TARGETDURATION:4\n" in media_playlist(short, target_s=4)
    assert "EXT-X-MAP" not in media_playlist(short)


def test_discontinuities_are_read() -> None:
    found = parse_media_playlist(MEDIA.replace("#EXTINF:1.5", "#EXT-X-DISCONTINUITY\n#EXTINF:1.5"))
    assert [one.breaks for one in found.segments] == [False, True]
    assert found.tags == {"MAP": 'URI="init.mp4"', "ENDLIST": ""}


def test_players_are_told_of_high_dynamic_range() -> None:
    bandwidth_ = Bandwidth(peak_bps=2, average_bps=1)
    shown = Variant(
        uri="v.m3u8", codecs="hvc1.2.4.L93.B0", size=Size(width=64, height=36), rate=Fraction(25), bandwidth=bandwidth_
    )
    assert "VIDEO-RANGE" not in master_playlist([shown])
    assert "64x36,VIDEO-RANGE=PQ,FRAME-RATE=25.000\n" in master_playlist([replace(shown, video_range="PQ")])
    keys = KeyFrames(uri="k.m3u8", codecs=shown.codecs, size=shown.size, bandwidth=bandwidth_, video_range="HLG")
    assert '64x36,VIDEO-RANGE=HLG,URI="k.m3u8"\n' in master_playlist([shown], key_frames=[keys])


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def header(entry: bytes) -> bytes:
    body = box(b"stsd", bytes(8) + entry)
    for kind in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        body = box(kind, body)
    return box(b"ftyp", b"cmfc") + body


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (box(b"avc1", bytes(78) + box(b"avcC", bytes([1, 0x64, 0, 0x28]))), "avc1.640028"),
        (box(b"hvc1", bytes(78) + box(b"hvcC", bytes([1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93]))), "hvc1.1.6.L93.90"),
        (box(b"hvc1", bytes(78) + box(b"hvcC", bytes([1, 0x22, 0x20, 0, 0, 0, 0xB0, 0, 0, 0, 0, 0, 153]))), "hvc1.2.4.H153.B0"),
        (box(b"av01", bytes(78) + box(b"av1C", bytes([0x81, 0x08, 0x4C, 0]))), "av01.0.08M.10"),
        (box(b"vp09", bytes(78) + box(b"vpcC", bytes([1, 0, 0, 0, 0, 31, 0x82, 2, 2, 2, 0, 0]))), "vp09.00.31.08"),
        (box(b"Opus", bytes(28) + box(b"dOps", bytes(11))), "Opus"),
        (
            box(b"mp4a", bytes(28) + box(b"esds", bytes(4) + bytes([3, 25, 0, 1, 0, 4, 17, 0x40, *bytes(12), 5, 2, 0x11, 0x90, 6, 1, 2]))),
            "mp4a.40.2",
        ),
    ],
)  # fmt: skip
def test_codecs_are_read_from_header_bytes(entry: bytes, name: str) -> None:
    assert codecs_string(header(entry)) == name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        header(box(b"zzz9", bytes(78))),
        header(box(b"avc1", bytes(78)))[:-3],
        header(box(b"avc1", bytes(78))),
        header(box(b"mp4a", bytes(28) + box(b"esds", bytes([0, 0, 0, 0, 3, 0xFF])))),
    ],
)
def test_broken_headers_are_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cannot"):
        codecs_string(data)


def test_codecs_are_read_from_transport_streams() -> None:
    assert (
        h264_codecs_string(b"\x47" * 10 + b"\x00\x00\x01\x09\xf0\x00\x00\x00\x01\x67\x64\x00\x1f\xac") == "avc1.64001f"
    )
    with pytest.raises(ValueError, match=r"cannot"):
        h264_codecs_string(bytes(188))
