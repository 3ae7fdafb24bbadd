"""From records to the shapes that go out. Pure."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from millrace.api.places import is_kept
from millrace.domain.failures import Failure
from millrace.domain.ids import job_of, task_id
from millrace.domain.records import (
    ACCEPTED,
    Arriving,
    Attempt,
    Claimed,
    Document,
    Job,
    Kind,
    NewJob,
    Node,
    Outcome,
    Output,
    Part,
    Progress,
    Quarantine,
    Standing,
    Transition,
)
from millrace.domain.states import HELD, WITH_FAILURE, State
from millrace.scheduler.service_level import media_duration_s, verdict
from millrace.store.store import Added
from millrace.wire.v1.jobs import (
    ArrivingView,
    AttemptView,
    FailureView,
    JobDetail,
    JobView,
    OutputView,
    ProgressView,
    SlaView,
    TaskStanding,
    TransitionView,
)
from millrace.wire.v1.work import NodeView, PartView, QuarantineView, TaskView


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def failure_view(failure: Failure | None) -> FailureView | None:
    """Class and sentence."""
    return None if failure is None else FailureView(failure_class=failure.failure_class, message=failure.message)


def _progress(progress: Progress, state: State) -> ProgressView:
    # The last heartbeat came before the end, and nobody tells how far a job came that is done.
    done = state is State.COMPLETED
    return ProgressView(
        fraction=1.0 if done else progress.fraction,
        phase="" if done else progress.phase,
        frame=progress.frame,
        fps=progress.fps,
        speed=progress.speed,
        eta_s=None if done else progress.eta_s,
        updated_at=progress.updated_at,
    )


def job_view(job: Job) -> JobView:
    """A job as lists show it. The service level needs the media's length, which only the detail reads."""
    return JobView(**_fields(job), sla=None)  # type: ignore[arg-type]  # the fields stand below, one by one


def _fields(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "number": job.number,
        "state": job.state,
        "progress": _progress(job.progress, job.state),
        "queue": job.queue,
        "priority": job.priority,
        "profile": job.profile,
        "input": _text(job.spec.get("input")),
        "output": _text(job.spec.get("output")),
        "engine": _text(job.spec.get("engine")) or "ffmpeg",
        "classification": job.classification,
        "tenant": job.tenant,
        "labels": dict(job.labels),
        "max_retries": job.max_retries,
        "timeout_s": job.timeout_s,
        "created": job.created_at,
        "run_after": _moment(job.spec.get("run_after")),
        "started": job.started_at,
        "finished": job.finished_at,
        "attempt_count": job.attempts,
        "failure": failure_view(job.failure if job.state in WITH_FAILURE else None),
    }


def job_detail(
    job: Job,
    *,
    attempts: Sequence[Attempt],
    outputs: Sequence[Output],
    transitions: Sequence[Transition],
    facts: Document | None,
    tasks: Sequence[Standing] = (),
    held_back: str = "",
    upload: Arriving | None = None,
) -> JobDetail:
    """A job with all that is known of it."""
    judged = verdict(job, media_duration_s(facts))
    parameters = job.spec.get("parameters")
    return JobDetail(
        **_fields(job),  # type: ignore[arg-type]  # the fields stand above, one by one
        sla=None if judged is None else SlaView(compliant=judged.compliant, reason=judged.reason),
        parameters=dict(parameters) if isinstance(parameters, dict) else {},
        outputs=[output_view(job.id, output) for output in outputs],
        attempts=[attempt_view(attempt, transitions) for attempt in attempts],
        transitions=[transition_view(transition) for transition in transitions],
        facts=None if facts is None else dict(facts),
        held_back=held_back,
        after=_names(job.spec.get("after")),
        tasks=[task_standing(task) for task in tasks],
        upload=None
        if upload is None
        else ArrivingView(id=upload.upload, size=upload.size, arrived=upload.arrived, reason=upload.reason),
    )


def task_standing(task: Standing) -> TaskStanding:
    """A task of a job as people see it."""
    return TaskStanding(
        task=task.task_id,
        kind=task.kind,
        number=task.number,
        state=task.state,
        attempt=task.attempt,
        node_name=task.node_name,
        frames=task.frames,
        progress=_progress(task.progress, task.state),
        hedges=None if task.hedges is None else task_id(job_of(task.task_id), task.hedges),
    )


_UNBEGUN = _progress(Progress(), State.QUEUED)


def accepted_view(new: NewJob, added: Added) -> JobDetail:
    """A job that has just been accepted, the way a reader would see it. Nothing has happened to it but its acceptance, so
    it is worked out from what was stored, and nobody reads it back.
    """
    if added.cursor is None:
        raise AssertionError("a new job has a first transition")
    spec = new.spec
    return JobDetail(
        id=new.id,
        number=added.number,
        state=new.state,
        progress=_UNBEGUN,
        queue=new.queue,
        priority=new.priority,
        profile=new.profile,
        input=_text(spec["input"]),
        output=_text(spec["output"]),
        engine=_text(spec["engine"]) or "ffmpeg",
        classification=new.classification,
        tenant=new.tenant,
        labels=new.labels,  # type: ignore[arg-type]  # only encoded
        max_retries=new.max_retries,
        timeout_s=new.timeout_s,
        created=added.created_at,
        run_after=_moment(spec["run_after"]),
        started=None,
        finished=None,
        failure=None,
        sla=None,
        parameters=spec["parameters"],  # type: ignore[arg-type]  # only encoded
        outputs=[],
        attempts=[],
        transitions=[
            TransitionView(
                cursor=added.cursor,
                job=new.id,
                number=added.number,
                task=task_id(new.id, 1),
                source=None,
                target=new.state,
                at=added.created_at,
                reason=ACCEPTED,
                attempt=0,
                actor=new.actor,
            )
        ],
        facts=None,
        after=_names(spec.get("after")),
        tasks=[
            TaskStanding(
                task=task_id(new.id, 1),
                kind=Kind.WHOLE,
                state=new.state,
                attempt=0,
                node_name=None,
                frames=0,
                progress=_UNBEGUN,
            )
        ],
    )


def output_view(job_id: str, output: Output) -> OutputView:
    """Where a file lies: a path or an `s3://` URL, or below this API where the master keeps it."""
    kept = is_kept(output.location)
    return OutputView(
        name=output.name,
        size=output.size,
        sha256=output.sha256,
        streams=[dict(stream) for stream in output.streams],
        path=None if kept else output.location,
        url=output_url(job_id, output.name) if kept else None,
    )


def output_url(job_id: str, name: str) -> str:
    """The address of a kept output below this API."""
    return f"/v1/jobs/{job_id}/outputs/{quote(name)}"


def attempt_view(attempt: Attempt, transitions: Sequence[Transition]) -> AttemptView:
    """One claim by one node; `transitions` are its job's, in their order."""
    return AttemptView(
        attempt=attempt.attempt,
        task=attempt.task_id,
        node=attempt.node_id,
        node_name=attempt.node_name,
        claimed=attempt.claimed_at,
        started=attempt.started_at,
        ended=attempt.ended_at,
        outcome=attempt.outcome,
        failure=failure_view(attempt.failure),
        reason=_why_ended(attempt, transitions),
    )


def _why_ended(attempt: Attempt, transitions: Sequence[Transition]) -> str:
    if attempt.outcome in (None, Outcome.COMPLETED):
        return ""
    own = (one for one in transitions if (one.task_id, one.attempt) == (attempt.task_id, attempt.attempt))
    return next((one.reason for one in own if _lets_go(one)), "")


def _lets_go(change: Transition) -> bool:
    """Whether the node holds the task no longer; a paused task stays paused when its node goes."""
    leaves = change.target not in HELD or change.source is change.target
    return change.source in HELD and leaves


def transition_view(transition: Transition) -> TransitionView:
    """One change of state."""
    return TransitionView(
        cursor=transition.cursor,
        job=transition.job_id,
        number=transition.number,
        task=transition.task_id,
        source=transition.source,
        target=transition.target,
        at=transition.at,
        reason=transition.reason,
        attempt=transition.attempt,
        actor=transition.actor,
    )


def task_view(task: Claimed) -> TaskView:
    """What a worker needs to run a task."""
    return TaskView(
        task=task.task_id,
        job=task.job_id,
        number=task.number,
        attempt=task.attempt,
        profile=task.profile,
        spec=task.spec,  # type: ignore[arg-type]  # only encoded, and it is encoded already
        timeout_s=task.timeout_s,
        part=None if task.part is None else _part(task.part),
    )


def _part(part: Part) -> PartView:
    return PartView(
        kind=part.kind,
        number=part.number,
        plan=part.plan,  # type: ignore[arg-type]  # only encoded, and it is encoded already
    )


OFFERED = ("engines", "encoders", "memory_mb")
"""What a node says of itself that has a field of its own; the store keeps it among the facts."""


def node_view(node: Node) -> NodeView:
    """A machine of the farm."""
    engines, encoders, memory_mb = (node.facts.get(name) for name in OFFERED)
    return NodeView(
        id=node.id,
        name=node.name,
        state=node.state.value,
        epoch=node.epoch,
        slots=node.slots,
        holding=node.holding,
        labels=dict(node.labels),
        engines=[str(name) for name in engines] if isinstance(engines, list) else [],
        encoders={str(name): str(why) for name, why in encoders.items()} if isinstance(encoders, dict) else {},
        memory_mb=memory_mb if isinstance(memory_mb, int) else 0,
        facts={name: value for name, value in node.facts.items() if name not in OFFERED},
        registered=node.registered_at.isoformat(),
        seen=node.seen_at.isoformat(),
        quarantine=_quarantine(node.quarantine),
    )


def _quarantine(quarantine: Quarantine | None) -> QuarantineView | None:
    if quarantine is None:
        return None
    return QuarantineView(
        reason=quarantine.reason, since=quarantine.since, proof_due=quarantine.proof_due, times=quarantine.times
    )


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _moment(text: object) -> datetime | None:
    """A moment as the job's immutable part keeps it."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None
