"""What must hold at the end of any run, simulated or real: by what clients were told, and by what store and disk then hold."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from millrace.api.places import KEPT
from millrace.blobs.values import PRIVATE
from millrace.worker.deliver import MANIFEST
from sim.history import History
from sim.ledger import Ledger, Read

LABEL = "sim"
"""The label under which a job carries its index in the plan."""


class Case(Struct, frozen=True, kw_only=True):
    """What is judged.

    Attributes:
        history: what clients asked and were told.
        read: asks the store.
        ledger: what its history says.
        fail: hears of an invariant that does not hold.
        known: for each job's index the id that a 2xx gave.
        media: the folder below which jobs publish.
        blobs: the folder in which masters keep outputs.
        attempt_in: which attempt made an output, as its name and bytes tell; None where they do not.
    """

    history: History
    read: Read
    ledger: Ledger
    fail: Callable[[str, str], None]
    known: Mapping[int, str]
    media: Path
    blobs: Path
    attempt_in: Callable[[str, bytes], int | None]


def check_told(case: Case) -> None:
    """Tell of everything that does not hold."""
    _jobs(case)
    _attempts(case)
    _outputs(case)
    visible(case.media, case.fail)
    _cancels(case)


def _jobs(case: Case) -> None:
    """Whoever was told 2xx finds the job; one key stands for one job."""
    submitted: dict[int, str] = {}
    for event in case.history.of("submitted", "again", "seen", "other-body"):
        index, said = event.fields[0], str(event.fields[1])
        assert isinstance(index, int)
        if event.kind == "submitted":
            submitted[index] = said
        elif event.kind == "again" and said.startswith("j") and said != submitted[index]:
            case.fail("I8", f"the key of job {index} gave {submitted[index]} and then {said}")
        elif event.kind == "seen" and said.startswith("404"):
            case.fail("I23", f"job {index} was accepted, and then not found by another master")
        elif event.kind == "other-body" and said.startswith(("j", "409")):
            case.fail("I8", f"another body under the key of job {index} was answered with {said}")
    rows: dict[str, str] = dict(case.read("SELECT id, labels FROM jobs"))
    for index, job_id in submitted.items():
        if job_id not in rows:
            case.fail("I1", f"job {index} was accepted as {job_id}, and is lost")
    indexes = [found[LABEL] for labels in rows.values() if LABEL in (found := json.loads(labels))]
    for index in sorted({one for one in indexes if indexes.count(one) > 1}, key=str):
        case.fail("I8", f"job {index} is there {indexes.count(index)} times")


def _attempts(case: Case) -> None:
    """The rows of attempts are the claims, each with its end, and only one of a job's completed."""
    rows = case.read(
        "SELECT j.id || '.' || a.position, a.attempt, a.node_id, a.outcome, t.state, t.attempt FROM attempts a "
        "JOIN jobs j ON j.number = a.job JOIN tasks t ON t.job = a.job AND t.position = a.position"
    )
    if {(row[0], row[1]): row[2] for row in rows} != case.ledger.grants:
        case.fail("I4", "the attempts that are kept are not the claims that were made")
    for task, attempt, _, outcome, state, newest in rows:
        if outcome is None and (attempt < newest or state in ("completed", "failed", "canceled", "queued")):
            case.fail("I4", f"attempt {attempt} of {task} has no end, though the task is {state} in attempt {newest}")
        if outcome == "completed" and (attempt != newest or state != "completed"):
            case.fail("I4", f"attempt {attempt} of {task} completed, and the task is {state} in attempt {newest}")
    done = {row[0] for row in rows if row[3] == "completed"}
    for task in case.ledger.tasks.values():
        if task.state == "completed" and task.id not in done:
            case.fail("I4", f"{task.id} is completed by no attempt")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _outputs(case: Case) -> None:
    """A completed job's outputs are those that its completed attempt made, byte for byte."""
    rows = case.read(
        "SELECT j.id, a.attempt, o.name, o.location, o.sha256, o.size FROM jobs j JOIN attempts a ON a.job = j.number "
        "LEFT JOIN outputs o ON o.job = j.number "
        "WHERE j.state = 'completed' AND a.outcome = 'completed' AND a.position = 1"
    )
    for job_id, attempt, name, location, digest, size in rows:
        if name is None:
            case.fail("I12", f"job {job_id} is completed and has no outputs")
            continue
        path = case.blobs / location.removeprefix(KEPT) if location.startswith(KEPT) else Path(location)
        try:
            data = path.read_bytes()
        except OSError:
            case.fail("I12", f"the output {name} of the completed job {job_id} is not there")
            continue
        if (len(data), _sha256(data)) != (size, digest):
            case.fail(
                "I13", f"the output {name} of {job_id} is not what attempt {attempt} reported: {len(data)} bytes, {data[:40]!r}"
            )  # fmt: skip
        elif (maker := case.attempt_in(name, data)) not in (None, attempt):
            case.fail("I13", f"the output of {job_id} was made by attempt {maker}, recorded is {attempt}")


def visible(media: Path, fail: Callable[[str, str], None]) -> int:
    """What can be seen under a public name is whole, by its own manifest; how many were looked at."""
    folders = [folder for folder in sorted(media.iterdir()) if not folder.name.startswith(PRIVATE)]
    for folder in folders:
        before = _inode(folder)
        reason = _not_whole(folder)
        # A later attempt may exchange the whole folder while it is read; the next look sees that one.
        if reason and before is not None and _inode(folder) == before:
            fail("I12", f"{folder.name} is visible and {reason}")
    return len(folders)


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _not_whole(folder: Path) -> str:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        files = {one["name"]: one["sha256"] for one in manifest["outputs"]}
        found = {name: _sha256((folder / name).read_bytes()) for name in files}
    except (OSError, ValueError) as error:
        return f"not whole: {type(error).__name__}"
    return "" if files == found else "its files are not those of its manifest"


def _cancels(case: Case) -> None:
    """Whoever was told that a job is canceled never sees it completed, unless somebody asks for it again."""
    canceled: set[int] = set()
    retried_s: dict[int, float] = {}
    asked_s: dict[int, float] = {}
    for event in case.history.of("told", "asks"):
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
    for index in sorted(canceled):
        task = case.ledger.tasks.get(f"{case.known[index]}.1")
        if task is not None and task.state != "canceled":
            case.fail("I21", f"job {index} was canceled, and then {task.state}")
