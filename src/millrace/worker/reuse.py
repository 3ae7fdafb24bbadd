"""What an attempt takes from the cache instead of making it, and what it leaves there for others."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct, field

from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan_document import PlanError, plan_from, to_document
from millrace.domain.media.proof import Maker, Reused
from millrace.domain.media.recipe import Recipe, divided_as, film_key
from millrace.domain.media.split import Chunking
from millrace.engines.engine import Command, Done, Engine, Piece
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.build import Build
from millrace.worker.cache import Cache, Facts
from millrace.worker.control import Control
from millrace.worker.source import Identity, Source, finished


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


class Reuse(Struct, kw_only=True):
    """One attempt's use of a cache. `source` becomes the film that it is about, or None where that cannot be told; `maker` is who
    makes what is made here.
    """

    store: Store
    source: "asyncio.Future[Source | None]"
    maker: Maker
    control: Control
    log: AttemptLog
    touched: list[str] = field(default_factory=list)

    async def planned(self, engine: Engine, plan: Plan, chunking: Chunking, out: Path, work: Path) -> Known:
        """The plan as it is, or divided as an earlier job with the same film was, where more of its pieces are here then."""
        source = await self._source()
        if source is None:
            return Known(plan=plan)
        found = await self._known(engine, plan, source, out, work)
        text = await asyncio.to_thread(self.store.cache.noted, film_key(source.sha256, plan))
        try:
            before = None if text is None else plan_from(msgspec.json.decode(text))
        except (PlanError, msgspec.MsgspecError):
            before = None
        other = plan if before is None else divided_as(plan, before, chunking)
        if other == plan:
            return found
        earlier = await self._known(engine, other, source, out, work)
        return earlier if earlier.found > found.found else found

    async def identity(self) -> Identity | None:
        """What the film is, for those who make parts of it; None where that cannot be told."""
        source = await self._source()
        return None if source is None else source.identity

    async def _known(self, engine: Engine, plan: Plan, source: Source, out: Path, work: Path) -> Known:
        pieces = [piece for one in engine.encode(plan, source.path, out, work) for piece in one.pieces]
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
            facts = await finished(partial(self.store.cache.take, recipe, piece.path))
            if facts is not None:
                self.touched.append(recipe.key)
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
                await finished(partial(self.store.cache.keep, recipe, piece.path, self.maker))
                self.touched.append(recipe.key)

    async def forget(self) -> None:
        """What was made of these pieces is not as planned: nobody takes them again."""
        await asyncio.to_thread(self.store.forget, self.touched)
        if self.touched:
            self.log.say(f"cache: {len(self.touched)} pieces are taken out of it")

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


def _reused(piece: Piece, facts: Facts) -> Reused:
    return Reused(
        piece=piece.name,
        chunk=piece.chunk,
        key=facts.recipe.key,
        made_by=facts.made_by,
        made_at=facts.made_at,
    )
