"""One job on an embedded farm, from the order to the exit code.

What is imported here is what the first child needs; the rest is imported while that runs (see `serve`).
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.profiles.load import profile_or_document
from millrace.cli.transcode.folders import folders
from millrace.config.settings import WorkerSettings, read
from millrace.domain.failures import FailureClass
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.split import Chunking
from millrace.process.orphans import Orphans
from millrace.programs import ffmpeg
from millrace.runtime.clock import SystemClock
from millrace.runtime.signals import stop_signals
from millrace.telemetry import logs
from millrace.wire.v1.jobs import FailureView, JobDetail, JobRequest, Parameters

if TYPE_CHECKING:
    from millrace.cli.transcode.serve import Ended

LOG_FOLDER = "millrace/logs"
URLS = ("http", "https", "s3")
HEEDED = (
    "MILLRACE_CORES",
    "MILLRACE_ENGINE_MEMORY_MB",
    "MILLRACE_FFMPEG",
    "MILLRACE_INPUT_MAX_MB",
    "MILLRACE_INPUT_TIMEOUT",
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
    on_damage: OnDamage | None
    ffmpeg: Path | None
    sandbox: str | None
    verbose: bool


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
        except Exception as error:
            from millrace.cli.run import EXPECTED, sentence_of  # noqa: PLC0415  not needed where all is well

            if not isinstance(error, EXPECTED):
                raise
            raise CommandError(sentence_of(error)) from error
    return _told(ended, Path(str(request.output)), as_json=as_json)


def _told(ended: "Ended", out: Path, *, as_json: bool) -> int:
    """Tell what came of it; the exit code."""
    from millrace.cli.transcode.summary import Summary, tell  # noqa: PLC0415  imported with `serve`

    done = ended.job.state == "completed"
    if ended.interrupted is not None and not done:
        tell(Summary.of(_canceled(ended.job, ended.interrupted), out, None), as_json=as_json)
        return 128 + ended.interrupted
    tell(Summary.of(ended.job, out, None if done else _keep_log(ended)), as_json=as_json)
    return 0 if done else 1


def _canceled(job: JobDetail, by: signal.Signals) -> JobDetail:
    """The job as it is told to whoever has just ended it."""
    message = f"canceled by {by.name}; nothing was written"
    return msgspec.structs.replace(job, failure=FailureView(failure_class=FailureClass.CANCELED, message=message))


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
        parameters=Parameters(duration_s=order.duration_s, chunks=order.chunks, on_damage=order.on_damage),
        max_retries=0,
    )


def _lies_in(source: str, folder: Path) -> bool:
    return Path(os.path.realpath(source)).is_relative_to(os.path.realpath(folder))


async def _serve_one(order: Order, request: JobRequest, data: Path, scratch: Path, *, draw: bool) -> "Ended":
    heeded = {name: os.environ[name] for name in HEEDED if name in os.environ}
    worker = read(WorkerSettings, heeded, ffmpeg=order.ffmpeg, sandbox=order.sandbox)
    heard: list[signal.Signals] = []
    async with stop_signals(heard.append) as stop, _adopting():
        # FFmpeg and its sandbox answer while the modules are imported: one after the other would take the sum of both.
        checked = asyncio.ensure_future(ffmpeg.checked(worker.ffmpeg, worker.sandbox))
        try:
            serve_one = await asyncio.to_thread(_serving)
            return await serve_one(
                request, worker, data, scratch, checked=checked, stop=stop.drain, heard=heard, draw=draw
            )
        finally:
            checked.cancel()
            await asyncio.gather(checked, return_exceptions=True)


@asynccontextmanager
async def _adopting() -> AsyncIterator[None]:
    """Whatever our children leave behind comes to us, so that to look for it is not to read all processes of the machine."""
    orphans = Orphans(SystemClock())
    orphans.start()
    try:
        yield
    finally:
        await orphans.stop()


def _serving() -> "Callable[..., Coroutine[None, None, Ended]]":
    from millrace.cli.transcode.serve import serve_one  # noqa: PLC0415  see its caller

    return serve_one


def _keep_log(ended: "Ended") -> Path | None:
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
