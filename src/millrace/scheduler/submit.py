"""Accept a job: check what is asked, resolve its profile, work out what it needs, store it."""

import hashlib
from datetime import timedelta

import msgspec
from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.parameters import ParameterError, with_parameters
from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from, to_document
from millrace.domain.needs import Needs
from millrace.domain.order import head_start_ms, weight
from millrace.domain.records import Job, Move, NewJob, Transition
from millrace.domain.states import State
from millrace.engines import profiles
from millrace.engines.ffmpeg.encoders import candidates_of
from millrace.scheduler.accepted import acceptance, accepted_job
from millrace.scheduler.errors import Finding, InvalidError, KeyReusedError
from millrace.scheduler.farm import Farm
from millrace.scheduler.locations import check_input, check_output
from millrace.wire.v1.jobs import JobRequest, Parameters

_FARTHEST = timedelta(days=3660)
_CANONICAL = msgspec.json.Encoder(order="sorted")
DEFAULT_PROFILE = "web-hls"
DEFAULT_SCENARIO = "720p30-h264"


class Caller(Struct, frozen=True):
    """Who asks, for the record."""

    name: str = "api"


def _profile(request: JobRequest) -> tuple[Profile, Needs]:
    """The profile as the job's parameters change it, and what it needs of a node."""
    if request.profile is not None and request.scenario is not None:
        raise InvalidError(Finding("scenario", "give either a profile or a scenario, not both"))
    field = "scenario" if request.scenario is not None else "profile"
    wanted = request.scenario or request.profile
    if wanted is None:
        wanted = DEFAULT_PROFILE if request.input is not None else DEFAULT_SCENARIO
    try:
        profile = profiles.named(wanted) if isinstance(wanted, str) else profile_from(wanted)
        profile, _ = with_parameters(profile, given(request.parameters))
    except profiles.UnknownProfileError as error:
        raise InvalidError(Finding(field, str(error), profiles.names())) from error
    except ProfileError as error:
        raise InvalidError(*(Finding(f"{field}.{path}", message) for path, message in error.findings)) from error
    except ParameterError as error:
        raise InvalidError(Finding(f"parameters.{error.parameter}", error.text)) from error
    engine = "gstreamer" if request.engine == "gstreamer" else "ffmpeg"
    return profile, Needs(engine=engine, encoders=candidates_of(profile), labels=request.requires)


def given(parameters: Parameters) -> dict[str, object]:
    """The parameters that were given, as plain data."""
    return {key: value for key, value in msgspec.to_builtins(parameters).items() if value is not None}


class Submitted(Struct, frozen=True, kw_only=True):
    """What became of a request. `fresh` is the new job with its first transition, both as the store keeps them; None
    where the job was there before, or has moved on already.
    """

    id: str
    number: int
    repeated: bool = False
    fresh: tuple[Job, Transition] | None = None


async def submit(farm: Farm, request: JobRequest, *, caller: Caller, idempotency_key: str | None = None) -> Submitted:
    """Store the job; it is accepted when this returns.

    Raises:
        InvalidError: the request asks for what cannot be; names each field at fault.
        KeyReusedError: the idempotency key was used with another body.
    """
    check_input(request.input)
    check_output(request.output)
    profile, needs = _profile(request)
    # The store's time decides what is due; for the id, whose time only sorts, nobody asks another machine.
    now = farm.clock.now() if request.run_after is None else await farm.store.now()
    if request.run_after is not None and request.run_after - now > _FARTHEST:
        raise InvalidError(Finding("run_after", "lies more than ten years ahead"))
    later = request.run_after is not None and request.run_after > now
    job = NewJob(
        id=farm.new_job_id(now),
        tenant=request.tenant,
        queue=request.queue,
        priority=request.priority,
        classification=request.classification,
        labels=request.labels,
        profile=profile.name,
        spec={
            "input": request.input,
            "output": request.output,
            "overwrite": request.overwrite,
            "engine": needs.engine,
            "profile": to_document(profile),
            "parameters": given(request.parameters),
            "run_after": request.run_after.isoformat() if request.run_after else None,
        },
        max_retries=farm.rules.max_retries if request.max_retries is None else request.max_retries,
        timeout_s=request.timeout_s,
        class_id=await farm.store.class_of(needs),
        head_start_ms=head_start_ms(weight(request.queue, request.priority), farm.rules.ageing_s),
        state=State.PENDING if later else State.QUEUED,
        due_at=request.run_after if later else None,
        actor=caller.name,
        idempotency_key=idempotency_key,
        body_digest=hashlib.sha256(_CANONICAL.encode(request)).hexdigest() if idempotency_key else None,
    )
    (added,) = await farm.store.add_jobs([job])
    if added.conflict:
        raise KeyReusedError(
            f"cannot accept the job: the idempotency key {idempotency_key!r} was used with another body; "
            "send the first body again, or take a new key"
        )
    if added.repeated:
        return Submitted(id=added.id, number=added.number, repeated=True)
    if needs.engine == "gstreamer":
        await _reject(farm, added.id)
        return Submitted(id=added.id, number=added.number)
    return Submitted(id=added.id, number=added.number, fresh=(accepted_job(job, added), acceptance(job, added)))


async def _reject(farm: Farm, job_id: str) -> None:
    sentence = "cannot run on GStreamer: this release runs FFmpeg only; submit the job with engine ffmpeg or auto"
    moves = [
        Move(
            task_id=task.id,
            sources=frozenset({State.QUEUED, State.PENDING}),
            target=State.REJECTED,
            reason=sentence,
            actor="master",
            failure=Failure(failure_class=FailureClass.CAPABILITY, message=sentence),
        )
        for task in await farm.store.tasks(job_id)
    ]
    await farm.store.move(moves)
