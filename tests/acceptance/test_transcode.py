"""One command turns a real file into a streaming ladder."""

import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from outside import SAMPLE, Shell

LADDER = """
name: tiny
description: Two small renditions, quick to make.
packaging: cmaf
renditions:
  - video: {codec: h264, height: 144, preset: ultrafast}
  - video: {codec: h264, height: 96, preset: ultrafast}
audio:
  - {codec: aac, bitrate: 64k, channels: 2}
"""


@pytest.fixture
def tiny(shell: Shell) -> Path:
    profile = shell.home / "tiny.yaml"
    profile.write_text(LADDER)
    return profile


def test_a_first_run_tries_every_encoder_and_the_next_one_remembers(wheel: Path, tmp_path: Path, clips: Path) -> None:
    shell = Shell(wheel, tmp_path)
    tried = []
    for out in ("one", "two"):
        done = shell.run("transcode", clips / "small.mp4", "--profile", "audio", "--out", out, "--verbose")
        assert done.code == 0, done.err
        tried.append(done.err.count("worker.encoders_tried"))
    assert tried == [1, 0]


def test_a_film_in_chunks_carries_its_proof(shell: Shell) -> None:
    out = shell.home / "out"
    done = shell.run("transcode", SAMPLE, "--profile", "360p25-h264", "--chunks", "always", "--out", out, "--json")
    assert done.code == 0, done.err
    proof = json.loads((out / "proof.json").read_text())
    assert [chunk["frames"] for chunk in proof["chunks"]] == [100, 32]
    video, sound = proof["files"]
    assert video["frames"] == {"planned": 132, "found": 132}
    assert video["frames_of_chunks"] == [100, 32]
    assert [(join["frame"], join["off_by_s"]) for join in video["joins"]] == [(100, 0.0)]
    assert video["on_the_grid"] is video["decoding_times_rise"] is True
    assert sound["pieces"] == 1
    sums = {"sha256": hashlib.sha256((out / "video.mp4").read_bytes()).hexdigest()}
    assert proof["checksums"] == {"video.mp4": sums | {"size": (out / "video.mp4").stat().st_size}}
    _anybody_can_check_it(shell, out)


def _anybody_can_check_it(shell: Shell, out: Path) -> None:
    held = shell.run("proof", "check", out, "--json")
    assert held.code == 0, held.err
    told = json.loads(held.out)
    assert (told["holds"], told["frames"], told["joins"], told["files"]) == (True, 132, 1, 1)
    (out / "note.txt").write_text("not of the proof\n")
    film = bytearray((out / "video.mp4").read_bytes())
    film[len(film) // 2] ^= 0xFF
    (out / "video.mp4").write_bytes(film)
    broken = shell.run("proof", "check", out)
    assert broken.code == 1
    assert "video.mp4 has other bytes than those of the proof" in broken.out
    assert "not in the proof: note.txt" in broken.out
    (out / "proof.json").write_text("{}")
    for place, words in ((out, "it is no proof"), (out / "nowhere", "cannot be read there")):
        nothing = shell.run("proof", "check", place)
        assert nothing.code == 2
        assert nothing.err.startswith("millrace: cannot check ")
        assert words in nothing.err
        assert "Traceback" not in nothing.err


def test_another_word_for_chunks_is_refused(shell: Shell) -> None:
    done = shell.run("transcode", SAMPLE, "--chunks", "maybe")
    assert done.code == 2
    assert "'maybe' is not one of 'auto', 'always', 'never'" in done.err


def test_the_sample_becomes_a_ladder_that_is_described_in_one_json_document(shell: Shell) -> None:
    out = shell.home / "out"
    done = shell.run("transcode", SAMPLE, "--profile", "web-hls", "--out", out, "--json")
    assert done.code == 0, done.err
    document = done.json()
    assert document["state"] == "completed"
    videos = [rendition for rendition in document["renditions"] if rendition["type"] == "video"]
    assert sorted(rendition["height"] for rendition in videos) == [360, 480, 720]  # never upscaled to 1080
    assert {rendition["frames"] for rendition in videos} == {132}
    master = (out / "master.m3u8").read_text()
    variants = re.findall(r"#EXT-X-STREAM-INF:(.*)\n(.*)", master)
    assert len(variants) == 3
    for attributes, playlist in variants:
        assert re.search(r'CODECS="avc1\.[0-9a-f]{6},mp4a\.40\.2"', attributes, re.IGNORECASE)
        assert "FRAME-RATE=25.000" in attributes
        assert int(re.search(r"BANDWIDTH=(\d+)", attributes)[1]) > 100_000
        assert "#EXT-X-ENDLIST" in (out / playlist).read_text()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".out")]


def test_the_end_is_a_table_that_people_can_read(shell: Shell, tiny: Path) -> None:
    done = shell.run("transcode", SAMPLE, "--profile", tiny, "--out", "out")
    assert done.code == 0, done.err
    for word in ("256x144", "h264", "132", "master.m3u8"):
        assert word in done.out


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing.mp4", None), ("empty.mp4", b""), ("text.mp4", b"this is no video\n" * 100)],
)
def test_an_input_that_is_no_video_ends_in_one_sentence(
    shell: Shell, tiny: Path, name: str, content: bytes | None
) -> None:
    source = shell.home / name
    if content is not None:
        source.write_bytes(content)
    done = shell.run("transcode", source, "--profile", tiny, "--out", "out")
    assert done.code == 1
    assert name in done.err or "input" in done.err.lower()
    assert not (shell.home / "out").exists()


def test_a_truncated_file_never_becomes_an_output(shell: Shell, tiny: Path) -> None:
    source = shell.home / "cut.mp4"
    source.write_bytes(SAMPLE.read_bytes()[: SAMPLE.stat().st_size * 6 // 10])
    done = shell.run("transcode", source, "--profile", tiny, "--out", "out", "--json")
    assert done.code == 1
    assert done.json()["failure"]["class"] == "input"
    assert not (shell.home / "out").exists()


def test_an_output_that_exists_is_refused_and_untouched_unless_overwriting(shell: Shell, tiny: Path) -> None:
    out = shell.home / "out"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    done = shell.run("transcode", SAMPLE, "--profile", tiny, "--out", out)
    assert done.code == 1
    assert "--overwrite" in done.err
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    done = shell.run("transcode", SAMPLE, "--profile", tiny, "--out", out, "--overwrite")
    assert done.code == 1
    assert "precious.txt was not made by Millrace" in done.err
    assert (out / "precious.txt").read_text() == "keep me"
    (out / "precious.txt").unlink()
    (shell.home / ".out.millrace-left-by-a-kill").mkdir()
    done = shell.run("transcode", SAMPLE, "--profile", tiny, "--out", out)
    assert done.code == 0, done.err
    assert [path.name for path in shell.home.iterdir() if path.name.startswith(".out")] == []
    first = (out / ".millrace.json").read_text()
    done = shell.run("transcode", SAMPLE, "--profile", tiny, "--out", out, "--overwrite")
    assert done.code == 0, done.err
    assert (out / ".millrace.json").read_text() != first


def test_the_settings_of_a_worker_hold_for_the_one_of_a_transcode_too(shell: Shell, tiny: Path) -> None:
    arguments = ("transcode", SAMPLE, "--profile", tiny, "--out", "out")
    full = shell.having(MILLRACE_MIN_FREE_MB="999999999").run(*arguments)
    assert full.code == 1
    assert "too little room" in full.err
    assert "MILLRACE_MIN_FREE_MB" in full.err
    assert not (shell.home / "out").exists()
    assert shell.having(MILLRACE_MIN_FREE_MB="plenty").run(*arguments).code == 2
    # What concerns other workers does not concern this one.
    done = shell.having(MILLRACE_CA="/none", MILLRACE_SLOTS="x", MILLRACE_PORT="x", MILLRACE_API_KEY="x")
    assert done.run(*arguments).code == 0


def test_a_sprite_is_told_as_a_picture(shell: Shell) -> None:
    done = shell.run("transcode", SAMPLE, "--profile", "thumbnails", "--out", "out")
    assert done.code == 0, done.err
    heading, row = done.out.splitlines()[:2]
    assert heading.split() == ["rendition", "resolution", "codec", "size"]
    assert row.split()[:3] == ["sprite-001.jpg", "800x450", "mjpeg"]


def test_wrong_usage_is_2(shell: Shell) -> None:
    for arguments in (
        ["transcode", SAMPLE, "--profile", "web-hsl", "--out", "out"],
        ["transcode", SAMPLE, "--profile", "no/such.yaml", "--out", "out"],
        ["transcode", SAMPLE, "--frobnicate"],
        ["transcode", SAMPLE, "--out", ""],
        ["transcode", SAMPLE, "--out", "/"],
        ["transcode", SAMPLE, "--out", SAMPLE.parent, "--overwrite"],
        ["transcode", "file:///etc/passwd", "--out", "out"],
        ["transcode", "-", "--out", "out"],
        ["transcode", os.fsdecode(b"caf\xe9.mp4"), "--out", "out"],
        ["frobnicate"],
    ):
        done = shell.run(*arguments)
        assert done.code == 2, (arguments, done)
        assert done.err.strip()


def test_a_home_that_cannot_be_written_is_no_hindrance(shell: Shell, tiny: Path) -> None:
    nowhere = shell.having(HOME="/proc/none")
    done = nowhere.run("transcode", SAMPLE, "--profile", tiny, "--out", "out")
    assert done.code == 0, done.err
    missing = nowhere.run("transcode", "missing.mp4", "--out", "other")
    assert missing.code == 1
    assert "cannot find the input" in missing.err


def test_what_a_killed_run_left_is_swept_by_the_next(shell: Shell, tiny: Path, tmp_path: Path) -> None:
    left, running = tmp_path / "millrace-transcode-left", tmp_path / "millrace-transcode-running"
    for folder in (left, running):
        folder.mkdir()
        os.utime(folder, (0, 0))
    held = os.open(running, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = shell.having(TMPDIR=str(tmp_path)).run("transcode", SAMPLE, "--profile", tiny, "--out", "out")
    finally:
        os.close(held)
    assert done.code == 0, done.err
    assert [*tmp_path.glob("millrace-*")] == [running]


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">/dev/full", 1)])
def test_a_stdout_that_takes_nothing_is_no_traceback(shell: Shell, closed: str, code: int) -> None:
    command = shlex.join(shell.command("profiles", "list"))
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], env=shell.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_interrupting_leaves_no_child_and_no_output(
    shell: Shell, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    # A run of the tests under `nohup` ignores SIGHUP, and so would what it starts.
    before = signal.signal(number, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(number, before))
    process = shell.start("transcode", SAMPLE, "--profile", "4K30-h265", "--out", "out")
    assert process.stderr is not None
    for line in process.stderr:
        if "encode" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert [child for child in family if child.is_running()] == []
    assert not (shell.home / "out").exists()
    assert [path.name for path in shell.home.iterdir() if "out" in path.name] == []


def test_a_program_reads_one_document_after_an_interruption_too(shell: Shell) -> None:
    process = shell.start("transcode", SAMPLE, "--profile", "4K30-h265", "--out", "out", "--json", "--verbose")
    assert process.stderr is not None
    for line in process.stderr:
        if "worker.task_started" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, err
    document = json.loads(out)
    assert (document["state"], document["failure"]["class"]) == ("canceled", "canceled")
    assert "SIGINT" in document["failure"]["message"]
    assert document["renditions"] == []
    assert not (shell.home / "out").exists()


def test_a_generated_clip_needs_no_input(shell: Shell) -> None:
    done = shell.run("transcode", "--profile", "360p24-h264", "--duration", "1", "--out", "clip", "--json")
    assert done.code == 0, done.err
    video, audio = json.loads(done.out)["renditions"]
    assert (video["width"], video["height"], video["frames"]) == (640, 360, 24)
    assert audio["type"] == "audio"
