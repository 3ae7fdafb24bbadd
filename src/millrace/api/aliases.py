"""The predecessor's paths, on the same verbs. Where its answers have another shape, that shape is made here."""

import hashlib
from typing import Annotated, Literal, NoReturn

import msgspec

from millrace.api import jobs as job_handlers
from millrace.api import nodes as node_handlers
from millrace.api import tasks
from millrace.api.logs import log_pieces
from millrace.api.master import Master
from millrace.api.views import node_view
from millrace.edge.call import Answer, Call
from millrace.edge.decode import decoder
from millrace.edge.refusal import RefusalError
from millrace.scheduler import nodes, steer
from millrace.scheduler.read import find_job
from millrace.wire.v1.base import Labels, Reply
from millrace.wire.v1.jobs import JobDetail, JobRequest, JobView, LogView
from millrace.wire.v1.work import HeartbeatRequest, RegisterRequest

_LOG_LIMIT = 8 << 20


class OldJobRequest(JobRequest):
    """A job in the predecessor's words: as today's, with a wish that its master kept and never looked at."""

    confidence: Literal["auto", "high", "medium", "low"] | None = None


class CountedJobs(Reply):
    """A page of jobs, as the predecessor counted them."""

    jobs: list[JobView]
    count: int
    next: str | None


class Steered(Reply, omit_defaults=True):
    """What became of a job."""

    status: str
    job_id: str
    retry_count: int | None = None


class RemovedNode(Reply):
    """A node that is gone."""

    status: str
    node_id: str


class OldRegistration(msgspec.Struct, kw_only=True):
    """How the predecessor's workers introduced themselves; `address` was what named them."""

    address: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    type: str = ""
    cpu_threads: int = 0
    cpu_model: str = ""
    has_gpu: bool = False
    gpu_type: str = ""
    gpu_capabilities: list[str] = []
    ram_total_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    labels: Labels = {}


_NEW = decoder(RegisterRequest)
_OLD = decoder(OldRegistration)
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


async def create(master: Master, call: Call[OldJobRequest]) -> JobDetail:
    """Accept a job."""
    fields = msgspec.structs.asdict(call.body)
    del fields["confidence"]
    return await job_handlers.create(master, call.with_body(JobRequest(**fields)))


async def list_jobs(master: Master, call: Call[None]) -> CountedJobs:
    """The newest jobs; the same filters and pages as below /v1."""
    page = await job_handlers.show_all(master, call)
    return CountedJobs(jobs=page.jobs, count=len(page.jobs), next=page.next)


async def cancel(master: Master, call: Call[None]) -> Steered:
    """End a job."""
    return Steered(status="canceled", job_id=(await steer.cancel(master.farm, call.path["ref"], actor=call.caller)).id)


async def pause(master: Master, call: Call[None]) -> Steered:
    """Hold a job."""
    return Steered(status="paused", job_id=(await steer.pause(master.farm, call.path["ref"], actor=call.caller)).id)


async def resume(master: Master, call: Call[None]) -> Steered:
    """Let a held job go on."""
    return Steered(status="resumed", job_id=(await steer.resume(master.farm, call.path["ref"], actor=call.caller)).id)


async def retry(master: Master, call: Call[None]) -> Steered:
    """Run a job again."""
    job = await steer.retry(master.farm, call.path["ref"], actor=call.caller)
    restarts = [one for one in await master.farm.store.transitions(job.id) if one.reason == steer.RETRIED]
    return Steered(status="queued", job_id=job.id, retry_count=len(restarts))


async def logs(master: Master, call: Call[None]) -> LogView:
    """All logs of a job in one text."""
    job = await find_job(master.farm.store, call.path["ref"])
    parts, size = [], 0
    for attempt in await master.farm.store.attempts(job.id):
        parts.append(f"--- attempt {attempt.attempt} on {attempt.node_name} ---\n".encode())
        async for piece in log_pieces(master.farm.store, attempt, 0):
            parts.append(piece)
            size += len(piece)
            if size > _LOG_LIMIT:
                break
    if job.failure is not None:
        parts.append(f"Error: {job.failure.message}\n".encode())
    text = b"".join(parts).decode(errors="replace")
    return LogView(job_id=job.id, logs=text or "No logs available for this job")


async def next_job(_: Master, __: Call[None]) -> NoReturn:
    """The predecessor's claim, which gives nothing that would fence its result."""
    raise _gone("cannot give work here", "POST /v1/nodes/{node}/claim")


async def results(_: Master, __: Call[None]) -> NoReturn:
    """The predecessor's result, which says neither what was made nor in which attempt."""
    raise _gone("cannot take a result here", "POST /v1/tasks/{task}/complete or /fail")


def _gone(what: str, path: str) -> RefusalError:
    # To answer would be to record a job as completed of which nobody has seen an output.
    return RefusalError(
        410,
        "gone",
        f"{what}: a worker of FFmpeg-RTMP names neither its attempt nor its outputs, so nobody could tell a good result "
        f"from a late or an empty one; run `millrace worker` instead, or speak its protocol, {path}",
    )


async def register(master: Master, call: Call[None]) -> Answer:
    """A worker introduces itself, in today's words or in the predecessor's."""
    raw = b"".join([piece async for piece in call.pieces()])
    if not _is_old(raw):
        reply = await tasks.register(master, call.with_body(_NEW(raw)))
        return Answer(status=201, body=_encode(reply))
    old: OldRegistration = _OLD(raw)
    digest = hashlib.sha256(old.address.encode()).hexdigest()[:32]
    node = await nodes.register(
        master.farm,
        master.offers,
        fingerprint=f"address:{digest}",
        boot_id=f"address:{digest}",
        name=old.address,
        slots=1,
        labels=old.labels,
        # It offers no engine: it does not know the protocol by which work is given, so it gets none.
        facts={
            "engines": [],
            "encoders": {},
            "memory_mb": old.ram_total_bytes >> 20,
            "type": old.type,
            "cpu_threads": old.cpu_threads,
            "cpu_model": old.cpu_model,
            "has_gpu": old.has_gpu,
            "gpu_type": old.gpu_type,
            "gpu_capabilities": old.gpu_capabilities,
        },
        key_id=call.key_id,
    )
    return Answer(status=201, body=_encode(node_view(node)))


def _is_old(raw: bytes) -> bool:
    try:
        fields = _RAW.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "address" in fields and "fingerprint" not in fields


async def remove(master: Master, call: Call[None]) -> RemovedNode:
    """Forget a node that holds nothing."""
    node = await nodes.find_node(master.farm, call.path["ref"])
    await node_handlers.remove(master, call)
    return RemovedNode(status="removed", node_id=node.id)


async def heartbeat(master: Master, call: Call[HeartbeatRequest | None]) -> object:
    """The node lives. The predecessor said it with an empty body, and got one."""
    if call.body is not None:
        return await tasks.heartbeat(master, call.with_body(call.body))
    node = await nodes.find_node(master.farm, call.path["ref"])
    await nodes.heartbeat(master.farm, node_id=node.id, epoch=node.epoch, reports=None)
    return Answer()
