"""What changes while `millrace supervise` runs: its file, one instance after the other, and what follows a metric."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from outside import PATIENCE_S, Shell, eventually

WATCHED = """
global: {reload: {watch: true, debounce: 50ms, timeout: 30s}}
processes:
  web: {command: [sleep, "1000"]}
  db: {command: [sleep, "1001"], rolling: {min_ready: 50ms}}
"""


class Supervised:
    """A supervisor that runs: what it says of itself, and what `millrace ctl` says of it."""

    def __init__(self, shell: Shell, process: "subprocess.Popen[str]") -> None:
        self.shell = shell
        self.process = process

    def says(self, event: str, **fields: object) -> dict[str, Any]:
        """Read on until it has said this; it says nothing but JSON."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event and fields.items() <= entry.items():
                return entry
        raise AssertionError(f"it ended without saying {event} {fields}")

    def ctl(self, *words: object) -> Any:
        done = self.shell.run("ctl", *words)
        assert done.code == 0, done.err
        return done

    def process_named(self, name: str) -> Any:
        return self.ctl("status", name, "-o", "json").json()["processes"][0]

    def until(self, name: str, seen: Callable[[Any], bool]) -> None:
        """Look at a process until it is so: no event says what has not happened."""
        eventually(lambda: seen(self.process_named(name)), f"{name} is so")

    def fewest_until(self, event: str, name: str) -> int:
        """How many instances of a process were ready at the worst moment, from when the first of all was stopped."""
        assert self.process.stderr is not None
        wanted = self.process_named(name)["desired"]
        ready, counts = {f"{name}-{index}" for index in range(wanted)}, []
        for line in self.process.stderr:
            entry = json.loads(line)
            if entry["event"] == event and entry["process"] == name:
                return min(counts)
            if (each := str(entry.get("instance", ""))).startswith(f"{name}-"):
                ready = ready | {each} if entry.get("ready") else ready - {each}
                if counts or entry.get("phase") == "stopping":
                    counts.append(len(ready))
        raise AssertionError(f"it ended without saying {event}")

    def pids(self, name: str) -> list[int]:
        return [one["pid"] for one in self.process_named(name)["instances"]]

    def ended(self) -> None:
        """End it; it says nothing but JSON until then, too."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        assert [line for line in err.splitlines() if not line.startswith("{")] == []


@contextmanager
def supervising(shell: Shell, text: str, plan: Path | None = None) -> Iterator[Supervised]:
    path = plan or shell.home / "plan.yaml"
    path.write_text(text)
    process = shell.start("supervise", "-c", path)
    try:
        found = Supervised(shell, process)
        found.says("supervisor.control")
        yield found
        found.ended()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def written(path: Path, text: str) -> None:
    path.write_text(text)


def renamed(path: Path, text: str) -> None:
    """As editors and `sed -i` save."""
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


def swapped(path: Path, text: str) -> None:
    """As Kubernetes changes a ConfigMap: the link `..data` leads to another folder from one moment to the next."""
    data, link = path.with_name("..data"), path.with_name("..data_tmp")
    folder = path.with_name(f"..2{len(list(path.parent.iterdir()))}")
    folder.mkdir()
    (folder / path.name).write_text(text)
    link.symlink_to(folder.name)
    link.replace(data)
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        path.symlink_to(Path("..data") / path.name)


@pytest.mark.parametrize("save", [written, renamed, swapped])
def test_a_changed_file_is_taken_over_and_one_with_faults_changes_nothing(
    shell: Shell, save: Callable[[Path, str], None]
) -> None:
    plan = shell.home / "plan" / "plan.yaml"
    plan.parent.mkdir()
    save(plan, WATCHED)
    with supervising(shell, WATCHED, plan) as running:
        web, db = running.pids("web"), running.pids("db")
        save(plan, WATCHED.replace("1001", "1002"))
        asked = running.says("supervisor.reload_asked")
        assert (asked["by"], asked["reload"]) == ("a changed file", 1)
        assert running.says("supervisor.reload")["changed"] == ["db"]
        running.says("supervisor.reload", outcome="applied")
        assert running.pids("web") == web
        assert running.pids("db") != db
        db = running.pids("db")

        save(plan, WATCHED.replace("1001", "1003").replace("rolling", "roling"))
        refused = running.says("supervisor.reload_refused")
        assert refused["by"] == "a changed file"
        assert refused["faults"][0].startswith("line 5: processes.db.roling is unknown; did you mean rolling?")
        assert (running.pids("web"), running.pids("db")) == (web, db)
        assert "'1002'" in running.ctl("plan").out

        save(plan, WATCHED.replace("1001", "1002"))  # back to what is kept: nothing is to be done
        assert running.says("supervisor.reload")["changed"] == []
        running.says("supervisor.reload", outcome="applied", reload=2)
        assert (running.pids("web"), running.pids("db")) == (web, db)

        # One without a fault that does not get up is taken back, and the file goes on being heeded.
        save(plan, WATCHED.replace('sleep, "1001"', "nonesuch-program"))
        assert "nonesuch-program" in running.says("supervisor.reload", outcome="rolled-back")["why"]
        assert running.pids("web") == web
        save(plan, WATCHED.replace("1000", "1004"))
        running.says("supervisor.reload", outcome="applied")
        assert running.pids("web") != web


def test_a_file_is_heeded_from_the_reload_on_that_says_so_and_no_longer(shell: Shell) -> None:
    plan = shell.home / "plan.yaml"
    with supervising(shell, WATCHED.replace("true", "false")) as running:
        web = running.pids("web")
        plan.write_text(WATCHED)
        assert running.ctl("reload").out.startswith("the plan is in force; 2 unchanged")
        running.says("supervisor.watching")
        plan.unlink()
        assert running.says("supervisor.reload_refused")["faults"] == [f"cannot read {plan}: No such file or directory"]
        plan.write_text(WATCHED.replace("true", "false").replace("db:", "cache:"))
        running.says("supervisor.reload", outcome="applied", reload=2)
        assert running.pids("web") == web
        plan.write_text(WATCHED)
        running.process.send_signal(signal.SIGHUP)
        asked = running.says("supervisor.reload_asked")
        assert (asked["by"], asked["reload"]) == ("SIGHUP", 3), "the file was heeded"


ROLLING = """
processes:
  web:
    command: [sh, -c, "test ! -e broken && exec sleep 1000"]
    scale: 3
    rolling: {max_unavailable: UNAVAILABLE, max_surge: SURGE, min_ready: 100ms, timeout: 20s}
    restart: {policy: always, backoff_initial: 10ms, backoff_max: 10ms, max_attempts: 0}
"""


@pytest.mark.parametrize(("unavailable", "surge", "least"), [(1, 0, 2), (0, 1, 3)])
def test_instances_are_replaced_in_turn_and_a_bad_one_halts_it(
    shell: Shell, unavailable: int, surge: int, least: int
) -> None:
    text = ROLLING.replace("UNAVAILABLE", str(unavailable)).replace("SURGE", str(surge))
    with supervising(shell, text) as running:
        running.until("web", lambda found: found["ready"] == 3)
        before = running.pids("web")
        done = running.ctl("restart", "--rolling", "web")
        assert done.out == "web is running (3 of 3 ready)\n"
        assert not set(running.pids("web")) & set(before)
        assert running.fewest_until("supervisor.rolled", "web") >= least

        before = running.pids("web")
        (shell.home / "broken").touch()
        done = shell.run("ctl", "restart", "--rolling", "web")
        assert done.code == 1
        assert "replacing has halted: web-" in done.out
        assert "exited with code 1" in done.out
        assert len(set(running.pids("web")) & set(before)) >= least, "the others serve"
        (shell.home / "broken").unlink()
        assert running.ctl("restart", "web").out == "web is running (3 of 3 ready)\n"


def test_a_process_follows_its_metric_until_it_is_held_and_follows_again(shell: Shell) -> None:
    queue = shell.home / "queue"
    queue.write_text("10")
    plan = """
processes:
  worker:
    command: [sleep, "1000"]
    autoscale:
      {min: 1, max: 5, metric: {command: [cat, queue]}, target: 10, interval: 100ms, cooldown: 0, scale_down_after: 0}
"""
    with supervising(shell, plan) as running:

        def says(count: str) -> dict[str, Any]:
            renamed(queue, count)
            return running.says("supervisor.rescaled", process="worker")

        (first,) = running.pids("worker")
        assert (up := says("35"))["now"] == 4, up
        assert (most := says("1000000"))["now"] == 5, most
        assert (down := says("0"))["now"] == 1, down
        assert running.pids("worker") == [first]
        renamed(queue, "nothing")
        running.until("worker", lambda found: "'nothing', which is no number" in found["autoscale"]["reason"])
        assert running.process_named("worker")["desired"] == 1

        assert running.ctl("scale", "worker=3").out == "worker is running (3 of 3 ready)\n"
        renamed(queue, "50")
        running.until("worker", lambda found: found["autoscale"]["value"] == 50)
        held = running.process_named("worker")
        assert (held["desired"], held["autoscale"]["pinned"]) == (3, True)
        assert running.ctl("scale", "worker=auto").code == 0
        assert running.says("supervisor.rescaled")["now"] == 5
        assert first in running.pids("worker")
