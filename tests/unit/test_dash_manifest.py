"""The manifest of DASH, and the rules that it keeps."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.media.dash import Picture, Segments, Sound, Span, Text, manifest, shape
from millrace.domain.media.dash_rules import Truth, violations
from millrace.domain.media.hls_rules import Media
from millrace.domain.media.ladder import Size, ladder

RATE = Fraction(30000, 1001)
WIDE, SMALL = Size(width=854, height=480), Size(width=640, height=360)


def spans(start: int, *pairs: tuple[int, int]) -> tuple[Span, ...]:
    made = []
    for ticks, size in pairs:
        made.append(Span(start=start, ticks=ticks, size=size))
        start += ticks
    return tuple(made)


def pictures(*sizes: int) -> Segments:
    lengths = (120_120, 120_120, 60_060)
    return Segments(timescale=30_000, origin=300_000, spans=spans(300_000, *zip(lengths, sizes, strict=True)))


SOUND = Segments(
    timescale=48_000, origin=480_000, spans=spans(478_976, (192_512, 64_000), (192_512, 64_000), (97_280, 20_000))
)
LARGE = Picture(id="480p", codecs="avc1.64001e", size=WIDE, rate=RATE, segments=pictures(400_000, 500_000, 1_100_000))
LITTLE = Picture(id="360p", codecs="avc1.640016", size=SMALL, rate=RATE, segments=pictures(200_000, 250_000, 9_000))
SOUNDS = [
    Sound(id="audio-0", codecs="mp4a.40.2", channels=2, sample_rate=48_000, segments=SOUND, track=(1, 2), name="English", language="en"),
    Sound(id="audio-1", codecs="mp4a.40.2", channels=8, sample_rate=48_000, segments=SOUND, track=(2, 8), name='D"<&>', language="de"),
]  # fmt: skip
TEXTS = [
    Text(id="subtitles-0", path="subtitles-0.vtt", size=1001, name="English", language="en"),
    Text(id="subtitles-1", path="subtitles-1.vtt", size=0, name="German (forced)", language="de", forced=True),
]
WHOLE = manifest([LITTLE, LARGE], SOUNDS, TEXTS)
TRUTH = {
    **{
        one.id: Truth(media=Media(codecs=one.codecs, size=one.size, rate=RATE), segments=one.segments)
        for one in (LARGE, LITTLE)
    },
    **{one.id: Truth(media=Media(codecs=one.codecs, channels=one.channels), segments=SOUND) for one in SOUNDS},
}
SIZES = {
    "subtitles-0.vtt": 1001,
    "subtitles-1.vtt": 0,
    **{f"{name}/init.mp4": 700 for name in TRUTH},
    **{
        f"{name}/seg-{number:05d}.m4s": span.size
        for name, one in TRUTH.items()
        for number, span in enumerate(one.segments.spans)
    },
}


def broken(text: str, sizes: dict[str, int] | None = None, truth: dict[str, Truth] | None = None) -> list[str]:
    return [one.text for one in violations("manifest.mpd", text, sizes or SIZES, truth or TRUTH)]


def test_the_whole_manifest() -> None:
    # 1,100,000 bytes of a last segment that is half as long have 4.004 s to come.
    assert WHOLE == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static" '
        'mediaPresentationDuration="PT10.026667S" minBufferTime="PT4.010667S">\n'
        '  <Period id="0" start="PT0S">\n'
        '    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1" '
        'par="16:9" maxWidth="854" maxHeight="480" maxFrameRate="30000/1001">\n'
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n'
        '      <Representation id="480p" codecs="avc1.64001e" bandwidth="2197803" width="854" height="480" sar="1:1" '
        'frameRate="30000/1001">\n'
        '        <SegmentTemplate timescale="30000" presentationTimeOffset="300000" startNumber="0" '
        'initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/seg-$Number%05d$.m4s">\n'
        "          <SegmentTimeline>\n"
        '            <S t="300000" d="120120" r="1"/>\n'
        '            <S d="60060"/>\n'
        "          </SegmentTimeline>\n"
        "        </SegmentTemplate>\n"
        "      </Representation>\n"
        '      <Representation id="360p" codecs="avc1.640016" bandwidth="499501" width="640" height="360" sar="1:1" '
        'frameRate="30000/1001">\n'
        '        <SegmentTemplate timescale="30000" presentationTimeOffset="300000" startNumber="0" '
        'initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/seg-$Number%05d$.m4s">\n'
        "          <SegmentTimeline>\n"
        '            <S t="300000" d="120120" r="1"/>\n'
        '            <S d="60060"/>\n'
        "          </SegmentTimeline>\n"
        "        </SegmentTemplate>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
        '    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" startWithSAP="1">\n'
        '      <AudioChannelConfiguration schemeIdUri="urn:mpeg:mpegB:cicp:ChannelConfiguration" value="2"/>\n'
        "      <Label>English</Label>\n"
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n'
        '      <Representation id="audio-0" codecs="mp4a.40.2" bandwidth="127660" audioSamplingRate="48000">\n'
        '        <SegmentTemplate timescale="48000" presentationTimeOffset="480000" startNumber="0" '
        'initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/seg-$Number%05d$.m4s">\n'
        "          <SegmentTimeline>\n"
        '            <S t="478976" d="192512" r="1"/>\n'
        '            <S d="97280"/>\n'
        "          </SegmentTimeline>\n"
        "        </SegmentTemplate>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
        '    <AdaptationSet id="2" contentType="audio" mimeType="audio/mp4" lang="de" segmentAlignment="true" startWithSAP="1">\n'
        '      <AudioChannelConfiguration schemeIdUri="urn:mpeg:mpegB:cicp:ChannelConfiguration" value="12"/>\n'
        "      <Label>D&quot;&lt;&amp;&gt;</Label>\n"
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="alternate"/>\n'
        '      <Representation id="audio-1" codecs="mp4a.40.2" bandwidth="127660" audioSamplingRate="48000">\n'
        '        <SegmentTemplate timescale="48000" presentationTimeOffset="480000" startNumber="0" '
        'initialization="$RepresentationID$/init.mp4" media="$RepresentationID$/seg-$Number%05d$.m4s">\n'
        "          <SegmentTimeline>\n"
        '            <S t="478976" d="192512" r="1"/>\n'
        '            <S d="97280"/>\n'
        "          </SegmentTimeline>\n"
        "        </SegmentTemplate>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
        '    <AdaptationSet id="3" contentType="text" mimeType="text/vtt" lang="en">\n'
        "      <Label>English</Label>\n"
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>\n'
        '      <Representation id="subtitles-0" bandwidth="799">\n'
        "        <BaseURL>subtitles-0.vtt</BaseURL>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
        '    <AdaptationSet id="4" contentType="text" mimeType="text/vtt" lang="de">\n'
        "      <Label>German (forced)</Label>\n"
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="forced-subtitle"/>\n'
        '      <Representation id="subtitles-1" bandwidth="1">\n'
        "        <BaseURL>subtitles-1.vtt</BaseURL>\n"
        "      </Representation>\n"
        "    </AdaptationSet>\n"
        "  </Period>\n"
        "</MPD>\n"
    )
    assert broken(WHOLE) == []


def test_renditions_of_one_sound_are_one_adaptation_set() -> None:
    again = Sound(
        id="audio-2", codecs="mp4a.40.2", channels=2, sample_rate=48_000, segments=SOUND, track=(1, 2), name="English 2"
    )
    text = manifest([LARGE], [*SOUNDS, again])
    assert text.count('contentType="audio"') == 2
    assert text.index("audio-0") < text.index('id="audio-2"') < text.index('id="audio-1"')


def test_players_are_not_told_to_change_between_codecs() -> None:
    other = replace(LITTLE, codecs="hvc1.1.6.L90.90")
    truth = {
        one.id: Truth(media=Media(codecs=one.codecs, size=one.size, rate=RATE), segments=one.segments)
        for one in (LARGE, other)
    }
    text = manifest([LARGE, other])
    assert broken(text, truth=truth) == []
    assert text.count('contentType="video"') == 2


@given(
    wide=st.integers(16, 4096),
    high=st.integers(16, 4096),
    sar=st.sampled_from([Fraction(1), Fraction(4, 3), Fraction(10, 11)]),
    heights=st.lists(st.sampled_from([2160, 1080, 720, 480, 360, 240, 144, 72, 36, 16, None]), min_size=1, max_size=6),
)
def test_the_shape_of_any_ladder_is_no_lie(wide: int, high: int, sar: Fraction, heights: list[int | None]) -> None:
    sizes = [size for _, size in ladder((wide * sar, Fraction(high)), heights)]
    rungs = [replace(LARGE, id=str(number), size=size) for number, size in enumerate(sizes)]
    truth = {
        one.id: Truth(media=Media(codecs=one.codecs, size=one.size, rate=RATE), segments=one.segments) for one in rungs
    }
    assert [text for text in broken(manifest(rungs), truth=truth) if "claims" in text] == []


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [
        ([(854, 480), (640, 360), (426, 240)], Fraction(16, 9)),
        ([(1920, 804)], Fraction(1920, 804)),
        ([(360, 640)], Fraction(9, 16)),
        ([(64, 64)], Fraction(1)),
        ([(16, 400), (720, 16)], Fraction(16, 400)),
    ],
)
def test_the_shape_is_the_simplest_that_fits(sizes: list[tuple[int, int]], ratio: Fraction) -> None:
    found = shape([Size(width=wide, height=high) for wide, high in sizes])
    assert abs(found - ratio) < Fraction(1, 300)
    assert found.denominator <= ratio.denominator


CHANGES = [
    ("</MPD>", "", "no XML"),
    ('type="static"', 'type="dynamic"', "not a static presentation"),
    ("isoff-live", "isoff-main", "not a static presentation"),
    ('mediaPresentationDuration="PT10.026667S"', "", "leaves out mediaPresentationDuration"),
    ('minBufferTime="PT4.010667S"', 'minBufferTime="soon"', "leaves out mediaPresentationDuration"),
    ('"PT10.026667S"', '"PT10.0S"', "ends before audio-0 does"),
    ('minBufferTime="PT4.010667S"', 'minBufferTime="PT2S"', "at which it would come late"),
    ('id="360p"', 'id="480p"', "two representations with one id"),
    ('id="360p"', 'id="720p"', "names 720p, which was not made"),
    ('id="360p"', 'id="720p"', "leaves out 360p"),
    ('AdaptationSet id="1"', 'AdaptationSet id="0"', "two adaptation sets with one id"),
    ('bandwidth="2197803"', 'bandwidth="2190000"', "at which it would come late"),
    ('bandwidth="127660"', 'bandwidth="127000"', "at which it would come late"),
    ('codecs="avc1.640016"', 'codecs="avc1.640015"', "claims codecs avc1.640015 of 360p"),
    ('width="640"', 'width="642"', "claims width 642 of 360p"),
    ('height="360"', 'height="362"', "claims height 362 of 360p"),
    ('frameRate="30000/1001">\n', 'frameRate="30">\n', "claims frameRate 30 of 480p"),
    ('sar="1:1"', 'sar="8:9"', "claims sar 8:9 of 480p"),
    ('par="16:9"', 'par="4:3"', "claims pictures of 4:3"),
    ('segmentAlignment="true"', "", "changes segments when"),
    ('<S d="60060"/>', '<S d="60061"/>', "claims other times of segments of 480p"),
    ('<S t="300000"', '<S t="0"', "claims other times of segments of 480p"),
    ('r="1"', 'r="2"', "names 480p/seg-00003.m4s, which is missing"),
    ('            <S d="60060"/>\n', "", "leaves out 480p/seg-00002.m4s"),
    ('timescale="30000"', 'timescale="15000"', "claims other times of segments of 480p"),
    ("$RepresentationID$/init.mp4", "$RepresentationID$/head.mp4", "names 480p/head.mp4, which is missing"),
    ("seg-$Number%05d$", "seg-$Number%04d$", "names 480p/seg-0000.m4s, which is missing"),
    ('startNumber="0"', 'startNumber="1"', "names 480p/seg-00003.m4s, which is missing"),
    (' lang="de" seg', " seg", "leaves out the language of adaptation set 2"),
    ("AudioChannelConfiguration", "AudioChannels", "leaves out the channels"),
    ('contentType="audio"', "", "does not say what adaptation set 1 holds"),
    ("subtitles-0.vtt", "subtitles-9.vtt", "names subtitles-9.vtt, which is missing"),
    ('bandwidth="799"', "", "leaves out the bandwidth of subtitles-0"),
]


@pytest.mark.parametrize(("old", "new", "says"), CHANGES)
def test_every_rule_is_noticed_when_it_is_broken(old: str, new: str, says: str) -> None:
    assert old in WHOLE
    found = broken(WHOLE.replace(old, new, 1))
    assert any(says in text for text in found), found


def test_high_dynamic_range_is_told_and_looked_for() -> None:
    bright = Media(codecs=LARGE.codecs, size=WIDE, rate=RATE, video_range="PQ")
    truth = {"480p": Truth(media=bright, segments=LARGE.segments)}
    text = manifest([replace(LARGE, video_range="PQ")])
    assert '<EssentialProperty schemeIdUri="urn:mpeg:mpegB:cicp:TransferCharacteristics" value="16"/>' in text
    assert broken(text, truth=truth) == []
    assert broken(text.replace('value="16"', 'value="18"'), truth=truth) == [
        "claims the transfer 18; the pictures are PQ"
    ]
    assert broken(manifest([LARGE]), truth=truth) == ["claims the transfer SDR; the pictures are PQ"]


def test_parts_stand_in_the_order_of_the_schema() -> None:
    label, role = (
        "      <Label>English</Label>\n",
        '      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>\n',
    )
    assert label + role in WHOLE
    assert any("in another order" in text for text in broken(WHOLE.replace(label + role, role + label)))


def test_what_is_missing_on_the_disk_is_told() -> None:
    assert broken(WHOLE, sizes={**SIZES, "360p/seg-00001.m4s": 0}) == [
        "names 360p/seg-00001.m4s, which is missing or empty"
    ]
    assert broken(WHOLE, sizes={**SIZES, "360p/seg-00003.m4s": 5}) == ["leaves out 360p/seg-00003.m4s"]


def test_a_rate_is_enough_from_any_segment_on() -> None:
    """A burst in the middle, longer than the time of waiting: by its average the film would come late."""
    heavy = Segments(timescale=1, origin=0, spans=spans(0, (4, 10), (4, 400), (4, 400), (4, 10)))
    assert heavy.bandwidth_bps == 800
    one = Picture(id="a", codecs="avc1.64001e", size=SMALL, rate=RATE, segments=heavy)
    truth = {"a": Truth(media=Media(codecs=one.codecs, size=SMALL, rate=RATE), segments=heavy)}
    sizes = {"a/init.mp4": 1, **{f"a/seg-{number:05d}.m4s": span.size for number, span in enumerate(heavy.spans)}}
    text = manifest([one])
    assert broken(text, sizes, truth) == []
    late = text.replace('bandwidth="800"', 'bandwidth="799"')
    assert broken(late, sizes, truth) == ["claims 799 bits a second of a, at which it would come late"]
