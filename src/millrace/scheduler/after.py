"""Jobs that run after others: naming those, and letting a job run, or not, once they have ended."""

from collections.abc import Sequence

from millrace.domain.after import Awaited, Verdict, judge
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.records import Job, Move, Task
from millrace.domain.states import State
from millrace.scheduler.errors import ConflictError, Finding, InvalidError, NotFoundError
from millrace.scheduler.farm import Farm
from millrace.scheduler.read import find_job
from millrace.wire.v1.jobs import JobRequest

_BATCH = 500
RUNS = "all that it runs after has ended"


async def predecessors(farm: Farm, request: JobRequest) -> Sequence[Job]:
    """The jobs that a request names, each once.

    Raises:
        InvalidError: one of them is not there, or another tenant's.
    """
    found: dict[str, Job] = {}
    wrong = []
    for place, ref in enumerate(request.after):
        try:
            job = await find_job(farm.store, ref)
        except NotFoundError as error:
            wrong.append(Finding(f"after[{place}]", str(error)))
            continue
        if job.tenant == request.tenant:
            found[job.id] = job
        else:
            wrong.append(Finding(f"after[{place}]", f"job {job.number} is of another tenant than this one"))
    if wrong:
        raise InvalidError(*wrong)
    return tuple(found.values())


async def release_waiting(farm: Farm) -> int:
    """Queue, or reject, the jobs of which it is decided; returns how many. Idempotent: any master may run it at any time.

    A job moves first and then forgets what it waited for. Whoever is killed in between leaves rows of a job that waits no more,
    which the next look takes away.
    """
    total = 0
    while found := await farm.store.decidable(limit=_BATCH):
        now = await farm.store.now()
        verdicts = [(one, judge(one, now)) for one in found]
        moving = [(one, move) for one, verdict in verdicts if (move := move_of(one.task, verdict)) is not None]
        moved = await farm.store.move([move for _, move in moving]) if moving else ()
        decided = [one.task.job_id for (one, _), happened in zip(moving, moved, strict=True) if happened]
        decided += [one.task.job_id for one, verdict in verdicts if verdict in (Verdict.RUNS_LATER, Verdict.MOOT)]
        if not decided:
            break
        await farm.store.forget_waits(decided)
        total += len(decided)
    return total


def move_of(task: Task, verdict: Verdict | str) -> Move | None:
    """What becomes of the task of a job that waits; None where that stays as it is."""
    sentence = verdict if isinstance(verdict, str) else None
    if sentence is None and verdict is not Verdict.RUNS:
        return None
    return Move(
        task_id=task.id,
        sources=frozenset({State.PENDING}),
        target=State.REJECTED if sentence else State.QUEUED,
        reason=sentence or RUNS,
        actor="master",
        attempt=task.attempt,
        failure=Failure(failure_class=FailureClass.REQUEST, message=sentence) if sentence else None,
    )


async def check_predecessors(farm: Farm, job: Job) -> None:
    """Pass where a job that has ended may run again: it never runs before what it runs after.

    Raises:
        ConflictError: one of those has not completed, or has not ended where that is enough.
    """
    named, any_end = job.spec.get("after"), bool(job.spec.get("after_any_end"))
    for ref in named if isinstance(named, list) else ():
        before = await farm.store.job(str(ref))
        if before is None or Awaited(number=before.number, state=before.state, any_end=any_end).is_met:
            continue
        then = "this one once it has ended" if any_end else "retry that one first, and this one once it has completed"
        raise ConflictError(
            f"cannot retry job {job.number}: it runs after job {before.number}, which is {before.state}; {then}"
        )
