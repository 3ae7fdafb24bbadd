"""One job on an embedded farm, from the order to the exit code."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.profiles.load import profile_or_document
from millrace.cli.progress import Bars
from millrace.cli.run import collect_garbage
from millrace.cli.transcode.summary import Summary, tell
from millrace.client import people
from millrace.client.async_client import AsyncClient
from millrace.client.errors import RefusedError
from millrace.client.http import Terms
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.domain.states import FINAL
from millrace.programs.all_in_one import AllInOne
from millrace.programs.worker import ffmpeg_binary, ffmpeg_source
from millrace.runtime.signals import stop_signals
from millrace.telemetry import logs
from millrace.wire.v1.jobs import JobDetail, JobRequest, Parameters
from millrace.worker.worker import WorkerTerms

POLL_S = 0.05
"""A job on this machine is asked often: what is waited for after its end is lost to the user."""
MEMORY = Path("/dev/shm")  # noqa: S108  the folder for files in memory, where each run makes a private one
HEARTBEAT_S = 0.5
CANCEL_PATIENCE_S = 30.0
LOG_FOLDER = "millrace/logs"


class Order(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    source: Path | None
    profile: str | None
    out: Path
    overwrite: bool
    duration_s: float | None
    ffmpeg: Path | None
    verbose: bool


class _Ended(Struct, frozen=True, kw_only=True):
    job: JobDetail
    log: bytes
    interrupted: signal.Signals | None


def transcode_now(order: Order, *, as_json: bool) -> int:
    """Do it, tell what came of it, and return the exit code: 0 done, 1 failed, 128 + N ended by signal N.

    Raises:
        CommandError: the order itself is wrong (code 2), or the farm cannot start.
    """
    logs.configure(form="text", level="info" if order.verbose else "error")
    request = _request(order)
    with _folders(order.out) as (data, scratch):
        ended = asyncio.run(_serve_one(order, request, data, scratch, draw=not as_json))
    if ended.interrupted is not None:
        return 128 + ended.interrupted
    log = None if ended.job.state == "completed" else _keep_log(ended)
    tell(Summary.of(ended.job, _absolute(order.out), log), as_json=as_json)
    return 0 if ended.job.state == "completed" else 1


def _absolute(path: Path) -> Path:
    """The path from the root, with its links as the user wrote them."""
    return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links that are part of the user's name


def _request(order: Order) -> JobRequest:
    return JobRequest(
        input=str(_absolute(order.source)) if order.source is not None else None,
        profile=profile_or_document(order.profile) if order.profile else None,
        output=str(_absolute(order.out)),
        overwrite=order.overwrite,
        parameters=Parameters(duration_s=order.duration_s),
        max_retries=0,
    )


@contextmanager
def _folders(out: Path) -> Iterator[tuple[Path, Path]]:
    """A private folder for the database, and one for the media beside the output, so that publishing is a rename."""
    target = _absolute(out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.millrace-", dir=target.parent))
    except OSError as error:
        raise CommandError(
            f"cannot write below {target.parent}: {error.strerror}; choose another --out", code=2
        ) from error
    # Nobody asks for this database after the run, so it need not wait for a disk.
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    data = Path(tempfile.mkdtemp(prefix="millrace-", dir=memory))
    try:
        yield data, scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)


async def _serve_one(order: Order, request: JobRequest, data: Path, scratch: Path, *, draw: bool) -> _Ended:
    def shape(terms: WorkerTerms) -> WorkerTerms:
        return msgspec.structs.replace(
            terms,
            engines=(ffmpeg_source(ffmpeg_binary(order.ffmpeg)),),
            roots=() if request.input is None else (Path(request.input),),
            outputs=(Path(str(request.output)),),
            scratch=scratch,
            proofs=_cache() / "proofs.json",
        )

    master = MasterSettings(data=data, port=0, heartbeat_s=HEARTBEAT_S)
    farm = AllInOne(master, WorkerSettings(masters=("http://later",), ffmpeg=order.ffmpeg), count=1, shape=shape)
    heard: list[signal.Signals] = []
    async with stop_signals(heard.append) as stop, farm:
        collect_garbage()
        client = AsyncClient([farm.master.url], Terms(key=farm.master.key))
        try:
            job = await _follow(client, request, stop.drain, draw=draw)
            log = await client.do(people.logs(job.id))
        finally:
            await client.close()
    return _Ended(job=job, log=log, interrupted=heard[0] if heard else None)


async def _follow(client: AsyncClient, request: JobRequest, stop: asyncio.Event, *, draw: bool) -> JobDetail:
    """Submit and follow to the end; a wish to stop cancels the job, and its end is awaited all the same."""
    try:
        job = await client.do(people.submit(request))
    except RefusedError as error:
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in error.errors)
        raise CommandError(f"cannot transcode: {faults or error}", code=2) from error
    with Bars(enabled=draw) as bars:
        while job.state not in FINAL:
            bars.update(job)
            if stop.is_set():
                return await client.do(people.cancel(job.id))
            try:
                async with asyncio.timeout(POLL_S):
                    await stop.wait()
            except TimeoutError:
                pass
            job = await client.do(people.job(job.id))
        bars.update(job)
    return job


def _cache() -> Path:
    """Where proven encoders are remembered from one run to the next."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "millrace"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _keep_log(ended: _Ended) -> Path | None:
    """The engine's log of a job that failed, kept where the user can read it; None where it cannot be."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / LOG_FOLDER
    path = folder / f"{ended.job.id}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ended.log)
    except OSError:
        return None
    return path
