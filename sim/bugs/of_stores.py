"""Bugs in what a store does within and around its transactions."""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from millrace.domain import parts as part_rules
from millrace.domain.parts import follow_up, parts_of
from millrace.domain.records import Claimed, Move, Outcome, Task
from millrace.domain.states import FINAL, State
from millrace.domain.tenants import over_for_job
from millrace.store import rows
from millrace.store.sqlite import jobs, logs, nodes, tenants, work
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.sqlite.writer import Writer
from millrace.store.store import Added, StoreUnavailableError
from sim.bugs.bug import Bug, Patches, Through, sql
from sim.loop import PROCESS


def _unfenced(outcome: Outcome) -> Any:
    """Moves that end an attempt this way are made whoever holds the task, in whatever attempt."""

    def plant() -> Patches:
        guarded = work._guarded

        def without_fence(session: Any, move: Move) -> Any:
            if move.outcome is outcome and move.actor != "master":
                move = replace(move, attempt=None, node_id=None)
            return guarded(session, move)

        return [(work, "_guarded", without_fence)]

    return plant


def _start_unfenced() -> Patches:
    guarded = work._guarded

    def without_fence(session: Any, move: Move) -> Any:
        if move.target is State.PROCESSING and move.reason == "the engine started":
            move = replace(move, attempt=None, node_id=None)
        return guarded(session, move)

    return [(work, "_guarded", without_fence)]


def _join_one_early() -> Patches:
    """The join is queued when all parts but one are made."""

    def following(tasks: Any, move: Move) -> Any:
        lead, parts = tasks[0], parts_of(tasks)
        if lead.state is State.PENDING and sum(part.state is not State.COMPLETED for part in parts) == 1:
            late = next(
                number for number, task in enumerate(tasks) if task in parts and task.state is not State.COMPLETED
            )
            tasks = [
                replace(task, state=State.COMPLETED) if number == late else task for number, task in enumerate(tasks)
            ]
        return follow_up(tasks, move)

    return [(work, "follow_up", following)]


def _parts_outlive_their_job() -> Patches:
    """Whoever cancels a job cancels its lead alone."""

    def following(tasks: Any, move: Move) -> Any:
        return () if move.target is State.CANCELED else follow_up(tasks, move)

    return [(work, "follow_up", following)]


def _race_without(state: State | None) -> Any:
    """What a task of a part that two make does not mean for the other: with None that it waits, or is queued again."""

    def plant() -> Patches:
        raced = part_rules._raced

        def without(part: Task, rival: Task) -> Any:
            heeds = part.state is not state if state is not None else part.state in FINAL
            return raced(part, rival) if heeds else ()

        return [(part_rules, "_raced", without)]

    return plant


def _race_lost_fails() -> Patches:
    """Whichever of the two tasks of a part fails, the job does."""
    following = part_rules.follow_up

    def failing(tasks: Any, move: Move) -> Any:
        of_part = move.target is State.FAILED and move.task_id != tasks[0].id and tasks[0].state not in FINAL
        return (part_rules._fail(tasks[0], move),) if of_part else following(tasks, move)

    return [(work, "follow_up", failing)]


def _answer_before_commit() -> Patches:
    run, end = Writer._run, Writer._end

    def answering(self: Any, batch: Any) -> Any:
        session = run(self, batch)
        for entry in batch:
            if not entry.future.done():
                entry.future.set_result(entry.result)
        return session

    def ended(self: Any, batch: Any, session: Any, error: Any) -> None:
        for entry in batch:
            if entry.future.done():
                entry.future = self._loop.create_future()
        end(self, batch, session, error)
        for entry in batch:
            if entry.future.done() and not entry.future.cancelled():
                entry.future.exception()

    return [(Writer, "_run", answering), (Writer, "_end", ended)]


def _select_then_update() -> Patches:
    async def claim(
        self: Any, *, node_id: str, epoch: int, request_id: str, classes: Sequence[int], limit: int, **_: object
    ) -> Sequence[Claimed] | None:
        def look(session: Any) -> Any:
            standing = session.all("claim_node", node_id, epoch, request_id)
            if not standing or standing[0][1] != "ready":
                return None
            if standing[0][2] is not None:
                return standing[0][0], [(row[3], row[4], row[5], False) for row in standing]
            heads = sorted(row[:4] for class_id in classes for row in session.all("claim_next", class_id, "", limit))
            return standing[0][0], [(job, position, attempt, True) for _, job, position, attempt in heads[:limit]]

        found = await self._read(look)
        if found is None:
            return None
        name, heads = found

        def take(session: Any) -> Sequence[Claimed]:
            given = []
            for job, position, attempt, fresh in heads:
                number = attempt + 1 if fresh else attempt
                if fresh:
                    now = session.now_ms
                    session._connection.execute(
                        "UPDATE tasks SET state = 'assigned', attempt = ?, node_id = ?, node_epoch = ?, claim_request = ?, "
                        "started = 0, claimed_at = ? WHERE job = ? AND position = ?",
                        (number, node_id, epoch, request_id, now, job, position),
                    )
                    session._connection.execute(
                        "INSERT OR REPLACE INTO attempts (job, position, attempt, node_id, node_name, claim_request, "
                        "claimed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (job, position, number, node_id, name, request_id, now),
                    )
                    session.run("claim_job", job, now)
                    session.run("add_transition", job, position, "queued", "assigned", now, "claimed", number, node_id)
                    session.changed = True
                given.append(work._claimed(session, job, position, number))
            return given

        return list(await self._write(take))

    return [(SqliteStore, "claim", claim)]


def _claim_not_replayable() -> Patches:
    """A claim that comes again is one more claim."""

    def claim(
        session: Any, *, node_id: str, epoch: int, request_id: str, classes: Sequence[int], limit: int, **_: object
    ) -> Sequence[Claimed] | None:
        standing = session.all("claim_node", node_id, epoch, request_id)
        if not standing or standing[0][1] != "ready":
            return None
        return work._give(
            session, standing[0][0], node_id=node_id, epoch=epoch, request_id=request_id, classes=classes, limit=limit
        )

    return [(work, "claim", claim)]


def _draining_claims() -> Patches:
    claim = work.claim

    class Blind(Through):
        def all(self, name: str, *args: object) -> Any:
            found = self._session.all(name, *args)
            return [(row[0], "ready", *row[2:]) for row in found] if name == "claim_node" else found

    return [(work, "claim", lambda session, **asked: claim(Blind(session), **asked))]


def _key_outside() -> Patches:
    add = SqliteStore.add_jobs

    async def add_jobs(self: Any, new: Sequence[Any]) -> Any:
        (job,) = new
        if job.idempotency_key is None:
            return await add(self, new)
        known = await self._read(lambda session: session.one("known_key", job.tenant, job.idempotency_key))
        if known is not None:
            return [jobs._known(known, job)]
        (added,) = await add(self, [replace(job, idempotency_key=None)])
        await self._write(
            lambda session: session._connection.execute(
                "INSERT OR IGNORE INTO idempotency_keys (tenant, key, body_digest, job) VALUES (?, ?, ?, ?)",
                (job.tenant, job.idempotency_key, job.body_digest, added.number),
            ).fetchall()
        )
        return [added]

    return [(SqliteStore, "add_jobs", add_jobs)]


def _expiry_by_masters_clock() -> Patches:
    async def expire_leases(self: Any, *, limit: int) -> Any:
        process = PROCESS.get()
        assert process is not None
        now_ms = rows.to_ms(process.host.clock.now())

        def unit(session: Any) -> Any:
            return [nodes._node(session, row[0]) for row in session.all("expire_leases", now_ms, limit)]

        return await self._write(unit)

    return [(SqliteStore, "expire_leases", expire_leases)]


def _expiry_without_compare() -> Patches:
    """The silent nodes are read, and half a second later they are lost, whether they have spoken meanwhile or not."""

    async def expire_leases(self: Any, *, limit: int) -> Any:
        silent = await self._read(
            lambda session: session._connection.execute(
                "SELECT id FROM nodes WHERE state <> 'lost' AND lease_until < ? LIMIT ?", (session.now_ms, limit)
            ).fetchall()
        )
        if not silent:
            return []
        await asyncio.sleep(0.5)

        def unit(session: Any) -> Any:
            for (node_id,) in silent:
                session._connection.execute(
                    "UPDATE nodes SET state = 'lost', epoch = epoch + 1 WHERE id = ? AND state <> 'lost'", (node_id,)
                )
            return [nodes._node(session, node_id) for (node_id,) in silent]

        return await self._write(unit)

    return [(SqliteStore, "expire_leases", expire_leases)]


def _history_beside() -> Patches:
    """The history of a failure is written in a transaction of its own."""
    make, move = work._make, SqliteStore.move
    late: list[tuple[Any, ...]] = []

    class Quiet(Through):
        def run(self, name: str, *args: object) -> None:
            if name == "add_transition" and args[3] == "retrying":
                late.append(args)
            else:
                self._session.run(name, *args)

    async def moving(self: Any, moves: Any) -> Any:
        result = await move(self, moves)
        while late:
            args = late.pop()
            await self._write(lambda session, args=args: session.run("add_transition", *args))
        return result

    return [
        (work, "_make", lambda session, one, found: make(Quiet(session), one, found)),
        (SqliteStore, "move", moving),
    ]


def _job_left_behind() -> Patches:
    make = work._make

    class Half(Through):
        def run(self, name: str, *args: object) -> None:
            if name != "move_job" or args[1] != "retrying":
                self._session.run(name, *args)

    return [(work, "_make", lambda session, one, found: make(Half(session), one, found))]


def _log_twice() -> Patches:
    def append_log(session: Any, task_id: str, attempt: int, offset: int, data: bytes) -> int | None:
        key = logs._job_of(session, task_id, attempt)
        if key is None:
            return None
        row = session.one("log_end", *key, attempt)
        end = 0 if row is None else int(row[0])
        session.run("add_log_chunk", *key, attempt, end, data)
        return end + len(data)

    return [(logs, "append_log", append_log)]


def _unknown_is_done() -> Patches:
    move, both = SqliteStore.move, SqliteStore.move_and_claim

    async def moving(self: Any, moves: Any) -> Any:
        try:
            return await move(self, moves)
        except StoreUnavailableError:
            return [True] * len(moves)

    async def moving_and_claiming(self: Any, one: Any, **asked: Any) -> Any:
        try:
            return await both(self, one, **asked)
        except StoreUnavailableError:
            return ()

    return [(SqliteStore, "move", moving), (SqliteStore, "move_and_claim", moving_and_claiming)]


def _quota_outside() -> Patches:
    """The quota is looked up, and then the job is added, in a transaction of its own."""
    add = SqliteStore.add_jobs

    async def add_jobs(self: Any, new: Sequence[Any]) -> Any:
        (job,) = new
        limited = await self._read(lambda session: tenants.counted(session, job.tenant))
        over = None if limited is None else over_for_job(*limited, keeps=job.keeps)
        if over is not None:
            return [Added(id=job.id, number=0, state=job.state, created_at=await self.now(), refused=over)]
        return await add(self, new)

    return [(SqliteStore, "add_jobs", add_jobs), (jobs, "over_for_job", lambda *_, **__: None)]


BUGS = (
    Bug(name="heartbeat-without-epoch", breaks=("I3", "I10"), plant=sql(
        heartbeat=("WHERE id = ?1 AND epoch = ?2 AND state <> 'lost'", "WHERE id = ?1 AND ?2 = ?2"),
    )),
    Bug(name="complete-without-fence", breaks=("I3", "I13", "I4"), plant=_unfenced(Outcome.COMPLETED)),
    Bug(name="fail-without-fence", breaks=("I3",), plant=_unfenced(Outcome.FAILED)),
    Bug(name="hand-back-without-fence", breaks=("I3",), plant=_unfenced(Outcome.HANDED_BACK)),
    Bug(name="split-without-fence", breaks=("I3", "I4"), plant=_unfenced(Outcome.SPLIT)),
    Bug(name="join-one-part-early", breaks=("I36",), plant=_join_one_early),
    Bug(name="parts-outlive-their-job", breaks=("I36",), plant=_parts_outlive_their_job),
    Bug(name="race-counts-twice", breaks=("I36",), plant=_race_without(State.COMPLETED)),
    Bug(name="race-left-and-gone-on", breaks=("I36",), plant=_race_without(None)),
    Bug(name="race-lost-fails-the-job", breaks=("I36",), plant=_race_lost_fails),
    Bug(name="hedge-on-the-same-node", breaks=("I36",), plant=sql(add_hedge=("lane, split, node_id, position", "lane, split, NULL, position"))),
    Bug(name="start-without-fence", breaks=("I3",), plant=_start_unfenced),
    Bug(name="progress-without-fence", breaks=("I3",), plant=sql(
        keep_progress=("AND t.attempt = ?3 AND t.node_id = ?4 AND t.node_epoch = ?5", "AND ?3 = ?3 AND ?4 = ?4 AND ?5 = ?5"),
    )),
    Bug(name="answer-before-commit", breaks=("I1", "I3", "I7", "I8"), plant=_answer_before_commit),
    Bug(name="select-then-update", breaks=("I3", "I4", "I7"), plant=_select_then_update),
    Bug(name="claim-not-replayable", breaks=("I3", "I20"), plant=_claim_not_replayable),
    Bug(name="attempt-does-not-grow", breaks=("I7", "I4", "I3"), plant=sql(claim_task=("attempt = ?3 + 1", "attempt = ?3"))),
    Bug(name="order-ignored", breaks=("I22",), plant=sql(claim_next=("ORDER BY rank, job, position", "ORDER BY job DESC"))),
    Bug(name="draining-node-claims", breaks=("I25",), plant=_draining_claims),
    Bug(name="slots-not-counted", breaks=("I20",), plant=sql(free_slots=("n.slots - (", "1000 - ("))),
    Bug(name="key-outside-transaction", breaks=("I8",), plant=_key_outside),
    Bug(name="expiry-without-compare", breaks=("I10",), plant=_expiry_without_compare),
    Bug(name="expiry-by-masters-clock", breaks=("I10",), plant=_expiry_by_masters_clock),
    Bug(name="expiry-without-new-epoch", breaks=("I3",), plant=sql(expire_leases=("state = 'lost', epoch = epoch + 1", "state = 'lost'"))),
    Bug(name="expiry-a-heartbeat-early", breaks=("I10",), plant=sql(expire_leases=("lease_until < ?1", "lease_until - 2000 < ?1"))),
    Bug(name="restart-without-new-epoch", breaks=("I3",), plant=sql(
        add_node=("epoch = nodes.epoch + (nodes.boot_id <> excluded.boot_id OR nodes.state = 'lost')", "epoch = nodes.epoch"),
    )),
    Bug(name="orphans-forgotten", breaks=("I1",), plant=sql(
        orphans=("t.node_id IS NOT NULL AND (n.id IS NULL OR n.epoch <> t.node_epoch)", "n.id IS NULL AND t.node_id IS NOT NULL"),
        left_by=("t.node_epoch < ?2", "t.node_epoch < 0"),
    )),
    Bug(name="retries-counted-twice", breaks=("I24",), plant=sql(move_task=("spent + ?7", "spent + 2 * ?7"))),
    Bug(name="back-off-without-end", breaks=("I1",), plant=sql(move_task=("due_at = CASE WHEN ?10 THEN coalesce(?5, due_at) END", "due_at = CASE WHEN ?10 THEN NULL END"))),
    Bug(name="history-in-another-transaction", breaks=("I7", "I3"), plant=_history_beside),
    Bug(name="job-left-behind", breaks=("I7",), plant=_job_left_behind),
    Bug(name="events-skip-one", breaks=("I7",), plant=sql(events=("seq > ?1", "seq > ?1 + 1"))),
    Bug(name="log-appended-twice", breaks=("I4",), plant=_log_twice),
    Bug(name="quota-by-select-then-insert", breaks=("I20",), plant=_quota_outside),
    Bug(name="lane-without-end", breaks=("I20",), plant=sql(lanes=("AND running < max_concurrent", "AND running < max_concurrent + 1"))),
    Bug(name="unknown-commit-taken-for-done", breaks=("I3",), plant=_unknown_is_done),
)  # fmt: skip
