"""API keys as people make and use them, on two masters with one PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from outside import PATIENCE_S, SHORT, Farm, Running, Shell, eventually, program, running

FIRST = "mr_one-key-for-all-masters"
TERMS = {"MILLRACE_HEARTBEAT": "0.4", "MILLRACE_LEASE_TTL": "3"}


@pytest.fixture
def masters(shell: Shell, new_database: Callable[[], str]) -> Iterator[tuple[Running, Running]]:
    shell = shell.having(**TERMS, MILLRACE_API_KEY=FIRST, MILLRACE_STORE=new_database())
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(running(shell, "master", "--data", name, "--port", 0)) for name in ("one", "two")
        )
        yield one, two


def with_key(farm: Farm, *create: object, through: Farm) -> Farm:
    """The farm for whoever holds a new key, made through a master."""
    made = through.cli("keys", "create", *create)
    assert made.code == 0, made.err
    assert made.out.strip() not in made.err
    return Farm(farm.shell, farm.url, made.out.strip())


def test_a_key_opens_what_its_role_does_on_every_master_until_it_is_revoked(
    masters: tuple[Running, Running], shell: Shell
) -> None:
    one, two = masters
    # Made through one master, it is good on the other at once.
    submitter = with_key(two, "anna", "--role", "submitter", "--tenant", "acme", "--expires", "1h", through=one)
    worker = with_key(two, "workers", "--role", "worker", through=one)
    job = submitter.submit(**SHORT)
    assert job["tenant"] == "acme"
    other = one.submit(**SHORT)
    alone = shell.having(**TERMS, MILLRACE_API_KEY=worker.key)
    with program(alone, "worker", "--master", two.url, "--name", "w"):
        submitter.ends(job["id"])
        one.ends(other["id"])
    listed = submitter.cli("jobs", "list", "-o", "json").json()["jobs"]
    assert [one["id"] for one in listed] == [job["id"]]
    for farm, words, refusal in (
        (submitter, ("jobs", "show", other["number"]), f"there is no job '{other['number']}'"),
        (submitter, ("jobs", "cancel", other["id"]), f"there is no job '{other['id']}'"),
        (submitter, ("nodes", "list"), "you may not `inspect` here with role submitter for tenant acme"),
        (submitter, ("keys", "list"), "you may not `admin` here"),
        (worker, ("jobs", "list"), "you may not `read` here with role worker"),
        (replace(submitter, key=submitter.key[:-1]), ("jobs", "list"), "this API key has a typo"),
        (one, ("keys", "revoke", "api"), "cannot revoke key api"),
        (one, ("keys", "revoke", "nobody"), "there is no key 'nobody'"),
        (one, ("keys", "create", "anna", "--role", "viewer"), "another one is called anna"),
        (
            one,
            ("keys", "create", "x", "--role", "admin", "--tenant", "acme"),
            "tenant: binds submitter and viewer only",
        ),
    ):
        done = farm.cli(*words)
        assert (done.code, refusal in done.err, done.out) == (1, True, ""), done.err
    for words in (("--expires", "soon"), ("--role", "boss")):
        assert one.cli("keys", "create", "x", "--role", "viewer", *words).code == 2
    # Another secret; with a grace both are good.
    rotated = one.cli("keys", "rotate", "anna", "--grace", "1h", "-o", "json").json()
    renewed = replace(submitter, key=rotated["secret"])
    for farm in (submitter, renewed):
        assert farm.http("GET", "/v1/jobs").status_code == 200
    assert one.cli("keys", "revoke", rotated["id"]).out == "key anna is revoked\n"
    for secret in (submitter.key, renewed.key):
        assert Farm(shell, one.url, secret).http("GET", "/v1/jobs").status_code == 401
        other_master = Farm(shell, two.url, secret)
        eventually(lambda farm=other_master: farm.http("GET", "/v1/jobs").status_code == 401, "the end of a key")
    listed = one.cli("keys", "list", "--ended", "-o", "json").json()["keys"]
    assert [(key["name"], key["revoked"] is None) for key in listed] == [("anna", False), ("workers", True)]
    assert "anna" not in one.cli("keys", "list").out


def test_a_stream_on_another_master_ends_with_its_key(masters: tuple[Running, Running]) -> None:
    one, two = masters
    viewer = with_key(two, "ci", "--role", "viewer", through=one)
    headers = {"x-api-key": viewer.key}
    with (
        httpx2.Client(base_url=two.url, timeout=PATIENCE_S) as client,
        client.stream("GET", "/v1/events", headers=headers) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        assert one.cli("keys", "revoke", "ci").code == 0
        silences = 0
        for line in lines:  # to its end
            silences += line == ": still here"  # once in ten seconds
            assert silences < 6


def test_use_is_kept_when_a_master_stops_and_no_secret_anywhere(shell: Shell) -> None:
    options = ("master", "--data", "farm", "--port", 0)
    with running(shell.having(**TERMS), *options) as farm:
        viewer = with_key(farm, "ci", "--role", "viewer", through=farm)
        assert viewer.http("GET", "/v1/nodes").status_code == 200
        assert farm.cli("keys", "list", "-o", "json").json()["keys"][0]["used"] is None  # it is noted by the minute
        farm.program.stop()
        log = farm.program.err
    assert '"keys.created"' in log
    with running(shell.having(**TERMS), *options) as farm:
        assert farm.cli("keys", "list", "-o", "json").json()["keys"][0]["used"] is not None
    kept = [path for path in Path(shell.home, "farm").rglob("*") if path.is_file()]
    assert kept
    assert [path.name for path in kept if viewer.key.encode() in path.read_bytes()] == []
    assert viewer.key not in log
