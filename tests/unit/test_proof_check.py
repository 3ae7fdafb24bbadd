"""What of a proof is believed, and what is found where an output is not what its proof says."""

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.media.check import Produced
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.proof import proof, with_checksums
from millrace.domain.media.proof_check import Checksum, Claims, Decoded, Found, differences, read
from millrace.domain.media.split import Chunk, Split

PATH, HEAD = "one/index.m3u8", "one/init.mp4"
SOUND = "audio-0/index.m3u8"


def _plan() -> tuple[Plan, Probe]:
    """A film of 12 s in three chunks."""
    keys = tuple(Fraction(4 * number) for number in range(3))
    video = VideoStream(
        index=0, codec="h264", width=640, height=360, frame_rate=Fraction(25), frames=300, end=Fraction(12), keyframes=keys
    )  # fmt: skip
    sound = AudioStream(index=1, codec="aac", sample_rate=48000, channels=2, end=Fraction(12))
    film = Probe(formats=("mov", "mp4"), duration=Fraction(12), video=(video,), audio=(sound,))
    rung = {"name": "one", "video": {"codec": "h264", "height": 360}}
    document = {"name": "t", "packaging": "cmaf", "renditions": [rung], "audio": [{"codec": "aac"}], "segment_s": 4}
    made = plan(profile_from({**document, "gop_s": 4}), film)
    chunks = tuple(Chunk(number=n, first=n * 100, end=n * 100 + 100) for n in range(3))
    return replace(made, split=Split(chunks=chunks, reason="three")), film


def _made() -> tuple[Any, Found]:
    """A proof, and files that are as it says."""
    made, film = _plan()
    (video,), (sound,) = film.video, film.audio
    ten = Fraction(10)
    video = replace(
        video, start=ten, end=22 * Fraction(1), keyframes=tuple(ten + key for key in video.keyframes), gops=(100, 100, 100)
    )  # fmt: skip
    probes: dict[str, Probe | None] = {
        PATH: Probe(formats=("hls",), duration=Fraction(12), video=(video,)),
        SOUND: Probe(formats=("hls",), duration=Fraction(12), audio=(replace(sound, start=ten, end=Fraction(22)),)),
    }
    produced = Produced(probes={path: one for path, one in probes.items() if one}, sizes={})
    sums = {PATH: "ab", SOUND: "cd", HEAD: "ef"}
    sizes = dict.fromkeys(sums, 100)
    document = with_checksums(proof(made, produced, {"one": "ef"}), sums, sizes)
    found = Found(
        checksums={name: Checksum(digest, 100) for name, digest in sums.items()},
        probes=probes,
        decoded={PATH: Decoded(frames=300), SOUND: Decoded(samples=(576_000,))},
        headers={PATH: "ef"},
    )
    return document, found


def _read(document: Any) -> Claims:
    return read(json.dumps(document).encode())


def _texts(document: Any, found: Found) -> list[str]:
    return [f"{one.path} {one.text}" for one in differences(_read(document), found)]


def test_an_output_that_is_what_its_proof_says_holds() -> None:
    document, found = _made()
    assert _texts(document, found) == []
    assert _read(document).joins == 2
    assert set(_read(document).media) == {PATH, SOUND}


def _with_video(found: Found, **facts: Any) -> Found:
    probe = found.probes[PATH]
    assert probe is not None
    return replace(found, probes={**found.probes, PATH: replace(probe, video=(replace(probe.video[0], **facts),))})


def _with_sum(found: Found, there: Checksum | None) -> Found:
    others = {name: one for name, one in found.checksums.items() if name != PATH}
    return replace(found, checksums=others if there is None else {**others, PATH: there})


def _decoding(found: Found, path: str, **facts: Any) -> Found:
    return replace(found, decoded={**found.decoded, path: replace(found.decoded[path], **facts)})


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (lambda one: _with_sum(one, None), f"{PATH} is missing, or is no file"),
        (lambda one: _with_sum(one, Checksum("ab", 99)), f"{PATH} has 99 bytes; in the proof: 100"),
        (lambda one: _with_sum(one, Checksum("00", 100)), f"{PATH} has other bytes than those of the proof"),
        (lambda one: replace(one, probes={**one.probes, PATH: None}), f"{PATH} cannot be read as media"),
        (lambda one: _with_video(one, frames=299), f"{PATH} has frames {{'planned': 300, 'found': 299}}; in the proof"),
        (lambda one: _with_video(one, gops=(100, 101, 99)), f"{PATH} has frames_of_chunks [100, 101, 99]"),
        (lambda one: _with_video(one, backsteps=(Fraction(4),)), f"{PATH} has decoding_times_rise False"),
        (lambda one: _with_video(one, is_vfr=True), f"{PATH} has on_the_grid False"),
        (lambda one: _with_video(one, keyframes=(Fraction(10), Fraction(14))), f"{PATH} has key_frames 2"),
        (lambda one: _with_video(one, width=320), f"{PATH} has size 320x360; in the proof: 640x360"),
        (lambda one: _with_video(one, end=Fraction(23)), f"{PATH} has ends_s 13.0; in the proof: 12.0"),
        (lambda one: replace(one, headers={PATH: "00"}), f"{PATH} has header_sha256 00"),
        (lambda one: _decoding(one, PATH, frames=299), f"{PATH} gives 299 pictures when it is decoded"),
        (lambda one: _decoding(one, PATH, rises=False), f"{PATH} shows a picture twice"),
        (lambda one: _decoding(one, PATH, fault="noise"), f"{PATH} does not decode to its end: noise"),
        (lambda one: _decoding(one, SOUND, samples=(574_700,)), f"{SOUND} gives 574700 samples"),
        (lambda one: _decoding(one, SOUND, samples=()), f"{SOUND} gives no samples"),
    ],
)  # fmt: skip
def test_what_the_files_do_not_bear_out_is_told(changed: Callable[[Found], Found], text: str) -> None:
    document, found = _made()
    assert any(one.startswith(text) for one in _texts(document, changed(found))), _texts(document, changed(found))


def test_a_join_that_moved_is_told_though_every_number_of_frames_is_the_same() -> None:
    document, found = _made()
    moved = _with_video(found, keyframes=(Fraction(10), Fraction("14.04"), Fraction(18)))
    assert any(one.startswith(f"{PATH} has joins") for one in _texts(document, moved))


def _forged(change: Callable[[Any], None]) -> Any:
    document, _ = _made()
    copy = json.loads(json.dumps(document))
    change(copy)
    return copy


def _of_video(document: Any) -> Any:
    return next(entry for entry in document["files"] if entry["type"] == "video")


def _of_sound(document: Any) -> Any:
    return next(entry for entry in document["files"] if entry["type"] == "audio")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda one: one["chunks"][1].update(first_frame=90), "the proof chunk 1 begins at frame 90, where 100 is next"),
        (lambda one: one["chunks"].pop(), "the proof its chunks end at frame 200 of 300"),
        (lambda one: _of_video(one)["frames"].update(found=299), f"{PATH} had 299 frames; planned: 300"),
        (lambda one: _of_video(one).update(on_the_grid=False), f"{PATH} the proof itself says that on_the_grid is False"),
        (lambda one: _of_video(one).pop("decoding_times_rise"), f"{PATH} the proof itself says that decoding_times_rise"),
        (lambda one: _of_video(one)["joins"][0].update(off_by_s=0.04), f"{PATH} the join at frame 100 has no key frame"),
        (lambda one: one["files"].append({**one["files"][0]}), f"{PATH} has no such video any more"),
    ],
)  # fmt: skip
def test_a_proof_that_contradicts_itself_does_not_hold(change: Callable[[Any], None], text: str) -> None:
    _, found = _made()
    assert any(one.startswith(text) for one in _texts(_forged(change), found))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda one: one.update(version=2), "it is of version 2, and this is known: 1"),
        (lambda one: one.pop("checksums"), "it is no proof"),
        (lambda one: one["checksums"].update({"../other": {"sha256": "", "size": 1}}), "it names '../other'"),
        (lambda one: one["checksums"].update({"/etc/passwd": {"sha256": "", "size": 1}}), "it names '/etc/passwd'"),
        (lambda one: one["files"][0].update(path="a/../../b"), "it names 'a/../../b'"),
        (lambda one: _of_video(one).update(frame_rate="1e999999999"), "it does not tell the frames, the rate"),
        (lambda one: _of_video(one).update(frame_rate="1/0"), "it does not tell the frames, the rate"),
        (lambda one: _of_video(one).update(size="wide"), "it does not tell the frames, the rate"),
        (lambda one: _of_sound(one).pop("samples"), "it does not tell the length of the sound"),
    ],
)
def test_what_is_no_proof_is_not_followed(change: Callable[[Any], None], text: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as error:
        _read(_forged(change))
    assert str(error.value).startswith(text)


@pytest.mark.parametrize("data", [b"", b"[]", b"{" * 100_000, b"\xff", b'{"version": 1}'])
def test_noise_is_no_proof(data: bytes) -> None:
    with pytest.raises(ValueError, match="it is no proof"):
        read(data)
