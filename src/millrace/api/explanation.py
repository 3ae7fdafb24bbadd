"""Why a job is encoded as it is: what its worker wrote down when it planned, beside what came of it."""

import asyncio
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec
from msgspec import Struct, field

from millrace.api.jobs import held_back
from millrace.api.master import Master
from millrace.domain.ids import position_of
from millrace.domain.media.reasons import STEPS
from millrace.domain.media.split import Course, Decision
from millrace.domain.records import Attempt, Document, Job, Kind, Outcome, Standing
from millrace.domain.states import FINAL, State
from millrace.edge.call import Call
from millrace.edge.route import Access
from millrace.scheduler.candidates import Candidate, candidates, why_it_waits
from millrace.scheduler.read import find_job
from millrace.wire.v1.explanation import CandidateView, ChunkView, DecisionView, Explanation, SpentView, WayView

UNBEGUN = frozenset({State.PENDING, State.QUEUED, State.ASSIGNED, State.RETRYING, State.PAUSED})
OLDER = "its worker is of a version that did not write down what it decided"
NEVER = "it ended before a worker had planned it"


class _Frames(Struct, frozen=True):
    """A chunk as a worker wrote it down."""

    first_frame: int
    frames: int


class _Plan(Struct, frozen=True):
    """A plan as a worker wrote it down; one of an older version wrote less."""

    division: str = ""
    decision: Decision | None = None
    steps: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    chunks: Sequence[_Frames] = ()
    frames: int = 0
    duration_s: float = 0.0


class Known(Struct, frozen=True, kw_only=True):
    """What the store says of a job."""

    job: Job
    facts: Document
    tasks: Sequence[Standing]
    attempts: Sequence[Attempt]


async def explain(master: Master, call: Call[None]) -> Explanation:
    """What a job waits for, or what was decided and what came of it."""
    store = master.farm.store
    job = await find_job(store, call.path["ref"])
    facts, tasks, attempts = await asyncio.gather(store.facts(job.id), store.standings(job.id), store.attempts(job.id))
    known = Known(job=job, facts=facts or {}, tasks=tasks, attempts=attempts)
    waits = job.state in UNBEGUN and not job.is_split
    # The nodes are what tenants share, and none of theirs to see.
    found = await candidates(master.farm, job) if waits and Access.INSPECT in call.grants else None
    why = why_it_waits(job, found, await held_back(master, job)) if waits else ""
    return explanation(known, found or (), why)


def explanation(known: Known, found: Sequence[Candidate], waits: str) -> Explanation:
    """All of it from what is known. Pure."""
    job, plan = known.job, _plan_of(known.facts)
    decision = plan.decision
    if not waits and decision is None:
        waits = NEVER if job.state in FINAL and not known.facts else OLDER
    return Explanation(
        job=job.id,
        number=job.number,
        state=job.state,
        profile=job.profile,
        input=_text(job.spec.get("input")),
        waits=waits,
        candidates=[CandidateView(node=one.node, state=one.state, free=one.free, lacks=one.lacks) for one in found],
        source=_document(known.facts.get("probe")),
        decision=None if decision is None else _decision(plan.division, decision),
        steps={name: plan.steps[name] for name in STEPS if name in plan.steps},
        notes=list(plan.notes),
        chunks=_chunks(plan, known),
        expected=_expected(decision),
        actual=_actual(known, decision),
        job_s=_seconds(job.started_at, job.finished_at),
    )


def _plan_of(facts: Document) -> _Plan:
    try:
        return msgspec.convert(facts.get("plan") or {}, _Plan)
    except msgspec.ValidationError:
        return _Plan()


def _decision(reason: str, decision: Decision) -> DecisionView:
    return DecisionView(
        reason=reason,
        asked=decision.asked,
        cores=decision.cores,
        helpers=decision.helpers,
        piece_frames=decision.unit,
        ways=[
            WayView(
                course=way.course,
                chunks=way.chunks,
                workers=way.workers,
                repeated_frames=way.repeated,
                time_s=round(way.time_s, 3),
                cpu_s=round(way.cpu_s, 3),
                chosen=place == decision.chosen,
            )
            for place, way in enumerate(decision.ways)
        ],
    )


def _expected(decision: Decision | None) -> SpentView | None:
    if decision is None or not decision.ways:
        return None
    way = decision.ways[decision.chosen]
    return SpentView(time_s=round(way.time_s, 3), cpu_s=round(way.cpu_s, 3))


def _actual(known: Known, decision: Decision | None) -> SpentView | None:
    """Of the encode: as its worker measured it, or, of parts, from the first that began to the last that ended."""
    encode_s, used_s = known.facts.get("encode_s"), known.facts.get("encode_cpu_s")
    cpu_s = float(used_s) if isinstance(used_s, int | float) else None
    if isinstance(encode_s, int | float):
        return SpentView(time_s=float(encode_s), cpu_s=cpu_s)
    of_parts = _made_by_parts(known)
    parts = [task for task in known.tasks if _is_part(task, known)]
    # A slow part has two tasks, and one of them is enough.
    made = {(task.kind, task.number) for task in parts if task.task_id in of_parts}
    if (
        not parts
        or made < {(task.kind, task.number) for task in parts}
        or decision is None
        or decision.ways[decision.chosen].course is not Course.SPREAD
    ):
        return None
    begun = min(one.claimed_at for one in of_parts.values())
    ended = max(one.ended_at for one in of_parts.values() if one.ended_at is not None)
    return SpentView(time_s=_seconds(begun, ended), cpu_s=cpu_s)


def _is_part(task: Standing, known: Known) -> bool:
    return task.kind in (Kind.CHUNK, Kind.SIDES) and task.split == known.tasks[0].split


def _made_by_parts(known: Known) -> dict[str, Attempt]:
    """The attempts that made the parts of the present division, by task."""
    parts = {task.task_id for task in known.tasks if _is_part(task, known)}
    return {one.task_id: one for one in known.attempts if one.task_id in parts and one.outcome is Outcome.COMPLETED}


def _chunks(plan: _Plan, known: Known) -> list[ChunkView]:
    rate = Fraction(plan.frames) / Fraction(plan.duration_s) if plan.frames and plan.duration_s else None
    made = _made_by_parts(known)
    of_chunks = [task for task in known.tasks if task.kind is Kind.CHUNK and _is_part(task, known)]
    # Of a slow one that was given to a second worker, whoever has made it counts.
    makers = {task.number: task for task in sorted(of_chunks, key=lambda one: one.task_id in made)}
    views = []
    for number, chunk in enumerate(plan.chunks):
        task = makers.get(number)
        attempt = made.get(task.task_id) if task else None
        views.append(
            ChunkView(
                number=number,
                first_frame=chunk.first_frame,
                frames=chunk.frames,
                length_s=None if rate is None else round(float(chunk.frames / rate), 3),
                task=None if task is None else position_of(task.task_id),
                node_name=None if task is None else task.node_name,
                state=None if task is None else task.state,
                took_s=None if attempt is None else _seconds(attempt.claimed_at, attempt.ended_at),
            )
        )
    return views


def _seconds(begin: Any, end: Any) -> float | None:
    return None if begin is None or end is None else round((end - begin).total_seconds(), 3)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _document(value: object) -> dict[str, object] | None:
    return dict(value) if isinstance(value, Mapping) else None
