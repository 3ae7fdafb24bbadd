"""Engines that work for a while without working: in place of `process.child.Child` and of the steps that FFmpeg does.

What runs them is the product's (`worker.engine_run`): start, follow, pause, stall, stop. What they would make is one small
file that names job, attempt and node.
"""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec import Struct

from millrace.domain.failures import FailureClass
from millrace.domain.ids import position_of
from millrace.domain.media.proof import Maker
from millrace.domain.media.split import Chunk
from millrace.domain.records import Kind, NewPart
from millrace.engines.engine import Command
from millrace.engines.joining import chunk_folder
from millrace.process.values import Batch, Exit, Line, Spec, Usage
from millrace.worker.engine_run import follow
from millrace.worker.failure import TaskFailedError
from millrace.worker.media_steps import PIECES, Made
from sim.loop import PROCESS
from sim.machines import Process

STEPS = 5
"""Lines that an engine writes on each of its ways out."""
OUTPUT = "film.txt"
PIECE, SIDES = "piece.txt", "sides.txt"
PROBE_S = 2.0
FRAMES = 100


def planned(chunks: int, *, helpers: int = 0) -> SimpleNamespace:
    """A plan: with helpers it is divided, where it can be."""
    found = tuple(Chunk(number=n, first=n * FRAMES, end=(n + 1) * FRAMES) for n in range(chunks))
    split = SimpleNamespace(is_possible=chunks > 1, workers=helpers + 1 if helpers and chunks > 1 else 0, chunks=found)
    return SimpleNamespace(duration=1, split=split, videos=(), comparison=(), mending=None)


def told_plan(plan: SimpleNamespace) -> dict[str, int]:
    """What stands for the document of a plan."""
    return {"chunks": len(plan.split.chunks)}


def heard_plan(document: Any) -> SimpleNamespace:
    """Read it back."""
    return planned(document["chunks"])


class Behaviour(Struct, frozen=True, kw_only=True):
    """How an engine runs for one job: how long, and what becomes of it on each attempt (the last for all that follow).

    Of a job that is divided, `paces` says of tasks, by their positions, how many times as long each takes; those in `spoiled` find
    that the input is bad.
    """

    lasts_s: float = 5.0
    ends: tuple[str, ...] = ("well",)  # well, broken, bad-input, hangs, kills
    paces: dict[int, float] = {}
    spoiled: tuple[int, ...] = ()

    def end(self, nth: int, position: int) -> str:
        """What becomes of the nth engine (from 0) of the task at this position."""
        return "bad-input" if position in self.spoiled else self.ends[min(nth, len(self.ends) - 1)]


class SimChild:
    """One engine of one attempt."""

    def __init__(self, owner: Process, spec: Spec, sink: Any) -> None:
        world = owner.world
        self.owner = owner
        self.pid = next(world.pids)
        self.placed = SimpleNamespace(missing=())
        self.task, self.attempt = spec.argv[1], int(spec.argv[2])
        self._lasts_s, self._fate = float(spec.argv[3]), spec.argv[4]
        self._sink = sink
        self._world = world
        self._process = Process(world, f"engine {self.pid}", owner.host)
        self._began_s = world.loop.time()
        self._exit: Exit | None = None
        self._ended = world.loop.create_future()
        self.paused = False
        owner.at_death.append(self._owner_died)
        world.engines[self.pid] = self
        world.history.add("engine-begins", owner.name, self.task, self.attempt, self.pid)
        self._next(0)

    @classmethod
    async def start(cls, spec: Spec, *, clock: Any, sink: Any = None, buffer_chars: int = 0) -> "SimChild":
        owner = PROCESS.get()
        assert owner is not None
        await clock.sleep(0.01)
        return cls(owner, spec, sink)

    def _next(self, step: int) -> None:
        if self._exit is not None:
            return
        if step and self._fate == "hangs" and step > 1:
            return
        if step == STEPS:
            if self._fate == "kills":
                self._world.farm.crash(self.owner, "its engine took the machine down")
                return
            code = {"well": 0, "broken": 1, "bad-input": 2}.get(self._fate, 0)
            self._end(Exit(
                code=code, signal=None, wall_s=1.0, cpu_s=1.0, max_rss_bytes=1, core_dumped=False, asked=False, strays=0
            ))  # fmt: skip
            return
        if step:
            lines = [Line("stdout", f"progress {step}"), Line("stderr", f"line {step} of attempt {self.attempt}")]
            self.owner.later(0.0, self._say, lines)
        self._process.later(self._lasts_s / STEPS, self._next, step + 1)

    def _say(self, lines: list[Line]) -> None:
        if self._sink is not None:
            self._world.loop.create_task(self._sink(Batch(lines)))

    def _end(self, how: Exit) -> None:
        if self._exit is not None:
            return
        self._exit = how
        self._world.engines.pop(self.pid, None)
        if self._owner_died in self.owner.at_death:
            self.owner.at_death.remove(self._owner_died)
        self._world.history.add("engine-ends", self.owner.name, self.task, self.attempt, self.pid, str(how))
        self._process.kill()
        self.owner.later(0.001, lambda: self._ended.done() or self._ended.set_result(how))

    def _owner_died(self) -> None:
        self.kill()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """At once."""
        self._end(Exit(
            code=None, signal=number, wall_s=1.0, cpu_s=1.0, max_rss_bytes=1, core_dumped=False, asked=True, strays=0
        ))  # fmt: skip

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """Ask, then kill."""
        if self._exit is None and grace_s > 0:
            delay_s = self._world.chance_of("engines").uniform(0.0, grace_s)
            self._world.loop.call_later(delay_s, self.kill, signal.SIGTERM)
        elif self._exit is None:
            self.kill()
        await self.wait()

    async def pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._process.stop_still()

    async def resume(self) -> None:
        if self.paused:
            self.paused = False
            self._process.go_on()

    def sample(self) -> Usage:
        hangs = self._fate == "hangs"
        return Usage(cpu_s=0.0 if hangs else self._world.loop.time() - self._began_s, rss_bytes=1, processes=1)


class SimEnginesAlive:
    """In place of `EnginesAlive`, which knows engines by the kernel's descriptors."""

    def __init__(self, _: Path) -> None:
        self._pids: dict[int, None] = {}

    def add(self, pid: int) -> None:
        self._pids[pid] = None

    def remove(self, pid: int) -> None:
        self._pids.pop(pid, None)

    def kill_all(self) -> int:
        process = PROCESS.get()
        assert process is not None
        for pid in list(self._pids):
            if (child := process.world.engines.get(pid)) is not None:
                child.kill()
        return len(self._pids)


class SimSteps:
    """In place of `MediaSteps`."""

    def __init__(self, **means: Any) -> None:
        self._means = SimpleNamespace(**means)
        self.out: Path = means["out"]
        task, _, attempt = means["folder"].name.rpartition(".")
        self._task, self._attempt = task, int(attempt)

        self.makers: dict[int, Maker] = {}
        self.cpu_s = 0.0
        self.engine = SimpleNamespace(joins_from_source=lambda _: False)
        self.reuse = None  # nothing is kept from one job to the next
        self.read = None  # and no film arrives

    async def watch(self, source: Path, *, is_ours: bool) -> None:
        """No film changes."""

    async def unchanged(self) -> None:
        """None has changed."""

    async def probe(self, source: Path) -> None:
        """It takes a while to look at a film."""
        await self._means.engines.clock.sleep(PROBE_S)

    def plan(self, *_: object) -> SimpleNamespace:
        process = PROCESS.get()
        assert process is not None
        return planned(process.world.farm.job(self._task).chunks)

    def divided(self, plan: SimpleNamespace, _: object, *, helpers: int, parts_each: int) -> SimpleNamespace:
        del parts_each
        return planned(len(plan.split.chunks), helpers=helpers)

    def encoders(self, _: object) -> list[str]:
        return ["aac", "libx264"]

    def parts(self, plan: SimpleNamespace) -> tuple[NewPart, ...]:
        chunks = (NewPart(kind=Kind.CHUNK, number=one.number, frames=one.frames) for one in plan.split.chunks)
        return (NewPart(kind=Kind.SIDES), *chunks)

    async def encode_part(self, plan: object, chunk: Chunk | None, source: Path, told: Any) -> dict[str, int]:
        """Whoever made a piece stands in it."""
        process = PROCESS.get()
        await self._run(told)
        name = f"out/{SIDES}" if chunk is None else f"{PIECES}/{chunk_folder(chunk)}/{PIECE}"
        path = self._means.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{self._task} {self._attempt} {process}\n".encode())
        return {name: path.stat().st_size}

    async def join(self, plan: SimpleNamespace, source: None) -> None:
        """Every piece is there, and is that of the maker who is named."""
        await self._run(lambda *_: None)
        for chunk in plan.split.chunks:
            maker = self.makers[chunk.number]
            piece = (self._means.folder / PIECES / chunk_folder(chunk) / PIECE).read_bytes().split()
            if piece[:2] != [maker.task.encode(), str(maker.attempt).encode()]:
                raise TaskFailedError(
                    FailureClass.OUTPUT, f"cannot join: chunk {chunk.number} is {piece}, not of {maker}"
                )
        (self.out / SIDES).unlink()
        self._write()

    async def known(self, plan: SimpleNamespace) -> SimpleNamespace:
        """Nothing of it is there."""
        return SimpleNamespace(plan=plan, mostly=False)

    async def miscounted(self, *_: object) -> str:
        """Nobody counts: a piece is a line of text."""
        return ""

    def explain(self, plan: object) -> None:
        """Nothing was decided."""

    async def encode(self, plan: object, source: Path | None, told: Any) -> None:
        await self._run(told)
        self._write()

    async def _run(self, told: Any) -> None:
        means = self._means
        process = PROCESS.get()
        assert process is not None
        behaviour, nth = process.world.farm.behaviour(self._task)
        position = position_of(self._task)
        lasts_s = behaviour.lasts_s * behaviour.paces.get(position, 1.0)
        end = behaviour.end(nth, position)
        command = Command(label="encode", argv=("ffmpeg", self._task, str(self._attempt), str(lasts_s), end))
        seen = [0]

        def on_line(_: str) -> None:
            seen[0] += 1
            progress = SimpleNamespace(frame=seen[0], fps=25.0, speed=1.0)
            told(min(1.0, seen[0] / STEPS), progress)

        ended = await follow(
            command, engines=means.engines, control=means.control, log=means.log, folder=means.folder, on_line=on_line,
            mark=lambda: seen[0],
        )  # fmt: skip
        if not ended.exit.ok:
            bad = ended.exit.code == 2
            raise TaskFailedError(FailureClass.INPUT if bad else FailureClass.ENGINE, f"cannot encode: {ended.exit}")

    def _write(self) -> None:
        process = PROCESS.get()
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / OUTPUT).write_bytes(f"{self._task} {self._attempt} {process}\n".encode())

    async def prove(self, plan: object) -> Made:
        sizes = {path.name: path.stat().st_size for path in self.out.iterdir()}
        return Made(probes={}, sizes=sizes, proof={})
