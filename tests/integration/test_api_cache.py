"""Finished pieces that the masters keep for later jobs: who may have them, and for how long."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from api_serving import Node, Rig, on_master

from millrace.api.cache import USED_EVERY, CacheBounds, trim
from millrace.blobs.local import LocalBlobs
from millrace.programs.backup import _copied

KEY = "a" * 64


async def task_of(rig: Rig, node: Node, tenant: str | None) -> Any:
    await rig.submit(**({"tenant": tenant} if tenant else {}))
    (task,) = await node.claim()
    return task


async def keep(node: Node, task: Any, data: bytes, *, key: str = KEY, attempt: int = 0) -> Any:
    query = {"node": node.id, "attempt": attempt or task["attempt"]}
    return await node.rig.call("PUT", f"/v1/tasks/{task['task']}/cache/{key}", params=query, content=data)


async def fetch(node: Node, task: Any, *, key: str = KEY) -> Any:
    query = {"node": node.id, "attempt": task["attempt"]}
    return await node.rig.call("GET", f"/v1/tasks/{task['task']}/cache/{key}", params=query)


@on_master
async def test_a_piece_is_there_for_later_jobs_of_the_same_tenant_alone(rig: Rig) -> None:
    node = await rig.register()
    first = await task_of(rig, node, "acme")
    assert (await fetch(node, first)).status_code == 404
    assert (await keep(node, first, b"piece")).status_code == 200
    later = await task_of(rig, node, "acme")
    assert (await fetch(node, later)).content == b"piece"
    for tenant in ("other", None):
        task = await task_of(rig, node, tenant)
        assert (await fetch(node, task)).status_code == 404
        assert (await keep(node, task, tenant.encode() if tenant else b"nobody")).status_code == 200
    assert (await fetch(node, later)).content == b"piece"


@on_master
async def test_only_who_holds_the_task_gets_and_keeps_pieces(rig: Rig) -> None:
    node = await rig.register()
    task = await task_of(rig, node, None)
    assert (await keep(node, task, b"piece", attempt=7)).status_code == 409
    other = await rig.register("two")
    assert (await keep(other, task, b"piece")).status_code == 409
    assert (await fetch(other, task)).status_code == 409
    for key in ("A" * 64, "a" * 63, "..", "films"):
        assert (await keep(node, task, b"piece", key=key)).status_code in (400, 404)
    assert not (await _keys(rig))


@on_master
async def test_a_master_that_keeps_none_says_so(rig: Rig) -> None:
    rig.app.master.keeps_pieces = False
    node = await rig.register()
    task = await task_of(rig, node, None)
    assert (await keep(node, task, b"piece")).status_code == 404
    assert not (await _keys(rig))


@on_master
async def test_what_is_used_stays_and_what_is_not_goes(rig: Rig) -> None:
    node = await rig.register()
    task = await task_of(rig, node, None)
    used, unused = KEY, "b" * 64
    for key in (used, unused):
        await keep(node, task, b"piece", key=key)
    long_ago_s = (await rig.farm.store.now() - USED_EVERY - timedelta(minutes=1)).timestamp()
    for path in (_root(rig) / "cache").rglob("?" * 64):
        os.utime(path, (long_ago_s, long_ago_s))
    assert (await fetch(node, task, key=used)).content == b"piece"
    bounds = CacheBounds(most_bytes=5, unused=None)
    assert await trim(rig.app.master.blobs, bounds, now=await rig.farm.store.now()) == 1
    assert [key.rpartition("/")[2] for key in await _keys(rig)] == [used]


@on_master
async def test_a_backup_leaves_them_out(rig: Rig) -> None:
    node = await rig.register()
    await keep(node, await task_of(rig, node, None), b"piece")
    (file,) = (_root(rig) / "cache").rglob("?" * 64)
    await rig.app.master.blobs.put("jobs/j1/1.1/a", file)
    copied = [one.name async for one in _copied(rig.app.master.blobs, LocalBlobs(_root(rig).parent / "backup"))]
    assert copied == ["jobs/j1/1.1/a"]


async def _keys(rig: Rig) -> list[str]:
    return [one.key async for one in rig.app.master.blobs.list("cache")]


def _root(rig: Rig) -> Path:
    blobs = rig.app.master.blobs
    assert isinstance(blobs, LocalBlobs)
    return blobs._root
