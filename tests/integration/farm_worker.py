"""A worker wired to a fake master, for tests."""

import random
from contextlib import asynccontextmanager
from pathlib import Path

import imageio_ffmpeg
from fake_master import KEY

from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.http import Terms
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.runtime.clock import SystemClock
from millrace.worker.proofs import EngineSource
from millrace.worker.worker import Worker, WorkerTerms

FFMPEG = Path(imageio_ffmpeg.get_ffmpeg_exe())


def ffmpeg_source(encoders=("libx264", "aac", "png")):
    return EngineSource(
        name="ffmpeg", binary=FFMPEG, encoders=encoders, bind=lambda working: FFmpeg(FFMPEG, working=working)
    )


@asynccontextmanager
async def running(master, folder, engines, *, urls=None, clock=None, key=KEY, **terms):
    """A started worker; stopped at the end."""
    clock = clock or SystemClock()
    rules = Terms(key=key, clock=clock, draw=random.Random(1).random)
    urls = urls or [master.url]
    defaults = {
        "name": "w1",
        "state": folder / "state",
        "scratch": folder / "scratch",
        "keep_free_bytes": 0,
        "claim_wait_s": 5.0,
    }
    async with AsyncClient(urls, rules) as client:
        heart = Client(urls, rules)
        worker = Worker(
            WorkerTerms(**{**defaults, "engines": engines, **terms}),
            client=client, heart=heart, clock=clock, draw=random.Random(2).random,
        )  # fmt: skip
        try:
            await worker.start()
            yield worker
        finally:
            await worker.stop()
            heart.close()
