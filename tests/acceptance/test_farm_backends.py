"""A farm on PostgreSQL and S3: two masters that are one farm, and media that lies in buckets."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from outside import LONG, SHORT, Farm, Program, Running, Shell, assert_gone, decoded, outcomes, program, running, states

KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret-value"}  # those of `s3_endpoint`
KEY = "mr_one-key-for-all-masters"
TERMS = {"MILLRACE_HEARTBEAT": "0.4", "MILLRACE_LEASE_TTL": "3", "MILLRACE_API_KEY": KEY}


@pytest.fixture
def bucket(s3_endpoint: str) -> S3Store:
    """The bucket as its owner sees it."""
    return S3Store(
        "media",
        config={
            "endpoint": s3_endpoint,
            "region": "us-east-1",
            "access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
            "secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
            "virtual_hosted_style_request": False,
        },
        client_options={"allow_http": True},
    )


def names(bucket: S3Store, prefix: str) -> list[str]:
    return sorted(
        one["path"].removeprefix(prefix + "/") for page in obstore.list(bucket, prefix=prefix) for one in page
    )


def content(bucket: S3Store, key: str) -> bytes:
    return bytes(obstore.get(bucket, key).bytes())


class Masters:
    """Two masters on one database, and a worker that knows one or both."""

    def __init__(self, shell: Shell, database: str) -> None:
        self.shell = shell.having(**TERMS, MILLRACE_STORE=database)
        self.stack = ExitStack()

    def start(self, *options: object, **environ: str) -> tuple[Running, Running]:
        self.shell = self.shell.having(**environ)
        self.one, self.two = (
            self.stack.enter_context(running(self.shell, "master", "--data", name, "--port", 0, *options))
            for name in ("one", "two")
        )
        return self.one, self.two

    def worker(self, *masters: Running, options: tuple[object, ...] = ()) -> Program:
        known = ",".join(master.url for master in masters or (self.one, self.two))
        return self.stack.enter_context(program(self.shell, "worker", "--master", known, "--name", "w", *options))


@pytest.fixture
def masters(shell: Shell, new_database: Callable[[], str]) -> Iterator[Masters]:
    masters = Masters(shell, new_database())
    with masters.stack:
        yield masters


def test_two_masters_on_one_postgresql_are_one_farm(masters: Masters) -> None:
    one, two = masters.start()
    worker = masters.worker(one)
    assert [node["name"] for node in two.http("GET", "/v1/nodes").json()["nodes"]] == ["w"]
    # Submitted to one, followed and steered through the other.
    longer = {
        **LONG,
        "parameters": {"duration_s": 60},
    }  # two masters and a command come between its start and its pause
    job = one.submit(key="same", **longer)
    assert two.submit(key="same", **longer)["id"] == job["id"]
    after = two.submit(**SHORT)["number"]
    assert after > job["number"]
    two.reaches(job["id"], "processing")
    engine = worker.engine()
    assert two.do("pause", job["id"])["state"] == "paused"
    worker.says("worker.paused")
    assert f"job {job['number']} is paused" in two.cli("jobs", "pause", job["number"]).out  # once more changes nothing
    assert one.job(job["id"])["state"] == "paused"
    two.do("resume", job["id"])
    worker.says("worker.resumed")
    two.do("cancel", job["id"])
    assert_gone([engine])
    assert one.job(job["number"])["state"] == "canceled"
    assert two.do("retry", job["id"])["state"] == "queued"
    two.ends(after)
    ended = one.ends(job["id"])
    assert outcomes(ended) == ["canceled", "completed"]
    assert ended["transitions"] == two.job(job["id"])["transitions"]
    log = two.log(job["id"])
    assert log == one.log(job["id"])
    assert "attempt 2" in log


def test_a_farm_goes_on_when_one_of_its_masters_is_killed(shell: Shell, masters: Masters) -> None:
    one, two = masters.start()
    masters.worker(one, two)
    job = one.submit(**LONG)["id"]
    one.reaches(job, "processing")
    one.program.kill()
    # A user who knows both addresses notices nothing either.
    both = shell.having(MILLRACE_MASTER=f"{one.url},{two.url}", MILLRACE_API_KEY=KEY)
    done = both.run("jobs", "watch", job, "--quiet")
    assert done.code == 0, done.err
    assert outcomes(two.job(job)) == ["completed"]
    assert states(two.job(job)).count("completed") == 1
    done = both.run("jobs", "submit", "--scenario", "144p10-h264", "--duration", 1, "--wait")
    assert done.code == 0, done.err


def test_inputs_and_outputs_in_buckets(
    shell: Shell, s3_endpoint: str, bucket: S3Store, clips: Path, tmp_path: Path
) -> None:
    place = secrets.token_hex(4)
    obstore.put(bucket, f"{place}/in/film.mp4", (clips / "small.mp4").read_bytes())
    environ = {**KEYS, "AWS_ENDPOINT_URL": s3_endpoint, "MILLRACE_HEARTBEAT": "0.4"}
    with running(shell.having(**environ), "up", "--data", "data", "--port", 0) as farm:
        _work_in_buckets(farm, bucket, place, tmp_path)


def _work_in_buckets(farm: Farm, bucket: S3Store, place: str, tmp_path: Path) -> None:
    order = ("-p", "web-hls", "--to", f"s3://media/{place}/out", "--wait", "-o", "json")
    done = farm.cli("jobs", "submit", f"s3://media/{place}/in/film.mp4", *order)
    assert done.code == 0, done.err
    outputs = {output["name"]: output for output in done.json()["outputs"]}
    stored = names(bucket, f"{place}/out")
    assert set(outputs) <= set(stored)
    for name, output in outputs.items():
        data = content(bucket, f"{place}/out/{name}")
        assert hashlib.sha256(data).hexdigest() == output["sha256"]
        assert output["path"] == f"s3://media/{place}/out/{name}"
        target = tmp_path / "got" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    assert decoded(tmp_path / "got" / "master.m3u8").frames == 25
    # What is there already is refused, and stays.
    before = {name: content(bucket, f"{place}/out/{name}") for name in stored}
    done = farm.cli("jobs", "submit", f"s3://media/{place}/in/film.mp4", *order)
    assert done.code == 1
    assert done.json()["failure"]["class"] == "output_exists"
    assert {name: content(bucket, f"{place}/out/{name}") for name in names(bucket, f"{place}/out")} == before
    # What is not there, and a bucket that is not there, are said in a sentence.
    for missing in (f"s3://media/{place}/in/nothing.mp4", "s3://no-such-bucket/film.mp4"):
        done = farm.cli("jobs", "submit", missing, "-p", "mp4-h264", "--max-retries", 0, "--wait", "-o", "json")
        assert done.code == 1
        failure = done.json()["failure"]
        assert (failure["class"], "\n" in failure["message"]) == ("input", False), failure


def test_uploads_and_kept_outputs_in_s3_are_shared_by_two_masters(
    shell: Shell,
    masters: Masters,
    s3_endpoint: str,
    bucket: S3Store,
    clips: Path,
    tmp_path: Path,
) -> None:
    place = secrets.token_hex(4)
    blobs = f"s3://media/{place}?endpoint={s3_endpoint}"
    one, two = masters.start("--blobs", blobs, **KEYS)
    masters.worker(two)
    done = one.cli("jobs", "submit", clips / "small.mp4", "--upload", "-p", "mp4-h264", "--wait", "-o", "json")
    assert done.code == 0, done.err
    outputs = done.json()["outputs"]
    (output,) = (one for one in outputs if one["name"] != "proof.json")
    kept = [name for name in names(bucket, place) if name.startswith("jobs/")]
    assert len(kept) == len(outputs)
    for master in (one, two):
        answer = master.http("GET", output["url"])
        assert hashlib.sha256(answer.content).hexdigest() == output["sha256"]
        part = master.http("GET", output["url"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, answer.content[10:20])
    (tmp_path / "got.mp4").write_bytes(answer.content)
    assert decoded(tmp_path / "got.mp4").streams == ("video h264 128x72", "audio aac")
    # An upload begun with one master goes on with the other.
    data = (clips / "small.mp4").read_bytes()
    begun = one.http("POST", "/v1/uploads", json={"name": "film.mp4", "size": len(data)}).json()["id"]
    half = len(data) // 2
    for master, start, piece in ((one, 0, data[:half]), (two, half, data[half:])):
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start)}
        sent = master.http("PATCH", f"/v1/uploads/{begun}", content=piece, headers=headers)
        assert (sent.status_code, sent.json()["offset"]) == (200, start + len(piece))
    assert one.http("GET", f"/v1/uploads/{begun}/content").content == data
    assert not [*(shell.home / "one").glob("blobs/**/*.mp4")]
