"""What an attempt takes from the cache instead of making it, and what it leaves there for others."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct, field

from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan_document import PlanError, plan_from, to_document
from millrace.domain.media.proof import Maker, Reused
from millrace.domain.media.recipe import Recipe, divided_as, film_key
from millrace.domain.media.split import Chunking
from millrace.engines.engine import Command, Done, Engine, Piece
from millrace.worker.archive import ArchiveError, pack, unpack
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.build import Build
from millrace.worker.cache import Cache, Facts, remove
from millrace.worker.control import Control
from millrace.worker.division import SharedFilm
from millrace.worker.source import Source, finished

_ARCHIVE, _NOTE = "kept-piece", "kept-note"


class Store(Struct, frozen=True, kw_only=True):
    """Where finished pieces are kept, and which build of the engine makes them."""

    cache: Cache
    build: Build

    def forget(self, keys: Iterable[str]) -> None:
        """Take pieces out. Blocking."""
        for key in keys:
            self.cache.forget(key)


class Known(Struct, frozen=True, kw_only=True):
    """A plan, and how many of its pieces are in the cache, of how many."""

    plan: Plan
    found: int = 0
    pieces: int = 0

    @property
    def mostly(self) -> bool:
        """Whether at least half of it is there."""
        return self.found * 2 >= self.pieces > 0


class Farm(Protocol):
    """Where the masters keep files for later jobs, by their keys."""

    @property
    def folder(self) -> Path:
        """The attempt's own."""
        ...

    async def cached(self, key: str, target: Path) -> bool:
        """Fetch one; whether it is there. Raises TaskFailedError, HandBackError, StaleError."""
        ...

    async def cache(self, key: str, path: Path) -> bool:
        """Keep one; whether it is kept. Raises StaleError."""
        ...


class Reuse(Struct, kw_only=True):
    """One attempt's use of a cache. `path` is the input, and `source` becomes what film it is, or None where that cannot be told; `maker`
    is who makes what is made here. `farm` is where the farm keeps pieces for all workers; None where they are not asked for there. `small` is
    the same for what has a few bytes.
    """

    store: Store
    path: Path
    source: "asyncio.Future[Source | None]"
    maker: Maker
    control: Control
    log: AttemptLog
    farm: "Farm | None" = None
    small: "Farm | None" = None
    touched: list[str] = field(default_factory=list)

    async def planned(self, engine: Engine, plan: Plan, chunking: Chunking, out: Path, work: Path) -> Known:
        """The plan as it is, or divided as an earlier job with the same film was, where more of its pieces are here then."""
        pieces = self._pieces(engine, plan, out, work)
        source = await self._source() if pieces else None
        if source is None:
            return Known(plan=plan)
        found = await self._known(plan, pieces, source)
        text = await asyncio.to_thread(self.store.cache.noted, film_key(source.sha256, plan))
        other = plan if text is None else _as_noted(plan, text, chunking)
        if other == plan:
            return found
        earlier = await self._known(other, self._pieces(engine, other, out, work), source)
        return earlier if earlier.found > found.found else found

    def _pieces(self, engine: Engine, plan: Plan, out: Path, work: Path) -> Sequence[Piece]:
        return [piece for command in engine.encode(plan, self.path, out, work) for piece in command.pieces]

    async def _known(self, plan: Plan, pieces: Sequence[Piece], source: Source) -> Known:
        recipes = await self._recipes(pieces, source)
        found = await asyncio.to_thread(lambda: sum(map(self.store.cache.has, recipes.values())))
        return Known(plan=plan, found=found, pieces=len(pieces))

    async def fill(self, plan: Plan, commands: Sequence[Command]) -> tuple[Done, Sequence[Reused]]:
        """Put to their places what of these commands' pieces is in the cache. The places of those that are there now, and who made them."""
        pieces = [piece for command in commands for piece in command.pieces]
        source = await self._source() if pieces else None
        if source is None:
            return frozenset(), ()
        note = partial(self.store.cache.note, film_key(source.sha256, plan), msgspec.json.encode(to_document(plan)))
        await asyncio.to_thread(note)
        done: dict[Path, Reused] = {}
        recipes = await self._recipes(pieces, source)
        for piece in pieces:
            if (recipe := recipes.get(piece.path)) is None:
                continue
            await self.control.gate()
            if (facts := await self._put(recipe, piece.path, self.farm)) is not None:
                done[piece.path] = _reused(piece, facts)
        if done:
            self.log.say(f"cache: {len(done)} of {len(pieces)} pieces are here already")
        return frozenset(done), tuple(done.values())

    async def keep(self, pieces: Sequence[Piece]) -> None:
        """Keep what was made, unless the film is another one by now."""
        source = await self._source() if pieces else None
        if source is None or not await asyncio.to_thread(source.is_unchanged):
            return
        recipes = await self._recipes(pieces, source)
        for piece in pieces:
            if (recipe := recipes.get(piece.path)) is not None:
                await self._keep(recipe, piece.path, self.farm)

    async def recall(self, piece: Piece) -> bytes | None:
        """The bytes that were remembered under a piece; None for none. Nothing of it stays at its place."""
        source = await self._source()
        recipe = None if source is None else (await self._recipes([piece], source)).get(piece.path)
        if recipe is None or await self._put(recipe, piece.path, self.small) is None:
            return None
        try:
            return await asyncio.to_thread(piece.path.read_bytes)
        finally:
            await asyncio.to_thread(remove, piece.path)

    async def remember(self, piece: Piece, data: bytes) -> None:
        """Keep a few bytes under a piece, unless the film is another one by now."""
        source = await self._source()
        recipe = None if source is None else (await self._recipes([piece], source)).get(piece.path)
        if source is None or recipe is None or not await asyncio.to_thread(source.is_unchanged):
            return
        await asyncio.to_thread(piece.path.write_bytes, data)
        if not await self._keep(recipe, piece.path, self.small):
            self.small = None
        await asyncio.to_thread(remove, piece.path)

    async def _put(self, recipe: Recipe, target: Path, farm: "Farm | None") -> Facts | None:
        """A piece from here or from the farm, put to its place; None where there is none."""
        facts = await finished(partial(self.store.cache.take, recipe, target))
        if facts is None and farm is not None:
            facts = await self._fetched(farm, recipe, target)
        if facts is not None:
            self.touched.append(recipe.key)
        return facts

    async def _keep(self, recipe: Recipe, path: Path, farm: "Farm | None") -> bool:
        """Keep a piece here and with the farm; whether that keeps it."""
        await finished(partial(self.store.cache.keep, recipe, path, self.maker))
        self.touched.append(recipe.key)
        return farm is not None and await self._send(recipe, path, farm)

    async def forget(self) -> None:
        """What was made of these pieces is not as planned: nobody takes them again."""
        await asyncio.to_thread(self.store.forget, self.touched)
        if self.touched:
            self.log.say(f"cache: {len(self.touched)} pieces are taken out of it")

    async def shared(
        self, engine: Engine, plan: Plan, chunking: Chunking, farm: Farm
    ) -> tuple[Plan, SharedFilm | None]:
        """The plan for several workers, divided as before where that is known to the farm or here; and what they are told of the film.
        Whoever divides it later learns of this plan. Raises TaskFailedError, HandBackError, StaleError.
        """
        source = await self._source()
        if source is None:
            return plan, None
        key, path = film_key(source.sha256, plan), farm.folder / _NOTE
        if await farm.cached(key, path):
            plan = _as_noted(plan, await asyncio.to_thread(path.read_bytes), chunking)
        else:
            plan = (await self.planned(engine, plan, chunking, farm.folder / "out", farm.folder / "pieces")).plan
        await asyncio.to_thread(path.write_bytes, msgspec.json.encode(to_document(plan)))
        return plan, SharedFilm(identity=source.identity, is_kept=await farm.cache(key, path))

    async def _fetched(self, farm: Farm, recipe: Recipe, target: Path) -> Facts | None:
        """The piece as the farm keeps it, put to its place; None where it keeps no good one."""
        path = farm.folder / _ARCHIVE
        try:
            return (
                await finished(partial(unpack, path, recipe, target)) if await farm.cached(recipe.key, path) else None
            )
        except (ArchiveError, OSError) as error:
            self.log.say(f"cache: a piece of the farm is not used: {error}")
            await asyncio.to_thread(remove, target)
            return None
        finally:
            await asyncio.to_thread(remove, path)

    async def _send(self, recipe: Recipe, piece: Path, farm: Farm) -> bool:
        """Let the farm keep what is kept here; whether it does."""
        facts = await asyncio.to_thread(self.store.cache.facts, recipe)
        if facts is None:
            return False
        path = farm.folder / _ARCHIVE
        try:
            await finished(partial(pack, facts, piece, path))
            return await farm.cache(recipe.key, path)
        except OSError as error:
            self.log.say(f"cache: a piece is not sent to the farm: {error.strerror or error}")
            return False
        finally:
            await asyncio.to_thread(remove, path)

    async def _source(self) -> Source | None:
        try:
            return await asyncio.shield(self.source)
        except OSError as error:
            self.log.say(f"cache: not used, because the input cannot be read: {error.strerror or error}")
            return None

    async def _recipes(self, pieces: Sequence[Piece], source: Source) -> dict[Path, Recipe]:
        build = await self.store.build.digest()
        if build is None:
            return {}
        cores = len(os.sched_getaffinity(0))
        return {
            piece.path: Recipe(
                source=source.sha256,
                build=build,
                arguments=piece.arguments,
                cores=cores if piece.by_cores else None,
            )
            for piece in pieces
        }


def _as_noted(plan: Plan, text: bytes, chunking: Chunking) -> Plan:
    """The plan with the division of the one that was noted; as it is where that cannot be read, or is not allowed."""
    try:
        return divided_as(plan, plan_from(msgspec.json.decode(text)), chunking)
    except (PlanError, msgspec.MsgspecError, UnicodeDecodeError):
        return plan


def _reused(piece: Piece, facts: Facts) -> Reused:
    return Reused(
        piece=piece.name,
        chunk=piece.chunk,
        key=facts.recipe.key,
        made_by=facts.made_by,
        made_at=facts.made_at,
    )
