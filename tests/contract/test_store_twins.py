"""The same random steps into SQLite, PostgreSQL and a model of the protocol give the same answers."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec import Struct
from msgspec.structs import fields
from protocol_model import Protocol
from store_samples import GPU_NEEDS, NEEDS, a_job, a_move, a_node

from millrace.domain.batches import NewBatch
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Hedge, Kind, NewPart, NodeState, Outcome, Output, Progress, Report, Split
from millrace.domain.states import State
from millrace.domain.tenants import Quotas
from millrace.domain.tenants import Rules as TenantRules
from millrace.runtime.clock import VirtualClock
from millrace.store.open import open_store
from millrace.store.store import JobFilter

_TABLES = (
    "requirement_classes, jobs, job_specs, idempotency_keys, tasks, attempts, progress, outputs, transitions,"
    " nodes, node_facts, log_chunks, quarantines, node_blames, arrivals, tenants, uploads, turns, parts,"
    " dependencies, batches, batch_jobs"
)
_PICK = st.integers(0, 5)
_TENANTS = ("acme", "other")
_CLASSES = st.lists(st.integers(1, 2), max_size=2, unique=True)
_HOUR_S = 3600.0


def plain(value: Any) -> Any:
    """The answer without what may differ: cursors, and moments beyond whether there is one."""
    if isinstance(value, datetime):
        return "a moment"
    if isinstance(value, Struct):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value) if "cursor" not in one.name}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


class Twins:
    """Both stores on one loop, emptied for each run of the machine."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.runs = 0
        self.runner = asyncio.Runner()
        self.postgres = open_store(url)
        self.runner.run(self.postgres.start())

    def begin(self) -> None:
        self.runs += 1
        self.clock = VirtualClock()
        self.model = Protocol()
        self.sqlite = open_store(self.folder / f"{self.runs}.db", clock=self.clock)
        self.runner.run(self.sqlite.start())
        self.runner.run(self._execute(f"TRUNCATE {_TABLES} RESTART IDENTITY"))
        self.postgres._classes.clear()  # type: ignore[attr-defined]
        for needs in (NEEDS, GPU_NEEDS):
            self.both("class_of", needs)

    def end(self) -> None:
        self.runner.run(self.sqlite.stop())

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(sql)
        await connection.close()

    def both(self, verb: str, *args: Any, **options: Any) -> Any:
        """Ask both; the answers are equal, and those of the model. Time passes by a moment, so that ranks differ."""
        self.clock.step_wall(0.001)
        stores = (self.sqlite, self.postgres)
        answers = [self.runner.run(getattr(store, verb)(*args, **options)) for store in stores]
        assert plain(answers[0]) == plain(answers[1]), verb
        self.model.check(verb, args, options, answers[0])
        return answers[0]


class Machine(RuleBasedStateMachine):
    twins: Twins

    def __init__(self) -> None:
        super().__init__()
        self.twins.begin()
        self.jobs: list[str] = []
        self.nodes: list[Any] = []
        self.given: list[tuple[str, int]] = []
        self.made = 0

    def teardown(self) -> None:
        try:
            self._all_is_equal()
        finally:
            self.twins.end()

    def _task(self, pick: int) -> str:
        position = 1 if pick % 2 else 1 + pick // 2
        return f"{self.jobs[pick % len(self.jobs)]}.{position}" if self.jobs else "none.1"

    def _node(self, pick: int) -> Any:
        if not self.nodes:
            self.register(0, "a")
        return self.nodes[pick % len(self.nodes)]

    @rule(
        class_id=st.integers(1, 2),
        weight=st.integers(0, 3),
        pending=st.booleans(),
        key=st.sampled_from([None, None, "k", "l"]),
        digest=st.sampled_from(["d", "e"]),
        tenant=st.sampled_from(_TENANTS),
    )
    def add(self, class_id: int, weight: int, pending: bool, key: str | None, digest: str, tenant: str) -> None:
        # Head starts are hours apart, so that the order does not hang on the two clocks.
        job = a_job(
            class_id,
            head_start_ms=int(weight * _HOUR_S * 1000),
            state=State.PENDING if pending else State.QUEUED,
            idempotency_key=key,
            body_digest=digest,
            tenant=tenant,
        )
        (added,) = self.twins.both("add_jobs", [job])
        if added.id == job.id and added.refused is None:
            self.jobs.append(job.id)

    @rule(picks=st.lists(_PICK, min_size=1, max_size=3), any_end=st.booleans(), tenant=st.sampled_from(_TENANTS))
    def add_after(self, picks: list[int], any_end: bool, tenant: str) -> None:
        """A job that waits for some that are there."""
        numbers = sorted({1 + pick % len(self.jobs) for pick in picks}) if self.jobs else [999]
        job = a_job(1, state=State.PENDING, after=tuple(numbers), after_any_end=any_end, tenant=tenant)
        (added,) = self.twins.both("add_jobs", [job])
        if added.refused is None:
            self.jobs.append(job.id)

    @rule(pick=_PICK)
    def forget_waits(self, pick: int) -> None:
        self.twins.both("forget_waits", [self._task(pick).partition(".")[0]])

    @rule(
        count=st.integers(1, 3),
        key=st.sampled_from([None, "k"]),
        digest=st.sampled_from("de"),
        tenant=st.sampled_from(_TENANTS),
    )
    def add_batch(self, count: int, key: str | None, digest: str, tenant: str) -> None:
        self.made += 1
        batch = NewBatch(
            id=f"b{self.made}", tenant=tenant, name="", actor="test", key=key, body_digest=digest if key else None
        )
        jobs = [a_job(1, tenant=tenant) for _ in range(count)]
        added = self.twins.both("add_batch", batch, jobs)
        if added.id == batch.id and added.refused is None and not added.conflict:
            self.jobs += [job.id for job in jobs]

    @rule(
        tenant=st.sampled_from(_TENANTS),
        concurrent=st.sampled_from([None, 0, 1, 2]),
        queued=st.sampled_from([None, 1, 4]),
        storage=st.sampled_from([None, 8]),
        weight=st.sampled_from([1, 1, 2, 3]),
    )
    def set_tenant(
        self, tenant: str, concurrent: int | None, queued: int | None, storage: int | None, weight: int
    ) -> None:
        quotas = Quotas(concurrent=concurrent, queued=queued, storage_bytes=storage)
        self.twins.both("set_tenant", tenant, TenantRules(quotas=quotas, weight=weight))

    @rule(tenant=st.sampled_from(_TENANTS))
    def remove_tenant(self, tenant: str) -> None:
        self.twins.both("remove_tenant", tenant)

    @rule(tenant=st.sampled_from(_TENANTS), number=st.integers(0, 9), goes=st.booleans())
    def upload(self, tenant: str, number: int, goes: bool) -> None:
        self.twins.both("release_upload", f"u{number}")
        if not goes:
            self.twins.both("add_upload", f"u{number}", tenant, number)

    @rule(pick=_PICK, boot=st.sampled_from("ab"), slots=st.integers(1, 4))
    def register(self, pick: int, boot: str, slots: int = 4) -> None:
        which = pick % 2
        new = a_node(
            fingerprint=f"f{which}", boot_id=boot, ttl_s=_HOUR_S, id=f"n{which}", name=f"w{which}", slots=slots
        )
        node = self.twins.both("register", new)
        if node is not None:
            self.nodes = [*(one for one in self.nodes if one.id != node.id), node]

    @rule(pick=_PICK, request=st.integers(0, 3), classes=_CLASSES, limit=st.integers(1, 3), stale=st.booleans())
    def claim(self, pick: int, request: int, classes: list[int], limit: int, stale: bool) -> None:
        node = self._node(pick)
        epoch = node.epoch - stale
        found = self.twins.both(
            "claim", node_id=node.id, epoch=epoch, request_id=f"r{request}", classes=classes, limit=limit
        )
        self.given += [(one.task_id, one.attempt) for one in found or ()]

    @rule(
        pick=_PICK,
        goal=st.sampled_from(State),
        outcome=st.sampled_from([None, *Outcome]),
        fails=st.booleans(),
        flags=st.tuples(*[st.booleans()] * 4),
        delay_s=st.sampled_from([None, 0.0, _HOUR_S]),
        attempt=st.sampled_from([None, None, 1, 2]),
        results=st.booleans(),
        avoid=st.sampled_from([None, None, (), ("n0",), ("n1",), ("n0", "n1")]),
    )
    def move(
        self,
        pick: int,
        goal: State,
        outcome: Outcome | None,
        fails: bool,
        flags: tuple[bool, ...],
        delay_s: float | None,
        attempt: int | None,
        results: bool,
        avoid: tuple[str, ...] | None,
    ) -> None:
        release, spends, loses, restart = flags
        output = Output(name="o", location="/o", sha256="00", size=pick, streams=({"n": pick},))
        move = a_move(
            self._task(pick),
            goal,
            outcome=outcome,
            failure=Failure(failure_class=FailureClass.ENGINE, message="broke") if fails else None,
            release=release,
            spends=spends,
            loses=loses,
            restart=restart,
            delay_s=delay_s,
            attempt=attempt,
            outputs=(output,) if results else (),
            kept_bytes=pick if results else 0,
            facts={"n": pick} if results else None,
            avoid=avoid,
        )
        self.twins.both("move", [move])

    @rule(
        pick=_PICK,
        goal=st.sampled_from([State.COMPLETED, State.QUEUED, State.RETRYING, State.FAILED]),
        request=st.integers(0, 3),
        classes=_CLASSES,
        limit=st.integers(1, 3),
        stale=st.booleans(),
    )
    def move_and_claim(self, pick: int, goal: State, request: int, classes: list[int], limit: int, stale: bool) -> None:
        node = self._node(pick)
        task, attempt = self.given[-1 - pick % len(self.given)] if self.given else ("none.1", 1)
        move = a_move(
            task, goal, attempt=attempt, node_id=node.id, outcome=Outcome.COMPLETED, release=True, delay_s=_HOUR_S
        )
        found = self.twins.both(
            "move_and_claim",
            move,
            epoch=node.epoch - stale,
            request_id=f"r{request}",
            classes=classes,
            limit=limit,
        )
        self.given += [(one.task_id, one.attempt) for one in found or ()]

    @rule(
        pick=_PICK,
        kinds=st.lists(st.sampled_from([Kind.CHUNK, Kind.SIDES]), min_size=1, max_size=3),
        class_id=st.integers(1, 2),
    )
    def split(self, pick: int, kinds: list[Kind], class_id: int) -> None:
        """Somebody divides what a node holds, and the node makes some of the parts."""
        self.claim_as(pick, NodeState.READY, class_id, request=pick % 4)
        task, attempt = self.given[-1 - pick % 2] if len(self.given) > 1 else ("none.1", 1)
        move = a_move(task, State.PENDING, attempt=attempt, outcome=Outcome.SPLIT, release=True)
        parts = tuple(NewPart(kind=kind, number=number, frames=100 * number) for number, kind in enumerate(kinds))
        self.twins.both("split", Split(move=move, parts=parts, plan={"chunks": len(parts)}, class_id=class_id))
        self.claim(pick, pick % 4, [1, 2], limit=3, stale=False)
        for made, number in self.given[-(pick % 4) :] if pick % 4 else ():
            self.twins.both("move", [a_move(made, State.COMPLETED, attempt=number, outcome=Outcome.COMPLETED)])
        self.twins.both("ended_splits", limit=99)
        self.twins.both("tasks", task.partition(".")[0])

    @rule(pick=_PICK, stale=st.booleans())
    def hedge(self, pick: int, stale: bool) -> None:
        """A part that somebody makes gets a second task, and perhaps somebody is given it."""
        task, attempt = self.given[-1 - pick % len(self.given)] if self.given else ("none.1", 1)
        for node in self.nodes:
            asked = Hedge(task_id=task, attempt=attempt + stale, node_id=node.id, reason="slow", actor="master")
            self.twins.both("hedge", asked)
        self.twins.both("under_way_in_parts", limit=99)
        self.claim(pick + 1, pick % 4, [1, 2], limit=3, stale=False)
        self.twins.both("tasks", task.partition(".")[0])

    @rule(pick=_PICK, stale=st.booleans())
    def heartbeat(self, pick: int, stale: bool) -> None:
        node = self._node(pick)
        reports = [
            Report(task_id=task, attempt=attempt, paused=False, progress=Progress(fraction=pick / 8, phase="encode"))
            for task, attempt in self.given
        ]
        self.twins.both("heartbeat", node_id=node.id, epoch=node.epoch - stale, ttl_s=_HOUR_S, reports=reports)

    @rule(pick=_PICK, goal=st.sampled_from(NodeState))
    def set_node_state(self, pick: int, goal: NodeState) -> None:
        self.twins.both("set_node_state", self._node(pick).id, goal, sources=list(NodeState))

    @rule(pick=_PICK, goal=st.sampled_from(NodeState), class_id=st.integers(1, 2), request=st.integers(0, 3))
    def claim_as(self, pick: int, goal: NodeState, class_id: int, request: int) -> None:
        """Work waits, and a node in this state asks for it: by chance alone the two hardly ever meet."""
        self.add(class_id, weight=0, pending=False, key=None, digest="d", tenant=_TENANTS[0])
        self.set_node_state(pick, goal)
        self.claim(pick, request, [class_id], limit=3, stale=False)

    @rule(pick=_PICK, times=st.integers(1, 3))
    def quarantine(self, pick: int, times: int) -> None:
        self.twins.both("quarantine", self._node(pick).id, reason="broken", proof_after_s=_HOUR_S, times=times)

    @rule(pick=_PICK)
    def release(self, pick: int) -> None:
        self.twins.both("release", self._node(pick).id)

    @rule(pick=_PICK, job=_PICK)
    def blame(self, pick: int, job: int) -> None:
        failure = Failure(failure_class=FailureClass.ENGINE, message="broke")
        node = self._node(pick).id
        self.twins.both("add_blame", node, self._task(job).partition(".")[0], failure)
        self.twins.both("node_record", node)

    @rule(pick=_PICK)
    def remove_node(self, pick: int) -> None:
        node = self._node(pick)
        if self.twins.both("remove_node", node.id):
            self.nodes.remove(node)

    @rule(pick=_PICK, attempt=st.integers(1, 2), offset=st.integers(0, 6), data=st.binary(max_size=6))
    def log(self, pick: int, attempt: int, offset: int, data: bytes) -> None:
        self.twins.both("append_log", self._task(pick), attempt, offset=offset, data=data)
        self.twins.both("read_log", self._task(pick), attempt, offset=offset, limit=5)

    @rule(
        states=st.frozensets(st.sampled_from(State), max_size=3),
        labels=st.sampled_from([None, {"team": "video"}, {"team": "x"}]),
        failures=st.frozensets(st.sampled_from([FailureClass.ENGINE, FailureClass.DISK])),
        limit=st.integers(1, 4),
    )
    def list_jobs(
        self, states: frozenset[State], labels: dict[str, str] | None, failures: frozenset[FailureClass], limit: int
    ) -> None:
        self.twins.both("jobs", JobFilter(states=states, labels=labels, failures=failures), cursor=None, limit=limit)

    @invariant()
    def the_counts_are_equal(self) -> None:
        self.twins.both("count_jobs")
        self.twins.both("queued_classes")
        self.twins.both("tenants")
        self.twins.both("decidable", limit=99)
        self.twins.both("batches", tenant=None, below=None, limit=99)

    def _all_is_equal(self) -> None:
        both = self.twins.both
        both("nodes")
        both("orphans", limit=99)
        # Said anew from nothing, a tenant's use is counted anew, and is what it was.
        for tenant in both("tenants"):
            both("remove_tenant", tenant.name)
            assert both("set_tenant", tenant.name, tenant.rules).use == tenant.use
        for job in self.jobs:
            for verb in ("job", "awaited", "tasks", "standings", "attempts", "outputs", "facts", "transitions"):
                both(verb, job)


@pytest.fixture
def twins(tmp_path: Path, new_database: Any) -> Iterator[Twins]:
    twins = Twins(tmp_path, new_database())
    yield twins
    twins.runner.run(twins.postgres.stop())
    twins.runner.close()


def test_random_steps_give_equal_answers(twins: Twins) -> None:
    bounded = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    machine = type("TwinMachine", (Machine,), {"twins": twins})
    run_state_machine_as_test(machine, settings=bounded)
