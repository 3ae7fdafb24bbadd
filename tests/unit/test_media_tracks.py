"""Which tracks of a source an output has, and what is said of the others."""

import json
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.check import Produced, check
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.plan_document import plan_from
from millrace.domain.media.plan_document import to_document as plan_document
from millrace.domain.media.plan_tracks import MOST_TRACKS
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.media.proof import proof
from millrace.engines.packages import track_names

VIDEO = VideoStream(index=0, codec="h264", width=640, height=360, frame_rate=Fraction(25), frames=250, end=Fraction(10))


def sound(index: int, language: str | None, channels: int = 2) -> AudioStream:
    return AudioStream(
        index=index, codec="aac", sample_rate=48_000, channels=channels, language=language, end=Fraction(10)
    )


def film(*languages: str | None, **changes: Any) -> Probe:
    tracks = tuple(sound(number, language) for number, language in enumerate(languages, 1))
    return replace(Probe(formats=("mov",), duration=Fraction(10), video=(VIDEO,), audio=tracks), **changes)


def document(packaging: str = "mkv", tracks: Any = None, **others: Any) -> dict[str, Any]:
    audio = {"codec": "aac"} if tracks is None else {"codec": "aac", "tracks": tracks}
    return {
        "name": "t", "packaging": packaging, "renditions": [{"video": {"codec": "h264"}}], "audio": [audio],
        **others,
    }  # fmt: skip


def made(probe: Probe, packaging: str = "mkv", tracks: Any = None, **others: Any) -> Plan:
    return plan(profile_from(document(packaging, tracks, **others)), probe)


def streams(found: Plan) -> list[tuple[int, str | None]]:
    return [(entry.stream, entry.language) for file in found.files for entry in file.audio]


def test_the_first_sound_and_a_note_by_default() -> None:
    found = made(film("eng", "ger"))
    assert streams(found) == [(1, "eng")]
    assert found.notes == ("The input has 2 audio streams; the first one (stream 1) is used.",)
    assert made(film("eng")).notes == ()


def test_all_tracks() -> None:
    found = made(film("eng", "ger", None), tracks="all")
    assert streams(found) == [(1, "eng"), (2, "ger"), (3, None)]
    assert found.notes == ()


def test_languages_are_found_by_any_of_their_names_and_come_in_the_order_of_the_profile() -> None:
    found = made(film("eng", "ger", "fra", "deu"), tracks=["de", "en"])
    assert streams(found) == [(2, "ger"), (4, "deu"), (1, "eng")]
    assert found.notes == (
        "Audio in other languages than those of the profile is left out: stream 3 (fra).",
    )  # fmt: skip


def test_what_is_missing_is_noted_and_no_film_becomes_silent() -> None:
    assert made(film("eng"), tracks=["en", "de"]).notes == ("The input has no audio in de.",)
    found = made(film(None, "jpn"), tracks=["de", "fr"])
    assert streams(found) == [(1, None)]
    assert found.notes == ("The input has no audio in de, fr; its first one (stream 1) is used.",)


def test_a_ladder_has_each_track_in_each_of_its_renditions() -> None:
    two = [{"codec": "aac", "tracks": "all"}, {"codec": "aac", "bitrate": "64k"}]
    found = plan(profile_from({**document("cmaf"), "audio": two}), film("eng", "ger"))
    sounds = {file.path: [entry.stream for entry in file.audio] for file in found.files if file.audio}
    assert sounds == {"audio-0/index.m3u8": [1], "audio-1/index.m3u8": [2], "audio-2/index.m3u8": [1]}
    assert found.notes == ("The input has 2 audio streams; the first one (stream 1) is used.",)
    assert track_names(found) == {"audio-0": "English", "audio-1": "German", "audio-2": "English 2"}


def test_there_is_an_end_to_tracks() -> None:
    assert len(streams(made(film(*["eng"] * MOST_TRACKS), tracks="all"))) == MOST_TRACKS
    with pytest.raises(Refused) as refused:
        made(film(*["eng"] * (MOST_TRACKS + 1)), tracks="all")
    assert refused.value.failure_class is FailureClass.INPUT
    assert f"would have {MOST_TRACKS + 1} audio tracks, and at most {MOST_TRACKS} are made" in refused.value.sentence


def test_names_of_subtitles_tell_forced_ones() -> None:
    texts = tuple(
        SubtitleStream(index=number, codec="subrip", is_text=True, language=language, forced=forced)
        for number, (language, forced) in enumerate((("eng", False), ("en-US", False), ("eng", True), (None, False)), 5)
    )
    found = made(film("eng", subtitles=texts), "cmaf", subtitles="convert")
    assert list(track_names(found).values()) == ["English", "English", "English 2", "English (forced)", "Unknown"]
    assert [entry.forced for file in found.files for entry in file.subtitles] == [False, False, True, False]


CHAPTERED = {"chapters": 3, "attachments": 1}


@pytest.mark.parametrize(
    ("packaging", "keys", "chapters", "attachments", "notes"),
    [
        ("mkv", {"metadata": "keep", "attachments": "keep"}, 3, 1, ()),
        ("mkv", {"chapters": "keep"}, 3, 0, ("The input has 1 attachment, left out as the profile says.",)),
        ("mp4", {"chapters": "keep"}, 3, 0, ("The input has 1 attachment, left out because mp4 holds none.",)),
        (
            "mp4",
            {"metadata": "keep", "chapters": "drop"},
            0,
            0,
            (
                "The input has 3 chapters, left out as the profile says.",
                "The input has 1 attachment, left out because mp4 holds none.",
            ),
        ),
        (
            "cmaf",
            {"metadata": "keep"},
            0,
            0,
            (
                "The input has 3 chapters, left out because cmaf holds none.",
                "The input has 1 attachment, left out because cmaf holds none.",
            ),
        ),
    ],
)
def test_chapters_and_attachments_are_kept_or_noted(
    packaging: str, keys: dict[str, str], chapters: int, attachments: int, notes: tuple[str, ...]
) -> None:
    found = made(film("eng", **CHAPTERED), packaging, **keys)
    assert (found.chapters, found.attachments, found.notes) == (chapters, attachments, notes)


def test_a_cover_that_is_left_out_is_noted() -> None:
    cover = VideoStream(index=9, codec="png", width=64, height=64, attached_picture=True, frames=1)
    assert made(film("eng", video=(VIDEO, cover))).notes == ("The input has 1 cover picture, left out.",)


@pytest.mark.parametrize(
    ("packaging", "tracks", "says"),
    [
        ("mkv", "some", "audio[0].tracks is 'some'; allowed: first, all, or a list of languages such as [en, de]"),
        ("mkv", [], "audio[0].tracks is a list; allowed: first"),
        ("mkv", ["en", 7], "audio[0].tracks is a list; allowed: first"),
        ("mkv", ["english!"], "audio[0].tracks is a list; allowed: first"),
        ("mkv", ["en"] * 21, "audio[0].tracks is a list; allowed: first"),
        ("mkv", [False], 'such as [en, de]; YAML reads no as false, so write "no"'),
        ("m4a", "all", "audio[0].tracks must be first: packaging m4a holds one sound track"),
    ],
)
def test_tracks_that_are_none_are_told(packaging: str, tracks: Any, says: str) -> None:
    given = document(packaging, tracks)
    if packaging == "m4a":
        del given["renditions"]
    with pytest.raises(ProfileError) as wrong:
        profile_from(given)
    assert says in str(wrong.value)


def test_a_rendition_does_not_take_the_folder_of_a_track() -> None:
    rungs = [{"name": name, "video": {"codec": "h264"}} for name in ("audio-0", "subtitles-12")]
    with pytest.raises(ProfileError) as wrong:
        profile_from(document("cmaf", renditions=rungs))
    assert "named audio-0, which is the folder of a sound or text track" in str(wrong.value)
    assert "named subtitles-12" in str(wrong.value)
    profile_from(document("mp4", renditions=rungs))


def test_attachments_need_a_packaging_that_holds_them() -> None:
    with pytest.raises(ProfileError, match="attachments is keep, which only packaging mkv can do, not mp4"):
        profile_from(document("mp4", attachments="keep"))


@pytest.mark.parametrize(
    "keys",
    [
        {"tracks": "all"},
        {"tracks": ["en", "pt-BR"]},
        {"metadata": "keep", "chapters": "drop"},
        {"chapters": "keep", "attachments": "keep"},
    ],
)
def test_the_keys_survive_the_way_to_a_worker(keys: dict[str, Any]) -> None:
    profile = profile_from(document(**keys))
    assert profile_from(to_document(profile)) == profile


def test_a_profile_without_the_new_keys_is_written_without_them() -> None:
    """Workers of the version before read what a newer master hands out."""
    written = to_document(profile_from(document(metadata="keep")))
    assert "chapters" not in written
    assert "attachments" not in written
    assert set(written["audio"][0]) == {"codec", "bitrate", "channels"}


def test_a_plan_with_all_of_it_can_be_handed_to_another_worker() -> None:
    whole = made(film("eng", "ger", **CHAPTERED), tracks=["de", "en"], metadata="keep", attachments="keep")
    assert plan_from(json.loads(json.dumps(plan_document(whole)))) == whole


def proven(**changes: Any) -> tuple[Plan, Produced]:
    wanted = made(film("eng", "ger", **CHAPTERED), tracks="all", metadata="keep", attachments="keep")
    found = film("eng", "deu", **CHAPTERED)
    probe = replace(found, video=(replace(VIDEO, keyframes=(Fraction(0),), gops=(250,)),), **changes)
    return wanted, Produced(probes={"video.mkv": probe}, sizes={"video.mkv": 1000})


def test_tracks_as_planned_pass_the_check_and_stand_in_the_proof() -> None:
    wanted, produced = proven()
    assert check(wanted, produced) == ()
    entries: Any = proof(wanted, produced, {})["files"]
    assert [one["language"] for one in entries if one["type"] == "audio"] == ["eng", "ger"]
    assert {one["type"]: one["count"] for one in entries if "count" in one} == {
        "chapters": {"planned": 3, "found": 3},
        "attachments": {"planned": 1, "found": 1},
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"audio": (sound(1, "eng"), sound(2, None))}, "has audio in Unknown; planned: German"),
        ({"audio": (sound(1, "deu"), sound(2, "eng"))}, "has audio in German; planned: English"),
        ({"audio": (sound(1, "eng"),)}, "has 1 video and 1 audio streams; planned: 1 and 2"),
        ({"chapters": 2}, "has 2 chapters; planned: 3"),
        ({"attachments": 0}, "has 0 attachments; planned: 1"),
    ],
)
def test_tracks_that_are_not_as_planned_fail_the_check(change: dict[str, Any], says: str) -> None:
    wanted, produced = proven(**change)
    assert says in [finding.text for finding in check(wanted, produced)]
