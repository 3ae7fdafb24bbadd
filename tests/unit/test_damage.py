"""Where damage is found to lie, and what is made of it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.check import Produced
from millrace.domain.media.damage import Damage, OnDamage, Place, mending
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.media.proof import proof
from millrace.engines.ffmpeg.damage import lost_pictures, lost_sound, read_damage
from millrace.engines.ffmpeg.filters import audio_filter, mended
from millrace.engines.ffmpeg.packets import CORRUPT, DISCARD, KEY, Line

RATE = Fraction(25)
FILM = Probe(
    formats=("mov",),
    duration=Fraction(10),
    video=(VideoStream(index=0, codec="h264", width=128, height=72, frame_rate=RATE, frames=250, end=Fraction(10)),),
    audio=(AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, packets=470, end=Fraction(10)),),
)


def profile(**changes: Any) -> Any:
    rungs = [{"video": {"codec": "h264", "height": 72}}]
    document = {"name": "t", "packaging": "mp4", "renditions": rungs, "audio": [{"codec": "aac"}], **changes}
    return profile_from(document)


def place(start: str, end: str, kind: Any = "video") -> Place:
    return Place(kind=kind, stream=0 if kind == "video" else 1, start=Fraction(start), end=Fraction(end))


def line(frame: int, flags: int = 0) -> Line:
    return Line(frame / RATE, 1 / RATE, flags)


def found(*places: Place, **ends: Fraction) -> Damage:
    return Damage(places=places, **ends)


def refusal(on_damage: OnDamage, damage: Damage) -> str:
    with pytest.raises(Refused) as refused:
        mending(on_damage, damage, streams={0, 1}, length=Fraction(10), rate=RATE)
    assert refused.value.failure_class is FailureClass.INPUT
    return refused.value.sentence


def test_the_first_places_are_named_and_the_others_counted() -> None:
    places = [place(str(at), f"{at}.5") for at in range(6)]
    told = found(*places).sentence
    assert (
        told
        == "Damaged: video from 0.000 to 0.500 s, video from 1.000 to 1.500 s, video from 2.000 to 2.500 s, and 3 more places."
    )
    assert found(*places).document["count"] == 6
    ended = found(ends=Fraction(6), declared=Fraction(10))
    assert ended.sentence == "It ends at 6.000 s and declares 10.000."
    assert ended.document == {"places": [], "count": 0, "ends_s": 6.0, "declared_s": 10.0}


def spans(stored: Sequence[Line], came: Sequence[Line]) -> list[tuple[int, int]]:
    """The numbers of the first picture of each place, and of the first behind it."""
    return [(int(one.start * RATE), int(one.end * RATE)) for one in lost_pictures(stored, came, apart=1 / RATE)]


def test_a_lost_picture_spoils_what_is_decoded_after_it_up_to_the_next_key_frame() -> None:
    # Stored as I P B B P B B P B B: pictures 4 and 5 need 6, which is lost; 3 stands in the decoder then, and is as suspect.
    order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11, 13, 16, 14, 15]
    stored = [line(frame, KEY if frame in (0, 13) else 0) for frame in order]
    came = [line(frame) for frame in range(17) if frame != 6]
    assert spans(stored, came) == [(1, 13)]
    assert spans(stored, [*came, line(6)]) == []


def test_what_is_lost_before_a_key_frame_makes_that_suspect() -> None:
    stored = [line(frame, KEY if frame % 5 == 0 else 0) for frame in range(15)]
    assert spans(stored, [line(frame) for frame in range(15) if frame != 9]) == [(8, 15)]
    assert spans(stored, [line(frame) for frame in range(15) if frame != 7]) == [(6, 10)]


def test_a_film_that_is_torn_off_between_two_pictures_ends_before_the_first_of_them() -> None:
    stored = [line(frame, KEY if frame == 0 else 0) for frame in (0, 3, 1, 2, 6, 4)]
    came = [line(frame) for frame in (0, 1, 2, 3, 4, 6)]
    assert spans(stored, came) == [(5, 7)]
    assert spans([*stored, line(5)], [*came, line(5)]) == []


def test_a_lost_key_frame_and_what_has_none_before_it() -> None:
    stored = [line(frame, KEY if frame % 5 == 0 else 0) for frame in range(15)]
    came = [line(frame) for frame in range(15) if frame != 5]
    assert spans(stored, came) == [(5, 10)]
    assert spans(stored[2:], came[3:]) == [(2, 10)]
    assert spans(stored, []) == [(0, 15)]


def test_what_is_marked_is_damage_and_what_is_hidden_is_not() -> None:
    stored = [line(0, KEY), line(1, CORRUPT), line(2, KEY), line(3, DISCARD), line(4)]
    came = [line(0), line(1), line(2), line(4)]
    assert spans(stored, came) == [(0, 5)]


def test_two_fields_of_one_frame_are_one() -> None:
    stored = [Line(Fraction(half, 50), 1 / RATE, KEY if half == 0 else 0) for half in range(10)]
    assert lost_pictures(stored, [line(frame) for frame in range(5)], apart=1 / RATE) == []


def test_lost_sound_reaches_into_the_next_packet_and_the_ends_may_be_silent() -> None:
    stored = [line(number, KEY) for number in range(8)]
    came = [line(number) for number in range(1, 7) if number != 3]
    assert lost_sound(stored, came) == [(3 / RATE, 5 / RATE)]
    marked = [*stored[:-1], line(7, KEY | CORRUPT)]
    assert lost_sound(marked, came)[-1] == (7 / RATE, 9 / RATE)


def test_missing_sound_is_lost_sound_and_reaches_into_the_packet_behind() -> None:
    stored = [line(number, KEY) for number in range(12) if not 4 <= number < 7]
    assert lost_sound(stored, stored) == [(4 / RATE, 8 / RATE)]
    # Containers that count in milliseconds are off by half of one.
    rounded = [Line(Fraction(round(number * 64 / 3), 1000), Fraction(21, 1000), KEY) for number in range(50)]
    assert lost_sound(rounded, rounded) == []


def test_missing_pictures_are_told_from_a_still_one_by_the_sound_that_is_missing_with_them() -> None:
    stored = [line(frame, KEY if frame in (0, 20) else 0) for frame in range(25) if not 8 <= frame < 14]
    silent = [(8 / RATE, 12 / RATE)]
    (found,) = lost_pictures(stored, stored, apart=1 / RATE, silent=silent)
    assert (found.start * RATE, found.end * RATE) == (6, 20)
    assert lost_pictures(stored, stored, apart=1 / RATE) == []
    assert lost_pictures(stored, stored, apart=1 / RATE, silent=[(16 / RATE, 18 / RATE)]) == []


def test_behind_a_key_frame_that_does_not_begin_anew_a_whole_gop_is_suspect() -> None:
    # Stored as I P B I B P I B P: those behind a key frame are shown before it.
    order = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11, 15, 13, 14]
    stored = [line(frame, KEY if frame in (0, 6, 12) else 0) for frame in order]
    (found,) = lost_pictures(stored, [line(frame) for frame in range(16) if frame != 3], apart=1 / RATE)
    assert (found.start * RATE, found.end * RATE, found.packets) == (0, 12, ())


def test_times_are_those_of_the_film() -> None:
    head = "#tb 0: 1/25\n#tb 1: 1/25\n"
    stored = "".join(
        f"0, {n}, {n}, 1, 9, 0x0{'' if n % 10 == 0 else ', F=0x0'}\n1, {n}, {n}, 1, 9, 0x0\n" for n in range(10, 40)
    )
    decoded = "".join(f"0, {n}, {n}, 1, 9, 0x0\n1, {n}, {n}, 1, 9, 0x0\n" for n in range(10, 40) if n != 22)
    late = replace(FILM, start=Fraction(10, 25))
    assert [str(one) for one in read_damage(late, head + stored, head + decoded)] == [
        "video from 0.440 to 0.800 s",
        "audio from 0.480 to 0.560 s",
    ]


def test_a_cut_is_whole_frames_and_takes_sound_along() -> None:
    damage = found(place("2", "3"), place("2.91", "3.05", "audio"), place("5.01", "5.02", "audio"))
    cut = mending(OnDamage.CUT, damage, streams={0, 1}, length=Fraction(10), rate=RATE)
    assert [(one.start, one.end) for one in cut.cuts] == [(2, Fraction("3.08")), (5, Fraction("5.04"))]
    assert cut.kept(Fraction(10)) == Fraction(10) - Fraction("1.12")
    assert cut.kept(Fraction("2.5")) == 2
    hidden = mending(OnDamage.CONCEAL, damage, streams={0, 1}, length=Fraction(10), rate=RATE)
    assert hidden.cuts == ()


def test_what_is_in_streams_that_nobody_uses_does_not_count() -> None:
    damage = found(place("2", "3"), place("4", "5", "audio"))
    cut = mending(OnDamage.CUT, damage, streams={1}, length=Fraction(10), rate=None)
    assert [(one.start, one.end) for one in cut.cuts] == [(4, 5)]


def test_what_cannot_be_mended_is_refused() -> None:
    assert "it could not be found out where" in refusal(OnDamage.CONCEAL, found())
    ended = found(place("5", "6"), ends=Fraction(6), declared=Fraction(10))
    assert "nothing can stand for its end" in refusal(OnDamage.CONCEAL, ended)
    for on_damage in (OnDamage.CONCEAL, OnDamage.CUT):
        assert "for 5.040 of 10.000 s, which is too much" in refusal(on_damage, found(place("1", "6.04")))
    many = found(*(place(f"{at / 25:.2f}", f"{(at + 1) / 25:.2f}") for at in range(0, 202, 2)))
    assert "in 101 places, and at most 100" in refusal(OnDamage.CUT, many)


def test_a_plan_without_what_is_cut_out() -> None:
    words = (SubtitleStream(index=2, codec="subrip", is_text=True),)
    film = replace(FILM, subtitles=words, chapters=3)
    wanted = profile(subtitles="convert", chapters="keep", on_damage="cut")
    cut = plan(wanted, film, damage=found(place("2", "3")))
    assert (cut.frames, cut.duration, cut.chapters) == (225, 9, 0)
    assert [(file.audio[0].duration, file.subtitles) for file in cut.files] == [(9, ())]
    assert [note.split(",")[0] for note in cut.notes] == [
        "The input is damaged",
        "Subtitles are left out",
        "Chapters are left out",
    ]
    hidden = plan(replace(wanted, on_damage=OnDamage.CONCEAL), film, damage=found(place("2", "3")))
    assert (hidden.frames, hidden.duration, hidden.chapters) == (250, 10, 3)
    assert hidden.files[0].subtitles
    assert proof(cut, Produced(probes={}, sizes={}), {})["damage"] == {
        "on_damage": "cut",
        "places": [{"type": "video", "stream": 0, "from_s": 2.0, "to_s": 3.0}],
        "count": 1,
        "cuts": [{"from_s": 2.0, "to_s": 3.0}],
    }


def test_the_filters_of_a_cut() -> None:
    cut = plan(profile(on_damage="cut"), FILM, damage=found(place("0", "1"), place("4", "6")))
    assert cut.pictures is not None
    assert mended(cut.pictures, cut.mending) == (
        "tpad=stop=-1:stop_mode=clone,trim=end_frame=250,select='not(between(n,0,24)+between(n,100,149))',setpts=N,"
    )
    assert audio_filter(cut.files[0].audio[0], cut.mending) == (
        "aresample=48000:async=1:min_hard_comp=0.005:first_pts=0,asplit=2[i0][i1];"
        "[i0]atrim=start_sample=48000:end_sample=192000,asetpts=PTS-STARTPTS[o0];"
        "[i1]atrim=start_sample=288000,asetpts=PTS-STARTPTS[o1];[o0][o1]concat=n=2:v=0:a=1,apad=whole_len=336000"
    )
    assert audio_filter(cut.files[0].audio[0], None) == "aresample=async=1:first_pts=0"
    assert mended(cut.pictures, None) == ""


@given(
    st.lists(st.tuples(st.integers(0, 290), st.integers(1, 20)), min_size=1, max_size=12),
    st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)]),
)
def test_pictures_and_sound_lose_the_same_time_however_many_cuts(
    cuts: Sequence[tuple[int, int]], rate: Fraction
) -> None:
    places = tuple(Place(kind="video", stream=0, start=a / rate, end=(a + n) / rate) for a, n in cuts)
    length = 1000 / rate
    cut = mending(OnDamage.CUT, Damage(places=places), streams={0}, length=length, rate=rate)
    gone = {frame for a, n in cuts for frame in range(a, a + n)}
    assert cut.kept(length) * rate == 1000 - len(gone)
    words = audio_filter(replace(plan(profile(), FILM).files[0].audio[0], duration=cut.kept(length)), cut)
    pieces = [
        dict(word.split("=") for word in part.split(",")[0].partition("atrim=")[2].split(":"))
        for part in words.split(";")[1:-1]
    ]
    kept = sum(int(piece["end_sample"]) - int(piece["start_sample"]) for piece in pieces[:-1])
    before_the_last = round(float(cut.cuts[-1].start * rate)) - len(
        [one for one in gone if one < cut.cuts[-1].start * rate]
    )
    assert kept == round(before_the_last / rate * 48_000)


def test_what_is_to_be_done_stands_in_a_profile_or_with_the_job() -> None:
    assert profile().on_damage is OnDamage.FAIL
    assert "on_damage" not in to_document(profile())
    assert profile_from(to_document(profile(on_damage="cut"))).on_damage is OnDamage.CUT
    with pytest.raises(ProfileError, match="on_damage is 'ignore'; allowed: fail, conceal, cut"):
        profile(on_damage="ignore")
    made = plan(profile(on_damage="cut"), FILM, parameters={"on_damage": "conceal"}, damage=found(place("2", "3")))
    assert made.mending is not None
    assert made.mending.on_damage is OnDamage.CONCEAL
    with pytest.raises(Refused, match="Parameter on_damage is 'ignore'"):
        plan(profile(), FILM, parameters={"on_damage": "ignore"})
