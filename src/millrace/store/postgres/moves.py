"""Moves on PostgreSQL, and reports with a claim: a batch in one statement, each with its own guard."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct

from millrace.domain.ids import job_of
from millrace.domain.parts import follow_up
from millrace.domain.records import Claimed, Move, Output
from millrace.domain.states import State
from millrace.domain.tenants import over_for_retry
from millrace.store import rows
from millrace.store.postgres.claims import CLAIM_PARTS, Claim, claimed
from millrace.store.postgres.connection import QUERIES, Session
from millrace.store.postgres.errors import AgainError, persist

A_co = TypeVar("A_co", covariant=True)
One = tuple[int, tuple[str, int]]
"""The place of a move, with its task's job and position."""
Keyed = Sequence[One]

_TRIES = 8
_TYPES = (
    "text", "int", "text", "text", "int", "text", "bool",  # the guard
    "bigint", "text", "text", "text", "text", "text", "int", "int", "bool", "text", "text", "text", "bigint",
)  # fmt: skip
_GUARDS = 7


class MoveAndClaim(Struct, frozen=True, kw_only=True):
    """The end of an attempt, with the claim of the node that reports it."""

    move: Move
    claim: Claim


def _arrays(types: Sequence[str], first: int) -> str:
    return ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, first))


class Way(NamedTuple):
    """How moves are made: what happens where a rival has locked the task, and a further condition on the task."""

    wait: str
    only: str


BATCH = Way("SKIP LOCKED", QUERIES["only_whole"])
ALONE = Way("", QUERIES["only_whole"])
LOCKED = Way("", "")
"""Within a transaction that has locked all tasks of the job, which may be split."""


def _moved(way: Way, *, publishes: bool, claims: bool) -> str:
    return QUERIES["moves"].format(
        arrays=_arrays((*_TYPES, "bigint", "text", "int"), 2) if claims else _arrays(_TYPES, 1),
        more="epoch, request, most," if claims else "",
        node="n.node_name, n.ready, n.slots," if claims else "",
        standing=QUERIES["standing"] if claims else "",
        wait=way.wait,
        whole=way.only,
        outputs=QUERIES["publish"] if publishes else "",
    )


_KINDS = [(way, publishes) for way in (BATCH, ALONE, LOCKED) for publishes in (False, True)]
_MOVES = {
    (way, publishes): QUERIES["move"].format(
        moved=_moved(way, publishes=publishes, claims=False),
        counted=QUERIES["counted"].format(changes=QUERIES["changed_by_moves"]),
    )
    for way, publishes in _KINDS
}
_REPORTS = {
    (way, publishes): QUERIES["move_and_claim"].format(
        moved=_moved(way, publishes=publishes, claims=True),
        counted=QUERIES["counted"].format(
            changes=f"{QUERIES['changed_by_moves']}\nUNION ALL\n{QUERIES['changed_by_claims']}"
        ),
        **CLAIM_PARTS,
    )
    for way, publishes in _KINDS
}
_MOVES_OPEN = QUERIES["move_open"].format(arrays=_arrays(_TYPES[:_GUARDS], 1), more="", standing="")
_REPORTS_OPEN = QUERIES["move_open"].format(
    arrays=_arrays((*_TYPES[:_GUARDS], "bigint"), 1), more="epoch,", standing=QUERIES["standing"]
)


def rounds(moves: Sequence[Move]) -> list[list[int]]:
    """The places of the moves in rounds, so that no job comes twice in a round and each keeps its order."""
    seen: dict[str, int] = {}
    found: list[list[int]] = []
    for place, move in enumerate(moves):
        job = job_of(move.task_id)
        turn = seen[job] = seen.get(job, -1) + 1
        if turn == len(found):
            found.append([])
        found[turn].append(place)
    return found


class _Batch(Protocol[A_co]):
    """How the moves of one batch are made."""

    @property
    def moves(self) -> Sequence[Move]:
        """The moves, by place."""

    @property
    def session(self) -> Session:
        """Where they are made."""

    async def make(self, way: Way, keyed: Keyed) -> Mapping[int, A_co]:
        """Make these; the answers of those that happened, by place."""

    async def still_open(self, keyed: Keyed) -> Sequence[tuple[One, bool]]:
        """Those of them whose guard holds, each with whether its job was split."""


A = TypeVar("A")


async def _settle(batch: _Batch[A]) -> dict[int, A]:
    """The answers of the moves that happened, by place."""
    answers: dict[int, A] = {}
    for places in rounds(batch.moves):
        todo = [(place, key) for place in places if (key := rows.position_of(batch.moves[place].task_id)) is not None]
        leads = [one for one in todo if one[1][1] == 1]
        if leads:
            answers |= await batch.make(BATCH if len(leads) > 1 else ALONE, leads)
        # Those that a rival held, or changed while the statement ran, are tried one by one, and so are those of split jobs.
        missed = [one for one in todo if one[0] not in answers]
        for one, is_split in await batch.still_open(missed) if missed else ():
            answers |= await (_together(batch, one) if is_split else _alone(batch, one))
    return answers


async def _alone(batch: _Batch[A], one: One) -> Mapping[int, A]:
    """The move made after waiting for its rivals; nothing where it does not happen."""
    for _ in range(_TRIES):
        if done := await batch.make(ALONE, [one]):
            return done
        still_open = await batch.still_open([one])
        if not still_open:
            return {}
        if still_open[0][1]:
            return await _together(batch, one)
    raise AgainError(f"others keep changing task {batch.moves[one[0]].task_id}")


async def _together(batch: _Batch[A], one: One) -> Mapping[int, A]:
    """The move of a task of a split job, with what follows from it; nothing where it does not happen."""
    place, (job_id, _) = one

    async def make() -> Mapping[int, A]:
        async with batch.session.transaction():
            await batch.session.run("lock_tasks", job_id)
            done = await batch.make(LOCKED, [one])
            if done:
                await follow(batch.session, batch.moves[place])
            return done

    return await persist(make)


async def follow(session: Session, move: Move) -> None:
    """Make what follows from a move, within a transaction that has locked all tasks of its job.

    Raises:
        AgainError: a rival was at a task that came after the lock.
    """
    tasks = [rows.task(row) for row in await session.all("tasks", job_of(move.task_id))]
    for following in follow_up(tasks, move):
        key = rows.position_of(following.task_id)
        if key is None or not await _Moves(session, [following]).make(LOCKED, [(0, key)]):
            raise AgainError(f"others have changed task {following.task_id}")
        await follow(session, following)


class _Moves:
    """Moves alone; the answer is that it happened."""

    def __init__(self, session: Session, moves: Sequence[Move]) -> None:
        self.moves = moves
        self.session = session

    async def make(self, way: Way, keyed: Keyed) -> Mapping[int, bool]:
        sql = _MOVES[way, any(self.moves[place].outputs for place, _ in keyed)]
        done = {}
        lines = (_line(self.moves[p], *key) for p, key in keyed)
        for ord_, class_id, freed in await self.session.alone(sql, *_columns(lines)):
            place = keyed[ord_ - 1][0]
            done[place] = True
            _note(self.session, self.moves[place], class_id, freed=freed)
        return done

    async def still_open(self, keyed: Keyed) -> Sequence[tuple[One, bool]]:
        lines = (_line(self.moves[place], *key)[:_GUARDS] for place, key in keyed)
        found = await self.session.all_of(_MOVES_OPEN, *_columns(lines))
        return [(keyed[ord_ - 1], is_split) for ord_, is_split in found]


class _Reports:
    """Moves with a claim each; the answer is what was given."""

    def __init__(self, session: Session, classes: Sequence[int], reports: Sequence[MoveAndClaim]) -> None:
        self.moves = [report.move for report in reports]
        self._claims = [report.claim for report in reports]
        self._classes = classes
        self.session = session

    async def make(self, way: Way, keyed: Keyed) -> Mapping[int, Sequence[Claimed]]:
        # In the order of the requests, as claims are.
        keyed = sorted(keyed, key=lambda one: self._claims[one[0]].request_id)
        sql = _REPORTS[way, any(self.moves[place].outputs for place, _ in keyed)]
        # Reports of one node in one statement do not see each other, so each gets no more than the slot that it leaves.
        reports = Counter(self._claims[place].node_id for place, _ in keyed)
        lines = []
        for place, key in keyed:
            claim = self._claims[place]
            most = claim.limit if reports[claim.node_id] == 1 else 1
            lines.append((*_line(self.moves[place], *key), claim.epoch, claim.request_id, most))
        answers: dict[int, list[Claimed]] = {}
        for row in await self.session.alone(sql, self._classes, *_columns(lines)):
            place = keyed[row[0] - 1][0]
            if row[3] is None:  # the move itself, before what was given
                answers[place] = []
                _note(self.session, self.moves[place], row[2], freed=row[4])
            else:
                answers[place].append(claimed(row))
        return answers

    async def still_open(self, keyed: Keyed) -> Sequence[tuple[One, bool]]:
        lines = ((*_line(self.moves[p], *key)[:_GUARDS], self._claims[p].epoch) for p, key in keyed)
        found = await self.session.all_of(_REPORTS_OPEN, *_columns(lines))
        return [(keyed[ord_ - 1], is_split) for ord_, is_split in found]


async def move_all(session: Session, moves: Sequence[Move]) -> list[bool]:
    """For each move whether it happened."""
    done = await _settle(_Moves(session, moves))
    return [place in done for place in range(len(moves))]


async def run_again(session: Session, move: Move) -> list[bool]:
    """A move of a job that may have ended, within a transaction: it happens where its tenant may have one more that waits."""
    key = rows.position_of(move.task_id)
    ended = None if key is None else await session.one("lock_ended", *key)
    if key is not None and ended is not None:
        found = await session.one("counts", ended[0], 0)
        counted = None if found is None else rows.counts(found)
        if counted is not None and over_for_retry(*counted) is not None:
            return [False]
        lane = ended[0] if counted is not None and counted[0].concurrent is not None else ""
        await session.run("set_lane_of_task", ended[1], key[1], lane)
    return await move_all(session, [move])


async def move_and_claim_all(
    session: Session, classes: Sequence[int], reports: Sequence[MoveAndClaim]
) -> list[Sequence[Claimed] | None]:
    """For each report the tasks given, or None where its move did not happen."""
    answers = await _settle(_Reports(session, classes, reports))
    return [answers.get(place) for place in range(len(reports))]


def _note(session: Session, move: Move, class_id: int, *, freed: bool) -> None:
    session.changed = True
    # Who is the next in a lane that was full is of the same class, mostly.
    if move.target is State.QUEUED or freed:
        session.queued.add(class_id)


def _columns(lines: Iterable[tuple[object, ...]]) -> Iterable[list[object]]:
    return map(list, zip(*lines, strict=True))


def _line(move: Move, job_id: str, position: int) -> tuple[object, ...]:
    """One place of each array of the statement `move`, of which the first seven are the guard."""
    failure = move.failure
    return (
        job_id, position, ",".join(source.value for source in move.sources), move.target.value, move.attempt, move.node_id, move.release,
        None if move.delay_s is None else round(move.delay_s * 1000),
        None if move.outcome is None else move.outcome.value,
        None if failure is None else failure.failure_class.value,
        None if failure is None else rows.storable(failure.message),
        rows.storable(move.reason), move.actor, int(move.spends), int(move.loses), move.restart,
        None if move.facts is None else rows.to_text(move.facts),
        _outputs(move.outputs) if move.outputs else None,
        None if move.avoid is None else rows.avoidance(move.avoid),
        move.kept_bytes,
    )  # fmt: skip


def _outputs(outputs: Sequence[Output]) -> str:
    return rows.to_text([
        {"name": one.name, "location": one.location, "sha256": one.sha256, "size": one.size,
         "streams": rows.to_text(one.streams)}
        for one in outputs
    ])  # fmt: skip
