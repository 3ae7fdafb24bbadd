"""Bring checked outputs to where the job wants them: a folder, an object store, or the master."""

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from millrace.client.errors import StaleError
from millrace.domain.failures import FailureClass
from millrace.domain.media.proof import NAME
from millrace.wire.v1.work import OutputReport
from millrace.worker.control import Control
from millrace.worker.digest import digest_of
from millrace.worker.failure import TaskFailedError

MANIFEST = ".millrace.json"
"""Says which job made a folder and what is in it: a second attempt of that job may replace what a first one published and
could not report, and overwriting replaces what Millrace made and nothing else.
"""


class Product(Struct, frozen=True, kw_only=True):
    """One file of the output, with its digest; `streams` describe it where it is media."""

    name: str
    size: int
    sha256: str
    streams: Sequence[Mapping[str, object]] = ()

    def reported(self, location: str) -> OutputReport:
        """As the master is told."""
        return OutputReport(
            name=self.name,
            location=location,
            sha256=self.sha256,
            size=self.size,
            streams=[dict(stream) for stream in self.streams],
        )


class Delivery(Struct, frozen=True, kw_only=True):
    """What to deliver and for whom."""

    job: str
    task: str
    node: str
    attempt: int
    folder: Path
    products: Sequence[Product]
    overwrite: bool


class Destination(Protocol):
    """A place for outputs."""

    async def check(self, job: str, *, overwrite: bool) -> None:
        """Refuse early what `publish` would refuse. Raises TaskFailedError."""
        ...

    async def settle(self, folder: Path) -> None:
        """Do what of publishing these files can be done before they are found to be good. Nothing becomes visible."""
        ...

    async def publish(self, delivery: Delivery, control: Control) -> list[OutputReport]:
        """Put everything there, all or nothing. Raises TaskFailedError; StaleError where the attempt is over."""
        ...


async def digests(folder: Path, sizes: Mapping[str, int], control: Control) -> dict[str, str]:
    """The SHA-256 of each file by its relative name."""
    found = {}
    for name in sizes:
        await control.gate()
        found[name] = await asyncio.to_thread(digest_of, folder / name)
    return found


def write_proof(folder: Path, document: Mapping[str, object]) -> Product:
    """Put the evidence beside what it is about. Blocking. Raises OSError."""
    data = json.dumps(document, indent=1).encode() + b"\n"
    (folder / NAME).write_bytes(data)
    return Product(name=NAME, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def manifest(delivery: Delivery, replaces: Collection[str] = ()) -> bytes:
    """The text of the manifest. `replaces` are names of an earlier output that lie there until publishing has ended."""
    document = {
        "job": delivery.job,
        "attempt": delivery.attempt,
        **({"replaces": sorted(replaces)} if replaces else {}),
        "outputs": [{"name": one.name, "size": one.size, "sha256": one.sha256} for one in delivery.products],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def made_by(text: bytes, job: str) -> bool:
    """Whether a manifest says that this job made the output."""
    try:
        return bool(json.loads(text)["job"] == job)
    except (ValueError, KeyError, TypeError):
        return False


def check_newest(text: bytes, delivery: Delivery) -> None:
    """Pass, unless a manifest at the destination says that a later attempt of the same job has published there.

    The attempt is the fencing token: a worker that stood still between its lease's check and this moment is not the one
    whose output is recorded. Raises StaleError.
    """
    try:
        document = json.loads(text)
        later = document["job"] == delivery.job and document["attempt"] > delivery.attempt
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if later:
        raise StaleError(
            f"cannot publish attempt {delivery.attempt} of {delivery.task}: attempt {document['attempt']} has published "
            "already; the work is dropped",
            status=409,
        )


def owned(text: bytes) -> frozenset[str]:
    """The names of the files that a manifest says Millrace made there; none where it is no manifest."""
    try:
        document = json.loads(text)
        names = [*(one["name"] for one in document["outputs"]), *document.get("replaces", ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str))


def foreign(location: str, name: str) -> TaskFailedError:
    """The refusal to overwrite what somebody else put there."""
    return TaskFailedError(
        FailureClass.OUTPUT_EXISTS,
        f"cannot replace {location}: {name or 'it'} was not made by Millrace, and overwriting replaces earlier outputs "
        "only; name another place, or move that away",
    )


def taken(location: str) -> TaskFailedError:
    """The refusal of a destination that holds something."""
    return TaskFailedError(
        FailureClass.OUTPUT_EXISTS,
        f"cannot write the output to {location}: it exists already; name another or allow overwriting",
    )
