"""The embedded farm of one job: started, given the job, followed to its end. Imported while the first children run."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.progress import Bars
from millrace.cli.setting_up import collect_garbage
from millrace.cli.transcode import summary as _summary  # noqa: F401  needed at the end, when nothing else runs
from millrace.client import people
from millrace.client.async_client import AsyncClient
from millrace.client.errors import RefusedError
from millrace.client.http import Terms
from millrace.client.sse import listen
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.domain.failures import FailureClass
from millrace.domain.states import FINAL, State
from millrace.outbound.addresses import EVERYWHERE
from millrace.programs.all_in_one import AllInOne
from millrace.wire.v1.jobs import FailureView, JobDetail, JobRequest
from millrace.worker.worker import WorkerTerms

LOOK_S = 0.5
"""How often progress is looked at where it is drawn. Changes of state are told: every question takes time from the encoder
(measured: asking 20 times a second took 5 % of a core)."""
SELDOM_S = 5.0
"""How often it is looked at otherwise, in case nothing is told."""
HEARTBEAT_S = 0.5
"""How often the worker tells progress, where it is drawn."""
SELDOM_HEARTBEAT_S = 3.0
"""How often it does otherwise, to live."""


class Ended(Struct, frozen=True, kw_only=True):
    """The job at its end, the log of its engine where it did not do what it should, and the signal that ended it, if one did."""

    job: JobDetail
    log: bytes
    interrupted: signal.Signals | None


async def serve_one(
    request: JobRequest,
    worker: WorkerSettings,
    data: Path,
    scratch: Path,
    *,
    checked: "asyncio.Future[None]",
    stop: asyncio.Event,
    heard: list[signal.Signals],
    draw: bool,
) -> Ended:
    """Run the job on a farm of its own.

    Args:
        request: the job; its paths are absolute.
        worker: the settings of the one worker.
        data: a private folder for the database.
        scratch: a private folder for the media, beside the output.
        checked: done when the engine and its sandbox are found to be good.
        stop: set when somebody asks for the end.
        heard: the signals that have come, the first first.
        draw: show the progress.

    Raises:
        CommandError: the master refuses the job, code 2.
        SettingError, StoreError, ClientError, OSError: the farm cannot start, or broke.
    """
    source = Path(request.input) if request.input and request.input.startswith("/") else None

    def shape(terms: WorkerTerms) -> WorkerTerms:
        return msgspec.structs.replace(
            terms,
            roots=() if source is None else (source,),
            expects=source,
            outputs=(Path(str(request.output)),),
            input_networks=EVERYWHERE,  # no stranger names this input
            scratch=scratch,
            timeout_s=None,  # one's own film, and Ctrl-C is near
            proofs=(_cache() or data) / "proofs.json",
            cache=terms.cache if worker.cache else None,  # nobody asked for one that would fill the home
        )

    master = MasterSettings(data=data, port=0, heartbeat_s=HEARTBEAT_S if draw else SELDOM_HEARTBEAT_S)
    farm = AllInOne(master, worker, checked=checked, shape=shape)
    async with farm:
        collect_garbage()
        client = AsyncClient([farm.url], Terms(key=farm.key))
        try:
            job = await _follow(client, request, stop, draw=draw)
            log = b"" if job.state == State.COMPLETED else await client.do(people.logs(job.id))
        finally:
            await client.close()
    return Ended(job=job, log=log, interrupted=heard[0] if heard else None)


async def _follow(client: AsyncClient, request: JobRequest, stop: asyncio.Event, *, draw: bool) -> JobDetail:
    """Submit and follow to the end; a wish to stop cancels the job, and its end is awaited all the same."""
    try:
        job = await client.do(people.submit(request))
    except RefusedError as error:
        faults = "; ".join(f"{fault.field}: {fault.message}" for fault in error.errors)
        raise CommandError(f"cannot transcode: {faults or error}", code=2) from error
    news, asked = asyncio.Event(), asyncio.ensure_future(stop.wait())
    # Where nothing is drawn only what ends the wait is of interest, and each look takes 4 ms from the encoder.
    hearing = asyncio.ensure_future(listen(client, job.id, news, of=None if draw else FINAL | {State.RETRYING}))
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
