"""Secrets wherever somebody may put one, each with a word of its own; afterwards the words are looked for in all that a farm
says, writes and starts.
"""

import contextlib
import json
from pathlib import Path

import psutil
from outside import LONG, SHORT, Running, Shell, running

NOWHERE = "127.0.0.1:9"  # the discard port: nobody listens
GIVEN = {
    "AWS_SECRET_ACCESS_KEY": "canary0aws0secret0access0key",
    "AWS_SESSION_TOKEN": "canary0aws0session0token",
    "DATABASE_PASSWORD": "canary0environment0password",
    "MILLRACE_API_KEY": "canary0first0api0key0of0the0farm",
}
IN_URL, IN_QUERY, IN_HOOK = "canary0url0userinfo", "canary0signed0query", "canary0hook0path"
GUESSED, IN_PATH, IN_FORM = "canary0guessed0key", "canary0in0a0path", "canary0typed0into0the0form"


def test_no_secret_is_written_shown_or_handed_on(shell: Shell, tmp_path: Path) -> None:
    environ = {
        **GIVEN,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_ENDPOINT_URL": f"http://{NOWHERE}",
        "MILLRACE_HEARTBEAT": "0.4",
    }
    places: dict[str, str] = {}
    with running(shell.having(**environ), "up", "--data", "farm", "--port", 0, "--workers", 1) as farm:
        secrets = {*GIVEN.values(), IN_URL, IN_QUERY, GUESSED, IN_PATH, IN_FORM, *use(farm)}
        job = farm.submit(**LONG)
        places |= of_processes(farm)
        farm.do("cancel", job["id"])
        places |= said(farm)
    places["log"] = farm.program.err
    for path in (shell.home / "farm").rglob("*"):
        if path.is_file():
            places[f"file {path.relative_to(shell.home)}"] = path.read_bytes().decode("latin-1")
    found = {(word, place) for word in secrets for place, text in places.items() if word in text}
    database = {place for place in places if place.startswith("file farm/millrace.db")}
    # A master cannot sign for a webhook without its secret, nor a worker fetch an input without its address: those two stand
    # in the database as they are, and docs/explanation/security.md says so.
    assert {
        one
        for one in found
        if not (one[1] in database and (one[0] in (IN_URL, IN_QUERY) or one[0].startswith("whsec_")))
    } == set()
    assert {place for word, place in found if word == IN_URL} <= database
    # The look itself: what is no secret is found.
    assert "canary0harmless" in places["log"] + places["/v1/audit"]
    assert database


def use(farm: Running) -> set[str]:
    """Put a secret everywhere; those that the farm made itself."""
    farm.ends(farm.submit(**SHORT)["id"])
    for location in (f"http://user:{IN_URL}@{NOWHERE}/a.mp4?X-Amz-Signature={IN_QUERY}", "s3://bucket/film.mp4"):
        job = farm.submit(input=location, profile="mp4-h264", max_retries=0)
        farm.ends(job["id"], "failed")
    made = {
        farm.cli("keys", "create", "ci", "--role", "submitter").out.strip(),
        farm.cli("keys", "rotate", "ci").out.strip(),
        farm.cli("nodes", "invite").out.strip().splitlines()[-1].split()[-1],
        farm.http("POST", "/v1/webhooks", json={"url": f"https://1.1.1.1/{IN_HOOK}"}).json()["secret"],
    }
    assert all(len(one) > 20 for one in made), made
    for headers in ({"Authorization": f"Bearer {GUESSED}"}, {"Authorization": "", "X-API-Key": GUESSED}):
        assert farm.http("GET", "/v1/jobs", headers=headers).status_code == 401
    farm.http("GET", f"/v1/jobs?api_key={IN_PATH}&token={IN_PATH}")
    farm.http("POST", f"/v1/jobs/token={IN_PATH}/cancel")
    farm.http("POST", "/v1/jobs/canary0harmless/cancel")
    assert farm.http("POST", "/login", content=f"key={IN_FORM}".encode()).status_code == 401
    farm.http("POST", "/v1/keys", json={"name": "x", "role": "viewer", "password": IN_FORM})
    return made


def of_processes(farm: Running) -> dict[str, str]:
    """Command lines of all, and the environment of the engines."""
    engine = farm.program.engine()
    found = {}
    for one in (*farm.program.family(), psutil.Process(farm.program.process.pid)):
        with contextlib.suppress(psutil.Error):
            found[f"command line {one.pid}"] = " ".join(one.cmdline())
    for one in (engine, *engine.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found[f"environment {one.pid}"] = str(one.environ())
    assert any(place.startswith("environment") for place in found)
    return found


def said(farm: Running) -> dict[str, str]:
    """What it answers to whoever may see everything, but for the address of an input to whoever may see the job."""
    found = {
        path: farm.http("GET", path).text
        for path in ("/metrics", "/v1/audit?limit=500", "/v1/nodes", "/v1/keys?ended=true", "/v1/webhooks", "/health")
    }
    found["/v1/audit"] = found["/v1/audit?limit=500"]
    for job in farm.http("GET", "/v1/jobs?limit=500").json()["jobs"]:
        whole = farm.job(job["id"])
        for place in (job, whole):
            place.pop("input")
        found[f"job {job['number']}"] = json.dumps([job, whole]) + farm.log(job["id"])
    found["doctor"] = farm.cli("doctor", "--data", "farm", "-o", "json").out
    found["supervisor"] = "".join(
        farm.shell.run("ctl", *words, "--socket", "farm/supervise.sock").out
        for words in (("plan",), ("status",), ("audit",), ("logs",))
    )
    return found
