"""Jobs that were split: what follows from a move of one task, over any order of events; and how far such a job has come."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.parts import JOIN_FROM, follow_up, job_progress, parts_of, planned_anew, resumed
from millrace.domain.records import Kind, Move, Outcome, Progress, Standing, Task
from millrace.domain.states import FINAL, HELD, State, check_transition, job_state

BROKEN = Failure(failure_class=FailureClass.INPUT, message="cannot decode frame 7")


def a_task(position: int, state: State, *, split: int | None = 1, node: str | None = None, **more: object) -> Task:
    task = Task(
        id=f"j.{position}", job_id="j", state=state, attempt=1, spent=0, losses=0, max_retries=3, class_id=1, node_id=node,
        node_epoch=None if node is None else 1, started=state is State.PROCESSING, claimed_at=None, due_at=None, split=split,
    )  # fmt: skip
    return replace(task, **more)  # type: ignore[arg-type]


def a_move(task: Task, target: State, **more: object) -> Move:
    move = Move(task_id=task.id, sources=frozenset({task.state}), target=target, reason="said so", actor="somebody")
    return replace(move, **more)  # type: ignore[arg-type]


class Job:
    """A job in memory, whose moves have their consequences as in a store."""

    def __init__(self, parts: int) -> None:
        self.tasks = [a_task(1, State.PENDING), *(a_task(2 + number, State.QUEUED) for number in range(parts))]
        self.failures: dict[str, Failure | None] = {}

    @property
    def lead(self) -> Task:
        return self.tasks[0]

    def move(self, index: int, target: State, **more: object) -> None:
        self._make(a_move(self.tasks[index], target, **more))

    def _make(self, move: Move) -> None:
        index = int(move.task_id.partition(".")[2]) - 1
        task = self.tasks[index]
        assert task.state in move.sources
        check_transition(task.state, move.target)
        keeps = move.target in HELD and not move.release
        node = task.node_id if keeps else None
        self.tasks[index] = replace(task, state=move.target, node_id=node, started=task.started and keeps)
        self.failures[move.task_id] = move.failure
        if move.restart:
            self.tasks[index] = replace(self.tasks[index], split=None)
        for following in follow_up(self.tasks, move):
            self._make(following)

    def claim(self, index: int) -> None:
        self.tasks[index] = replace(self.tasks[index], state=State.PROCESSING, node_id="n", started=True)


def test_the_lead_is_queued_by_the_last_part_and_by_no_earlier_one() -> None:
    job = Job(3)
    for index in (1, 2, 3):
        assert job.lead.state is State.PENDING
        job.claim(index)
        job.move(index, State.COMPLETED)
    assert job.lead.state is State.QUEUED


def test_a_part_that_fails_ends_the_job_with_its_failure_and_the_others_are_canceled() -> None:
    job = Job(4)
    job.claim(1)
    job.move(1, State.COMPLETED)
    job.claim(2)
    job.claim(3)
    job.move(3, State.FAILED, failure=BROKEN)
    assert [task.state for task in job.tasks] == [
        State.FAILED, State.COMPLETED, State.CANCELED, State.FAILED, State.CANCELED,
    ]  # fmt: skip
    assert job.failures["j.1"] == BROKEN
    assert all(task.node_id is None for task in job.tasks)


def test_the_end_of_a_running_part_ends_its_attempt() -> None:
    tasks = [a_task(1, State.CANCELED), a_task(2, State.PROCESSING, node="n"), a_task(3, State.QUEUED)]
    running, waiting = follow_up(tasks, a_move(a_task(1, State.PENDING), State.CANCELED))
    assert (running.outcome, running.release, running.attempt) == (Outcome.CANCELED, True, 1)
    assert (waiting.outcome, waiting.reason) == (None, "said so")


def test_a_part_that_no_machine_can_make_rejects_the_job() -> None:
    job = Job(2)
    job.move(1, State.REJECTED, failure=BROKEN)
    assert [task.state for task in job.tasks] == [State.REJECTED, State.REJECTED, State.CANCELED]


def test_a_job_is_held_and_goes_on_with_all_its_parts() -> None:
    job = Job(4)
    job.claim(1)
    job.move(2, State.ASSIGNED)
    job.tasks[2] = replace(job.tasks[2], node_id="n")
    job.claim(3)
    job.move(3, State.RETRYING)
    job.tasks[3] = replace(job.tasks[3], due_at=datetime(2026, 1, 1, tzinfo=UTC))
    job.move(0, State.PAUSED)
    assert {task.state for task in job.tasks} == {State.PAUSED}
    job.move(0, resumed(job.lead, parts_of(job.tasks)))
    assert [task.state for task in job.tasks] == [
        State.PENDING, State.PROCESSING, State.ASSIGNED, State.PENDING, State.QUEUED,
    ]  # fmt: skip


def test_the_last_part_may_end_while_the_job_is_held() -> None:
    job = Job(1)
    job.claim(1)
    job.move(0, State.PAUSED)
    before = resumed(job.lead, parts_of(job.tasks))
    job.move(1, State.COMPLETED)
    assert job.lead.state is State.PAUSED
    assert resumed(job.lead, parts_of(job.tasks)) is State.QUEUED
    # Decided before the part ended, and made after.
    job.move(0, before)
    assert job.lead.state is State.QUEUED


def test_a_part_that_fails_for_now_while_its_job_is_held_is_held_too() -> None:
    job = Job(2)
    job.claim(1)
    job.move(0, State.PAUSED)
    job.move(1, State.RETRYING)
    assert {task.state for task in job.tasks} == {State.PAUSED}


@pytest.mark.parametrize("made", [False, True])
def test_a_job_that_is_planned_anew_ends_the_parts_that_there_were(made: bool) -> None:
    job = Job(3)
    job.claim(1)
    job.move(1, State.COMPLETED)
    job.claim(2)
    if made:
        job.move(2, State.COMPLETED)
        job.claim(3)
        job.move(3, State.COMPLETED)
    move = planned_anew(job.lead, "nobody can")
    assert move is not None
    assert (move.reason, move.restart) == ("planned anew: nobody can", True)
    job._make(move)
    ended = State.COMPLETED if made else State.CANCELED
    assert [task.state for task in job.tasks] == [State.QUEUED, State.COMPLETED, ended, ended]
    assert all(task.node_id is None for task in job.tasks)


@pytest.mark.parametrize("state", [State.PAUSED, State.PROCESSING, State.ASSIGNED, State.FAILED])
def test_a_job_that_does_not_wait_is_not_planned_anew(state: State) -> None:
    assert planned_anew(a_task(1, state), "nobody can") is None
    assert planned_anew(a_task(1, State.QUEUED, split=None), "nobody can") is None


def test_parts_of_an_earlier_division_count_for_nothing() -> None:
    old = [a_task(2, State.COMPLETED, split=1), a_task(3, State.CANCELED, split=1)]
    tasks = [a_task(1, State.PENDING, split=4), *old, a_task(4, State.COMPLETED, split=4)]
    assert [move.target for move in follow_up(tasks, a_move(a_task(4, State.PROCESSING), State.COMPLETED))] == [
        State.QUEUED
    ]
    undivided = [a_task(1, State.QUEUED, split=None), *old]
    assert follow_up(undivided, a_move(a_task(1, State.FAILED), State.QUEUED, restart=True)) == ()


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "complete", "fail", "back", "again", "pause", "resume", "cancel"]), st.integers(1, 4)
    ),
    max_size=30,
)


@given(_EVENTS)
def test_whatever_happens_no_part_goes_on_without_its_job_and_the_join_waits_for_all(
    events: list[tuple[str, int]],
) -> None:
    job = Job(4)
    for event, index in events:
        task = job.tasks[index]
        if event == "claim" and task.state is State.QUEUED:
            job.claim(index)
        elif event in ("complete", "fail", "back", "again") and task.node_id is not None:
            target = {
                "complete": State.COMPLETED,
                "fail": State.FAILED,
                "back": State.QUEUED,
                "again": State.RETRYING,
            }[event]
            if not (event == "back" and task.state is State.PAUSED):
                job.move(index, target, failure=BROKEN if event == "fail" else None)
        elif event == "pause" and job.lead.state not in FINAL | {State.PAUSED}:
            job.move(0, State.PAUSED)
        elif event == "resume" and job.lead.state is State.PAUSED:
            job.move(0, resumed(job.lead, parts_of(job.tasks)))
        elif event == "cancel" and job.lead.state not in FINAL:
            job.move(0, State.CANCELED)
        parts = [one.state for one in job.tasks[1:]]
        made = all(state is State.COMPLETED for state in parts)
        if job.lead.state in FINAL:
            assert all(state in FINAL for state in parts)
        elif job.lead.state is State.PAUSED:
            assert all(state in FINAL | {State.PAUSED} for state in parts)
        else:
            assert job.lead.state is (State.QUEUED if made else State.PENDING)
            assert State.PAUSED not in parts
            assert job_state(job.lead.state, is_split=True) is State.PROCESSING


def standing(position: int, kind: Kind, state: State, frames: int = 0, *, split: int = 1, **done: object) -> Standing:
    progress = replace(Progress(), **done)  # type: ignore[arg-type]
    return Standing(
        task_id=f"j.{position}",
        kind=kind,
        number=0,
        state=state,
        attempt=1,
        node_name=None,
        frames=frames,
        split=split,
        progress=progress,
    )


def test_progress_counts_each_part_by_its_frames() -> None:
    tasks = [
        standing(1, Kind.JOIN, State.PENDING),
        standing(2, Kind.SIDES, State.COMPLETED),
        standing(3, Kind.CHUNK, State.COMPLETED, 300, fraction=0.2),
        standing(4, Kind.CHUNK, State.PROCESSING, 100, fraction=0.5, fps=20.0, speed=2.0),
        standing(5, Kind.CHUNK, State.PROCESSING, 100, fraction=0.0, fps=30.0, speed=1.0),
        standing(6, Kind.CHUNK, State.COMPLETED, 900, split=0),
    ]
    found = job_progress(tasks)
    assert found.fraction == pytest.approx(JOIN_FROM * 350 / 500)
    assert (found.frame, found.fps, found.speed, found.phase) == (350, 50.0, 3.0, "encode")
    assert found.eta_s == pytest.approx(150 / 50)


@given(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_what_a_search_filled_of_the_bar_is_not_taken_back_by_the_division(begun: float, parts: list[float]) -> None:
    def shown(*done: float, state: State = State.PROCESSING) -> float:
        lead = standing(1, Kind.JOIN, State.PENDING, fraction=begun)
        made = [standing(2 + place, Kind.CHUNK, state, 100, fraction=one) for place, one in enumerate(done)]
        return job_progress([lead, *made]).fraction

    before = shown(0, 0, state=State.QUEUED)
    assert before == pytest.approx(min(begun, JOIN_FROM))
    assert before - 1e-9 <= shown(parts[0], 0) <= shown(*parts) + 1e-9 <= JOIN_FROM + 2e-9


def test_a_join_that_is_claimed_goes_on_where_the_parts_ended() -> None:
    join = replace(standing(1, Kind.JOIN, State.ASSIGNED), attempt=2)
    assert job_progress([join, standing(2, Kind.CHUNK, State.COMPLETED, 300)]).fraction == JOIN_FROM


def test_progress_of_the_join_fills_the_rest() -> None:
    parts = [standing(2, Kind.CHUNK, State.COMPLETED, 300)]
    before = job_progress([standing(1, Kind.JOIN, State.QUEUED), *parts])
    after = job_progress([standing(1, Kind.JOIN, State.PROCESSING, fraction=0.5, phase="verify"), *parts])
    assert (before.fraction, before.phase, before.frame) == (JOIN_FROM, "join", 300)
    assert after.fraction == pytest.approx(JOIN_FROM + (1 - JOIN_FROM) / 2)
    assert after.phase == "verify"


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 1)), min_size=1, max_size=8))
def test_progress_stays_in_its_bounds(parts: list[tuple[int, float]]) -> None:
    tasks = [
        standing(2 + number, Kind.CHUNK, State.PROCESSING, frames, fraction=fraction)
        for number, (frames, fraction) in enumerate(parts)
    ]
    assert 0 <= job_progress([standing(1, Kind.JOIN, State.PENDING), *tasks]).fraction <= JOIN_FROM
