"""What a heartbeat is answered with."""

from datetime import UTC, datetime, timedelta

from millrace.domain.directives import Action, Directive, directives, never_arrived
from millrace.domain.records import Progress, Report, Task
from millrace.domain.states import State

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def held(state: State, *, attempt: int = 2, age_s: float = 60) -> Task:
    return Task(
        id="j0.1",
        job_id="j0",
        state=state,
        attempt=attempt,
        spent=0,
        losses=0,
        max_retries=3,
        class_id=1,
        node_id="n0",
        node_epoch=1,
        started=True,
        claimed_at=NOW - timedelta(seconds=age_s),
        due_at=None,
    )


def report(*, attempt: int = 2, paused: bool = False) -> Report:
    return Report(task_id="j0.1", attempt=attempt, paused=paused, progress=Progress())


def test_a_task_that_goes_as_it_should_gets_no_directive() -> None:
    assert directives([held(State.PROCESSING)], [report()]) == ()
    assert directives([held(State.PAUSED)], [report(paused=True)]) == ()


def test_what_is_no_longer_the_nodes_is_stopped() -> None:
    stop = (Directive("j0.1", 2, Action.CANCEL),)
    assert directives([], [report()]) == stop
    assert directives([held(State.PROCESSING, attempt=3)], [report()]) == stop


def test_pause_and_resume_are_said_until_they_are_done() -> None:
    assert directives([held(State.PAUSED)], [report()]) == (Directive("j0.1", 2, Action.PAUSE),)
    assert directives([held(State.PROCESSING)], [report(paused=True)]) == (Directive("j0.1", 2, Action.RESUME),)


def test_a_claim_whose_reply_was_lost_is_found_after_the_grace() -> None:
    task = held(State.ASSIGNED, age_s=11)
    assert never_arrived([task], [], NOW) == (task,)
    assert never_arrived([held(State.ASSIGNED, age_s=9)], [], NOW) == ()
    assert never_arrived([task], [report()], NOW) == ()
    assert never_arrived([task], [report(attempt=1)], NOW) == (task,)
