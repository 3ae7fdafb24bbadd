"""What workers say: the hot half of the API. Decode, one verb, encode, and nothing else."""

import asyncio

from millrace.api.master import Master
from millrace.api.outputs import recorded
from millrace.api.places import is_kept
from millrace.api.uploads import caught_up, wait_of
from millrace.api.views import task_view
from millrace.domain import ids
from millrace.domain.failures import Failure
from millrace.domain.records import NodeState, Output, Progress, Report
from millrace.edge.call import Call
from millrace.edge.refusal import invalid, not_found
from millrace.scheduler import nodes, quarantine, report
from millrace.scheduler.claim import claim as claim_tasks
from millrace.scheduler.report import Next
from millrace.scheduler.waiting import Visit, Waiter
from millrace.wire.v1.base import MOST_ATTEMPTS
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.work import (
    ClaimReply,
    ClaimRequest,
    CompleteRequest,
    DirectiveView,
    Ended,
    EndRequest,
    FailRequest,
    HandBackRequest,
    HeartbeatReply,
    HeartbeatRequest,
    LogReply,
    ProofReply,
    ProofRequest,
    RegisterReply,
    RegisterRequest,
    StartRequest,
    Taken,
)


async def register(master: Master, call: Call[RegisterRequest]) -> RegisterReply:
    """A worker introduces itself."""
    body = call.body
    node = await nodes.register(
        master.farm,
        master.offers,
        fingerprint=body.fingerprint,
        boot_id=body.boot_id,
        name=body.name,
        slots=body.slots,
        labels=body.labels,
        facts={**body.facts, "engines": body.engines, "encoders": body.encoders, "memory_mb": body.memory_mb},
        node_id=call.machine.node if call.machine is not None else "",
        key_id=call.key_id,
    )
    rules = master.farm.rules
    return RegisterReply(node=node.id, epoch=node.epoch, lease_ttl_s=rules.lease_ttl_s, heartbeat_s=rules.heartbeat_s)


class _Parked(Visit):
    """A claim that waits: it ends when its client hangs up, or the master stops."""

    def __init__(self, master: Master, call: Call[ClaimRequest]) -> None:
        super().__init__()
        self._master = master
        self._call = call
        self._watch: asyncio.Task[None] | None = None

    def begin(self, waiter: Waiter) -> None:
        """Only a claim that finds nothing needs somebody to watch its client."""
        super().begin(waiter)
        if self._watch is None:
            self._watch = asyncio.create_task(self._call.gone(), name="watch the client of a claim")
            self._watch.add_done_callback(lambda _: self.end())
            self._master.long.enter(self, self._call.mark)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._master.long.leave(self)


async def claim(master: Master, call: Call[ClaimRequest]) -> ClaimReply:
    """Give work, at once or when some comes."""
    body = call.body
    visit = _Parked(master, call)
    try:
        tasks = await claim_tasks(
            master.farm,
            master.offers,
            node_id=call.path["ref"],
            epoch=body.epoch,
            request_id=body.request,
            limit=body.limit,
            wait_s=body.wait_s,
            visit=visit,
        )
    finally:
        visit.close()
    return ClaimReply(tasks=[task_view(task) for task in tasks])


async def heartbeat(master: Master, call: Call[HeartbeatRequest]) -> HeartbeatReply:
    """The node lives; what is it to do."""
    reports = [
        Report(
            task_id=one.task,
            attempt=one.attempt,
            paused=one.paused,
            progress=Progress(
                fraction=one.fraction,
                phase=one.phase,
                frame=one.frame,
                fps=one.fps,
                speed=one.speed,
                eta_s=one.eta_s,
            ),
        )
        for one in call.body.tasks
    ]
    node, todo = await nodes.heartbeat(master.farm, node_id=call.path["ref"], epoch=call.body.epoch, reports=reports)
    return HeartbeatReply(
        lease_ttl_s=master.farm.rules.lease_ttl_s,
        # Who does not know of quarantine takes no work either.
        drain=node.state in (NodeState.DRAINING, NodeState.QUARANTINED),
        directives=[DirectiveView(task=one.task_id, attempt=one.attempt, action=one.action) for one in todo],
        prove=await quarantine.owes_proof(master.farm, node),
    )


async def prove(master: Master, call: Call[ProofRequest]) -> ProofReply:
    """A node in quarantine has tried its encoders anew."""
    node = await quarantine.take_proof(
        master.farm, call.path["ref"], epoch=call.body.epoch, proven=call.body.encoders.items()
    )
    return ProofReply(released=node.quarantine is None, reason=node.quarantine.reason if node.quarantine else "")


async def start(master: Master, call: Call[StartRequest]) -> Taken:
    """The engine runs."""
    task, body = call.path["task"], call.body
    state = await report.start(master.farm, task, node_id=body.node, attempt=body.attempt, facts=body.facts)
    return Taken(task=task, state=state)


def _next(master: Master, body: EndRequest) -> Next | None:
    """The claim that a report carries."""
    asked = body.claim
    if asked is None:
        return None
    return Next(offers=master.offers, epoch=asked.epoch, request_id=asked.request, limit=asked.limit)


def _ended(task: str, ended: report.Ended) -> Ended:
    return Ended(task=task, state=ended.state, tasks=[task_view(one) for one in ended.tasks])


async def complete(master: Master, call: Call[CompleteRequest]) -> Ended:
    """The work is done, checked and published."""
    task, body = call.path["task"], call.body
    outputs: tuple[Output, ...] = ()
    if body.outputs:
        outputs = await recorded(master, task, body.attempt, body.outputs)
    ended = await report.complete(
        master.farm,
        task,
        node_id=body.node,
        attempt=body.attempt,
        outputs=outputs,
        facts=body.facts,
        kept_bytes=sum(one.size for one in outputs if is_kept(one.location)),
        then=_next(master, body),
    )
    if ids.is_lead(task) and any(is_kept(output.location) for output in outputs):
        await master.farm.store.forget_arrivals(ids.job_of(task))
    return _ended(task, ended)


async def fail(master: Master, call: Call[FailRequest]) -> Ended:
    """The attempt failed."""
    task, body = call.path["task"], call.body
    failure = Failure(failure_class=body.failure_class, message=body.message)
    ended = await report.fail(
        master.farm,
        task,
        node_id=body.node,
        attempt=body.attempt,
        failure=failure,
        facts=body.facts,
        then=_next(master, body),
    )
    return _ended(task, ended)


async def hand_back(master: Master, call: Call[HandBackRequest]) -> Ended:
    """The worker gives the task back unspent."""
    task, body = call.path["task"], call.body
    wait = await wait_of(master, task, body.awaits, body.reason) if body.awaits else None
    ended = await report.hand_back(
        master.farm,
        task,
        node_id=body.node,
        attempt=body.attempt,
        reason=body.reason,
        delay_s=body.delay_s,
        wait=wait,
        then=_next(master, body),
    )
    if wait is not None:
        await caught_up(master, wait.upload)
    return _ended(task, ended)


async def append_log(master: Master, call: Call[None]) -> LogReply:
    """More of an attempt's log; what was sent before is not added twice."""
    call.only("node", "attempt", "offset")
    task = call.path["task"]
    attempt = call.required_integer("attempt", least=1, most=MOST_ATTEMPTS)
    offset = call.required_integer("offset")
    node = call.one("node")
    if node is None:
        raise invalid(FieldError(field="node", message="is missing"))
    await master.log_writers.check(master.farm.store, task, attempt, node_id=node)
    data = b"".join([piece async for piece in call.pieces()])
    length = await master.farm.store.append_log(task, attempt, offset=offset, data=data)
    if length is None:
        raise not_found(f"there is no attempt {attempt} of a task {task[:64]!r}")
    return LogReply(length=length)
