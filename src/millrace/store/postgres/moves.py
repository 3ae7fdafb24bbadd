"""Moves on PostgreSQL: a batch in one statement, each with its own guard."""

from collections.abc import Sequence

from millrace.domain.ids import job_of
from millrace.domain.records import Move, Output
from millrace.domain.states import State
from millrace.store import rows
from millrace.store.postgres.connection import QUERIES, AgainError, Session

_TRIES = 8
_GUARDS = 7
_MOVES = {
    (wait, publishes): QUERIES["move"].format(wait=wait, outputs=QUERIES["publish"] if publishes else "")
    for wait in ("", "SKIP LOCKED")
    for publishes in (False, True)
}


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


async def move_all(session: Session, moves: Sequence[Move]) -> list[bool]:
    """For each move whether it happened."""
    answers = [False] * len(moves)
    for places in rounds(moves):
        todo = [(place, key) for place in places if (key := rows.position_of(moves[place].task_id)) is not None]
        for place in await _move(session, "SKIP LOCKED" if len(todo) > 1 else "", moves, todo):
            answers[place] = True
        # Those that a rival held, or changed while the statement ran, are tried one by one.
        for one in await _still_open(session, moves, [(place, key) for place, key in todo if not answers[place]]):
            answers[one[0]] = await _move_alone(session, moves, one)
    return answers


async def _move_alone(session: Session, moves: Sequence[Move], one: "tuple[int, tuple[str, int]]") -> bool:
    """Whether the move happened, after waiting for its rivals."""
    for _ in range(_TRIES):
        if await _move(session, "", moves, [one]):
            return True
        if not await _still_open(session, moves, [one]):
            return False
    raise AgainError(f"others keep changing task {moves[one[0]].task_id}")


Keyed = Sequence[tuple[int, tuple[str, int]]]


async def _move(session: Session, wait: str, moves: Sequence[Move], keyed: Keyed) -> set[int]:
    """The places of the moves that happened."""
    if not keyed:
        return set()
    table = [_line(moves[place], *key) for place, key in keyed]
    publishes = any(moves[place].outputs for place, _ in keyed)
    done = set()
    for ord_, class_id in await session.alone(_MOVES[wait, publishes], *map(list, zip(*table, strict=True))):
        place = keyed[ord_ - 1][0]
        done.add(place)
        if moves[place].target is State.QUEUED:
            session.queued.add(class_id)
    session.changed = session.changed or bool(done)
    return done


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
    )  # fmt: skip


def _outputs(outputs: Sequence[Output]) -> str:
    return rows.to_text([
        {"name": one.name, "location": one.location, "sha256": one.sha256, "size": one.size,
         "streams": rows.to_text(one.streams)}
        for one in outputs
    ])  # fmt: skip


async def _still_open(session: Session, moves: Sequence[Move], missed: Keyed) -> Keyed:
    """Those whose guard holds."""
    if not missed:
        return ()
    table = [_line(moves[place], *key)[:_GUARDS] for place, key in missed]
    found = await session.all("move_open", *map(list, zip(*table, strict=True)))
    return [missed[row[0] - 1] for row in found]
