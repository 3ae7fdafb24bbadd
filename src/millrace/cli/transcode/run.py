"""One job on an embedded farm, from the order to the exit code."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.profiles.load import profile_or_document
from millrace.cli.progress import Bars
from millrace.cli.run import EXPECTED, sentence_of
from millrace.cli.setting_up import collect_garbage
from millrace.cli.transcode.folders import folders
from millrace.cli.transcode.summary import Summary, tell
from millrace.client import people
from millrace.client.async_client import AsyncClient
from millrace.client.errors import RefusedError
from millrace.client.http import Terms
from millrace.client.sse import listen
from millrace.config.settings import MasterSettings, WorkerSettings, read
from millrace.domain.failures import FailureClass
from millrace.domain.media.split import Chunking
from millrace.domain.states import FINAL
from millrace.programs.all_in_one import AllInOne
from millrace.runtime.signals import stop_signals
from millrace.telemetry import logs
from millrace.wire.v1.jobs import FailureView, JobDetail, JobRequest, Parameters
from millrace.worker.worker import WorkerTerms

LOOK_S = 0.5
"""How often progress is looked at where it is drawn. Changes of state are told: every question takes time from the encoder
(measured: asking 20 times a second took 5 % of a core)."""
SELDOM_S = 5.0
"""How often it is looked at otherwise, in case nothing is told."""
HEARTBEAT_S = 0.5
CANCEL_PATIENCE_S = 30.0
LOG_FOLDER = "millrace/logs"
URLS = ("http", "https", "s3")
HEEDED = (
    "MILLRACE_ALLOW_PRIVATE_INPUTS",
    "MILLRACE_CORES",
    "MILLRACE_ENGINE_MEMORY_MB",
    "MILLRACE_FFMPEG",
    "MILLRACE_MIN_FREE_MB",
    "MILLRACE_SANDBOX",
    "MILLRACE_STALL",
)
"""The settings of a worker that mean something to a farm which lives for one job."""


class Order(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    source: str | None
    profile: str | None
    out: Path
    overwrite: bool
    duration_s: float | None
    chunks: Chunking | None
    ffmpeg: Path | None
    sandbox: str | None
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
    with folders(Path(str(request.output))) as (data, scratch):
        try:
            ended = asyncio.run(_serve_one(order, request, data, scratch, draw=not as_json))
        except EXPECTED as error:
            raise CommandError(sentence_of(error)) from error
    done = ended.job.state == "completed"
    if ended.interrupted is not None and not done:
        tell(Summary.of(_canceled(ended), Path(str(request.output)), None), as_json=as_json)
        return 128 + ended.interrupted
    tell(Summary.of(ended.job, Path(str(request.output)), None if done else _keep_log(ended)), as_json=as_json)
    return 0 if done else 1


def _canceled(ended: _Ended) -> JobDetail:
    """The job as it is told to whoever has just ended it."""
    name = ended.interrupted.name if ended.interrupted is not None else "a signal"
    failure = FailureView(failure_class=FailureClass.CANCELED, message=f"canceled by {name}; nothing was written")
    return msgspec.structs.replace(ended.job, failure=failure)


def _absolute(path: str, what: str) -> Path:
    """The path from the root, with its links as the user wrote them."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise CommandError(f"cannot use the {what} {path!r}: its name is no UTF-8; rename it", code=2) from None
    try:
        return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would follow links that are part of the user's name
    except FileNotFoundError:
        raise CommandError("cannot start: the current folder is gone; change to another one", code=2) from None


def _source(given: str) -> str:
    """The input as the job names it: a URL as it is, a file by its whole path."""
    if given in {"", "-"}:
        raise CommandError(f"cannot use {given!r} as input: name a file; a film is read from no pipe", code=2)
    scheme, separator, _ = given.partition("://")
    if not separator:
        return str(_absolute(given, "input"))
    if scheme not in URLS:
        raise CommandError(f"cannot use the input {given!r}: name a file, or one of {', '.join(URLS)}", code=2)
    return given


def _request(order: Order) -> JobRequest:
    source = _source(order.source) if order.source is not None else None
    if not order.out.name:
        raise CommandError(f"cannot use {str(order.out)!r} as --out: name a folder for the result", code=2)
    out = _absolute(str(order.out), "output")
    if order.overwrite and source is not None and _lies_in(source, out):
        raise CommandError(f"cannot overwrite {out}: the input lies in it", code=2)
    return JobRequest(
        input=source,
        profile=profile_or_document(order.profile) if order.profile else None,
        output=str(out),
        overwrite=order.overwrite,
        parameters=Parameters(duration_s=order.duration_s, chunks=order.chunks),
        max_retries=0,
    )


def _lies_in(source: str, folder: Path) -> bool:
    return Path(os.path.realpath(source)).is_relative_to(os.path.realpath(folder))


async def _serve_one(order: Order, request: JobRequest, data: Path, scratch: Path, *, draw: bool) -> _Ended:
    def shape(terms: WorkerTerms) -> WorkerTerms:
        return msgspec.structs.replace(
            terms,
            roots=(Path(request.input),) if request.input and request.input.startswith("/") else (),
            outputs=(Path(str(request.output)),),
            scratch=scratch,
            proofs=(_cache() or data) / "proofs.json",
        )

    master = MasterSettings(data=data, port=0, heartbeat_s=HEARTBEAT_S)
    heeded = {name: os.environ[name] for name in HEEDED if name in os.environ}
    worker = read(WorkerSettings, heeded, ffmpeg=order.ffmpeg, sandbox=order.sandbox)
    farm = AllInOne(master, worker, shape=shape)
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
    news, asked = asyncio.Event(), asyncio.ensure_future(stop.wait())
    hearing = asyncio.ensure_future(listen(client, job.id, news))
    try:
        with Bars(enabled=draw) as bars:
            while job.state not in FINAL:
                bars.update(job)
                if job.state == "retrying":
                    return await _give_up(client, job)
                if stop.is_set():
                    return await client.do(people.cancel(job.id))
                await _either(asked, news, LOOK_S if draw else SELDOM_S)
                news.clear()
                job = await client.do(people.job(job.id))
            bars.update(job)
    finally:
        for waiting in (asked, hearing):
            waiting.cancel()
        await asyncio.wait((asked, hearing))
    return job


async def _either(asked: "asyncio.Future[Any]", news: asyncio.Event, seconds: float) -> None:
    """Return when we are asked to stop, when there is news, or after that time."""
    told = asyncio.ensure_future(news.wait())
    await asyncio.wait((asked, told), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()


async def _give_up(client: AsyncClient, job: JobDetail) -> JobDetail:
    """End a job that was handed back: on a farm it waits for better times, but here somebody waits for it."""
    reason = job.transitions[-1].reason if job.transitions else ""
    ended = await client.do(people.cancel(job.id))
    failure = FailureView(failure_class=FailureClass.DISK, message=reason or "The worker gave the job back.")
    return msgspec.structs.replace(ended, failure=failure)


def _cache() -> Path | None:
    """Where proven encoders are remembered from one run to the next; None where nothing can be kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "millrace"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home at all
        return None
    return folder if os.access(folder, os.W_OK) else None


def _keep_log(ended: _Ended) -> Path | None:
    """The engine's log of a job that failed, kept where the user can read it; None where it cannot be."""
    base = os.environ.get("XDG_STATE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".local" / "state") / LOG_FOLDER
        path = folder / f"{ended.job.id}.log"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ended.log)
    except (OSError, RuntimeError):
        return None
    return path
