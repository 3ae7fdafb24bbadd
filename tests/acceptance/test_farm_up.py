"""`millrace up`: a whole farm on one machine, driven as its user drives it."""

import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from outside import (
    LONG,
    LONG_FRAMES,
    SHORT,
    Farm,
    Running,
    Shell,
    assert_gone,
    decoded,
    eventually,
    is_emptied,
    outcomes,
    running,
    states,
)

QUICK = {"MILLRACE_HEARTBEAT": "0.3"}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    folder = tmp_path_factory.mktemp("media")
    (folder / "small.mp4").write_bytes((clips / "small.mp4").read_bytes())
    return folder


@pytest.fixture(scope="module")
def farm(wheel: Path, tmp_path_factory: pytest.TempPathFactory, media: Path, proofs: Path) -> Iterator[Running]:
    """One farm with two workers for the tests of this module that leave it as they found it."""
    home = tmp_path_factory.mktemp("home")
    shell = Shell(wheel, home, QUICK, proofs=proofs)
    with running(shell, "up", "--data", "farm", "--port", 0, "--workers", 2, "--media-root", media) as farm:
        yield farm


def test_it_is_ready_when_it_says_so_and_leaves_nothing_after_sigterm(shell: Shell, clips: Path) -> None:
    process = shell.having(**QUICK).start(
        *("up", "--data", "farm", "--port", 0, "--workers", 2, "--media-root", clips, "--json")
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"url", "api_key"}
    farm = Farm(shell, ready["url"], ready["api_key"])
    assert farm.http("GET", "/ready").json()["ready"] is True
    assert [node["state"] for node in farm.http("GET", "/v1/nodes").json()["nodes"]] == ["ready", "ready"]
    key_file = shell.home / "farm" / "api-key"
    assert key_file.read_text().strip() == ready["api_key"]
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((shell.home / "farm").stat().st_mode) == 0o700
    farm.submit(**LONG)
    farm.reaches(1, "processing")
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""  # the ready line stands alone
    assert "Traceback" not in err
    assert_gone(family)
    assert is_emptied(shell.home / "farm", "worker-*/scratch/attempts/*")


def test_a_farm_that_is_not_given_its_time_says_so(shell: Shell) -> None:
    with running(shell, "up", "--data", "farm", "--port", 0) as farm:
        family = farm.program.family()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):  # drain, hand back, kill
            farm.program.signal(number)
        assert farm.program.wait() == 3
        assert_gone(family)


def test_the_key_and_the_jobs_outlive_a_restart(shell: Shell) -> None:
    start = ("up", "--data", "farm", "--port", 0)
    with running(shell, *start) as farm:
        key, job = farm.key, farm.submit(**SHORT)
        farm.ends(1)
    with running(shell, *start) as farm:
        assert farm.key == key
        assert farm.job(1)["id"] == job["id"]
        assert len(farm.http("GET", "/v1/nodes").json()["nodes"]) == 1  # the same machine stays one node
        # On the master's machine nobody has to carry the key about.
        done = shell.having(MILLRACE_DATA="farm").run("jobs", "list", "--master", farm.url)
        assert done.code == 0, done.err
        assert "completed" in done.out


def test_a_farm_that_was_killed_goes_on_where_it_was(shell: Shell, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shell = shell.having(**QUICK, MILLRACE_LEASE_TTL="2")
    start = ("up", "--data", "farm", "--port", 0, "--media-root", media)
    with running(shell, *start) as farm:
        farm.submit(**LONG, output=str(media / "out"))
        second = farm.submit(**SHORT)["id"]
        farm.reaches(1, "processing")
        engine = farm.program.engine()
        farm.program.kill()
        assert_gone([engine])
        assert list(media.iterdir()) == []
    with running(shell, *start) as farm:
        assert outcomes(farm.ends(1)) == ["lost", "completed"]
        assert farm.ends(second)["number"] == 2
        assert decoded(media / "out" / "video.mp4").frames == LONG_FRAMES


def _program_of(farm: Running, name: str) -> psutil.Process:
    """The master or a worker of the farm, as the kernel knows it."""

    def found() -> psutil.Process | None:
        return next((one for one in psutil.Process(farm.program.process.pid).children() if name in one.cmdline()), None)

    one = eventually(found, f"the {name} runs")
    assert isinstance(one, psutil.Process)
    return one


def test_a_killed_master_and_a_killed_worker_come_back_by_themselves(shell: Shell, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    start = ("up", "--data", "farm", "--port", 0, "--media-root", media)
    with running(shell.having(**QUICK), *start) as farm:
        farm.submit(**LONG, output=str(media / "out"))
        farm.reaches(1, "processing")
        engine = farm.program.engine()
        _program_of(farm, "master").kill()
        # The socket outlived the master, so nobody is refused meanwhile, and the worker keeps its work.
        assert farm.http("GET", "/ready").json()["ready"] is True
        assert outcomes(farm.ends(1)) == ["completed"]
        assert_gone([engine])
        assert decoded(media / "out" / "video.mp4").frames == LONG_FRAMES

        farm.submit(**LONG)
        farm.reaches(2, "processing")
        engine = farm.program.engine()
        _program_of(farm, "worker").kill()
        assert_gone([engine])
        assert outcomes(farm.ends(2)) == ["lost", "completed"]
        assert len(farm.http("GET", "/v1/nodes").json()["nodes"]) == 1
        assert [one["process"] for one in farm.program.says("up.restarts", times=2)] == ["master", "worker-1"]


def test_a_second_signal_hands_back_what_runs(shell: Shell) -> None:
    start = ("up", "--data", "farm", "--port", 0)
    with running(shell.having(**QUICK), *start, "--drain-timeout", 100) as farm:
        farm.submit(**LONG, max_retries=0)
        farm.reaches(1, "processing")
        engine = farm.program.engine()
        farm.program.signal(signal.SIGTERM)
        farm.program.says("worker.draining")
        farm.program.signal(signal.SIGTERM)
        assert farm.program.wait() == 0
        assert_gone([engine])
    with running(shell, *start) as farm:
        assert outcomes(farm.ends(1)) == ["handed_back", "completed"]


def test_the_supervisor_of_a_farm_answers_ctl(farm: Running) -> None:
    done = farm.shell.run("ctl", "status", "--socket", "farm/supervise.sock", "--output", "json")
    assert done.code == 0, done.err
    found = {one["name"] for one in done.json()["processes"]}
    assert found == {"master", "worker-1", "worker-2"}


def test_a_second_farm_on_the_same_data_names_the_first(farm: Running) -> None:
    done = farm.shell.run("up", "--data", "farm", "--port", 0, "--json")
    assert done.code == 2
    assert done.out == ""
    assert f"pid {farm.program.process.pid}" in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert farm.http("GET", "/health").json()["status"] == "healthy"


def test_a_port_that_is_taken_is_said_in_a_sentence(farm: Running, shell: Shell) -> None:
    done = shell.run("up", "--data", "other", "--port", farm.url.rpartition(":")[2])
    assert done.code == 2
    assert "another program listens" in done.err


def test_without_the_right_key_nothing_but_health_answers(farm: Running) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
        answer = httpx2.get(f"{farm.url}/v1/jobs", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["content-type"] == "application/problem+json"
    assert httpx2.get(f"{farm.url}/v1/jobs", headers={"X-API-Key": farm.key}).status_code == 200
    assert httpx2.get(f"{farm.url}/health").status_code == 200
    for environ in ({}, {"MILLRACE_API_KEY": "wrong"}):
        done = Shell(farm.shell.site, farm.shell.home.parent, environ).run("jobs", "list", "--master", farm.url)
        assert done.code == 1
        assert "key" in done.err
        assert "wrong" not in done.err


@pytest.mark.parametrize("variable", ["MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"])
def test_the_predecessors_variables_carry_the_key_too(farm: Running, variable: str) -> None:
    shell = farm.shell.having(MASTER_URL=farm.url, **{variable: farm.key})
    assert shell.run("nodes", "list").code == 0


def test_a_job_by_path_from_submission_to_its_files(farm: Running, media: Path) -> None:
    done = farm.cli(
        *("jobs", "submit", media / "small.mp4", "-p", "mp4-h264", "--to", media / "out", "--label", "show=news"),
        *("--queue", "live", "--priority", "high", "--wait", "--output", "json"),
    )
    assert done.code == 0, done.err
    job = done.json()
    assert (job["state"], job["queue"], job["priority"], job["labels"]) == (
        "completed",
        "live",
        "high",
        {"show": "news"},
    )
    assert states(job) == ["queued", "assigned", "processing", "completed"]
    assert outcomes(job) == ["completed"]
    (output,) = (one for one in job["outputs"] if one["name"] != "proof.json")
    path = Path(output["path"])
    assert path.parent == media / "out"
    assert output["size"] == path.stat().st_size
    assert output["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert decoded(path).streams == ("video h264 128x72", "audio aac")

    by_id, by_number = (farm.cli("jobs", "show", ref, "-o", "json").json() for ref in (job["id"], job["number"]))
    assert by_id == by_number
    table = farm.cli("jobs", "show", job["number"]).out
    for word in (job["id"], "completed", "small.mp4", "show=news", str(path)):
        assert word in table
    listed = farm.cli("jobs", "list", "--state", "completed", "--queue", "live")
    assert listed.code == 0
    assert str(media / "small.mp4") in listed.out
    page = farm.cli("jobs", "list", "--queue", "live", "--limit", 1, "--output", "json").json()
    assert [one["id"] for one in page["jobs"]] == [job["id"]]
    log = farm.cli("jobs", "logs", job["number"])
    assert log.code == 0
    assert "libx264" in log.out
    assert "exited with code 0" in log.out
    watched = farm.cli("jobs", "watch", job["id"], "--quiet")
    assert watched.code == 0
    assert "completed" in watched.out


def test_an_upload_comes_back_as_an_output_that_the_master_keeps(farm: Running, clips: Path, tmp_path: Path) -> None:
    done = farm.cli("jobs", "submit", clips / "small.mp4", "--upload", "-p", "web-hls", "--wait", "-o", "json")
    assert done.code == 0, done.err
    outputs = done.json()["outputs"]
    assert "master.m3u8" in {output["name"] for output in outputs}
    for output in outputs:
        answer = farm.http("GET", output["url"])
        assert answer.status_code == 200
        assert len(answer.content) == output["size"]
        assert hashlib.sha256(answer.content).hexdigest() == output["sha256"]
        target = tmp_path / "got" / output["name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(answer.content)
    found = decoded(tmp_path / "got" / "master.m3u8")
    assert sorted(found.streams) == ["audio aac", "video h264 128x72"]
    assert found.frames == 25


def test_logs_follow_a_running_job_to_its_end(farm: Running) -> None:
    job = farm.submit(scenario="360p24-h264", parameters={"duration_s": 12})
    farm.reaches(job["id"], "processing")
    following = farm.client_shell().start("jobs", "logs", "-f", job["number"])
    watching = farm.client_shell().start("jobs", "watch", job["number"])
    assert following.stdout is not None
    first = following.stdout.readline()
    assert f"job {job['number']}, attempt 1" in first
    rest = following.stdout.read()
    _, err = following.communicate(timeout=60)
    assert following.returncode == 0, err
    assert "exited with code 0" in rest
    assert first + rest == farm.log(job["id"])
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "completed" in out
    assert f"job {job['number']}: " in err


def test_a_job_is_paused_resumed_canceled_and_retried(farm: Running) -> None:
    number = farm.submit(**LONG)["number"]
    farm.reaches(number, "processing")
    farm.do("pause", number)
    assert f"job {number} is paused" in farm.cli("jobs", "pause", number).out  # once more changes nothing
    assert farm.cli("jobs", "resume", number, "--output", "json").json()["state"] == "processing"
    farm.do("cancel", number)
    canceled = farm.cli("jobs", "cancel", number)
    assert canceled.code == 0
    assert f"job {number} is canceled" in canceled.out
    refused = farm.cli("jobs", "pause", number)
    assert refused.code == 1
    assert "canceled" in refused.err
    assert farm.cli("jobs", "watch", number, "-q").code == 1
    retried = farm.cli("jobs", "retry", number)
    assert retried.code == 0
    assert f"job {number} is queued" in retried.out
    job = farm.ends(number)
    assert outcomes(job) == ["canceled", "completed"]
    assert states(job)[-5:] == ["canceled", "queued", "assigned", "processing", "completed"]
    assert farm.cli("jobs", "retry", number).code == 1


def test_a_job_that_waits_is_paused_and_canceled_without_ever_running(farm: Running) -> None:
    number = farm.submit(**SHORT, run_after="2030-01-01T00:00:00Z")["number"]
    assert farm.job(number)["state"] == "pending"
    assert farm.do("pause", number)["state"] == "paused"
    assert farm.do("resume", number)["state"] == "pending"
    assert farm.do("cancel", number)["state"] == "canceled"
    assert farm.job(number)["attempts"] == []


def test_a_failing_job_ends_commands_with_1_and_its_reason(farm: Running, media: Path) -> None:
    done = farm.cli("jobs", "submit", media / "missing.mp4", "-p", "mp4-h264", "--wait")
    assert done.code == 1
    assert "missing.mp4" in done.err
    number = done.out.split()[1]
    shown = farm.cli("jobs", "show", number)
    assert shown.code == 0
    assert "input" in shown.out
    assert "missing.mp4" in shown.out
    assert farm.cli("jobs", "watch", number).code == 1


def test_wrong_usage_and_refusals_have_their_exit_codes(farm: Running) -> None:
    for arguments, code in (
        (["jobs", "submit", "--frobnicate"], 2),
        (["jobs", "submit", "--queue", "fast"], 2),
        (["jobs", "submit", "--label", "nothing"], 2),
        (["jobs", "submit", "-p", "no/such.yaml"], 2),
        (["jobs", "submit", "-p", "web-hsl"], 1),
        (["jobs", "show", "999999"], 1),
        (["jobs", "show", "jffffffff"], 1),
        (["nodes", "show", "nobody"], 1),
        (["profiles", "show", "web-hsl"], 1),
    ):
        done = farm.cli(*arguments)
        assert done.code == code, (arguments, done)
        assert done.err.strip()
    assert "web-hls" in farm.cli("jobs", "submit", "-p", "web-hsl").err
    nobody = farm.shell.having(MILLRACE_API_KEY="any").run("jobs", "list", "--master", "http://127.0.0.1:9")
    assert nobody.code == 1
    for words in ("http://127.0.0.1:9", "connection refused", "`millrace up`", "--master"):
        assert words in nobody.err


def test_profiles_are_listed_shown_and_checked(farm: Running) -> None:
    names = [one["name"] for one in farm.cli("profiles", "list", "-o", "json").json()["profiles"]]
    assert names == [one["name"] for one in farm.http("GET", "/v1/profiles").json()["profiles"]]
    assert {"web-hls", "mp4-h264", "mp4-h265", "av1", "audio", "thumbnails"} <= set(names)
    listed = farm.cli("profiles", "list").out
    assert all(name in listed for name in names)
    own = farm.shell.home / "own.yaml"
    own.write_text(farm.cli("profiles", "show", "web-hls").out)
    assert farm.cli("profiles", "check", own).code == 0
    own.write_text("name: own\nrenditions: [{video: {codec: h266}}]\n")
    wrong = farm.cli("profiles", "check", own)
    assert wrong.code == 2
    assert "h266" in wrong.err or "codec" in wrong.err


def test_a_node_is_drained_resumed_and_removed(shell: Shell) -> None:
    with running(shell.having(**QUICK), "up", "--data", "farm", "--port", 0) as farm:
        (node,) = farm.cli("nodes", "list", "--output", "json").json()["nodes"]
        table = farm.cli("nodes", "list").out
        assert node["name"] in table
        assert "libx264" in table
        assert farm.cli("nodes", "show", node["id"], "-o", "json").json()["id"] == node["id"]
        shown = farm.cli("nodes", "show", node["name"]).out
        assert node["id"] in shown
        assert "h264_nvenc" in shown  # with the reason why it does not work
        farm.submit(**LONG)
        farm.reaches(1, "processing")
        farm.http("POST", f"/v1/nodes/{node['name']}/drain")
        held = farm.http("DELETE", f"/v1/nodes/{node['name']}")
        assert held.status_code == 409
        assert "holds 1 task" in held.json()["detail"]
        waiting = farm.submit(**SHORT)["number"]
        farm.ends(1)  # what it has, it finishes
        farm.program.says("worker.told_to_drain")
        assert "draining" in farm.cli("nodes", "drain", node["name"]).out
        assert farm.job(waiting)["state"] == "queued"
        assert "ready" in farm.cli("nodes", "resume", node["name"]).out
        farm.ends(waiting)
        assert farm.cli("nodes", "drain", node["name"]).code == 0
        assert farm.cli("nodes", "remove", node["name"]).code == 0
        # A live worker that was forgotten introduces itself again.
        farm.program.says("worker.registered", times=2)
        assert len(farm.http("GET", "/v1/nodes").json()["nodes"]) == 1


def test_the_events_of_all_jobs_can_be_taken_up_where_they_broke_off(farm: Running) -> None:
    first = farm.submit(**SHORT)
    second = farm.submit(**SHORT)
    farm.ends(first["id"])
    farm.ends(second["id"])
    ours: list[dict[str, object]] = []
    for event in farm.transitions(after="beginning"):
        if event["job"] in {first["id"], second["id"]}:
            ours.append(event)
        if len(ours) == 8:
            break
    again = []
    for event in farm.transitions(after=str(ours[2]["cursor"])):
        if event["job"] in {first["id"], second["id"]}:
            again.append(event)
        if len(again) == 5:
            break
    assert again == ours[3:]


def test_a_repeated_submission_with_the_same_key_is_the_same_job(farm: Running) -> None:
    first = farm.cli(
        "jobs", "submit", "--scenario", "144p10-h264", "--duration", 1, "--idempotency-key", "k", "-o", "json"
    )
    again = farm.cli(
        "jobs", "submit", "--scenario", "144p10-h264", "--duration", 1, "--idempotency-key", "k", "-o", "json"
    )
    other = farm.cli("jobs", "submit", "--scenario", "144p12-h264", "--duration", 1, "--idempotency-key", "k")
    assert first.json()["id"] == again.json()["id"]
    assert other.code == 1
    assert "key" in other.err.lower()


def test_the_help_of_every_command_is_one_screen_and_completion_is_offered(shell: Shell) -> None:
    for command in ([], ["up"], ["jobs", "submit"], ["nodes"]):
        done = shell.run(*command, "--help")
        assert done.code == 0
        assert "Usage: millrace" in done.out
    script = subprocess.run(
        shell.command(),
        env={**shell.environ(), "_MILLRACE_COMPLETE": "bash_complete", "COMP_WORDS": "millrace jo", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=os.fspath(shell.home),
    )
    assert script.stdout.split() == ["plain,jobs"], script
