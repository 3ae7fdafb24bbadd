"""A job that has just been accepted, as it stands: worked out from what was stored, so that nobody reads it back."""

from millrace.domain.ids import task_id
from millrace.domain.records import ACCEPTED, Job, NewJob, Progress, Transition
from millrace.domain.states import State
from millrace.store.store import Added


def accepted_job(new: NewJob, added: Added) -> Job:
    """The job as the store would give it."""
    due_at = new.due_at
    return Job(
        id=new.id,
        number=added.number,
        tenant=new.tenant,
        queue=new.queue,
        priority=new.priority,
        classification=new.classification,
        labels=new.labels,
        profile=new.profile,
        spec=new.spec,
        max_retries=new.max_retries,
        timeout_s=new.timeout_s,
        state=new.state,
        failure=None,
        created_at=added.created_at,
        # Stores keep whole milliseconds, rounded down.
        due_at=due_at and due_at.replace(microsecond=due_at.microsecond // 1000 * 1000),
        queued_at=added.created_at if new.state is State.QUEUED else None,
        started_at=None,
        finished_at=None,
        progress=Progress(),
    )


def acceptance(new: NewJob, added: Added) -> Transition:
    """The only transition of a job that has just been accepted."""
    if added.cursor is None:
        raise AssertionError("a new job has a first transition")
    return Transition(
        cursor=added.cursor,
        job_id=new.id,
        number=added.number,
        task_id=task_id(new.id, 1),
        source=None,
        target=new.state,
        at=added.created_at,
        reason=ACCEPTED,
        attempt=0,
        actor=new.actor,
    )
