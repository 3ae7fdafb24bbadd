"""Records to feed a store with, shared by the tests of the contract."""

import itertools
import os
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain import ids
from millrace.domain.ids import job_of
from millrace.domain.needs import Needs
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Kind, Move, NewJob, NewNode, NewPart, Outcome, Split
from millrace.domain.states import State, sources_of
from millrace.store.store import Store

_count = itertools.count(1)
NEEDS = Needs(encoders=(("libx264",),))
GPU_NEEDS = Needs(encoders=(("h264_nvenc",),))


def a_job(class_id: int, **changes: object) -> NewJob:
    job = NewJob(
        id=ids.job_id(1_767_225_600_000 + next(_count), os.urandom(10)),
        tenant="acme",
        queue=Queue.DEFAULT,
        priority=Priority.MEDIUM,
        classification=None,
        labels={"team": "video"},
        profile="web-hls",
        spec={"input": {"path": "in.mp4"}, "width": 640},
        max_retries=3,
        timeout_s=12.5,
        class_id=class_id,
        head_start_ms=0,
        state=State.QUEUED,
        due_at=None,
        actor="key:test",
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def a_node(**changes: object) -> NewNode:
    number = next(_count)
    node = NewNode(
        id=ids.node_id(1_767_225_600_000 + number, os.urandom(10)),
        fingerprint=f"fingerprint-{number}",
        boot_id="boot-1",
        name=f"worker-{number}",
        slots=1000,
        labels={"zone": "a"},
        facts={"engines": {"ffmpeg": "9.0.2"}},
        ttl_s=30.0,
    )
    return replace(node, **changes)  # type: ignore[arg-type]


def a_move(task_id: str, target: State, **changes: object) -> Move:
    move = Move(task_id=task_id, sources=sources_of(target), target=target, reason="for a test", actor="test")
    return replace(move, **changes)  # type: ignore[arg-type]


async def queue_jobs(store: Store, count: int, **changes: object) -> list[str]:
    """Add queued jobs and return their tasks' ids."""
    class_id = await store.class_of(NEEDS)
    changes.setdefault("class_id", class_id)
    added = await store.add_jobs([a_job(**changes) for _ in range(count)])  # type: ignore[arg-type]
    return [f"{one.id}.1" for one in added]


def completes(task_id: str, attempt: int, **changes: object) -> Move:
    return a_move(task_id, State.COMPLETED, attempt=attempt, outcome=Outcome.COMPLETED, release=True, **changes)


_LOOKS = 10_000


async def until_blocked(connection: Any) -> None:
    """Wait until somebody in this database waits for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(_LOOKS):
        if await connection.fetchval(waits):
            return
        await connection.execute("SELECT pg_stat_clear_snapshot()")  # or a transaction sees the same again and again
    pytest.fail("nobody waits for a lock")


PARTS = (
    NewPart(kind=Kind.SIDES),
    NewPart(kind=Kind.CHUNK, number=1, frames=300),
    NewPart(kind=Kind.CHUNK, number=0, frames=100),
)
PLAN = {"chunks": [1, 2], "name": "film"}


class Scene:
    """A claimed job and two nodes, the second of which can make parts alone."""

    def __init__(self, farm: Any) -> None:
        self.farm = farm
        self.store = farm.store
        self.requests = 0

    async def begin(self, **job: Any) -> "Scene":
        self.plain, self.sharing = await self.store.class_of(NEEDS), await self.store.class_of(GPU_NEEDS)
        self.node = await self.store.register(a_node())
        self.other = await self.store.register(a_node())
        (self.lead,) = await queue_jobs(self.store, 1, **job)
        await self.claim(self.node, classes=[self.plain])
        return self

    async def claim(self, node: Any, *, limit: int = 1, classes: list[int] | None = None) -> Any:
        self.requests += 1
        return await self.store.claim(
            node_id=node.id, epoch=node.epoch, request_id=f"r{self.requests}",
            classes=[self.plain, self.sharing] if classes is None else classes, limit=limit,
        )  # fmt: skip

    def asked(self, **changes: Any) -> Split:
        move = {"attempt": 1, "node_id": self.node.id, "outcome": Outcome.SPLIT, "release": True, **changes}
        return Split(move=a_move(self.lead, State.PENDING, **move), parts=PARTS, plan=PLAN, class_id=self.sharing)

    def part(self, position: int) -> str:
        return f"{job_of(self.lead)}.{position}"

    async def states(self) -> list[State]:
        return [task.state for task in await self.store.tasks(job_of(self.lead))]

    async def job(self) -> Any:
        return await self.store.job(job_of(self.lead))
