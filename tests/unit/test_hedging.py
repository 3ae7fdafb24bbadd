"""Parts that are slow: which get a second task, and what follows from a move of one of the two, over any order of events."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.hedging import AT_ONCE, LEAST_RUN_S, SLOWER, Straggler, seated, stragglers
from millrace.domain.parts import all_made, follow_up, job_progress, may_hedge, part_of, parts_of, resumed, rival_of
from millrace.domain.records import Attempt, Hedge, Kind, Move, Outcome, Progress, Standing, Task
from millrace.domain.states import FINAL, HELD, State, check_transition

BROKEN = Failure(failure_class=FailureClass.INPUT, message="cannot decode frame 7")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def a_task(position: int, state: State, node: str | None = None, **more: object) -> Task:
    task = Task(
        id=f"j.{position}", job_id="j", state=state, attempt=0 if node is None else 1, spent=0, losses=0, max_retries=3, class_id=1,
        node_id=node, node_epoch=None if node is None else 1, started=state is State.PROCESSING,
        claimed_at=BEGAN if node else None, due_at=None, split=1,
    )  # fmt: skip
    return replace(task, **more)  # type: ignore[arg-type]


class Job:
    """A divided job in memory, whose moves have their consequences as in a store."""

    def __init__(self, parts: int) -> None:
        self.tasks = [a_task(1, State.PENDING), *(a_task(2 + number, State.QUEUED) for number in range(parts))]
        self.reasons: dict[str, str] = {}

    @property
    def lead(self) -> Task:
        return self.tasks[0]

    @property
    def states(self) -> list[State]:
        return [task.state for task in self.tasks[1:]]

    def move(self, position: int, target: State, **more: object) -> None:
        task = self.tasks[position - 1]
        move = Move(task_id=task.id, sources=frozenset({task.state}), target=target, reason="said so", actor="somebody")
        self._make(replace(move, **more))  # type: ignore[arg-type]

    def _make(self, move: Move) -> None:
        index = int(move.task_id.partition(".")[2]) - 1
        task = self.tasks[index]
        assert task.state in move.sources
        check_transition(task.state, move.target)
        keeps = move.target in HELD and not move.release
        node = task.node_id if keeps else None
        self.tasks[index] = replace(task, state=move.target, node_id=node, started=task.started and keeps)
        self.reasons[move.task_id] = move.reason
        for following in follow_up(self.tasks, move):
            self._make(following)

    def claim(self, position: int, node: str) -> None:
        task = self.tasks[position - 1]
        claimed = replace(task, state=State.PROCESSING, node_id=node, started=True, attempt=task.attempt + 1)
        self.tasks[position - 1] = claimed

    def hedge(self, position: int) -> bool:
        part = self.tasks[position - 1]
        asked = Hedge(task_id=part.id, attempt=part.attempt, node_id=part.node_id or "", reason="slow", actor="master")
        if not may_hedge(self.tasks, asked):
            return False
        self.tasks.append(a_task(len(self.tasks) + 1, State.QUEUED, hedges=position))
        return True


def racing(parts: int = 2) -> Job:
    """The first part, task 2, runs on a, its hedge on b; the others are made."""
    job = Job(parts)
    job.claim(2, "a")
    for position in range(3, 2 + parts):
        job.claim(position, "b")
        job.move(position, State.COMPLETED)
    assert job.hedge(2)
    job.claim(2 + parts, "b")
    return job


@pytest.mark.parametrize(("first", "second"), [(2, 4), (4, 2)])
def test_the_first_that_completes_has_made_the_part_and_ends_the_other(first: int, second: int) -> None:
    job = racing()
    job.move(first, State.COMPLETED)
    assert (job.tasks[first - 1].state, job.tasks[second - 1].state) == (State.COMPLETED, State.CANCELED)
    assert job.reasons[f"j.{second}"] == f"task {first} made the part first"
    assert job.tasks[second - 1].node_id is None
    assert job.lead.state is State.QUEUED


def test_the_attempt_that_lost_is_ended_as_canceled_and_spends_nothing() -> None:
    job = racing()
    tasks = [replace(task, state=State.COMPLETED) if task.id == "j.2" else task for task in job.tasks]
    move = Move(task_id="j.2", sources=HELD, target=State.COMPLETED, reason="", actor="a")
    (ended,) = follow_up(tasks, move)
    assert (ended.task_id, ended.outcome, ended.release, ended.attempt) == ("j.4", Outcome.CANCELED, True, 1)
    assert not ended.spends
    assert not ended.loses


@pytest.mark.parametrize(("gone", "stays"), [(2, 4), (4, 2)])
@pytest.mark.parametrize("target", [State.QUEUED, State.RETRYING, State.FAILED])
def test_whoever_stops_leaves_the_part_to_the_other(gone: int, stays: int, target: State) -> None:
    job = racing()
    job.move(gone, target, release=True, failure=BROKEN)
    assert job.tasks[gone - 1].state is (State.FAILED if target is State.FAILED else State.CANCELED)
    assert job.tasks[stays - 1].state is State.PROCESSING
    assert job.lead.state is State.PENDING
    # Alone it is a part like any other: it is tried again, and its failure is that of the job.
    job.move(stays, State.QUEUED, release=True)
    assert job.tasks[stays - 1].state is State.QUEUED
    job.claim(stays, "c")
    job.move(stays, State.FAILED, failure=BROKEN, release=True)
    assert job.lead.state is State.FAILED


@pytest.mark.parametrize("target", [State.QUEUED, State.RETRYING])
def test_a_hedge_that_nobody_has_begun_ends_when_the_first_stops(target: State) -> None:
    job = Job(1)
    job.claim(2, "a")
    assert job.hedge(2)
    job.move(2, target, release=True)
    assert job.states == [target, State.CANCELED]


def test_a_failure_for_good_ends_the_job_where_nobody_has_begun_the_hedge() -> None:
    job = Job(1)
    job.claim(2, "a")
    assert job.hedge(2)
    job.move(2, State.FAILED, failure=BROKEN, release=True)
    assert (job.lead.state, job.states) == (State.FAILED, [State.FAILED, State.CANCELED])


def test_a_part_that_is_made_while_its_hedge_waits_needs_no_hedge() -> None:
    job = Job(1)
    job.claim(2, "a")
    assert job.hedge(2)
    job.move(2, State.COMPLETED)
    assert (job.lead.state, job.states) == (State.QUEUED, [State.COMPLETED, State.CANCELED])


def test_both_are_held_with_their_job_and_go_on_with_it() -> None:
    job = racing()
    job.move(1, State.PAUSED)
    assert job.states == [State.PAUSED, State.COMPLETED, State.PAUSED]
    job.move(1, resumed(job.lead, parts_of(job.tasks)))
    assert job.states == [State.PROCESSING, State.COMPLETED, State.PROCESSING]
    job.move(1, State.CANCELED)
    assert job.states == [State.CANCELED, State.COMPLETED, State.CANCELED]


def test_a_part_has_one_hedge_in_all() -> None:
    job = Job(2)
    assert not job.hedge(2)  # nobody makes it
    job.claim(2, "a")
    stale = Hedge(task_id="j.2", attempt=2, node_id="a", reason="", actor="")
    assert not may_hedge(job.tasks, stale)
    assert not may_hedge(job.tasks, replace(stale, attempt=1, node_id="b"))
    assert job.hedge(2)
    assert not job.hedge(2)
    job.claim(4, "b")
    assert not job.hedge(4)
    job.move(4, State.QUEUED, release=True)
    assert not job.hedge(2)
    job.claim(3, "b")
    job.move(1, State.PAUSED)
    assert not job.hedge(3)


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "complete", "fail", "back", "again", "lost", "pause", "resume", "cancel", "hedge", "hedge"]),
        st.integers(2, 8),
        st.sampled_from("abc"),
    ),
    max_size=40,
)  # fmt: skip


@given(_EVENTS)
def test_whatever_happens_a_part_is_made_once_and_by_two_nodes_at_most(events: list[tuple[str, int, str]]) -> None:
    job = Job(3)
    for event, position, node in events:
        _happen(job, event, position, node)
        _check(job)


def _happen(job: Job, event: str, position: int, node: str) -> None:
    if event == "pause" and job.lead.state not in FINAL | {State.PAUSED}:
        job.move(1, State.PAUSED)
    elif event == "resume" and job.lead.state is State.PAUSED:
        job.move(1, resumed(job.lead, parts_of(job.tasks)))
    elif event == "cancel" and job.lead.state not in FINAL:
        job.move(1, State.CANCELED)
    if position > len(job.tasks):
        return
    task = job.tasks[position - 1]
    rival = rival_of(task, job.tasks[1:])
    avoided = rival.node_id if rival and task.hedges and not task.attempt else None
    if event == "hedge":
        job.hedge(position)
    elif event == "claim" and task.state is State.QUEUED and node != avoided:
        job.claim(position, node)
    elif task.node_id is None:
        return
    elif event == "complete":
        job.move(position, State.COMPLETED)
    elif event == "fail":
        job.move(position, State.FAILED, failure=BROKEN)
    elif event == "again":
        job.move(position, State.RETRYING)
    elif event == "lost":
        job.move(position, State.PAUSED if task.state is State.PAUSED else State.QUEUED, release=True)
    elif event == "back" and task.state is not State.PAUSED:
        job.move(position, State.QUEUED)


def _check(job: Job) -> None:
    by_part: dict[int, list[Task]] = {}
    for task in job.tasks[1:]:
        by_part.setdefault(part_of(task), []).append(task)
    for same in by_part.values():
        assert len(same) <= 2
        held = [task.node_id for task in same if task.node_id]
        assert len(set(held)) == len(held)
        assert sum(task.state is State.COMPLETED for task in same) <= 1
        if any(task.state is State.COMPLETED for task in same):
            assert all(task.state in FINAL for task in same)
        waits = [task for task in same if task.node_id is None and task.state not in FINAL]
        assert len(waits) <= 1
        if job.lead.state not in FINAL:
            # Somebody makes it, will make it, or has made it.
            assert any(task.state is State.COMPLETED or task.state not in FINAL for task in same)
    if job.lead.state is State.PENDING:
        assert not all_made(job.tasks[1:])


# Which are slow -------------------------------------------------------------------------------------------------------


class Film:
    """A job of chunks with 100 frames each, of which the first `made` took ten seconds and the others began at BEGAN."""

    def __init__(self, made: int, running: int, *, frames: int = 100) -> None:
        count = made + running
        done = [a_task(2 + n, State.COMPLETED, None, attempt=1) for n in range(made)]
        self.tasks = [
            a_task(1, State.PENDING), *done, *(a_task(2 + n, State.PROCESSING, f"n{n}") for n in range(made, count))
        ]  # fmt: skip
        self.progress = {2 + n: 0.5 for n in range(made, count)}
        self.frames = dict.fromkeys(range(2, 2 + count), frames)
        self.attempts = [self._attempt(2 + n, 10.0) for n in range(made)]

    @staticmethod
    def _attempt(position: int, took_s: float) -> Attempt:
        return Attempt(
            task_id=f"j.{position}", attempt=1, node_id="n", node_name="n", claimed_at=BEGAN, started_at=BEGAN,
            ended_at=BEGAN + timedelta(seconds=took_s), outcome=Outcome.COMPLETED, failure=None,
        )  # fmt: skip

    def slow(self, at_s: float) -> list[str]:
        standings = [
            Standing(
                task_id=task.id, kind=Kind.CHUNK if number else Kind.JOIN, number=number, state=task.state, attempt=task.attempt, node_name=None,
                frames=self.frames.get(number + 1, 0), split=1, progress=Progress(fraction=self.progress.get(number + 1, 0.0)),
                hedges=task.hedges,
            )
            for number, task in enumerate(self.tasks)
        ]  # fmt: skip
        found = stragglers(self.tasks, standings, self.attempts, BEGAN + timedelta(seconds=at_s))
        return [one.task.id for one in found]


def test_a_part_is_slow_that_ran_for_longer_than_its_like_and_will_not_be_done_before_another_could() -> None:
    film = Film(made=4, running=1)
    assert film.slow(10 * SLOWER - 0.1) == []
    assert film.slow(10 * SLOWER) == ["j.6"]
    film.progress[6] = 0.61  # 9.6 s more, and another would take 10
    assert film.slow(10 * SLOWER) == []
    film.progress[6] = 0.0
    assert film.slow(10 * SLOWER) == ["j.6"]


def test_a_long_part_may_take_long() -> None:
    film = Film(made=4, running=1)
    film.frames[6] = 300
    assert film.slow(30 * SLOWER - 0.1) == []
    assert film.slow(30 * SLOWER) == ["j.6"]


def test_nothing_is_slow_before_enough_is_made_to_compare_with() -> None:
    assert Film(made=0, running=1).slow(1000.0) == []
    assert Film(made=1, running=1).slow(1000.0) == ["j.3"]
    assert Film(made=1, running=2).slow(1000.0) == []
    assert Film(made=3, running=4).slow(1000.0) == []
    assert Film(made=4, running=4).slow(1000.0) == ["j.6"]


def test_parts_that_take_a_moment_are_left_alone() -> None:
    film = Film(made=4, running=1, frames=1)
    film.attempts = [film._attempt(2 + n, 0.1) for n in range(4)]
    film.progress[6] = 0.0
    assert film.slow(LEAST_RUN_S - 0.1) == []
    assert film.slow(LEAST_RUN_S) == ["j.6"]


def test_sound_and_text_have_no_like() -> None:
    film = Film(made=4, running=1)
    film.frames[6] = 0
    assert film.slow(1000.0) == []


def test_the_one_with_the_longest_time_left_comes_first_and_only_so_many_at_once() -> None:
    film = Film(made=30, running=10)
    film.progress |= {34: 0.1, 37: 0.0}
    assert film.slow(100.0)[:3] == ["j.37", "j.34", "j.32"]
    assert len(film.slow(100.0)) == round(AT_ONCE * 40)
    film.tasks += [a_task(42, State.PROCESSING, "x", hedges=37), a_task(43, State.QUEUED, hedges=34)]
    assert film.slow(100.0) == ["j.32", "j.33"]


def test_what_has_or_had_a_hedge_gets_no_other() -> None:
    film = Film(made=4, running=1)
    film.tasks.append(a_task(7, State.CANCELED, hedges=6))
    assert film.slow(1000.0) == []


def test_a_hedge_goes_to_an_idle_node_that_is_another() -> None:
    slow = [_straggler("n1"), _straggler("n2"), _straggler("n1")]
    assert seated(slow, {}) == []
    assert seated(slow, {"n1": 4}) == [slow[1]]
    assert seated(slow, {"n1": 1, "n3": 1}) == slow[:2]
    assert seated(slow, {"n1": 1, "n3": 9}) == slow


def _straggler(node: str) -> Straggler:
    return Straggler(task=a_task(2, State.PROCESSING, node), ran_s=1.0, expected_s=1.0, left_s=None)


def test_of_two_that_race_the_one_that_is_further_counts() -> None:
    def standing(position: int, state: State, fraction: float, hedges: int | None = None) -> Standing:
        return Standing(
            task_id=f"j.{position}", kind=Kind.CHUNK, number=0, state=state, attempt=1, node_name=None, frames=100, split=1,
            progress=Progress(fraction=fraction, fps=10.0), hedges=hedges,
        )  # fmt: skip

    lead = replace(standing(1, State.PENDING, 0.0), kind=Kind.JOIN, frames=0)
    parts = [
        standing(2, State.PROCESSING, 0.2),
        standing(3, State.COMPLETED, 1.0),
        standing(4, State.PROCESSING, 0.6, 2),
    ]
    found = job_progress([lead, *parts])
    assert (found.frame, found.fps) == (160, 10.0)
    assert found.eta_s == pytest.approx(4.0)
