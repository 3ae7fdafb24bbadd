"""What must be there after the plug was pulled: everything that was told, and nothing half done."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from millrace.blobs.publish import recover
from millrace.blobs.values import PRIVATE
from millrace.config.settings import MasterSettings
from millrace.domain.states import State
from millrace.programs.backup import MANIFEST, restore
from millrace.programs.master import BLOBS, DATABASE, MasterProgram
from millrace.runtime.clock import SystemClock
from millrace.store.sqlite.driver import SqliteStore
from power.script import AGAIN, DATA, OUT, SAVED

Told = Sequence[dict[str, Any]]


def broken(root: Path, told: Told, *, serve: bool = False) -> list[str]:
    """Every promise that does not hold; with `serve`, a whole master is started on what is left, too."""
    found = [*_files(root, told), *_backup(root, told)]
    database = root / DATA / DATABASE
    if database.exists():
        found += _database(database)
    elif _of(told, "started"):
        found.append("the database is gone")
    if not found:
        found += asyncio.run(_records(root, told, serve=serve))
    return found


def _of(told: Told, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in told if one["told"] in kinds]


def _database(path: Path) -> Iterator[str]:
    connection = apsw.Connection(str(path))
    try:
        for pragma, well in (("integrity_check", [("ok",)]), ("foreign_key_check", [])):
            found = connection.execute(f"PRAGMA {pragma}").fetchall()
            if found != well:
                yield f"{pragma} of {path.name}: {found[:3]}"
    except apsw.Error as error:
        yield f"{path.name} cannot be read: {error}"
    finally:
        connection.close()


async def _records(root: Path, told: Told, *, serve: bool) -> list[str]:
    store = SqliteStore(root / DATA / DATABASE, clock=SystemClock())
    await store.start()
    found = [
        f"job {one['number']} was accepted, and is lost"
        for one in _of(told, "job")
        if await store.job(one["id"]) is None
    ]
    for one in _of(told, "claimed"):
        task = await store.task(one["task"])
        if task is None or task.attempt < one["attempt"]:
            found.append(f"{one['task']} was given in attempt {one['attempt']}, and is {task}")
    for one in _of(told, "completed"):
        job, outputs = await store.job(one["id"]), await store.outputs(one["id"])
        if job is None or job.state is not State.COMPLETED:
            found.append(f"{one['id']} was completed, and is {job and job.state}")
        elif [_sha256(Path(output.location)) for output in outputs] != [
            output.sha256 for output in outputs
        ] or not outputs:
            found.append(f"the outputs of {one['id']} are not what was recorded")
    await store.stop()
    if serve:
        async with MasterProgram(MasterSettings(data=root / DATA, port=0)):
            pass
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _files(root: Path, told: Told) -> Iterator[str]:
    """What can be seen under a public name is whole; so the more what was told."""
    out = root / OUT
    if out.is_dir():
        for job in [path.name for path in out.iterdir() if not path.name.startswith(PRIVATE)]:
            recover(out / job)
        for folder in (path for path in out.iterdir() if not path.name.startswith(PRIVATE)):
            try:
                sums = json.loads((folder / "sums").read_bytes())
            except (OSError, ValueError):
                sums = {"film": "its sums are not whole"}
            if sums != {"film": _sha256(folder / "film")}:
                yield f"{folder.name} can be seen, and is not whole"
    for one in _of(told, "completed"):
        if not Path(one["film"]).is_file():
            yield f"the output of {one['id']} is gone"
    for one in _of(told, "kept"):
        if _sha256(root / DATA / BLOBS / "jobs/one/film") != one["sha256"]:
            yield "what the master kept is not what it was given"


def _backup(root: Path, told: Told) -> Iterator[str]:
    """A backup that bears its name is whole; a farm that was restored is one."""
    saved, again = root / SAVED, root / AGAIN / DATABASE
    if saved.exists():
        if not (saved / MANIFEST).is_file():
            yield "the backup bears its name, and is not whole"
        else:
            try:
                asyncio.run(restore(MasterSettings(data=root / "proof"), saved))
            except Exception as error:  # noqa: BLE001  whatever goes wrong with it is what is asked for
                yield f"the backup cannot be restored: {error}"
    elif _of(told, "saved"):
        yield "the backup is gone"
    if again.exists():
        yield from _database(again)
    elif _of(told, "restored"):
        yield "the farm that was restored is gone"
