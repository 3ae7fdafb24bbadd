"""The audit trail as an auditor reads it, and as somebody with the database in his hands cannot change it unseen."""

import sqlite3
from collections.abc import Callable

import pytest
from outside import SHORT, Farm, Shell, running

from millrace.domain.chain import Head, follow, pack


def verified(farm: Farm, *arguments: object) -> tuple[int, str, str]:
    done = farm.cli("audit", "verify", *arguments)
    return done.code, done.out, done.err


@pytest.fixture(params=["sqlite", "postgres"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "sqlite":
        return ("--data", "farm", "--port", "0")
    new_database: Callable[[], str] = request.getfixturevalue("new_database")
    return ("--data", "farm", "--port", "0", "--store", new_database())


def test_who_changed_what_is_listed_and_the_trail_holds_over_a_restart(shell: Shell, options: tuple[str, ...]) -> None:
    with running(shell, "master", *options) as farm:
        assert "nobody has changed anything yet" in farm.cli("audit", "list").out
        job = farm.submit(**SHORT)
        farm.do("cancel", job["number"])
        made = farm.cli("keys", "create", "ci", "--role", "viewer")
        viewer = Farm(farm.shell, farm.url, made.out.strip())
        refused = viewer.cli("jobs", "cancel", job["number"])
        assert refused.code != 0
        turned_away = viewer.cli("audit", "list")
        assert (turned_away.code, turned_away.out) == (1, "")
        assert "you may not `admin` here with role viewer" in turned_away.err
        assert Farm(farm.shell, farm.url, "mr_guessed").cli("jobs", "list").code != 0
        listed = farm.cli("audit", "list", "-o", "json").json()["entries"]
        assert [(one["caller"], one["method"], one["path"], one["status"]) for one in listed] == [
            ("api", "POST", "/v1/jobs", 201),
            ("api", "POST", f"/v1/jobs/{job['number']}/cancel", 200),
            ("api", "POST", "/v1/keys", 201),
            ("ci", "POST", f"/v1/jobs/{job['number']}/cancel", 403),
            ("ci", "GET", "/v1/audit", 403),
            ("", "GET", "/v1/jobs", 401),
        ]
        text = farm.cli("audit", "list", "--path", "/v1/jobs").out
        assert "state queued -> canceled" in text
        assert "a stranger" in text
        assert "/v1/keys" not in text
        assert made.out.strip() not in text + str(listed)
        code, out, _ = verified(farm)
        assert (code, out.splitlines()[0].split(" in ")[0]) == (0, "the audit trail holds: 6 entries")
        head = out.split()[-1]
    with running(shell, "master", *options) as farm:
        farm.submit(**SHORT)
        assert verified(farm, "--head", head)[0] == 0
        number = head.partition(":")[0]
        code, _, err = verified(farm, "--head", f"{number}:{'00' * 32}")
        assert (code, f"broken at block {number}: its seal is not the one" in err) == (1, True)
        wrong = verified(farm, "--head", "first")
        assert (wrong[0], "must be NUMBER:SEAL" in wrong[2]) == (2, True)


def test_what_was_changed_in_the_database_is_found(shell: Shell) -> None:
    database = shell.home / "farm" / "millrace.db"

    def change(statement: str, *values: object) -> None:
        connection = sqlite3.connect(database)
        assert connection.execute(statement, values).rowcount == 1
        connection.commit()
        connection.close()

    def broken() -> str:
        with running(shell, "master", "--data", "farm", "--port", 0) as farm:
            code, out, err = verified(farm)
            assert (code, out) == (1, "")
            told = farm.cli("audit", "verify", "-o", "json")
            assert (told.code, told.json()["holds"]) == (1, False)
            assert farm.cli("audit", "list").code == 0
            return err

    with running(shell, "master", "--data", "farm", "--port", 0) as farm:
        for name in "abcd":
            assert farm.cli("keys", "create", name, "--role", "viewer").code == 0
        assert verified(farm)[0] == 0
    change("UPDATE audit_blocks SET body = ? WHERE number = 2", pack([b"{}"]))
    assert "the audit trail is broken at block 2: it was changed; what stands before it holds" in broken()
    change("DELETE FROM audit_blocks WHERE number = 2")
    assert "broken at block 2: it is missing; 3 stands in its place" in broken()
    change("DELETE FROM audit_blocks WHERE number = 1")
    assert "broken at block 1: it is missing; 3 stands in its place" in broken()


def test_a_trail_that_was_made_anew_is_found_by_a_head_that_was_kept(shell: Shell) -> None:
    with running(shell, "master", "--data", "farm", "--port", 0) as farm:
        assert farm.cli("keys", "create", "a", "--role", "viewer").code == 0
        head = verified(farm)[1].split()[-1]
    forged = follow(Head(), at_ms=1_700_000_000_000, block_id=bytes(16), body=pack([b"{}"]))
    connection = sqlite3.connect(shell.home / "farm" / "millrace.db")
    connection.execute("UPDATE audit_blocks SET at = ?, id = ?, body = ?, seal = ?", (
        forged.at_ms, forged.id, forged.body, forged.seal,
    ))  # fmt: skip
    connection.execute("UPDATE audit_head SET seal = ?", (forged.seal,))
    connection.commit()
    connection.close()
    with running(shell, "master", "--data", "farm", "--port", 0) as farm:
        assert verified(farm)[0] == 0, "a chain proves nothing to whoever has kept nothing of it"
        code, _, err = verified(farm, "--head", head)
        assert (code, "the trail was made anew" in err) == (1, True)
