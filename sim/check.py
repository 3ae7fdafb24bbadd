"""What must hold at the end: by what clients were told, and by what the database and the disk then hold."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.api.places import KEPT
from millrace.blobs.values import PRIVATE
from millrace.domain.chain import unpack
from millrace.domain.masters import TERM_S
from millrace.worker.deliver import MANIFEST
from sim.engine import OUTPUT, STEPS

if TYPE_CHECKING:
    from sim.history import Event
    from sim.world import World

_SLACK_S = 1.0
STOPPED_S = 3.0
"""What an engine may take to end after its worker heard that it has lost the lease: the grace of a polite stop and some."""


def check(world: "World", *, settled: bool) -> None:
    """Tell the world of everything that does not hold."""
    if not settled:
        states = world.database.read(
            "SELECT j.number, j.state, t.attempt, t.node_id FROM jobs j JOIN tasks t ON t.job = j.number "
            "WHERE j.finished_at IS NULL"
        )
        world.fail("I1", f"jobs do not end although nothing goes wrong any more: {states}")
    _jobs(world)
    _attempts(world)
    _outputs(world)
    _logs(world)
    _cancels(world)
    _events(world)
    _recovery(world)
    _stale_workers(world)
    _arrivals(world)
    _waiting(world)
    _audit(world)


def _jobs(world: "World") -> None:
    """Whoever was told 2xx finds the job; one key stands for one job."""
    submitted: dict[int, str] = {}
    for event in world.history.of("submitted", "again", "seen", "other-body"):
        index, said = event.fields[0], str(event.fields[1])
        assert isinstance(index, int)
        if event.kind == "submitted":
            submitted[index] = said
        elif event.kind == "again" and said.startswith("j") and said != submitted[index]:
            world.fail("I8", f"the key of job {index} gave {submitted[index]} and then {said}")
        elif event.kind == "seen" and said.startswith("404"):
            world.fail("I23", f"job {index} was accepted, and then not found by another master")
        elif event.kind == "other-body" and said.startswith(("j", "409")):
            world.fail("I8", f"another body under the key of job {index} was answered with {said}")
    rows: dict[str, str] = dict(world.database.read("SELECT id, labels FROM jobs"))
    for index, job_id in submitted.items():
        if job_id not in rows:
            world.fail("I1", f"job {index} was accepted as {job_id}, and is lost")
    indexes = [json.loads(labels).get("sim") for labels in rows.values()]
    for index in sorted({one for one in indexes if indexes.count(one) > 1}, key=str):
        world.fail("I8", f"job {index} is there {indexes.count(index)} times")


def _attempts(world: "World") -> None:
    """The rows of attempts are the claims, each with its end, and only one of a job's completed."""
    rows = world.database.read(
        "SELECT j.id || '.' || a.position, a.attempt, a.node_id, a.outcome, t.state, t.attempt FROM attempts a "
        "JOIN jobs j ON j.number = a.job JOIN tasks t ON t.job = a.job AND t.position = a.position"
    )
    if {(row[0], row[1]): row[2] for row in rows} != world.watch.grants:
        world.fail("I4", "the attempts that are kept are not the claims that were made")
    for task, attempt, _, outcome, state, newest in rows:
        if outcome is None and (attempt < newest or state in ("completed", "failed", "canceled", "queued")):
            world.fail("I4", f"attempt {attempt} of {task} has no end, though the task is {state} in attempt {newest}")
        if outcome == "completed" and (attempt != newest or state != "completed"):
            world.fail("I4", f"attempt {attempt} of {task} completed, and the task is {state} in attempt {newest}")
    done = {row[0] for row in rows if row[3] == "completed"}
    for task in world.watch.tasks.values():
        if task.state == "completed" and task.id not in done:
            world.fail("I4", f"{task.id} is completed by no attempt")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _outputs(world: "World") -> None:
    """A completed job's outputs are those that its completed attempt made, byte for byte."""
    rows = world.database.read(
        "SELECT j.id, a.attempt, o.name, o.location, o.sha256, o.size FROM jobs j JOIN attempts a ON a.job = j.number "
        "LEFT JOIN outputs o ON o.job = j.number WHERE j.state = 'completed' AND a.outcome = 'completed'"
    )
    for job_id, attempt, name, location, digest, size in rows:
        if name is None:
            world.fail("I12", f"job {job_id} is completed and has no outputs")
            continue
        kept = location.startswith(KEPT)
        path = world.folder / "blobs" / location.removeprefix(KEPT) if kept else Path(location)
        try:
            data = path.read_bytes()
        except OSError:
            world.fail("I12", f"the output {name} of the completed job {job_id} is not there")
            continue
        if (len(data), _sha256(data)) != (size, digest):
            made = data.decode()[:80].strip() if name == OUTPUT else f"{len(data)} bytes"
            world.fail("I13", f"the output {name} of {job_id} is not what attempt {attempt} reported: {made!r}")
        elif name == OUTPUT and int(data.split()[1]) != attempt:
            world.fail("I13", f"the output of {job_id} was made by attempt {data.split()[1]!r}, recorded is {attempt}")
    visible(world)


def visible(world: "World") -> None:
    """What can be seen under a public name is whole, by its own manifest."""
    for folder in sorted(world.media.iterdir()):
        if folder.name.startswith(PRIVATE):
            continue
        try:
            manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
            files = {one["name"]: one["sha256"] for one in manifest["outputs"]}
            found = {name: _sha256((folder / name).read_bytes()) for name in files}
        except (OSError, ValueError) as error:
            world.fail("I12", f"{folder.name} is visible and not whole: {type(error).__name__}")
            continue
        if files != found:
            world.fail("I12", f"{folder.name} is visible and its files are not those of its manifest")


def _logs(world: "World") -> None:
    """The log of a completed attempt has every line of its engine, once and in order."""
    rows = world.database.read(
        "SELECT j.id, a.job, a.position, a.attempt FROM attempts a JOIN jobs j ON j.number = a.job "
        "WHERE a.outcome = 'completed'"
    )
    full = any(fault.kind == "db-full" for fault in world.plan.faults)
    for job_id, job, position, attempt in rows:
        chunks = world.database.read(
            "SELECT start, data FROM log_chunks WHERE job = ? AND position = ? AND attempt = ? ORDER BY start",
            job, position, attempt,
        )  # fmt: skip
        text = b""
        for start, data in chunks:
            if start != len(text):
                world.fail("I4", f"the log of attempt {attempt} of {job_id} has a gap or an overlap at byte {start}")
            text += data
        lines = [line.decode() for line in text.splitlines() if line.startswith(b"line ")]
        whole = [f"line {step} of attempt {attempt}" for step in range(1, STEPS)]
        # A worker whose log is refused, as by a database without space, sends no more of it.
        if lines != (whole[: len(lines)] if full else whole):
            world.fail("I4", f"the log of attempt {attempt} of {job_id} is not what its engine wrote: {lines}")


def _cancels(world: "World") -> None:
    """Whoever was told that a job is canceled never sees it completed, unless somebody asks for it again."""
    canceled: set[int] = set()
    retried_s: dict[int, float] = {}
    asked_s: dict[int, float] = {}
    for event in world.history.of("told", "asks"):
        verb, index = str(event.fields[0]), event.fields[1]
        assert isinstance(index, int)
        if verb == "cancel" and event.kind == "asks":
            asked_s[index] = event.at_s
        elif event.kind == "asks" and verb != "retry":
            continue
        elif verb == "retry":
            canceled.discard(index)
            retried_s[index] = event.at_s
        elif (verb, event.fields[2]) == ("cancel", "canceled") and retried_s.get(index, -1.0) < asked_s[index]:
            canceled.add(index)
    known = world.farm.people.known
    for index in sorted(canceled):
        task = world.watch.tasks.get(f"{known[index]}.1")
        if task is not None and task.state != "canceled":
            world.fail("I21", f"job {index} was canceled, and then {task.state}")


def _events(world: "World") -> None:
    """Who follows a master reads every transition once and in order."""
    for master in world.farm.masters:
        read = [event.fields[1] for event in world.history.of("event") if event.fields[0] == master.name]
        if read != list(range(1, world.watch.seq + 1)):
            missing = sorted(set(range(1, world.watch.seq + 1)) - set(read))
            world.fail(
                "I7", f"who followed {master.name} read {len(read)} of {world.watch.seq} events; missing: {missing[:9]}"
            )


def _troubled(world: "World", after_s: float, kinds: tuple[str, ...] = ()) -> list[tuple[float, float]]:
    """The times in which something went wrong, each with a while after it."""
    return [
        (fault.at_s, fault.at_s + fault.lasts_s + after_s)
        for fault in world.plan.faults
        if not kinds or fault.kind in kinds
    ]


def _calm(times: list[tuple[float, float]], begin_s: float, end_s: float) -> bool:
    return all(end < begin_s or begin > end_s for begin, end in times)


def _recovery(world: "World") -> None:
    """A node that fell silent is called lost within a second of its lease's end, if masters and database are well."""
    ttl_s = world.plan.rules.ttl_s
    disturbing = [
        (fault.at_s, fault.at_s + fault.lasts_s + ttl_s + TERM_S + 2.0)
        for fault in world.plan.faults
        if fault.target.startswith("master") or fault.target == "database" or fault.kind in ("storm", "power")
    ]
    for event in world.history.of("lost"):
        name, late_ms = event.fields[1], event.fields[2]
        assert isinstance(late_ms, int)
        ended_s = event.at_s - late_ms / 1000
        if late_ms > 1000 * _SLACK_S + 100 and _calm(disturbing, ended_s - ttl_s, event.at_s):
            world.fail("I10", f"{name} was called lost {late_ms} ms after the end of its lease")


def _stale_workers(world: "World") -> None:
    """Whoever has lost a task stops its engine: after 409 on a heartbeat, after 409 on a start, after a cancel."""
    begun: dict[object, Event] = {}
    ended: dict[object, float] = {}
    for event in world.history.of("engine-begins", "engine-ends"):
        pid = event.fields[3]
        if event.kind == "engine-begins":
            begun[pid] = event
        else:
            ended[pid] = event.at_s
    still = [
        (fault.at_s, fault.at_s + fault.lasts_s) for fault in world.plan.faults if fault.kind in ("stop", "suspend")
    ]
    refused = [
        (event.at_s, *event.fields)
        for event in world.history.of("got")
        if event.fields[4] == 409 and event.fields[5] != ""
    ]
    attempts: set[tuple[str, int]] = set()
    for pid, event in begun.items():
        owner, task, attempt = str(event.fields[0]), str(event.fields[1]), int(str(event.fields[2]))
        if (task, attempt) in attempts:
            world.fail("I4", f"attempt {attempt} of {task} was run twice")
        attempts.add((task, attempt))
        end_s = ended.get(pid, world.loop.time())
        epoch = world.watch.epochs.get((task, attempt))
        for at_s, name, _, _, path, _, fence in refused:
            if name != owner:
                continue
            if str(path).endswith("/heartbeat") and fence == epoch and event.at_s < at_s < end_s - STOPPED_S:
                if _calm(still, at_s, at_s + STOPPED_S):
                    world.fail(
                        "I3", f"{owner} heard that its epoch is over, and engine {pid} ran on for {end_s - at_s:.1f} s"
                    )
            elif str(path).endswith(f"{task}/start") and fence == attempt and event.at_s > at_s:
                world.fail("I3", f"{owner} heard that attempt {attempt} of {task} is over, and then began its engine")
        _ended_after_cancel(world, task, attempt, event.at_s, end_s)


def _ended_after_cancel(world: "World", task: str, attempt: int, begin_s: float, end_s: float) -> None:
    """With the next heartbeat but one at the latest, and what a polite stop takes."""
    patience_s = 2 * world.plan.rules.heartbeat_s + STOPPED_S
    for at_s, canceled, of_attempt, _ in world.watch.canceled:
        same = (canceled, of_attempt) == (task, attempt) and begin_s < at_s
        if same and end_s - at_s > patience_s and _calm(_troubled(world, 10.0), at_s - 1.0, at_s + patience_s):
            world.fail("I21", f"{task} was canceled, and its engine ran on for {end_s - at_s:.1f} s")


def _arrivals(world: "World") -> None:
    """No worker is said not to have a task that it was given, as long as nothing goes wrong."""
    crashes = [(event.at_s - 1.0, event.at_s + 60.0) for event in world.history.of("killed", "drains")]
    for at_s in world.watch.never_arrived_s:
        if _calm([*_troubled(world, 45.0), *crashes], at_s, at_s):
            world.fail(
                "I24", f"a task was taken back at {at_s:.1f} s as if it had not arrived, and nothing had gone wrong"
            )


def _audit(world: "World") -> None:
    """Every job that was accepted has its entry in the audit trail, whatever became of the master that accepted it."""
    told: set[str] = set()
    for (body,) in world.database.read("SELECT body FROM audit_blocks"):
        for entry in map(json.loads, unpack(body)):
            if entry["method"] == "POST" and "job" in (entry.get("after") or {}):
                told.add(entry["after"]["job"])
    for event in world.history.of("submitted"):
        if event.fields[1] not in told:
            world.fail("I30", f"job {event.fields[0]} was accepted, and the audit trail does not tell of it")


def _waiting(world: "World") -> None:
    """A task does not wait while a node has nothing to do; see `Idle`."""
    for text in world.watch.idle.findings:
        world.fail("I22", text)
