"""`millrace backup` and `millrace restore`, on farms that run and on folders that are none."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from outside import SHORT, Shell, is_emptied, running

QUICK = {"MILLRACE_HEARTBEAT": "0.3"}


def test_a_farm_is_saved_while_it_works_and_goes_on_elsewhere(shell: Shell) -> None:
    shell = shell.having(**QUICK)
    with running(shell, "up", "--data", "farm", "--port", 0) as farm:
        key, output = farm.key, farm.submit(**SHORT)["id"]
        done = farm.ends(1)
        farm.do("pause", farm.submit(**SHORT)["id"])
        saved = shell.run("backup", "saved", "--data", "farm")
        assert (saved.code, saved.err) == (0, "")
        assert saved.out.startswith(f"Saved 2 jobs and {len(done['outputs'])} file")
        refused = shell.run("restore", "saved", "--data", "farm")
        assert (refused.code, refused.out) == (2, "")
        assert "there is a database already" in refused.err
        farm.submit(**SHORT)
    backup = shell.home / "saved"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert stat.S_IMODE((backup / "api-key").stat().st_mode) == 0o600
    told = shell.run("restore", "saved", "--data", "again", "--output", "json").json()
    assert (told["database"]["jobs"], told["format"]) == (2, 1)
    assert stat.S_IMODE((shell.home / "again").stat().st_mode) == 0o700
    with running(shell, "up", "--data", "again", "--port", 0) as farm:
        assert farm.key == key
        assert farm.job(output)["outputs"] == done["outputs"]
        for one in done["outputs"]:
            assert len(farm.http("GET", one["url"]).content) == one["size"]
        farm.do("resume", 2)
        farm.ends(2)
        assert farm.submit(**SHORT)["number"] == 3


def test_a_farm_on_postgresql_is_saved_and_goes_on_in_a_new_database(
    shell: Shell, new_database: Callable[[], str]
) -> None:
    first, second = new_database(), new_database()
    with running(shell, "master", "--store", first, "--data", "one", "--port", 0) as farm:
        job = farm.submit(**SHORT)
        saved = shell.run("backup", "saved", "--store", first, "--data", "one")
        assert (saved.code, saved.err) == (0, "")
    wrong = shell.run("restore", "saved", "--data", "two")
    assert wrong.code == 2
    assert "it is of a farm on postgresql; name the new database with --store" in wrong.err
    over = shell.run("restore", "saved", "--store", first, "--data", "two")
    assert (over.code, "there is a farm in it already" in over.err) == (2, True)
    assert shell.run("restore", "saved", "--store", second, "--data", "two").code == 0
    with running(shell, "master", "--store", second, "--data", "two", "--port", 0) as farm:
        assert farm.job(1)["id"] == job["id"]
        assert farm.submit(**SHORT)["number"] == 2


@pytest.fixture(scope="module")
def saved(wheel: Path, proofs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup of a farm with one finished job."""
    shell = Shell(wheel, tmp_path_factory.mktemp("saved"), QUICK, proofs=proofs)
    with running(shell, "up", "--data", "farm", "--port", 0) as farm:
        farm.submit(**SHORT)
        farm.ends(1)
        assert shell.run("backup", "backup", "--data", "farm").code == 0
    return shell.home / "backup"


def test_a_backup_that_changed_is_refused_and_nothing_is_made_of_it(shell: Shell, saved: Path) -> None:
    for number, name in enumerate(
        ("database/millrace.db", "manifest.json", json.loads((saved / "manifest.json").read_text())["files"][0]["name"])
    ):
        copy = shell.home / f"copy-{number}"
        shutil.copytree(saved, copy)
        victim = copy / name if (copy / name).exists() else copy / "files" / name
        victim.write_bytes(victim.read_bytes()[:-1])
        refused = shell.run("restore", copy, "--data", f"farm-{number}")
        assert refused.code == 2
        assert refused.err.startswith(f"millrace: cannot restore {copy}: ")
        assert "Traceback" not in refused.err
        assert not (shell.home / f"farm-{number}" / "millrace.db").exists()


def test_wrong_folders_are_told_in_a_sentence(shell: Shell, saved: Path) -> None:
    nothing = shell.run("restore", "nothing", "--data", "farm")
    assert (nothing.code, nothing.err) == (
        2, "millrace: cannot restore nothing: it is no backup (manifest.json: No such file or directory); name the folder\n"
    )  # fmt: skip
    again = shell.run("backup", saved, "--data", "farm")
    assert (again.code, again.err) == (
        2,
        f"millrace: cannot back up to {saved}: it exists already; name a new folder\n",
    )
    empty = shell.run("backup", "new", "--data", "farm")
    assert empty.code != 0
    assert "there is no such database; name its data folder with --data" in empty.err
    assert is_emptied(shell.home, "*new*")
