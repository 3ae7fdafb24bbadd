"""A package of HLS that keeps the rules, and what is said of one that breaks them."""

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
)
from millrace.domain.media.hls_rules import Media, violations
from millrace.domain.media.ladder import Size

RATE = Fraction(25)
SIZES = {"720p": Size(width=1280, height=720), "360p": Size(width=640, height=360)}
WEIGHTS = {
    "720p": (900_000, 800_000, 350_000),
    "360p": (300_000, 250_000, 120_000),
    "audio-0": (32_000,) * 3,
    "audio-1": (33_000,) * 3,
}
LENGTHS = (Fraction(4), Fraction(4), Fraction(2))
KEYS = {name: tuple(
    Segment(duration=length, uri=f"seg-{number:05d}.m4s", begin=100, size=size // 10)
    for number, (length, size) in enumerate(zip(LENGTHS, sizes, strict=True))
) for name, sizes in WEIGHTS.items()}  # fmt: skip
CODECS = {"720p": "avc1.64001f", "360p": "avc1.64001e", "audio-0": "mp4a.40.2", "audio-1": "mp4a.40.2"}


def rates(name: str) -> Bandwidth:
    return bandwidth(list(zip(LENGTHS, WEIGHTS[name], strict=True)))


def segments(kind: str = "m4s") -> list[Segment]:
    return [Segment(duration=length, uri=f"seg-{number:05d}.{kind}") for number, length in enumerate(LENGTHS)]


MASTER = master_playlist(
    [
        Variant(uri=f"{name}/index.m3u8", codecs=CODECS[name], size=size, rate=RATE, bandwidth=rates(name))
        for name, size in SIZES.items()
    ],
    [
        AudioRendition(
            name=name, uri=f"audio-{number}/index.m3u8", codecs="mp4a.40.2", channels=2, language=language,
            bandwidth=rates(f"audio-{number}"),
        )
        for number, (name, language) in enumerate((("English", "en"), ("German", "de")))
    ],
    [SubtitleRendition(name="English", uri="subtitles-0/index.m3u8", language="en", bandwidth=Bandwidth(peak_bps=800, average_bps=800))],
    [
        KeyFrames(
            uri=f"{name}/key-frames.m3u8", codecs=CODECS[name], size=size,
            bandwidth=bandwidth([(one.duration, one.size or 0) for one in KEYS[name]]),
        )
        for name, size in SIZES.items()
    ],
)  # fmt: skip
TEXTS = {
    "master.m3u8": MASTER,
    **{f"{name}/index.m3u8": media_playlist(segments(), map_uri="init.mp4") for name in WEIGHTS},
    **{f"{name}/key-frames.m3u8": media_playlist(KEYS[name], map_uri="init.mp4", key_frames=True) for name in SIZES},
    "subtitles-0/index.m3u8": media_playlist([Segment(duration=Fraction(10), uri="seg-00000.vtt")]),
}
FILES = {
    "subtitles-0/seg-00000.vtt": 1000,
    **{f"{name}/init.mp4": 700 for name in WEIGHTS},
    **{f"{name}/seg-{number:05d}.m4s": size for name, sizes in WEIGHTS.items() for number, size in enumerate(sizes)},
}
MEDIA = {
    **{
        f"{name}/{playlist}.m3u8": Media(codecs=CODECS[name], size=size, rate=RATE, key_frames=KEYS[name])
        for name, size in SIZES.items()
        for playlist in ("index", "key-frames")
    },
    "audio-0/index.m3u8": Media(codecs="mp4a.40.2", channels=2, language="eng"),
    "audio-1/index.m3u8": Media(codecs="mp4a.40.2", channels=2, language="ger"),
}


def found(path: str = "", old: str = "", new: str = "", **facts: object) -> list[tuple[str, str, bool]]:
    """What is said with one text changed, or with other facts."""
    texts = dict(TEXTS)
    if path:
        assert old in texts[path], texts[path]
        texts[path] = texts[path].replace(old, new, 1)
    given = {"texts": texts, "sizes": FILES, "media": MEDIA, **facts}
    return [(one.path, one.text, one.must) for one in violations("master.m3u8", **given)]  # type: ignore[arg-type]


def test_what_is_right_has_nothing_but_advice() -> None:
    assert [one for one in found() if one[2]] == []
    assert found() == [
        (f"{name}/key-frames.m3u8", "has key frames that are more than 2 s apart", False) for name in SIZES
    ]


STREAM = "#EXT-X-STREAM-INF"
LARGE, KEYED, AUDIO = "720p/index.m3u8", "720p/key-frames.m3u8", "audio-1/index.m3u8"
CHANGES = [
    ("master.m3u8", "#EXTM3U\n", "", "master.m3u8", "does not begin with #EXTM3U"),
    ("master.m3u8", "#EXT-X-VERSION:7\n", "", "master.m3u8", "has no EXT-X-VERSION"),
    ("master.m3u8", "#EXT-X-INDEPENDENT-SEGMENTS\n", "", "master.m3u8", "does not say that segments are independent"),
    ("master.m3u8", ",FRAME-RATE=25.000", "", "master.m3u8", "leaves out FRAME-RATE"),
    ("master.m3u8", ",AVERAGE-BANDWIDTH=", ",OTHER=", "master.m3u8", "leaves out AVERAGE-BANDWIDTH"),
    ("master.m3u8", 'CODECS="avc1.64001f,mp4a.40.2",', "", "master.m3u8", "leaves out CODECS"),
    ("master.m3u8", ",RESOLUTION=1280x720", "", "master.m3u8", "leaves out RESOLUTION"),
    ("master.m3u8", 'CODECS="avc1.64001f,mp4a.40.2"', 'CODECS="avc1.64001f"', "master.m3u8", "claims the codecs avc1.64001f in"),
    ("master.m3u8", 'CODECS="avc1.64001f",', 'CODECS="avc1.640020",', "master.m3u8", "claims the codecs avc1.640020 in"),
    ("master.m3u8", "1280x720", "1280x718", "master.m3u8", "claims 1280x718"),
    ("master.m3u8", "FRAME-RATE=25.000", "FRAME-RATE=30.000", "master.m3u8", "claims 30.000 frames a second"),
    ("master.m3u8", "BANDWIDTH=1", "BANDWIDTH=2", "master.m3u8", "claims BANDWIDTH 2"),
    ("master.m3u8", "AVERAGE-BANDWIDTH=1", "AVERAGE-BANDWIDTH=2", "master.m3u8", "claims AVERAGE-BANDWIDTH 2"),
    ("master.m3u8", "720p/index.m3u8\n", "720p/other.m3u8\n", "master.m3u8", "names 720p/other.m3u8, which is missing"),
    ("master.m3u8", "720p/index.m3u8\n", "", "master.m3u8", "without an address"),
    ("master.m3u8", 'NAME="German"', 'NAME="English"', "master.m3u8", "has a name twice"),
    ("master.m3u8", 'NAME="German",', "", "master.m3u8", "leaves out NAME"),
    ("master.m3u8", 'LANGUAGE="de",', "", "master.m3u8", "leaves out LANGUAGE"),
    ("master.m3u8", 'LANGUAGE="de"', 'LANGUAGE="fr"', "master.m3u8", "claims the language fr"),
    ("master.m3u8", "DEFAULT=NO,AUTOSELECT=YES,CHANNELS", "DEFAULT=YES,AUTOSELECT=YES,CHANNELS", "master.m3u8", "more than one default"),
    ("master.m3u8", "DEFAULT=YES,AUTOSELECT=YES", "DEFAULT=YES,AUTOSELECT=NO", "master.m3u8", "not selected by itself"),
    ("master.m3u8", 'CHANNELS="2"', 'CHANNELS="6"', "master.m3u8", "claims 6 channels"),
    ("master.m3u8", ',CHANNELS="2"', "", "master.m3u8", "leaves out CHANNELS"),
    ("master.m3u8", ',AUDIO="audio"', "", "master.m3u8", "variants without the group of AUDIO"),
    ("master.m3u8", ',AUDIO="audio"', ',AUDIO="sound"', "master.m3u8", "names the group sound of AUDIO, which is missing"),
    ("master.m3u8", ',SUBTITLES="subtitles"', "", "master.m3u8", "variants without the group of SUBTITLES"),
    ("master.m3u8", "RESOLUTION=640x360,URI", "RESOLUTION=640x358,URI", "master.m3u8", "has no key frames (EXT-X-I-FRAME-STREAM-INF) of 640x360"),
    (LARGE, "#EXTM3U", "#EXTM4U", LARGE, "is no playlist"),
    (LARGE, "#EXT-X-TARGETDURATION:4\n", "", LARGE, "has no EXT-X-TARGETDURATION"),
    (LARGE, "TARGETDURATION:4", "TARGETDURATION:3", LARGE, "longer than its target of 3 s"),
    (AUDIO, "TARGETDURATION:4", "TARGETDURATION:5", AUDIO, "another target duration than audio-0/index.m3u8"),
    (LARGE, "#EXT-X-ENDLIST\n", "", LARGE, "does not say that it is whole"),
    (LARGE, "PLAYLIST-TYPE:VOD", "PLAYLIST-TYPE:EVENT", LARGE, "does not say that it is whole"),
    (LARGE, "VERSION:7", "VERSION:5", LARGE, "uses what version 6 brought"),
    (LARGE, '#EXT-X-MAP:URI="init.mp4"\n', "", LARGE, "without an EXT-X-MAP"),
    (LARGE, "init.mp4", "head.mp4", LARGE, "names head.mp4, which is missing"),
    (LARGE, "seg-00001.m4s", "seg-00009.m4s", LARGE, "names seg-00009.m4s, which is missing"),
    (LARGE, "#EXTINF:4.000000,", "#EXTINF:3.000000,", "360p/index.m3u8", "changes segments at other times than 720p"),
    (LARGE, "#EXTINF:2.0", "#EXT-X-DISCONTINUITY\n#EXTINF:2.0", "360p/index.m3u8", "has other discontinuities than 720p"),
    (KEYED, "#EXT-X-I-FRAMES-ONLY\n", "", KEYED, "does not say that it has key frames only"),
    (KEYED, "BYTERANGE:90000@100", "BYTERANGE:90000@101", KEYED, "names other bytes than those of the key frames"),
    (KEYED, "BYTERANGE:90000@100", "BYTERANGE:900000@100", KEYED, "names bytes of seg-00000.m4s that it does not have"),
    (KEYED, "#EXTINF:4.000000,\n#EXT-X-BYTERANGE:90000@100\nseg-00000.m4s\n", "", KEYED, "is not as long as the film"),
    ("subtitles-0/index.m3u8", "#EXTINF:10.0", "#EXTINF:3.0", "subtitles-0/index.m3u8", "is not as long as the film"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "old", "new", "where", "says"), CHANGES)
def test_every_rule_is_noticed_when_it_is_broken(path: str, old: str, new: str, where: str, says: str) -> None:
    told = [one for one in found(path, old, new) if one[0] == where and says in one[1]]
    assert told, found(path, old, new)
    assert all(must for *_, must in told)


def test_no_variant_and_no_segments() -> None:
    only = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    assert [one.text for one in violations("m", {"m": only}, {}, {})] == ["has no variant"]
    empty = media_playlist([], map_uri="init.mp4")
    assert any("names no segments" in text for _, text, _ in found(texts={**TEXTS, LARGE: empty}))


def test_files_that_are_missing_or_empty_are_told() -> None:
    told = found(sizes={**FILES, "audio-1/seg-00002.m4s": 0})
    assert (AUDIO, "names seg-00002.m4s, which is missing or empty", True) in told


@pytest.mark.parametrize(
    ("change", "says", "must"),
    [
        ({"codecs": "avc1.64003d"}, "needs level 6.1", False),
        ({"codecs": "av01.0.08M.08"}, "devices of Apple play H.264 and H.265", False),
        ({"rate": Fraction(120)}, "more than 60 frames a second", False),
    ],
)
def test_what_some_devices_do_not_play_is_advice(change: dict[str, object], says: str, must: bool) -> None:
    told = found(media={**MEDIA, LARGE: replace(MEDIA[LARGE], **change)})
    assert [one[2] for one in told if says in one[1]] == [must]


def test_lengths_are_those_of_the_segments() -> None:
    told = "claims other lengths of segments than they have"
    for lengths, wrong in (
        (LENGTHS, False),
        (LENGTHS[:2], True),
        ((Fraction(401, 100), *LENGTHS[1:]), True),
        ((*LENGTHS[:2], Fraction(199, 100)), False),
        ((*LENGTHS[:2], Fraction(19, 10)), True),
    ):
        media = {**MEDIA, LARGE: replace(MEDIA[LARGE], lengths=lengths)}
        assert ((LARGE, told, True) in found(media=media)) is wrong


def test_high_dynamic_range_is_told() -> None:
    media = {**MEDIA, LARGE: replace(MEDIA[LARGE], video_range="HLG")}
    assert any("claims None in" in text and "are HLG" in text for _, text, _ in found(media=media))


def test_a_high_peak_is_advice() -> None:
    told = found(sizes={**FILES, "720p/seg-00000.m4s": 9_000_000})
    assert [one[2] for one in told if "times its average bit rate" in one[1]] == [False]


def test_packages_without_key_frames_are_advised_and_those_that_lost_them_are_wrong() -> None:
    start = MASTER.index("#EXT-X-I-FRAME")
    texts = {**TEXTS, "master.m3u8": MASTER[:start]}
    assert {must for _, text, must in found(texts=texts) if "has no key frames" in text} == {True}
    media = {path: replace(one, key_frames=None) for path, one in MEDIA.items()}
    assert {must for _, text, must in found(texts=texts, media=media) if "has no key frames" in text} == {False}
