"""Moves on PostgreSQL: a batch in one statement, each with its own guard."""

from collections.abc import Iterable, Sequence

from millrace.domain.ids import job_of
from millrace.domain.records import Move
from millrace.domain.states import State
from millrace.store import rows
from millrace.store.postgres.connection import QUERIES, Session

_MOVE_BATCH = QUERIES["move"].format(wait="SKIP LOCKED")
_MOVE_ONE = QUERIES["move"].format(wait="")


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


async def move_batch(session: Session, moves: Sequence[Move]) -> list[bool | None]:
    """For each move whether it happened; None where a rival holds the task, so that it has to be tried alone."""
    answers: list[bool | None] = [False] * len(moves)
    for places in rounds(moves):
        numbered = [(place, key) for place in places if (key := rows.position_of(moves[place].task_id)) is not None]
        done = await _move(session, _MOVE_BATCH, moves, numbered)
        missed = [(place, key) for place, key in numbered if place not in done]
        still_open = await _still_open(session, moves, missed)
        for place in done:
            answers[place] = True
        for place in still_open:
            answers[place] = None
    return answers


async def move_alone(session: Session, move: Move) -> bool:
    """Whether the move happened, after waiting for its rival."""
    key = rows.position_of(move.task_id)
    return key is not None and bool(await _move(session, _MOVE_ONE, [move], [(0, key)]))


Numbered = Sequence[tuple[int, tuple[str, int]]]


async def _move(session: Session, statement: str, moves: Sequence[Move], numbered: Numbered) -> set[int]:
    if not numbered:
        return set()
    columns = _columns(session.now_ms, moves, numbered)
    found = await session.all_of(statement, *columns[:16], session.now_ms, columns[16])
    await _keep_results(session, [(job, moves[place]) for place, job, _ in found])
    session.queued.update(class_id for place, _, class_id in found if moves[place].target is State.QUEUED)
    session.changed = session.changed or bool(found)
    return {row[0] for row in found}


def _columns(now_ms: int, moves: Sequence[Move], numbered: Numbered) -> list[list[object]]:
    """The arrays of the statement `move`."""
    table = []
    for place, (job_id, position) in numbered:
        move = moves[place]
        failure = move.failure
        table.append((
            place, job_id, position, _sources(move), move.target.value, move.attempt, move.node_id, move.release,
            None if move.delay_s is None else now_ms + round(move.delay_s * 1000),
            None if move.outcome is None else move.outcome.value,
            None if failure is None else failure.failure_class.value,
            None if failure is None else rows.storable(failure.message),
            rows.storable(move.reason), move.actor, int(move.spends), int(move.loses), move.restart,
        ))  # fmt: skip
    return [list(column) for column in zip(*table, strict=True)]


def _sources(move: Move) -> str:
    return ",".join(source.value for source in move.sources)


async def _still_open(session: Session, moves: Sequence[Move], missed: Numbered) -> set[int]:
    if not missed:
        return set()
    table = [
        (place, job_id, position, _sources(moves[place]), moves[place].attempt, moves[place].node_id)
        for place, (job_id, position) in missed
    ]
    return {row[0] for row in await session.all("move_open", *map(list, zip(*table, strict=True)))}


async def _keep_results(session: Session, done: Iterable[tuple[int, Move]]) -> None:
    done = list(done)
    with_outputs = [(job, move) for job, move in done if move.outputs]
    if with_outputs:
        await session.run("delete_outputs", [job for job, _ in with_outputs])
        table = [
            (job, output.name, output.location, output.sha256, output.size, rows.to_text(output.streams))
            for job, move in with_outputs
            for output in move.outputs
        ]
        await session.run("add_outputs", *map(list, zip(*table, strict=True)))
    facts = [(job, rows.to_text(move.facts)) for job, move in done if move.facts is not None]
    if facts:
        await session.run("keep_facts", *map(list, zip(*facts, strict=True)))
