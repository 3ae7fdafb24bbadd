"""What bad input gets: every row of the promise, through a real farm."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from outside import (
    LONG,
    LONG_FRAMES,
    SHORT,
    Farm,
    Running,
    Shell,
    cut,
    decoded,
    eventually,
    ffmpeg,
    is_emptied,
    outcomes,
    program,
    running,
    states,
)

TINY = {
    "name": "tiny",
    "packaging": "mp4",
    "renditions": [{"video": {"codec": "h264", "height": 72, "preset": "ultrafast"}}],
    "audio": [{"codec": "aac", "bitrate": "64k", "channels": 2}],
}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    """An allowed folder with every kind of bad input in it."""
    folder = tmp_path_factory.mktemp("media")
    good = cut(folder / "good.mp4", seconds=2)
    data = good.read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 200)
    (folder / "noise.mp4").write_bytes(os.urandom(50_000))
    (folder / "truncated.mp4").write_bytes(data[: len(data) * 6 // 10])  # its index is at the end, and gone
    ffmpeg("-i", good, "-c", "copy", "-movflags", "+faststart", folder / "fast.mp4")
    data = (folder / "fast.mp4").read_bytes()
    (folder / "truncated-fast.mp4").write_bytes(data[: len(data) * 6 // 10])  # its index promises more than there is
    middle = len(data) // 2
    (folder / "broken.mp4").write_bytes(data[:middle] + os.urandom(20_000) + data[middle + 20_000 :])
    ffmpeg("-i", good, "-c", "copy", "-f", "mpegts", folder / "good.ts")
    data = (folder / "good.ts").read_bytes()
    (folder / "broken.ts").write_bytes(data[:middle] + os.urandom(20_000) + data[middle + 20_000 :])
    (folder / "fast.mp4").unlink()
    (folder / "good.ts").unlink()
    (folder / "small.mp4").write_bytes((clips / "small.mp4").read_bytes())
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "fifo.mp4")
    return folder


@pytest.fixture(scope="module")
def farm(wheel: Path, tmp_path_factory: pytest.TempPathFactory, media: Path, proofs: Path) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    shell = Shell(wheel, home, {"MILLRACE_HEARTBEAT": "0.3"}, proofs=proofs)
    with running(shell, "up", "--data", "farm", "--port", 0, "--workers", 2, "--media-root", media) as farm:
        yield farm


@pytest.mark.parametrize(
    "name",
    [
        *("missing.mp4", "empty.mp4", "text.mp4", "noise.mp4", "truncated.mp4", "truncated-fast.mp4"),
        *("broken.mp4", "broken.ts", "folder.mp4", "fifo.mp4"),
    ],
)
def test_an_input_that_is_no_whole_video_fails_once_with_one_sentence(farm: Running, media: Path, name: str) -> None:
    before = {path.name for path in media.iterdir()}
    job = farm.submit(input=str(media / name), profile=TINY, output=str(media / "out" / name))
    job = farm.ends(job["id"], "failed")
    assert job["failure"]["class"] == "input", job["failure"]
    assert outcomes(job) == ["failed"]
    message = job["failure"]["message"]
    assert message == message.strip()
    assert "\n" not in message
    assert 20 < len(message) < 300, message
    assert "Traceback" not in farm.log(job["id"])
    assert job["outputs"] == []
    log = farm.cli("jobs", "logs", job["number"])
    assert log.code == 0
    assert message in log.out
    assert {path.name for path in media.iterdir()} - {"out"} == before - {"out"}
    assert not (media / "out").exists() or list((media / "out").iterdir()) == []


OUTSIDE = {
    "outside": "/etc/hostname",
    "through": "{media}/../{media_name}/small.mp4",
    "file": "file:{media}/small.mp4",
    "file-url": "file://{media}/small.mp4",
    "dash": "-i",
    "concat": "concat:{media}/small.mp4|{media}/small.mp4",
    "data": "data:video/mp4;base64,AAAA",
    "pipe": "pipe:0",
    "ftp": "ftp://127.0.0.1/a.mp4",
    "relative": "small.mp4",
    "zero": "{media}/small.mp4\0",
    "line": "{media}/sm\nall.mp4",
}


@pytest.mark.parametrize("field", ["input", "output"])
@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_place_that_is_not_allowed_starts_no_process(farm: Running, media: Path, field: str, kind: str) -> None:
    place = OUTSIDE[kind].format(media=media, media_name=media.name)
    body: dict[str, Any] = {"input": str(media / "small.mp4"), "profile": TINY, field: place}
    answer = farm.http("POST", "/v1/jobs", json=body)
    if kind != "outside":  # only the workers know their roots
        assert answer.status_code in {400, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        return
    _refused_by_the_worker(farm, answer.json()["id"])


@pytest.mark.parametrize("field", ["input", "output"])
def test_a_link_out_of_the_root_starts_no_process(farm: Running, media: Path, tmp_path: Path, field: str) -> None:
    shutil.copy(media / "small.mp4", tmp_path / "secret.mp4")
    link = media / f"link-{field}"
    link.symlink_to(tmp_path)
    try:
        place = {"input": link / "secret.mp4", "output": link / "out"}[field]
        body: dict[str, Any] = {"input": str(media / "small.mp4"), "profile": TINY, field: str(place)}
        _refused_by_the_worker(farm, farm.submit(**body)["id"])
        assert [path.name for path in tmp_path.iterdir()] == ["secret.mp4"]
    finally:
        link.unlink()


def _refused_by_the_worker(farm: Running, job_id: str) -> None:
    job = farm.ends(job_id, "failed")
    assert job["failure"]["class"] == "request"
    assert "outside the allowed roots" in job["failure"]["message"]
    assert outcomes(job) == ["failed"]
    assert "processing" not in states(job)
    assert "ffmpeg" not in farm.log(job_id)  # every command line is logged before it is run


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"profile": "web-hsl"}, "profile"),
        ({"queue": "fast"}, "queue"),
        ({"priority": "urgent"}, "priority"),
        ({"engine": "vlc"}, "engine"),
        ({"profil": "web-hls"}, "profil"),
        ({"parameters": {"bitrat": "1k"}}, "bitrat"),
        ({"max_retries": -1}, "max_retries"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 1e300}, "timeout_s"),
        ({"parameters": {"crf": -5}}, "crf"),
        ({"parameters": {"duration_s": 10**12}}, "duration_s"),
        ({"parameters": {"height": 1}}, "height"),
        ({"profile": {**TINY, "renditions": [{"video": {"codec": "h266"}}]}}, "codec"),
        ({"profile": {**TINY, "name": "x" * 10_000}}, "name"),
        ({"labels": {"a": 1}}, "labels"),
        ({"run_after": "tomorrow"}, "run_after"),
        ({"input": ""}, "input"),
    ],
)
def test_a_field_that_makes_no_sense_is_named_and_leaves_no_row(
    farm: Running, media: Path, change: dict[str, Any], field: str
) -> None:
    before = _newest(farm)
    answer = farm.http("POST", "/v1/jobs", json={"input": str(media / "small.mp4"), "profile": "mp4-h264", **change})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert any(field in error["field"] or field in error["message"] for error in answer.json()["errors"]), answer.text
    assert _newest(farm) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"profile": ', 400),
        (b"[1, 2]", 422),
        (b'{"profile": "web-hls", "timeout_s": NaN}', 400),
        (b'{"profile": "web-hls", "timeout_s": -Infinity}', 400),
        (b'{"profile": "\xff\xfe"}', 400),
        (b"[" * 100_000, 400),
        (b'{"input": "' + b"a" * (8 << 20) + b'"}', 413),
    ],
    ids=["cut", "list", "nan", "infinity", "no-utf8", "deep", "large"],
)
def test_a_body_that_is_no_request_is_refused_and_leaves_no_row(farm: Running, body: bytes, status: int) -> None:
    before = _newest(farm)
    answer = farm.http("POST", "/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {status, 400, 422} - ({400, 422} if status == 413 else set()), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert _newest(farm) == before
    assert farm.http("GET", "/health").status_code == 200


def _newest(farm: Farm) -> list[str]:
    return [job["id"] for job in farm.http("GET", "/v1/jobs?limit=1").json()["jobs"]]


def test_an_output_that_exists_is_untouched_unless_overwriting(farm: Running, media: Path) -> None:
    out = media / "taken"
    out.mkdir()
    (out / "precious.txt").write_text("keep me")
    order = {"input": str(media / "small.mp4"), "profile": TINY, "output": str(out)}
    job = farm.ends(farm.submit(**order)["id"], "failed")
    assert job["failure"]["class"] == "output_exists"
    assert outcomes(job) == ["failed"]
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    replace = ("jobs", "submit", media / "small.mp4", "-p", "mp4-h264", "--to", out, "--overwrite", "--wait")
    refused = farm.cli(*replace)
    assert refused.code == 1
    assert "precious.txt was not made by Millrace" in refused.out + refused.err
    (out / "precious.txt").unlink()
    for _ in ("made", "replaced"):
        done = farm.cli(*replace)
        assert done.code == 0, done.err
    assert decoded(out / "video.mp4").frames == 25
    # A job that fails replaces nothing, also where it might.
    bad = {**order, "input": str(media / "broken.mp4"), "overwrite": True}
    farm.ends(farm.submit(**bad)["id"], "failed")
    assert decoded(out / "video.mp4").frames == 25
    shutil.rmtree(out)


# A full disk --------------------------------------------------------------------------------------------------------


class SmallDisk:
    """A file system of its own, that can be filled and emptied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            while (free := shutil.disk_usage(self.path).free - leave_bytes) > 0:
                try:
                    file.write(bytes(min(free, 1 << 20)))
                except OSError:
                    return

    def empty(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A tmpfs of 24 MB; where this user may not mount one, the test is skipped and pytest says so."""
    path = tmp_path / "disk"
    path.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    done = subprocess.run(
        [mount or "mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a full disk is not tested: this user may not mount a tmpfs ({done.stderr.strip()})")
    with ExitStack() as stack:
        stack.callback(subprocess.run, [umount or "umount", "-l", path], check=True)
        yield SmallDisk(path)


def test_scratch_without_room_hands_the_job_back_with_the_reason(shell: Shell, small_disk: SmallDisk) -> None:
    shell = shell.having(MILLRACE_HEARTBEAT="0.3", MILLRACE_MIN_FREE_MB="4")
    small_disk.fill(leave_bytes=1 << 20)
    with running(shell, "master", "--data", "data", "--port", 0) as farm:
        start = ("worker", "--master", farm.url, "--state", small_disk.path / "state")
        worker = shell.having(MILLRACE_API_KEY=farm.key)
        with program(worker, *start):
            farm.submit(**SHORT, max_retries=0)
            job = farm.reaches(1, "retrying")
            assert outcomes(job) == ["handed_back"]  # unspent: no retry was allowed, and it has not failed
            assert "too little room" in job["transitions"][-1]["reason"]
        small_disk.empty()
        with program(worker, *start):
            # Run at once instead of after the half minute that a slot without room rests.
            farm.do("cancel", 1)
            farm.do("retry", 1)
            assert outcomes(farm.ends(1)) == ["handed_back", "completed"]


def test_scratch_that_fills_up_during_the_encode_fails_with_the_reason(shell: Shell, small_disk: SmallDisk) -> None:
    shell = shell.having(MILLRACE_HEARTBEAT="0.3", MILLRACE_MIN_FREE_MB="0")
    with running(shell, "master", "--data", "data", "--port", 0) as farm:
        start = ("worker", "--master", farm.url, "--state", small_disk.path / "state")
        with program(shell.having(MILLRACE_API_KEY=farm.key), *start):
            small_disk.fill(leave_bytes=200_000)
            farm.submit(**LONG, max_retries=0)
            job = farm.ends(1, "failed")
            assert job["failure"]["class"] == "disk", job["failure"]
            assert is_emptied(small_disk.path / "state" / "scratch" / "attempts")
            small_disk.empty()
            farm.do("retry", 1)
            assert outcomes(farm.ends(1)) == ["failed", "completed"]


def test_an_output_disk_that_is_full_fails_with_the_reason_and_leaves_nothing(
    shell: Shell, small_disk: SmallDisk
) -> None:
    shell = shell.having(MILLRACE_HEARTBEAT="0.3")
    with running(shell, "up", "--data", "farm", "--port", 0, "--media-root", small_disk.path) as farm:
        small_disk.fill(leave_bytes=100_000)
        out = small_disk.path / "out"
        farm.submit(**LONG, output=str(out), max_retries=0)
        job = farm.ends(1, "failed")
        assert job["failure"]["class"] == "disk", job["failure"]
        assert [path.name for path in small_disk.path.iterdir()] == ["ballast"]
        small_disk.empty()
        farm.do("retry", 1)
        farm.ends(1)
        assert decoded(out / "video.mp4").frames == LONG_FRAMES
        assert [path.name for path in small_disk.path.iterdir()] == ["out"]


def test_a_database_that_is_full_refuses_and_recovers(shell: Shell, small_disk: SmallDisk) -> None:
    shell = shell.having(MILLRACE_HEARTBEAT="0.3")
    with running(shell, "master", "--data", small_disk.path / "data", "--port", 0) as farm:
        accepted = [farm.submit(**SHORT)["id"]]
        small_disk.fill()

        def refusal() -> Any:
            answer = farm.http("POST", "/v1/jobs", json={**SHORT, "labels": {"filler": "x" * 200}})
            if answer.status_code == 201:
                accepted.append(answer.json()["id"])
                return None
            return answer

        refused = eventually(refusal, "the database is full")
        assert refused.status_code in {507, 503}, refused.text
        assert refused.headers["content-type"] == "application/problem+json"
        assert "space" in refused.json()["detail"]
        assert all(farm.job(job_id)["state"] == "queued" for job_id in accepted[:3])  # reading goes on
        begun = farm.http("POST", "/v1/uploads", json={"name": "film.mp4", "size": 1_000_000})
        assert begun.status_code in {507, 503, 201}
        small_disk.empty()
        accepted.append(farm.submit(**SHORT)["id"])
        assert all(farm.job(job_id)["state"] == "queued" for job_id in accepted)
        assert psutil.pid_exists(farm.program.process.pid)
