"""A master and workers as programs of their own, killed, stopped and frozen at the worst moments."""

import hashlib
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx2
import psutil
import pytest
from outside import (
    LONG,
    LONG_FRAMES,
    SHORT,
    Farm,
    Program,
    Running,
    Shell,
    assert_gone,
    decoded,
    eventually,
    is_emptied,
    outcomes,
    program,
    running,
    states,
)

HEARTBEAT_S, LEASE_S = 0.4, 2.5
TERMS = {"MILLRACE_HEARTBEAT": str(HEARTBEAT_S), "MILLRACE_LEASE_TTL": str(LEASE_S)}


def steady_port() -> int:
    """A free port that the kernel gives to nobody who asks for any: nobody takes it while the master is away."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, lowest)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Machines:
    """A master, and workers by name. What is still alive at the end is ended and must leave nothing."""

    def __init__(self, shell: Shell, media: Path) -> None:
        self.shell = shell.having(**TERMS)
        self.media = media
        self.port = steady_port()
        self.stack = ExitStack()
        self.workers: dict[str, Program] = {}

    def master(self) -> Running:
        return self.stack.enter_context(running(self.shell, "master", "--data", "data", "--port", self.port))

    def worker(self, farm: Farm, name: str, *options: object) -> Program:
        shell = self.shell.having(MILLRACE_API_KEY=farm.key)
        started = self.stack.enter_context(
            program(
                shell,
                *(
                    "worker",
                    "--master",
                    farm.url,
                    "--state",
                    name,
                    "--name",
                    name,
                    "--media-root",
                    self.media,
                    *options,
                ),
            )
        )
        self.workers[name] = started
        return started


@pytest.fixture
def machines(shell: Shell, tmp_path: Path) -> Iterator[Machines]:
    media = tmp_path / "media"
    media.mkdir()
    machines = Machines(shell, media)
    with machines.stack:
        yield machines


def running_on(job: dict[str, object]) -> str:
    attempts = job["attempts"]
    assert isinstance(attempts, list)
    return str(attempts[-1]["node_name"])


def test_a_worker_killed_in_the_middle_of_an_encode_loses_nothing(machines: Machines) -> None:
    farm = machines.master()
    first, second = machines.worker(farm, "one"), machines.worker(farm, "two")
    out = machines.media / "out"
    farm.submit(**LONG, output=str(out))
    job = farm.reaches(1, "processing")
    killed = running_on(job)
    victim, survivor = (first, second) if killed == "one" else (second, first)
    engine = victim.engine()
    victim.kill()
    assert_gone([engine])
    job = farm.ends(1)
    assert outcomes(job) == ["lost", "completed"]
    assert [attempt["node_name"] for attempt in job["attempts"]] == [killed, "two" if killed == "one" else "one"]
    assert states(job) == ["queued", "assigned", "processing", "queued", "assigned", "processing", "completed"]
    assert decoded(out / "video.mp4").frames == LONG_FRAMES
    assert [path.name for path in machines.media.iterdir()] == ["out"]
    nodes = {node["name"]: node["state"] for node in farm.http("GET", "/v1/nodes").json()["nodes"]}
    assert sorted(nodes.items()) == sorted({killed: "lost", running_on(job): "ready"}.items())
    survivor.stop()
    # The worker comes back as the same node and cleans up what the killed one left behind.
    left = [*(machines.shell.home / killed / "scratch" / "attempts").iterdir()]
    assert left
    again = machines.worker(farm, killed)
    again.says("worker.crash_cleaned")
    assert not any(path.exists() for path in left)
    assert len(farm.http("GET", "/v1/nodes").json()["nodes"]) == 2


def test_a_worker_tries_every_encoder_at_its_first_start_and_remembers(machines: Machines) -> None:
    farm = machines.master()
    machines.shell = replace(machines.shell, proofs=None)
    first = machines.worker(farm, "one")
    (said,) = first.says("worker.encoders_tried")
    tried = farm.http("GET", "/v1/nodes/one").json()["encoders"]
    assert set(said["works"].split(", ")) == {encoder for encoder, reason in tried.items() if not reason}
    assert all(reason in said["fails"] for reason in tried.values())
    assert tried["libx264"] == ""
    first.stop()
    again = machines.worker(farm, "one")
    again.says("worker.registered")
    assert "worker.encoders_tried" not in again.err
    assert farm.http("GET", "/v1/nodes/one").json()["encoders"] == tried


def test_a_master_killed_in_the_middle_of_an_encode_is_missed_by_nobody(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one")
    farm.submit(**LONG, output=str(machines.media / "out"))
    waiting = farm.submit(**SHORT)["id"]
    farm.reaches(1, "processing")
    worker.engine()
    farm.program.kill()
    farm = machines.master()
    job = farm.ends(1)
    assert job["state"] == "completed"
    assert set(outcomes(job)[:-1]) <= {"lost", "handed_back"}
    assert states(job).count("completed") == 1
    assert decoded(machines.media / "out" / "video.mp4").frames == LONG_FRAMES
    farm.ends(waiting)
    assert farm.job(2)["id"] == waiting


def test_every_job_that_a_killed_master_accepted_is_there_afterwards(machines: Machines) -> None:
    farm = machines.master()
    accepted: dict[str, dict[str, object]] = {}
    enough, over = threading.Event(), threading.Event()

    def submit(who: int) -> None:
        with httpx2.Client(base_url=farm.url, timeout=30) as client:
            for count in range(100_000):
                key = f"{who}-{count}"
                headers = {"Authorization": f"Bearer {farm.key}", "Idempotency-Key": key}
                try:
                    answer = client.post("/v1/jobs", json=SHORT, headers=headers)
                except httpx2.TransportError:
                    unknown.append(key)
                    return
                if answer.status_code == 201:
                    accepted[key] = answer.json()
                if len(accepted) > 60:
                    enough.set()
                if over.is_set():
                    return

    unknown: list[str] = []
    threads = [threading.Thread(target=submit, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    farm.program.kill()
    over.set()
    for thread in threads:
        thread.join()
    farm = machines.master()
    for job in accepted.values():
        found = farm.job(job["id"])
        assert (found["number"], found["state"]) == (job["number"], "queued")
    numbers = {job["number"] for job in accepted.values()}
    assert len(numbers) == len(accepted)
    # A client that got no answer asks again, and has one job whichever way it went.
    assert unknown
    again = [farm.submit(key=key, **SHORT)["id"] for key in unknown]
    assert [farm.submit(key=key, **SHORT)["id"] for key in unknown] == again
    assert not set(again) & {job["id"] for job in accepted.values()}


def test_the_first_sigterm_lets_a_worker_finish_and_the_second_hands_back_unspent(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one")
    farm.submit(**LONG)
    farm.submit(**LONG)
    farm.reaches(1, "processing")
    worker.engine()
    worker.signal(signal.SIGTERM)
    worker.says("worker.draining")
    assert worker.wait() == 0
    job = farm.job(1)
    assert (job["state"], outcomes(job)) == ("completed", ["completed"])
    assert farm.job(2)["attempts"] == []  # it took nothing new

    worker = machines.worker(farm, "one")
    farm.reaches(2, "processing")
    engine = worker.engine()
    worker.signal(signal.SIGTERM)
    worker.says("worker.draining")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert_gone([engine])
    job = farm.job(2)
    assert (job["state"], outcomes(job)) == ("queued", ["handed_back"])
    assert is_emptied(machines.shell.home / "one" / "scratch" / "attempts")
    # Nothing was spent: with no retry allowed, it may still run.
    machines.worker(farm, "two")
    assert outcomes(farm.ends(2)) == ["handed_back", "completed"]


def test_what_does_not_end_within_the_drain_timeout_is_handed_back(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one", "--drain-timeout", "0.2")
    farm.submit(**LONG)
    farm.reaches(1, "processing")
    engine = worker.engine()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert_gone([engine])
    job = farm.job(1)
    assert (job["state"], outcomes(job)) == ("queued", ["handed_back"])


def test_a_worker_that_was_frozen_for_longer_than_its_lease_changes_nothing(machines: Machines) -> None:
    farm = machines.master()
    first, second = machines.worker(farm, "one"), machines.worker(farm, "two")
    out = machines.media / "out"
    farm.submit(**LONG, output=str(out), max_retries=0)
    killed = running_on(farm.reaches(1, "processing"))
    frozen = first if killed == "one" else second
    engine = frozen.engine()
    psutil.Process(frozen.process.pid).suspend()
    try:
        job = farm.ends(1)
        assert outcomes(job) == ["lost", "completed"]  # a lost worker spends no retry
        published = _digests(out)
    finally:
        psutil.Process(frozen.process.pid).resume()
    frozen.says("worker.registered", times=2)
    assert_gone([engine])
    # It is a member again and works, and what it had done meanwhile is gone without a trace.
    (second if frozen is first else first).stop()
    farm.submit(**SHORT)
    assert running_on(farm.ends(2)) == killed
    assert _digests(out) == published
    again = farm.job(1)
    assert again == job
    assert states(again).count("completed") == 1
    assert published["video.mp4"] == next(o["sha256"] for o in again["outputs"] if o["name"] == "video.mp4")
    assert [path.name for path in machines.media.iterdir()] == ["out"]


def test_pause_stops_the_engine_in_place_and_resume_lets_it_finish(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one")
    farm.submit(**LONG, output=str(machines.media / "out"), timeout_s=60)
    farm.reaches(1, "processing")
    engine = worker.engine()
    farm.do("pause", 1)
    worker.says("worker.paused")
    assert engine.status() == psutil.STATUS_STOPPED
    used_s = sum(engine.cpu_times()[:2])
    # Longer than a lease: a paused job is held and not lost.
    beats = farm.http("GET", "/v1/nodes/one").json()["seen"]
    eventually(
        lambda: _later(beats, farm.http("GET", "/v1/nodes/one").json()["seen"]) > LEASE_S, "a lease's length has passed"
    )
    assert engine.status() == psutil.STATUS_STOPPED
    assert sum(engine.cpu_times()[:2]) == used_s
    assert farm.job(1)["state"] == "paused"
    farm.do("resume", 1)
    job = farm.ends(1)
    assert outcomes(job) == ["completed"]
    assert states(job) == ["queued", "assigned", "processing", "paused", "processing", "completed"]
    assert decoded(machines.media / "out" / "video.mp4").frames == LONG_FRAMES


def test_cancel_ends_the_engine_within_two_heartbeats(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one")
    for number in (1, 2):
        farm.submit(**LONG, output=str(machines.media / "out"))
        farm.reaches(number, "processing")
        engine = worker.engine()
        if number == 2:  # a paused engine has to go as well
            farm.do("pause", number)
            worker.says("worker.paused")
        farm.do("cancel", number)
        # The engine itself may take a moment to end when it is asked to.
        assert_gone([engine], within_s=2 * HEARTBEAT_S + 3)
        job = farm.job(number)
        assert (job["state"], outcomes(job)) == ("canceled", ["canceled"])
        assert "canceled on request" in job["transitions"][-1]["reason"]
    assert list(machines.media.iterdir()) == []
    farm.submit(**SHORT)
    farm.ends(3)  # its slot is free again
    assert is_emptied(machines.shell.home / "one" / "scratch" / "attempts")


def test_a_time_limit_does_not_run_while_a_job_is_paused(machines: Machines) -> None:
    farm = machines.master()
    worker = machines.worker(farm, "one")
    farm.submit(scenario="1080p30-h265", parameters={"duration_s": 60}, timeout_s=2)
    farm.reaches(1, "processing")
    engine = worker.engine()
    farm.do("pause", 1)
    worker.says("worker.paused")
    paused_at = farm.http("GET", "/v1/nodes/one").json()["seen"]
    eventually(
        lambda: _later(paused_at, farm.http("GET", "/v1/nodes/one").json()["seen"]) > 3, "its limit would have passed"
    )
    assert engine.status() == psutil.STATUS_STOPPED
    farm.do("resume", 1)
    job = farm.ends(1, "failed")
    assert (job["failure"]["class"], outcomes(job)) == ("timeout", ["failed"])
    assert_gone([engine])


def test_a_job_that_no_machine_can_run_is_rejected_with_the_reason(shell: Shell) -> None:
    with running(shell.having(MILLRACE_REJECT_AFTER="1"), "up", "--data", "farm", "--port", 0) as farm:
        wishes = {"GStreamer": {"engine": "gstreamer"}, "h100": {"requires": {"gpu": "h100"}}}
        submitted = {word: farm.submit(**SHORT, **wish)["id"] for word, wish in wishes.items()}
        for word, job_id in submitted.items():
            job = farm.ends(job_id, "rejected")
            assert job["attempts"] == []
            assert word in job["failure"]["message"]


def _later(before: str, after: str) -> float:
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
