"""A film in two languages plays: with hls.js from the playlists, with Shaka Player from the manifest, from the same segments."""

import json
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
from outside import Running

from browser.test_playback import Player, address, faults
from browser.visiting import HERE, Visit

SECONDS, RATE = 6, 25
RENDITIONS = [[160, 90], [320, 180]]
TONES = {"en": 400, "de": 2000}
WORDS = {
    "en": [[0.5, 1.5, "Hello"], [4.25, 5.75, "and goodbye"]],
    "de": [[1.0, 2.0, "Guten Tag"], [4.5, 5.5, "und tschüss"]],
}
PROFILE = {
    "name": "two-languages",
    "packaging": "cmaf",
    "segment_s": 2,
    "gop_s": 1,
    "renditions": [{"name": f"{high}p", "video": {"height": high, "preset": "ultrafast"}} for high in (180, 90)],
    "audio": [{"codec": "aac", "bitrate": "64k", "channels": 1, "tracks": "all"}],
    "subtitles": "convert",
}


def srt(cues: list[list[Any]]) -> str:
    def time(seconds: float) -> str:
        return f"00:00:{int(seconds):02d},{round(seconds % 1 * 1000):03d}"

    return "".join(f"{n}\n{time(start)} --> {time(end)}\n{text}\n\n" for n, (start, end, text) in enumerate(cues, 1))


@pytest.fixture(scope="module")
def bilingual(farm: Running, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished job of a film whose two sounds are two tones, with two subtitles."""
    folder = tmp_path_factory.mktemp("bilingual")
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s=320x180:r={RATE}:d={SECONDS}"]
    for hertz in TONES.values():
        inputs += ["-f", "lavfi", "-i", f"sine=f={hertz}:d={SECONDS}"]
    for language, cues in WORDS.items():
        (folder / f"{language}.srt").write_text(srt(cues))
        inputs += ["-i", str(folder / f"{language}.srt")]
    named = [
        word
        for kind in "as"
        for n, language in enumerate(("eng", "ger"))
        for word in (f"-metadata:s:{kind}:{n}", f"language={language}")
    ]
    maps = [word for number in range(5) for word in ("-map", str(number))]
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-c:s", "srt")
    film = folder / "film.mkv"
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, "-v", "error", "-nostdin", *inputs, *maps, *codecs, *named, film], check=True)
    profile = folder / "profile.json"
    profile.write_text(json.dumps(PROFILE))
    done = farm.cli("jobs", "submit", film, "--upload", "-p", profile, "--wait", "-o", "json")
    assert done.code == 0, done.err
    return done.json()


def test_hls_js_changes_the_language_of_sound_and_text(visit: Visit, hls_js: Path, bilingual: dict[str, Any]) -> None:
    player = Player(visit, hls_js)
    player.load(bilingual, renditions=RENDITIONS)
    offered = player.do("hls.audioTracks.map(({name, lang, default: first}) => [name, lang, first])")
    assert offered == [["English", "en", True], ["German", "de", False]]
    assert player.do("hls.subtitleTracks.map(({name, lang}) => [name, lang])") == [["English", "en"], ["German", "de"]]
    for track, language in ((0, "en"), (1, "de"), (0, "en")):
        assert player.do(f"listen({track}, {TONES[language]})") == pytest.approx(TONES[language], abs=20)
        assert player.do(f"read({track}, 2)") == [
            [pytest.approx(a), pytest.approx(b), text] for a, b, text in WORDS[language]
        ]
    for level in (1, 0):
        assert player.do(f"choose({level}, 5)")["after"]["size"] == RENDITIONS[level]
    for place in (1.0, 4.5):
        assert player.do(f"seek({place})")["frame"] == pytest.approx(place, abs=0.041)
    player.do("play()")
    final = player.do("end()")
    assert final["duration"] == pytest.approx(SECONDS, abs=0.05)
    assert faults(final) == []


def test_shaka_player_plays_every_rendition_and_language_of_the_manifest(
    visit: Visit, shaka: Path, bilingual: dict[str, Any]
) -> None:
    visit.at_ring("dash.html", HERE / "dash.js", HERE / "sound.js", shaka)

    def do(call: str) -> Any:
        return visit.page.evaluate(call)

    offered = visit.page.evaluate("(url) => load(url)", address(bilingual, "manifest.mpd"))
    assert sorted(offered["pictures"]) == sorted([*size, language] for size in RENDITIONS for language in TONES)
    assert offered["texts"] == [
        {"language": "en", "label": "English", "roles": ["subtitle"]},
        {"language": "de", "label": "German", "roles": ["subtitle"]},
    ]
    assert offered["duration"] == pytest.approx(SECONDS, abs=0.05)
    # One thing at a time: told to change both and to forget what it has loaded, Shaka Player 5.2.12 loads no pictures any more.
    small, large = RENDITIONS
    for (wide, high), language in ((small, "en"), (small, "de"), (large, "de")):
        assert do(f"choose({high}, '{language}', 10)")["size"] == [wide, high]
        assert do(f"tone(video, {TONES[language]})") == pytest.approx(TONES[language], abs=20)
        assert do(f"read('{language}', 2)") == [
            [pytest.approx(a), pytest.approx(b), text] for a, b, text in WORDS[language]
        ]
    for place in (1.0, 4.5):
        assert do(f"seek({place})") == pytest.approx(place, abs=0.041)
    do("video.play()")
    final = do("end()")
    assert final["ended"]
    assert final["troubles"] == []
