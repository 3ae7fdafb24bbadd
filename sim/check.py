"""What must hold at the end of a simulation: what holds of any run (`told`), and what only a simulation sees."""

import json
from typing import TYPE_CHECKING

from millrace.domain.chain import unpack
from millrace.domain.masters import TERM_S
from sim.engine import OUTPUT, STEPS
from sim.told import Case, check_told

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
    check_told(
        Case(
            history=world.history,
            read=world.database.read,
            ledger=world.watch,
            fail=world.fail,
            known=world.farm.people.known,
            media=world.media,
            blobs=world.folder / "blobs",
            attempt_in=lambda name, data: int(data.split()[1]) if name == OUTPUT else None,
        )
    )
    _logs(world)
    _events(world)
    _recovery(world)
    _stale_workers(world)
    _arrivals(world)
    _waiting(world)
    _audit(world)
    world.many.check()


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
    """Every job and every batch that was accepted has its entry in the audit trail, whatever became of the master that accepted it."""
    told: set[str] = set()
    for (body,) in world.database.read("SELECT body FROM audit_blocks"):
        for entry in map(json.loads, unpack(body)):
            made = entry.get("after") or {}
            if entry["method"] == "POST" and entry["route"] in ("/v1/jobs", "/v1/batches"):
                told.update(made[kind] for kind in ("job", "batch") if kind in made)
    in_batches = {job.index for job in world.plan.jobs if job.batch is not None}
    for event in world.history.of("submitted", "batch"):
        of_batch = event.kind == "submitted" and event.fields[0] in in_batches
        if (event.fields[1] in told) is of_batch:
            world.fail(
                "I30",
                f"{event.fields[1]} was accepted, and the audit trail tells of it as {'one alone' if of_batch else 'nothing'}",
            )


def _waiting(world: "World") -> None:
    """A task does not wait while a node has nothing to do; see `Idle`."""
    for text in world.watch.idle.findings:
        world.fail("I22", text)
