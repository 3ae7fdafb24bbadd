"""A real worker with the real FFmpeg in its sandbox, the folder of its films, and canaries around it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fake_master import FakeMaster
from farm_worker import FFMPEG, ffmpeg_source, running
from msgspec import Struct

from hostile.canary import Canary
from hostile.corpus import ANYHOW, Attack, Kit
from millrace.process.look import processes
from millrace.process.sandbox import Demand
from millrace.worker.worker import Worker

PROFILE = {
    "name": "tiny",
    "packaging": "mkv",
    "metadata": "keep",
    "subtitles": "convert",
    "renditions": [{"video": {"codec": "h264", "preset": "ultrafast"}}],
    "audio": [{"codec": "flac"}],
}
MB = 1_000_000


class Ended(Struct, frozen=True, kw_only=True):
    """How a job ended: `completed` or the class of its failure, the sentence, the log of the attempt, and how long it took."""

    ends: str
    says: str
    log: str
    took_s: float


class Stage:
    """Runs jobs and sees to it that nothing was touched and nothing is left."""

    def __init__(self, folder: Path, canary: Canary, master: FakeMaster, worker: Worker) -> None:
        self.canary, self.media, self._folder, self._master, self._worker = (
            canary,
            folder / "media",
            folder,
            master,
            worker,
        )
        self.kit = Kit(FFMPEG, folder / "kit", canary)

    async def run(self, source: str | None, *, timeout_s: float | None = None, **fields: Any) -> Ended:
        """One job, from the claim to its end."""
        output = str(self.media / f"out-{len(self._master.tasks)}")
        spec = {
            "input": source, "output": output, "overwrite": False, "engine": "ffmpeg", "profile": PROFILE, "parameters": {},
            **fields,
        }  # fmt: skip
        began_s = time.monotonic()
        task = self._master.add(spec, timeout_s=timeout_s)
        await self._master.until(lambda: task.state in ("completed", "failed"), f"the end of {source}")
        took_s = time.monotonic() - began_s
        await self._worker.wait_idle()
        assert os.path.exists(output) is (task.state == "completed"), source  # noqa: ASYNC240, PTH110  a test may wait for that
        ends, says = task.failure or ("completed", "")
        return Ended(ends=ends, says=says, log=task.log, took_s=took_s)

    async def attack(self, one: Attack) -> tuple[Ended, list[str]]:
        """How it ended, and what is wrong with that."""
        path = self.media / f"{one.name}{one.suffix}"
        source = one.make(self.kit, path) or str(path)
        self.canary.untouched()  # what making it touched does not count
        ended = await self.run(source, timeout_s=one.timeout_s)
        wrong = []
        if one.ends not in (ended.ends, ANYHOW) or one.says not in ended.says:
            wrong.append(
                f"{one.name}: ended as {ended.ends} ({ended.says}), expected {one.ends} ({one.says})\n{ended.log[-3000:]}"
            )
        if not self.canary.untouched():
            wrong.append(f"{one.name}: a canary was touched")
        if self.canary.word in ended.log + ended.says:
            wrong.append(f"{one.name}: a secret stands in the log")
        if ended.ends in ("engine", "lost", "resource", "disk") or "worker itself" in ended.says:
            wrong.append(f"{one.name}: no named reason: {ended.ends} ({ended.says})\n{ended.log[-3000:]}")
        return ended, [*wrong, *self.left_behind(one.name)]

    def size(self, one: Attack) -> int:
        """Bytes that its file has on the disk."""
        path = self.media / f"{one.name}{one.suffix}"
        return path.lstat().st_blocks * 512 if os.path.lexists(path) else 0

    def left_behind(self, name: str) -> list[str]:
        """Attempt folders and engines that outlived their job."""
        attempts = [path.name for path in (self._folder / "scratch" / "attempts").glob("*")]
        notes = [path.name for path in (self._folder / "scratch" / "engines").glob("*")]
        return [f"{name}: left behind {what}" for what in (*attempts, *notes, *engines(self._folder))]


def engines(folder: Path) -> list[str]:
    """Living FFmpegs that have a path of this folder among their arguments."""
    found = []
    for process in processes():
        try:
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        if process.alive and b"ffmpeg" in line and str(folder).encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


@asynccontextmanager
async def stage(folder: Path, **terms: Any) -> AsyncIterator[Stage]:
    """Set it up below `folder`; at its end the worker must still be able to do a good film."""
    for name in ("media", "canaries", "kit"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with Canary(folder / "canaries") as canary, FakeMaster() as master:
        given = {"roots": [folder / "media"], "sandbox": Demand.AUTO, "proofs": folder / "proofs.json", **terms}
        async with running(master, folder, [ffmpeg_source(("libx264", "aac", "flac"))], **given) as worker:
            made = Stage(folder, canary, master, worker)
            for path in (made.media / "good.mp4", canary.film):  # a secret that is worth reading
                path.write_bytes(made.kit.plain.read_bytes())
            yield made
            good = await made.run(str(made.media / "good.mp4"))
            assert good.ends == "completed", good.log


async def attacks(folder: Path, chosen: Sequence[Attack], **terms: Any) -> list[str]:
    """What is wrong with how these ended, each with its reason; empty where all is well."""
    wrong: list[str] = []
    async with stage(folder, **terms) as set_up:
        for one in chosen:
            _, found = await set_up.attack(one)
            wrong += found
    return wrong


def run(folder: Path, chosen: Sequence[Attack], **terms: Any) -> list[str]:
    """`attacks` on an event loop of its own."""
    return asyncio.run(attacks(folder, chosen, **terms))
