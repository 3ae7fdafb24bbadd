"""A short life of a farm, made of the product's own store, blobs, publishing and backup; every step that was done is told at once.

What is told is a promise (`power.promises` checks it). It runs in a process that is going to be killed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from millrace.api.audit_recovery import recover
from millrace.blobs import publish as publishing
from millrace.blobs.local import LocalBlobs
from millrace.config.settings import MasterSettings
from millrace.domain import ids
from millrace.domain.needs import Needs
from millrace.domain.order import Priority, Queue
from millrace.domain.records import Move, NewJob, NewNode, Outcome, Output
from millrace.domain.states import State, sources_of
from millrace.programs import data_folder
from millrace.programs.backup import back_up, restore
from millrace.programs.master import BLOBS, DATABASE
from millrace.runtime.clock import SystemClock
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.store import Store

Tell = Callable[..., None]
DATA, OUT, SAVED, AGAIN = "data", "out", "saved", "again"
"""What lies in the root: the farm's data folder, published outputs, a backup, and a farm that was made of it."""
_STEPS = ("rename", "replace", "fsync", "mkdir", "rmdir", "unlink")


@contextmanager
def stepped(step: Callable[[str], None]) -> Iterator[None]:
    """`step` hears of every change of files and folders that is not SQLite's, before it is done."""

    def heard(name: str, function: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            step(name)
            return function(*arguments, **more)

        return call

    before = {name: getattr(os, name) for name in _STEPS}
    rename_with = publishing.rename_with
    for name, function in before.items():
        setattr(os, name, heard(name, function))
    publishing.rename_with = heard("rename", rename_with)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(os, name, function)
        publishing.rename_with = rename_with


async def live(root: Path, tell: Tell) -> None:
    """From an empty root to a farm with jobs in every state, a backup, and another farm that was made of that."""
    settings = MasterSettings(data=root / DATA)
    data_folder.make(settings.data)
    store = SqliteStore(settings.data / DATABASE, clock=SystemClock())
    await store.start()
    tell("started")
    await recover(store)
    life = Life(store, root, tell)
    jobs = [await life.submit(number) for number in range(4)]
    await life.claim(2)
    await life.complete(jobs[0], 1)
    await life.complete(jobs[1], 1)
    await life.keep_blob()
    await back_up(settings, root / SAVED, files=True)
    tell("saved", jobs=jobs)
    await life.submit(4)
    await life.fail(jobs[0])
    await restore(MasterSettings(data=root / AGAIN), root / SAVED)
    tell("restored", jobs=jobs)
    await store.stop()
    tell("stopped")


class Life:
    """What jobs go through, as a master and a worker have it; `tell` hears of each step that was answered."""

    def __init__(self, store: Store, root: Path, tell: Tell) -> None:
        self._store = store
        self._root = root
        self._tell = tell
        self._node = NewNode(
            id=ids.node_id(1, bytes(10)), fingerprint="one", boot_id="boot", name="one", slots=2, labels={}, facts={},
            ttl_s=3600.0,
        )  # fmt: skip

    async def submit(self, number: int) -> str:
        job = NewJob(
            id=ids.job_id(1_767_225_600_000 + number, os.urandom(10)), tenant="t", queue=Queue.DEFAULT,
            priority=Priority.MEDIUM, classification=None, labels={}, profile="web-hls", spec={"text": "x" * 3000},
            max_retries=3, timeout_s=None, class_id=await self._store.class_of(Needs()), head_start_ms=0,
            state=State.QUEUED, due_at=None, actor="person", idempotency_key=f"key-{number}", body_digest="d",
        )  # fmt: skip
        (added,) = await self._store.add_jobs([job])
        self._tell("job", id=added.id, number=added.number)
        return added.id

    async def claim(self, limit: int) -> None:
        node = await self._store.register(self._node)
        classes = [await self._store.class_of(Needs())]
        given = await self._store.claim(
            node_id=node.id, epoch=node.epoch, request_id="first", classes=classes, limit=limit
        )
        for one in given or ():
            self._tell("claimed", task=one.task_id, attempt=one.attempt)

    async def complete(self, job: str, attempt: int) -> None:
        """Publish a folder and say so, as a worker does, and its master."""
        work, public = self._root / "work" / job, self._root / OUT / job
        work.mkdir(parents=True)
        film = f"{job} {attempt} ".encode() * 500
        (work / "film").write_bytes(film)
        (work / "sums").write_text(json.dumps({"film": hashlib.sha256(film).hexdigest()}))
        publishing.publish(work, public)
        output = Output(
            name="film",
            location=str(public / "film"),
            sha256=hashlib.sha256(film).hexdigest(),
            size=len(film),
            streams=(),
        )
        await self._move(
            job, State.PROCESSING, attempt=attempt, node_id=self._node.id,
        )  # fmt: skip
        await self._move(
            job, State.COMPLETED, attempt=attempt, node_id=self._node.id, outcome=Outcome.COMPLETED, release=True,
            outputs=(output,),
        )  # fmt: skip
        self._tell("completed", id=job, film=str(public / "film"))

    async def fail(self, job: str) -> None:
        """A report that comes too late changes nothing."""
        changed = await self._store.move([
            Move(
                task_id=f"{job}.1", sources=sources_of(State.FAILED), target=State.FAILED, reason="late", actor="one",
                attempt=1, node_id=self._node.id,
            )
        ])  # fmt: skip
        assert changed == [False]

    async def keep_blob(self) -> None:
        data = b"kept " * 1000
        await LocalBlobs(self._root / DATA / BLOBS).put("jobs/one/film", _one(data))
        self._tell("kept", sha256=hashlib.sha256(data).hexdigest())

    async def _move(self, job: str, target: State, **more: Any) -> None:
        move = Move(
            task_id=f"{job}.1", sources=sources_of(target), target=target, reason="reported", actor="one", **more
        )
        assert await self._store.move([move]) == [True]


async def _one(data: bytes) -> Any:
    yield data
