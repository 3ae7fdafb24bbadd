"""Jobs that were split: what follows from a move of one of their tasks, and how far they have come. Pure.

The first task of a job is its lead. A worker that splits it lets go of it, and it waits (`pending`) for its parts, which others
make; when the last has completed it is queued again, and whoever claims it joins them. The lead stands for the job, so:

- a part that ends in failure ends the lead with the same failure;
- a lead that has ended ends its parts, one that is paused pauses them, and one that goes on lets them go on;
- a lead that is planned anew (a move that restarts it) ends the parts that there were.

A part that is slow may get a second task, its hedge (:mod:`millrace.domain.hedging`). The two race as long as both run: the first that
completes has made the part, and the other is canceled in the same transaction. Whichever stops running before that leaves the race to
the other, so neither fails, or waits, while the other runs, and the two never wait at once.

A store makes the moves that :func:`follow_up` gives in the transaction of the move from which they follow.
"""

from collections.abc import Sequence

from millrace.domain.ids import position_of
from millrace.domain.records import Hedge, Move, Outcome, Progress, Standing, Task
from millrace.domain.states import FINAL, State

MASTER = "master"
ANEW = "planned anew"
RUNNING = frozenset({State.ASSIGNED, State.PROCESSING})
JOIN_FROM = 0.95
"""The part of a split job's progress bar that its parts fill; joining fills the rest."""


def parts_of(tasks: Sequence[Task]) -> list[Task]:
    """Of all tasks of a job, in order, the parts of its present division; those of an earlier one have ended for good."""
    lead = tasks[0]
    return [task for task in tasks[1:] if task.split == lead.split]


def rival_of(task: Task, parts: Sequence[Task]) -> Task | None:
    """The other of the two tasks that make the same part, where there are two."""
    same = part_of(task)
    return next((other for other in parts if other.id != task.id and part_of(other) == same), None)


def part_of(task: Task | Standing) -> int:
    """The position under which a part is known, whichever of its tasks this is."""
    if task.hedges is not None:
        return task.hedges
    return position_of(task.id if isinstance(task, Task) else task.task_id)


def all_made(parts: Sequence[Task]) -> bool:
    """Whether each part is made, by one of its tasks."""
    made = {part_of(task) for task in parts if task.state is State.COMPLETED}
    return all(part_of(task) in made for task in parts)


def planned_anew(lead: Task, why: str) -> Move | None:
    """The move that takes a divided job back to before its division, where its lead waits; `why` is a phrase."""
    if lead.split is None or lead.state not in (State.PENDING, State.QUEUED):
        return None
    return Move(
        task_id=lead.id,
        sources=frozenset({lead.state}),
        target=State.QUEUED,
        reason=f"{ANEW}: {why}",
        actor=MASTER,
        attempt=lead.attempt,
        restart=True,
    )


def may_hedge(tasks: Sequence[Task], asked: Hedge) -> bool:
    """Whether the task of a part, among all of its job, may get a hedge: it runs as was said, and never had one."""
    lead, parts = tasks[0], parts_of(tasks)
    part = next((one for one in parts if one.id == asked.task_id), None)
    return (
        part is not None
        and lead.state is State.PENDING
        and part.state in RUNNING
        and (part.attempt, part.node_id) == (asked.attempt, asked.node_id)
        and rival_of(part, parts) is None
    )


def follow_up(tasks: Sequence[Task], move: Move) -> tuple[Move, ...]:
    """The moves that follow from `move`, which has just been made; each may have others that follow from it.

    Args:
        tasks: all of the job, in order, as they stand after the move.
        move: of one of them.
    """
    lead, parts = tasks[0], parts_of(tasks)
    of_lead = move.task_id == lead.id
    if of_lead and move.restart:
        return tuple(_cancel(task, f"the job is {ANEW}", move.actor) for task in tasks[1:] if task.state not in FINAL)
    if not parts:
        return ()
    part = next((one for one in parts if one.id == move.task_id), None)
    rival = None if part is None else rival_of(part, parts)
    if part is not None and rival is not None and rival.state not in FINAL:
        raced = _raced(part, rival)
        if raced or rival.node_id is not None:
            return raced
    if not of_lead and lead.state not in FINAL and move.target in (State.FAILED, State.REJECTED):
        return (_fail(lead, move),)
    if lead.state is State.PENDING and all_made(parts):
        return (_step(lead, State.QUEUED, "all parts are made", MASTER),)
    return _taken_along(lead, parts, move) if of_lead else _brought_back(lead, parts, move)


def _raced(part: Task, rival: Task) -> tuple[Move, ...]:
    """What a move of a part means for the other task that makes the same and has not ended."""
    if part.state is State.COMPLETED:
        return (_cancel(rival, f"task {position_of(part.id)} made the part first"),)
    if part.node_id is not None or part.state in FINAL:
        return ()
    if rival.node_id is not None:
        return (_cancel(part, f"task {position_of(rival.id)} goes on with the part"),)
    hedge, other = (part, rival) if part.hedges is not None else (rival, part)
    return (_cancel(hedge, f"nobody had begun it when task {position_of(other.id)} stopped"),)


def _cancel(task: Task, reason: str, actor: str = MASTER) -> Move:
    return Move(
        task_id=task.id,
        sources=frozenset({task.state}),
        target=State.CANCELED,
        reason=reason,
        actor=actor,
        attempt=task.attempt,
        outcome=Outcome.CANCELED if task.node_id else None,
        release=True,
    )


def _brought_back(lead: Task, parts: Sequence[Task], move: Move) -> tuple[Move, ...]:
    """A part whose attempt failed in the moment in which its job was paused waits with it."""
    strays = lead.state is State.PAUSED and move.target not in FINAL and move.target is not State.PAUSED
    moved = (part for part in parts if strays and part.id == move.task_id)
    return tuple(_step(part, State.PAUSED, "its job is paused", MASTER) for part in moved)


def _taken_along(lead: Task, parts: Sequence[Task], move: Move) -> tuple[Move, ...]:
    """What a move of the lead means for its parts."""
    if lead.state in FINAL:
        return tuple(_end(part, move) for part in parts if part.state not in FINAL)
    if lead.state is State.PAUSED:
        waiting = (part for part in parts if part.state not in FINAL and part.state is not State.PAUSED)
        return tuple(_step(part, State.PAUSED, move.reason, move.actor) for part in waiting)
    paused = (part for part in parts if part.state is State.PAUSED)
    return tuple(_step(part, resumed(part, ()), move.reason, move.actor) for part in paused)


def resumed(task: Task, parts: Sequence[Task], *, after_others: bool = False) -> State:
    """The state in which a paused task goes on; `parts` are those that it waits for, `after_others` whether its job also waits
    for other jobs.
    """
    if task.node_id is not None:
        return State.PROCESSING if task.started else State.ASSIGNED
    waits = after_others or task.due_at is not None or not all_made(parts)
    return State.PENDING if waits else State.QUEUED


def _step(task: Task, target: State, reason: str, actor: str) -> Move:
    return Move(
        task_id=task.id,
        sources=frozenset({task.state}),
        target=target,
        reason=reason,
        actor=actor,
        attempt=task.attempt,
    )


def _end(part: Task, move: Move) -> Move:
    return _cancel(part, move.reason if move.target is State.CANCELED else "the job failed", move.actor)


def _fail(lead: Task, move: Move) -> Move:
    # A job that is paused cannot be rejected any more: it was accepted by somebody.
    target = move.target if lead.state is State.PENDING else State.FAILED
    return Move(
        task_id=lead.id,
        sources=frozenset({lead.state}),
        target=target,
        reason=f"its task {position_of(move.task_id)} ended as {move.target}",
        actor=MASTER,
        attempt=lead.attempt,
        failure=move.failure,
        facts=move.facts,
        release=True,
    )


def job_progress(tasks: Sequence[Standing]) -> Progress:
    """How far a split job has come: what came before the division, its parts, each counted by its frames, and then the join.

    Args:
        tasks: all of the job, in order.
    """
    lead, *others = tasks
    parts = _furthest([task for task in others if task.split == lead.split])
    made = sum(part.frames * _done(part) for part in parts)
    frames = sum(part.frames for part in parts)
    if all(part.state is State.COMPLETED for part in parts):
        return Progress(
            fraction=JOIN_FROM + (1 - JOIN_FROM) * lead.progress.fraction,
            phase=lead.progress.phase or "join",
            frame=frames,
            updated_at=lead.progress.updated_at,
        )
    running = [part.progress for part in parts if part.state is State.PROCESSING]
    fps = sum(one.fps for one in running)
    # A search for a quality may have filled some of the bar before: what was shown is not taken back.
    begun = min(JOIN_FROM, lead.progress.fraction)
    return Progress(
        fraction=begun + (JOIN_FROM - begun) * (min(1.0, made / frames) if frames else 0.0),
        phase="encode",
        frame=round(made),
        fps=fps,
        speed=sum(one.speed for one in running),
        eta_s=(frames - made) / fps if fps else None,
        updated_at=max((one.updated_at for one in running if one.updated_at), default=None),
    )


def _furthest(parts: Sequence[Standing]) -> list[Standing]:
    """Of two tasks that make the same part the one that is further."""
    found: dict[int, Standing] = {}
    for task in parts:
        known = found.get(part_of(task))
        if known is None or _done(task) > _done(known):
            found[part_of(task)] = task
    return list(found.values())


def _done(part: Standing) -> float:
    return 1.0 if part.state is State.COMPLETED else part.progress.fraction
