"""Films that are damaged at known places: where that is found to be, and what conceal and cut make of it, against the sound film.

All is encoded losslessly, so that what lies outside of the places can be compared frame by frame and sample by sample.
"""

import random
import subprocess
from array import array
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, Bench, ffmpeg
from msgspec.structs import replace

from millrace.domain.failures import Refused
from millrace.domain.media.check import check
from millrace.domain.media.damage import Damage, OnDamage
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import VmafCheck
from millrace.domain.media.profile_document import profile_from
from millrace.engines.engine import DamagedInput

RATE, GOP, SECONDS = 25, 25, 6
PICTURES = ("-f", "lavfi", "-i", f"testsrc2=s=160x90:r={RATE}:d={SECONDS}")
# A tone that rises all the time: no piece of it can be taken for another.
SOUND = ("-f", "lavfi", "-i", f"aevalsrc='0.4*sin(2*PI*(200+150*t)*t)':s=48000:d={SECONDS}")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0")
FILMS = {
    "film.mp4": (*PICTURES, *SOUND, *X264, "-c:a", "aac", "-aac_pns", "0", "-movflags", "+faststart"),
    "open.mkv": (*PICTURES, *SOUND, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", "-aac_pns", "0",
                 "-x264-params", f"open-gop=1:keyint={GOP}:min-keyint={GOP}:bframes=3:scenecut=0:log=-1"),
    "film.ts": (*PICTURES, *SOUND, *X264, "-c:a", "aac", "-aac_pns", "0"),
}  # fmt: skip
KEPT = profile_from(
    {
        "name": "kept",
        "packaging": "mkv",
        "renditions": [{"video": {"codec": "h264", "preset": "ultrafast", "crf": 0}}],
        "audio": [{"codec": "flac"}],
        "subtitles": "convert",
        "chapters": "keep",
    }
)
COMPARED = replace(KEPT.renditions[0], vmaf=VmafCheck(every=25))
Samples = Any
Spoil = Callable[[bytearray, Path], None]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a sound film by its name, made at the first call."""
    folder = tmp_path_factory.mktemp("sound")

    def made(name: str) -> Path:
        path = folder / name
        if not path.exists():
            ffmpeg(*FILMS[name], str(path))
        return path

    return made


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every packet, in the order of decoding."""
    read = [BINARY, "-nostdin", "-v", "error", "-i", str(path), "-map", f"0:{kind}:0", "-c", "copy"]
    listed = subprocess.run([*read, "-f", "framecrc", "-"], capture_output=True, text=True, check=True).stdout
    data = subprocess.run([*read, "-f", "data", "-"], capture_output=True, check=True).stdout
    base = next(Fraction(line.split(" ")[2]) for line in listed.splitlines() if line.startswith("#tb"))
    found, at = [], 0
    for line in (line for line in listed.splitlines() if not line.startswith("#")):
        fields = line.split(",")
        size = int(fields[4])
        found.append((int(fields[2]) * base, data[at : at + size]))
        at += size
    assert at == len(data)
    return found


def noise(kind: str, first: float, last: float, *, seed: int = 1) -> Spoil:
    """Random bytes in the middle of every packet that is shown from `first` to `last` seconds."""

    def spoil(data: bytearray, path: Path) -> None:
        dice = random.Random(seed)
        for time, content in packets(path, kind):
            if first <= time < last:
                at = data.find(content)
                assert at > 0
                begin = min(8, len(content) // 2)
                data[at + begin : at + len(content)] = dice.randbytes(len(content) - begin)

    return spoil


def spoiled(films: Any, name: str, folder: Path, *how: Spoil) -> Path:
    """A copy of the film that is damaged so."""
    sound = films(name)
    data = bytearray(sound.read_bytes())
    for spoil in how:
        spoil(data, sound)
    path = folder / name
    path.write_bytes(data)
    return path


def known(bench: Bench, path: Path) -> tuple[Probe, Damage]:
    """What a worker would find out of a damaged film."""
    try:
        probe, damage = bench.probe(path), Damage()
    except DamagedInput as told:
        probe, damage = told.probe, told.damage
    outcomes = [bench.run(command) for command in bench.engine.damage(path, probe)]
    assert [outcome.exit_status for outcome in outcomes][:1] == [0]
    return probe, replace(damage, places=bench.engine.read_damage(probe, outcomes))


def frames(path: Path) -> list[str]:
    """A hash of every picture, in order."""
    done = subprocess.run(
        [BINARY, "-nostdin", "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    return [line.split(",")[5].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


def samples(path: Path) -> Samples:
    """The sound."""
    done = subprocess.run(
        [BINARY, "-nostdin", "-v", "error", "-i", str(path), "-map", "0:a", "-ac", "1", "-f", "s16le", "-"],
        capture_output=True, check=True,
    )  # fmt: skip
    return array("h", done.stdout)


def make(bench: Bench, on_damage: OnDamage, path: Path, out: Path, profile: Any = KEPT) -> Any:
    probe, damage = known(bench, path)
    out.mkdir()
    wanted = plan(replace(profile, on_damage=on_damage), probe, damage=damage)
    tolerated = [bench.run(command) for command in bench.engine.encode(wanted, path, out, out / "pieces")]
    assert [outcome.exit_status for outcome in tolerated] == [0], tolerated[0].stderr
    assert check(wanted, bench.inspect(wanted, out)) == ()
    return wanted, out / wanted.files[0].path


@pytest.fixture(scope="session")
def whole(
    bench: Bench, films: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[list[str], Samples]]:
    """Pictures and sound of what is made of a sound film."""
    made: dict[str, tuple[list[str], Samples]] = {}

    def of(name: str) -> tuple[list[str], Samples]:
        if name not in made:
            done = bench.make(KEPT, films(name), tmp_path_factory.mktemp("whole"))
            assert done.findings == ()
            made[name] = frames(done.folder / "video.mkv"), samples(done.folder / "video.mkv")
        return made[name]

    return of


DAMAGED: dict[str, tuple[str, tuple[Spoil, ...]]] = {
    "one picture": ("film.mp4", (noise("v", 1.4, 1.44),)),
    "one key frame": ("film.mp4", (noise("v", 2.0, 2.04),)),
    "a whole GOP": ("film.mp4", (noise("v", 3.0, 4.0),)),
    "two places": ("film.mp4", (noise("v", 1.6, 1.64), noise("v", 4.2, 4.4, seed=3))),
    "the last pictures": ("film.mp4", (noise("v", 5.5, 6.0),)),
    "the first pictures": ("film.mp4", (noise("v", 0.0, 0.5),)),
    "sound": ("film.mp4", (noise("a", 2.5, 2.8),)),
    "one packet of sound": ("film.mp4", (noise("a", 3.51, 3.53),)),
    "both": ("film.mp4", (noise("v", 1.4, 1.44), noise("a", 1.9, 2.2))),
    "an open GOP": ("open.mkv", (noise("v", 2.3, 2.36),)),
}
"""What is spoiled; every place but those of sound alone goes on to the next key frame, which is each whole second."""


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_outside_of_the_places_is_that_of_the_sound_film(
    bench: Bench, films: Any, whole: Any, tmp_path: Path, case: str
) -> None:
    name, how = DAMAGED[case]
    source = spoiled(films, name, tmp_path, *how)
    pictures, sound = whole(name)
    _, damage = known(bench, source)
    assert damage.places

    hidden, path = make(bench, OnDamage.CONCEAL, source, tmp_path / "concealed")
    found, heard = frames(path), samples(path)
    assert len(found) == len(pictures) == hidden.frames
    assert abs(len(heard) - len(sound)) <= 1024
    outside = [n for n in range(len(found)) if not covered(damage, "video", Fraction(n, RATE))]
    assert [found[n] for n in outside] == [pictures[n] for n in outside]
    assert len(outside) >= len(found) * 0.4
    spoilt = [(place.start, place.end) for place in damage.places if place.kind == "audio"]
    assert same(without(heard, spoilt), without(sound, spoilt))

    cut, path = make(bench, OnDamage.CUT, source, tmp_path / "cut")
    gone = cut.mending.cuts
    left = [n for n in range(len(pictures)) if not any(one.start <= Fraction(n, RATE) < one.end for one in gone)]
    assert frames(path) == [pictures[n] for n in left]
    assert cut.frames == len(left) < len(pictures)
    assert same(samples(path), without(sound, [(one.start, one.end) for one in gone]))


def without(sound: Samples, spans: list[tuple[Fraction, Fraction]]) -> Samples:
    """The samples that lie outside."""
    kept = array("h", sound)
    for start, end in sorted(spans, reverse=True):
        del kept[round(start * 48_000) : round(end * 48_000)]
    return kept


def same(found: Samples, wanted: Samples) -> bool:
    """Sample for sample; what the last packet is filled up with does not count."""
    length = min(len(found), len(wanted))
    return abs(len(found) - len(wanted)) <= 1024 and found[:length] == wanted[:length]


def test_what_is_cut_is_compared_with_what_is_left_of_the_source(bench: Bench, films: Any, tmp_path: Path) -> None:
    source = spoiled(films, "film.mp4", tmp_path, *DAMAGED["a whole GOP"][1])
    wanted, _ = make(bench, OnDamage.CUT, source, tmp_path / "cut", replace(KEPT, renditions=(COMPARED,)))
    work = tmp_path / "work"
    command = bench.engine.compare(wanted, wanted.files[0], source=source, folder=tmp_path / "cut", work=work, cores=1)
    outcome = bench.run(command)
    assert outcome.exit_status == 0, outcome.stderr
    (log,) = work.iterdir()
    scores = bench.engine.read_scores(log.read_bytes())
    assert len(scores) == -(-wanted.frames // 25)
    # Lossless, and frame beside frame: were it one place off, the last would have less than half of that.
    assert min(score for _, score in scores) > 90


def covered(damage: Damage, kind: str, time: Fraction) -> bool:
    return any(place.kind == kind and place.start <= time < place.end for place in damage.places)


def test_a_film_that_is_cut_short_says_where_and_what_is_there_is_made(
    bench: Bench, films: Any, whole: Any, tmp_path: Path
) -> None:
    data = films("film.mp4").read_bytes()
    source = tmp_path / "film.mp4"
    source.write_bytes(data[: len(data) // 2])
    _, damage = known(bench, source)
    assert damage.ends is not None
    assert 1 < damage.ends < 5
    assert damage.declared == SECONDS
    with pytest.raises(Refused, match="nothing can stand for its end"):
        make(bench, OnDamage.CONCEAL, source, tmp_path / "concealed")
    cut, path = make(bench, OnDamage.CUT, source, tmp_path / "cut")
    assert 25 < cut.frames < 5 * RATE
    gone = [(one.start * RATE, one.end * RATE) for one in cut.mending.cuts]
    left = [n for n in range(SECONDS * RATE) if not any(start <= n < end for start, end in gone)]
    assert frames(path) == [whole("film.mp4")[0][n] for n in left][: cut.frames]


def test_noise_in_a_transport_stream_is_found_by_its_marks(bench: Bench, films: Any, tmp_path: Path) -> None:
    data = bytearray(films("film.ts").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = random.Random(1).randbytes(3000)
    source = tmp_path / "film.ts"
    source.write_bytes(data)
    _, damage = known(bench, source)
    assert damage.places
    cut, path = make(bench, OnDamage.CUT, source, tmp_path / "cut")
    assert len(frames(path)) == cut.frames < SECONDS * RATE
