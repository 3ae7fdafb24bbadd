"""One film on two workers as programs of their own, one of which is killed in the middle of its part."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from outside import decoded, eventually, ffmpeg
from test_farm_apart import Machines, machines  # noqa: F401  the fixture

SECONDS, RATE = 6, 25
PROFILE = {
    "name": "slow",
    "packaging": "mp4",
    "gop_s": 1,
    "renditions": [{"video": {"codec": "h264", "height": 180, "preset": "veryslow", "crf": 18}}],
    "audio": [{}],
}


def film(path: Path) -> Path:
    inputs = (f"testsrc2=size=320x180:rate={RATE}:duration={SECONDS}", f"sine=duration={SECONDS}:sample_rate=48000")
    clip = [part for one in inputs for part in ("-f", "lavfi", "-i", one)]
    # Noise makes the encoder work for long enough to be caught at it.
    ffmpeg(
        "-y",
        *clip,
        "-vf",
        "noise=alls=40:allf=t",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        25,
        "-c:a",
        "aac",
        path,
    )
    return path


def chunks(job: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    """The parts of a divided job that are chunks with these values."""
    parts = [task for task in job["tasks"] if task["kind"] == "chunk"]
    return [part for part in parts if all(part[key] == value for key, value in wanted.items())]


def test_a_worker_killed_in_its_part_of_a_film_costs_that_part_alone(machines: Machines) -> None:  # noqa: F811
    # Nobody else is lost on a busy machine, and nobody makes the part before it is taken back.
    machines.shell = machines.shell.having(MILLRACE_LEASE_TTL="8", MILLRACE_HEDGE="0")
    farm = machines.master()
    machines.worker(farm, "one")
    victim = machines.worker(farm, "two")
    source, out = film(machines.media / "film.mp4"), machines.media / "out"
    farm.submit(profile=PROFILE, input=str(source), output=str(out), parameters={"chunks": "always"})

    def both_work() -> Any:
        job = farm.job(1)
        busy = chunks(job, state="processing", node_name="two") and chunks(job, node_name="one")
        return job if busy else None

    eventually(both_work, "both workers make a chunk")
    victim.engine()
    victim.kill()
    job = farm.ends(1)
    (lost,) = (attempt for attempt in job["attempts"] if attempt["outcome"] == "lost")
    assert lost["node_name"] == "two"
    assert lost["task"] in {part["task"] for part in chunks(job)}
    done = [attempt for attempt in job["attempts"] if attempt["outcome"] == "completed"]
    assert sorted(attempt["task"] for attempt in done) == sorted(task["task"] for task in job["tasks"])
    assert {
        attempt["attempt"] for attempt in done if attempt["task"] not in (lost["task"], job["tasks"][0]["task"])
    } == {1}
    made = decoded(out / "video.mp4")
    assert (made.frames, made.streams) == (SECONDS * RATE, ("video h264 320x180", "audio aac"))
    proof = json.loads((out / "proof.json").read_text())
    assert sum(chunk["frames"] for chunk in proof["chunks"]) == SECONDS * RATE
    makers = {chunk["made_by"]["task"]: chunk["made_by"]["node"] for chunk in proof["chunks"]}
    assert makers[lost["task"]] == "one"
    shown = farm.cli("jobs", "show", 1)
    assert shown.code == 0
    assert "chunk" in shown.out
    kept = machines.shell.home / "data" / "blobs"

    def is_clean() -> bool:  # os.walk minds no folder that goes while it looks
        return not any(name.endswith(".m4s") for _, _, names in os.walk(kept) for name in names)

    eventually(is_clean, "the pieces are deleted")


def _stopped(worker: Any) -> psutil.Process | None:
    """An engine of the worker that makes a chunk, and has been stopped in the midst of it."""
    for child in worker.family():
        with suppress(psutil.Error):
            if "-progress" in (line := child.cmdline()) and "ffmpeg" in line[0] and "libx264" in line:
                child.suspend()
                if child.status() == psutil.STATUS_STOPPED:
                    return child
    return None


def test_a_part_whose_engine_stands_still_is_made_by_the_other_worker_too(machines: Machines) -> None:  # noqa: F811
    # On a busy machine the other one may take longer than an engine may stand still before it is ended for that.
    machines.shell = machines.shell.having(MILLRACE_STALL="3600")
    farm = machines.master()
    machines.worker(farm, "one")
    slow = machines.worker(farm, "two")
    source, out = film(machines.media / "film.mp4"), machines.media / "out"
    farm.submit(profile=PROFILE, input=str(source), output=str(out), parameters={"chunks": "always"})
    eventually(lambda: chunks(farm.job(1), state="processing", node_name="two"), "the second worker makes a chunk")
    engine = eventually(lambda: _stopped(slow), "its engine stands still")
    job = farm.ends(1)
    assert job["state"] == "completed", job["failure"]
    (hedge,) = [task for task in job["tasks"] if task["hedges"]]
    first = next(task for task in job["tasks"] if task["task"] == hedge["hedges"])
    assert (hedge["state"], hedge["node_name"], first["state"]) == ("completed", "one", "canceled")
    attempts = {attempt["task"]: attempt for attempt in job["attempts"]}
    assert (attempts[first["task"]]["node_name"], attempts[first["task"]]["outcome"]) == ("two", "canceled")
    proof = json.loads((out / "proof.json").read_text())
    beaten = [chunk["made_by"] for chunk in proof["chunks"] if "beat" in chunk["made_by"]]
    assert beaten == [{"node": "one", "task": hedge["task"], "attempt": 1, "beat": first["task"]}]
    made = decoded(out / "video.mp4")
    assert (made.frames, made.streams) == (SECONDS * RATE, ("video h264 320x180", "audio aac"))
    eventually(lambda: not engine.is_running(), "the engine that stood still is ended")
    assert "hedges" in farm.cli("jobs", "show", 1).out
