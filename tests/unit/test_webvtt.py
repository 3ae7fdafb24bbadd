"""Subtitles cut into segments."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.domain.media.webvtt import MOST_REPEATED, Cue, Subtitles, parse_webvtt, webvtt_segments

FILE = """WEBVTT

STYLE
::cue { color: white }

NOTE said nowhere

00:00.100 --> 00:01.000
Hello

2
00:59.500 --> 01:00.500 line:0
over the border
of two lines

01:00:00.000 --> 01:00:01.250
late
"""


def test_a_file_is_read() -> None:
    found = parse_webvtt(FILE)
    assert found.preamble == ("STYLE\n::cue { color: white }",)
    assert [(float(cue.start), float(cue.end)) for cue in found.cues] == [(0.1, 1.0), (59.5, 60.5), (3600, 3601.25)]
    assert found.cues[1].text == "2\n00:59.500 --> 01:00.500 line:0\nover the border\nof two lines"
    assert parse_webvtt("\ufeff" + FILE.replace("\n", "\r\n")) == found


@pytest.mark.parametrize("text", ["", "hello", "WEBVTTX\n\n", "1\n00:00:00,100 --> 00:00:01,000\nHello\n"])
def test_what_is_no_webvtt_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read subtitles"):
        parse_webvtt(text)


def test_a_file_without_cues_has_empty_segments() -> None:
    found = webvtt_segments(parse_webvtt("WEBVTT\n"), Fraction(60), Fraction(90), begins_at=Fraction(10))
    assert [seconds for seconds, _ in found] == [60, 30]
    assert found[0][1] == "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n"


def test_a_cue_stands_in_every_segment_in_which_it_is_seen() -> None:
    found = webvtt_segments(parse_webvtt(FILE), Fraction(60), Fraction(150), begins_at=Fraction(57, 5))
    assert [seconds for seconds, _ in found] == [60, 60, 30]
    (first, second, third) = (text for _, text in found)
    assert first == (
        "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:1026000,LOCAL:00:00:00.000\n\nSTYLE\n::cue { color: white }\n\n"
        "00:00.100 --> 00:01.000\nHello\n\n2\n00:59.500 --> 01:00.500 line:0\nover the border\nof two lines\n"
    )
    assert "over the border" in second
    assert "Hello" not in second
    assert "-->" not in third  # what comes after the end of the film is seen nowhere


def test_a_cue_that_ends_with_a_segment_is_not_in_the_next() -> None:
    cue = Cue(start=Fraction(59), end=Fraction(60), text="00:59.000 --> 01:00.000\nlast words")
    found = webvtt_segments(Subtitles(cues=(cue,)), Fraction(60), Fraction(120), begins_at=Fraction(10))
    assert ["last words" in text for _, text in found] == [True, False]


def test_cues_that_never_end_do_not_fill_a_disk() -> None:
    lasting = Cue(start=Fraction(0), end=Fraction(48 * 3600), text="00:00.000 --> 48:00:00.000\n" + "x" * 1000)
    found = webvtt_segments(
        Subtitles(cues=(lasting,) * 1000), Fraction(60), Fraction(48 * 3600), begins_at=Fraction(10)
    )
    assert len(found) == 1
    assert found[0][0] == 48 * 3600
    assert len(found[0][1]) < 1_100_000


def test_styles_do_not_fill_a_disk_either() -> None:
    styles = ("STYLE\n" + "x" * 1_000_000,)
    found = webvtt_segments(
        Subtitles(cues=(), preamble=styles), Fraction(60), Fraction(48 * 3600), begins_at=Fraction(10)
    )
    assert len(found) == 1


times = st.integers(0, 400_000).map(lambda ms: Fraction(ms, 1000))


@given(cues=st.lists(st.tuples(times, times), max_size=20), length=st.integers(1, 90), duration=st.integers(1, 400))
def test_every_cue_is_in_exactly_the_segments_that_it_overlaps(
    cues: list[tuple[Fraction, Fraction]], length: int, duration: int
) -> None:
    made = [Cue(start=min(pair), end=max(pair), text=f"cue {number}|") for number, pair in enumerate(cues)]
    found = webvtt_segments(Subtitles(cues=tuple(made)), Fraction(length), Fraction(duration), begins_at=Fraction(10))
    assert sum(seconds for seconds, _ in found) == duration
    if len(found) == 1 and duration > length:
        assert duration / length > MOST_REPEATED  # only then may cues repeat too often
        return
    begin = Fraction(0)
    for seconds, text in found:
        for cue in made:
            seen = cue.start < begin + seconds and (cue.end > begin or cue.start >= begin)
            # The last segment is cut where the film ends; what begins after that in its minute does no harm.
            if seen or begin + seconds < duration:
                assert (cue.text in text) == seen
        begin += seconds
