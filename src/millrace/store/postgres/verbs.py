"""The verbs that come often, each with its combiner, and the way of a single transaction for the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from millrace.domain.records import Beat, Claimed, Move, NewJob, NewNode, Node, Split
from millrace.domain.sessions import Allowance
from millrace.store.postgres import sessions
from millrace.store.postgres.claims import Claim, claim_all
from millrace.store.postgres.combiner import BySignature, Combiner
from millrace.store.postgres.connection import Database, Session
from millrace.store.postgres.history import of_claimed, of_ended, of_jobs
from millrace.store.postgres.jobs import add_jobs
from millrace.store.postgres.moves import MoveAndClaim, move_all, move_and_claim_all
from millrace.store.postgres.nodes import Heartbeat, heartbeats, register_all
from millrace.store.postgres.parts import split
from millrace.store.store import HEARTBEATS_GATHER_S, Added

T = TypeVar("T")
Given = Sequence[Claimed] | None
GATHER_S = 0.002
"""Seconds that a batch may wait for as many requests as the one before had."""


class Verbs:
    """What runs on a started store; `tell` hears of every commit that queued or changed something."""

    def __init__(self, database: Database, tell: Callable[[bool, Iterable[int]], None]) -> None:
        self._database = database
        self._history = database.history
        self._tell = tell
        self.add_jobs = Combiner[Sequence[NewJob], Sequence[Added]](self._add_jobs, gather_s=GATHER_S)
        self.moves = Combiner[Move, bool](self._move, gather_s=GATHER_S)
        self.heartbeats = Combiner[Heartbeat, Beat | None](self._heartbeats, gather_s=HEARTBEATS_GATHER_S, always=True)
        # They come seldom, but all at once where a farm starts or a master comes back.
        self.registrations = Combiner[NewNode, Node | None](self._register, gather_s=GATHER_S)
        # Nodes that can run exactly the same classes share a statement.
        self.claims = BySignature[tuple[int, ...], Claim, Given](self._claim, gather_s=GATHER_S)
        self.reports = BySignature[tuple[int, ...], MoveAndClaim, Given](self._report, gather_s=GATHER_S)

    async def drain(self) -> None:
        """Return when everything that was asked is answered."""
        every = (self.add_jobs, self.moves, self.heartbeats, self.registrations, self.claims, self.reports)
        await asyncio.gather(*(one.drain() for one in every))

    async def write(self, unit: Callable[[Session], Awaitable[T]]) -> T:
        """Run a unit in a transaction of its own."""
        return self._told(*await self._database.transact(unit))

    async def accept(self, unit: Callable[[Session], Awaitable[tuple[T, Sequence[Added]]]]) -> T:
        """The same for one that also gives the jobs that it accepted."""
        given, answers = await self.write(unit)
        self._history.note(of_jobs([answers]))
        return given

    async def split(self, asked: Split) -> bool:
        """The end of an attempt that divides its job; it comes too seldom to be one of a batch."""
        happened = await self.write(lambda session: split(session, asked))
        self._history.note(of_ended([asked.move], [happened]))
        return happened

    async def claim_with(self, allowance: Allowance, classes: Sequence[int], asked: Claim) -> Given:
        """The claim of a node whose sessions are counted."""
        given = await self.write(lambda session: sessions.claim(session, classes, asked, allowance))
        self._history.note(of_claimed([asked.node_id], [given]))
        return given

    async def report_with(self, allowance: Allowance, classes: Sequence[int], report: MoveAndClaim) -> Given:
        """The same with the end of an attempt."""
        given = await self.write(lambda session: sessions.move_and_claim(session, classes, report, allowance))
        self._history.note(of_ended([report.move], [given is not None]))
        return given

    async def _hot(self, unit: Callable[[Session], Awaitable[T]]) -> T:
        return self._told(*await self._database.hot(unit))

    def _told(self, result: T, session: Session) -> T:
        if session.changed or session.queued:
            self._tell(session.changed, session.queued)
        return result

    async def _add_jobs(self, calls: Sequence[Sequence[NewJob]]) -> Sequence[Sequence[Added] | Exception]:
        answers = await self._hot(lambda session: add_jobs(session, calls))
        self._history.note(of_jobs(answers))
        return answers

    async def _claim(self, classes: tuple[int, ...], claims: Sequence[Claim]) -> Sequence[Given]:
        answers = await self._hot(lambda session: claim_all(session, classes, claims))
        self._history.note(of_claimed([claim.node_id for claim in claims], answers))
        return answers

    async def _report(self, classes: tuple[int, ...], reports: Sequence[MoveAndClaim]) -> Sequence[Given]:
        answers = await self._hot(lambda session: move_and_claim_all(session, classes, reports))
        self._history.note(of_ended([report.move for report in reports], [given is not None for given in answers]))
        return answers

    async def _heartbeats(self, beats: Sequence[Heartbeat]) -> Sequence[Beat | None]:
        return await self._hot(lambda session: heartbeats(session, beats))

    async def _register(self, nodes: Sequence[NewNode]) -> Sequence[Node | None]:
        return await self.write(lambda session: register_all(session, nodes))

    async def _move(self, moves: Sequence[Move]) -> Sequence[bool]:
        done = await self._hot(lambda session: move_all(session, moves))
        self._history.note(of_ended(moves, done))
        return done
