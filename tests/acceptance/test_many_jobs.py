"""Batches, schedules and a watched folder as people use them, through commands alone."""

import shutil
import signal
from pathlib import Path

from outside import SHORT, Running, Shell, running

PROFILE = SHORT["scenario"]
SMALL = ("-p", PROFILE, "--set", "preset=ultrafast")


def test_a_folder_a_table_a_schedule_and_a_watched_folder(shell: Shell, clips: Path) -> None:
    source = shell.home / "in"
    source.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clips / "small.mp4", source / name)
    with running(shell, "up", "--data", "farm", "--port", 0, "--workers", 1, "--media-root", shell.home) as farm:
        _folder(farm, source)
        _table(farm, source)
        _chain(farm)
        _schedule(farm)
        _watch(farm, source)


def _folder(farm: Running, source: Path) -> None:
    command = (
        "jobs",
        "submit",
        "--folder",
        source,
        "--to",
        source.parent / "out",
        *SMALL,
        "--idempotency-key",
        "k",
        "-o",
        "json",
    )
    done = farm.cli(*command, "--wait")
    made = done.json()
    assert (done.code, made["counts"], made["name"]) == (0, {"completed": 2}, "in"), done.err
    assert sorted(path.name for path in (source.parent / "out").iterdir()) == ["a", "b"]
    again = farm.cli(*command).json()
    assert (again["id"], again["counts"]) == (made["id"], {"completed": 2})
    assert made["id"] in farm.cli("batches", "list").out
    shown = farm.cli("batches", "show", made["id"])
    assert "2, of which 2 have ended" in shown.out


def _table(farm: Running, source: Path) -> None:
    table = source.parent / "jobs.csv"
    table.write_text(
        f"input,profile,priority\n{source}/a.mp4,{PROFILE},\n{source}/b.mp4,no-such,\n/none.mp4,{PROFILE},urgent\n"
    )
    refused = farm.cli("jobs", "submit", "--csv", table)
    assert refused.code == 1
    assert "line 3 (" in refused.err
    assert "b.mp4): profile:" in refused.err
    assert "line 4 (/none.mp4): priority:" in refused.err
    made = farm.cli("jobs", "submit", "--csv", table, "--skip-bad", "--name", "table")
    assert made.code == 0
    assert made.err.count("left out: line") == 2
    batch = farm.cli("batches", "list", "-o", "json").json()["batches"][0]
    assert (batch["name"], batch["total"]) == ("table", 1)
    watched = farm.cli("batches", "watch", batch["id"])
    assert (watched.code, "completed" in watched.out) == (0, True), watched.err
    table.write_text(f"input,profile\n{source.parent}/none.mp4,{PROFILE}\n")
    failed = farm.cli("jobs", "submit", "--csv", table, "--wait", "-o", "json")
    assert (failed.code, failed.json()["counts"]) == (1, {"failed": 1})
    retried = farm.cli("batches", "retry", failed.json()["id"])
    assert (retried.code, retried.out) == (0, "1 jobs run again\n")


def _chain(farm: Running) -> None:
    first = farm.cli("jobs", "submit", "--scenario", PROFILE, "--duration", 1, "-o", "json").json()
    second = farm.cli("jobs", "submit", "--scenario", PROFILE, "--duration", 1, "--after", first["number"], "--wait")
    assert second.code == 0, second.err
    assert farm.job(first["id"])["state"] == "completed"
    unknown = farm.cli("jobs", "submit", "--scenario", PROFILE, "--after", 999)
    assert (unknown.code, "after[0]: there is no job '999'" in unknown.err) == (1, True)


def _schedule(farm: Running) -> None:
    made = farm.cli(
        "schedules", "add", "often", "--cron", "* * * * *", "--scenario", PROFILE, "--duration", 1, "--paused"
    )
    assert (made.code, made.out) == (0, "schedule often is paused\n")
    assert farm.cli("schedules", "trigger", "often").code == 0
    shown = farm.cli("schedules", "show", "often", "-o", "json").json()
    assert [run["outcome"] for run in shown["runs"]] == ["submitted"]
    assert "comes due at" in farm.cli("schedules", "resume", "often").out
    assert "often" in farm.cli("schedules", "list").out
    assert farm.cli("schedules", "remove", "often").out == "schedule often is removed\n"
    wrong = farm.cli("schedules", "add", "x", "--cron", "61 * * * *", "--zone", "Mars", "--scenario", PROFILE)
    assert (wrong.code, "cron:" in wrong.err, "zone:" in wrong.err) == (1, True, True)


def _watch(farm: Running, source: Path) -> None:
    done = source.parent / "done"
    command = ("watch", source, "--out", source.parent / "watched", *SMALL, "--settle", "1s", "--done", done)
    once = farm.cli(*command, "--once")
    assert once.code == 0, once.out + once.err
    assert once.out.count("is completed") == 2
    assert list(source.iterdir()) == []
    assert sorted(path.name for path in (source.parent / "watched").iterdir()) == ["a", "b"]
    shutil.copy(done / "a.mp4", source / "c.mp4")
    assert farm.cli(*command, "--once", "-o", "json").out.count('"event":"submitted"') == 1
    inside = farm.cli("watch", source, "--out", source / "out", "-p", PROFILE)
    assert (inside.code, "--out lies in it" in inside.err) == (2, True)
    process = farm.client_shell().start("watch", source, "-p", PROFILE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("watching ")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
