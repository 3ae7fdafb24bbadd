"""The worker: a service that takes work from masters and runs it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import millrace
from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.errors import ClientError, NotFoundError, StaleError, UnauthorizedError
from millrace.domain.directives import Action
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.runtime.service import Service
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import HeartbeatReply, RegisterRequest, TaskView
from millrace.worker.attempt import Means
from millrace.worker.board import Board
from millrace.worker.claims import Claims
from millrace.worker.control import Control, Ending
from millrace.worker.deliver import Destination, MasterDestination
from millrace.worker.deliver_folder import FolderDestination
from millrace.worker.engine_run import Engines
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import HandBackError
from millrace.worker.fetch import Fetcher, FetchLimits, RemoteFetch
from millrace.worker.fetch_http import HttpFetch
from millrace.worker.fetch_upload import UploadFetch
from millrace.worker.heartbeat import Heartbeat, Listeners, Membership
from millrace.worker.identity import StateFolder
from millrace.worker.lease import Lease
from millrace.worker.object_store import ObjectDestination, ObjectFetch, OpenStore
from millrace.worker.proofs import EngineSource, Proven, all_reasons, prove
from millrace.worker.roots import Roots
from millrace.worker.run_task import Runner
from millrace.worker.scratch import Scratch

log = logger("worker")

REGISTER_BACKOFF = Backoff(base_s=0.5, cap_s=15.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTerms:
    """What a worker is and may do. All explicit: composition roots decide.

    Attributes:
        name: what people call the node.
        state: the folder that makes it the same node after a restart.
        scratch: the folder where attempts work; nobody else's.
        roots: folders (or single files) that inputs and outputs by path must lie in.
        outputs: single folders that an output may become, beside those below the roots.
        proofs: where proven encoders are remembered; None for the state folder.
        engines: what to run jobs with.
        slots: tasks at the same time.
        labels, facts: told to the master.
        memory_mb: offered to jobs that ask for some.
        keep_free_bytes: room that must stay free in the scratch folder; below it work is handed back.
        environment: of every engine; None for a bare one.
        stall_s: how long an engine may stand still.
        nice: niceness of engines.
        claim_wait_s: how long a claim waits for work.
        timeout_s: time limit of jobs that name none.
        allow_private_inputs: `http(s)` inputs may lie on private networks.
        fetch: limits of fetches.
        open_store: opens `s3://` with this worker's keys; None where it has none.
    """

    name: str
    state: Path
    scratch: Path
    roots: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    proofs: Path | None = None
    engines: Sequence[EngineSource] = ()
    slots: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    memory_mb: int = 0
    keep_free_bytes: int = 500_000_000
    environment: Mapping[str, str] | None = None
    stall_s: float = 120.0
    nice: int = 0
    claim_wait_s: float = 20.0
    timeout_s: float | None = None
    allow_private_inputs: bool = True
    fetch: FetchLimits = field(default_factory=FetchLimits)
    open_store: OpenStore | None = None


@dataclass(slots=True, kw_only=True)
class _Held:
    """A task that runs here."""

    view: TaskView
    control: Control
    running: "asyncio.Task[None]"


class Worker(Service):
    """One node of the farm.

    `start` returns when the encoders are proven and a master knows the node; `stop` when everything was handed back and
    nothing runs. `drain` lets it finish what it has, `wait_drained` tells when that is; `hurry` hands everything back.
    """

    def __init__(
        self, terms: WorkerTerms, *, client: AsyncClient, heart: Client, clock: Clock, draw: Callable[[], float]
    ) -> None:
        """`heart` is used by the heartbeat's thread alone; the clients stay the caller's to close."""
        super().__init__()
        self._terms = terms
        self._client = client
        self._clock = clock
        self._draw = draw
        self._board = Board()
        self._state = StateFolder(terms.state)
        self._scratch = Scratch(terms.scratch)
        self._alive = EnginesAlive(self._scratch.engines)
        self._heart = Heartbeat(
            client=heart,
            board=self._board,
            monotonic=clock.monotonic,
            listeners=Listeners(
                answered=self._heard_answer, rejected=self._heard_rejection, expired=self._heard_expiry
            ),
        )
        self._claims = Claims(client=client, clock=clock, draw=draw, wait_s=terms.claim_wait_s)
        self._http: HttpFetch | None = None
        self._held: dict[str, _Held] = {}
        self._steering: set[asyncio.Task[None]] = set()
        self._confirmations: list[tuple[float, asyncio.Future[None]]] = []
        self._membership: Membership | None = None
        self._reset()

    def _reset(self) -> None:
        self._draining = asyncio.Event()  # by our own wish: never taken back
        self._closed = asyncio.Event()  # no claims now: we drain, or the master told us to
        self._told_to_drain = False
        self._changed = asyncio.Event()  # something that the claim loop waits for may have happened
        self._drained = asyncio.Event()

    def __repr__(self) -> str:
        return f"<worker {self._terms.name}>"

    @property
    def node(self) -> str | None:
        """The node's id, once a master has given it one."""
        return self._membership.node if self._membership else None

    @property
    def holding(self) -> int:
        """How many tasks run here."""
        return len(self._held)

    def drain(self) -> None:
        """Take no more work. What runs goes on."""
        if not self._draining.is_set():
            log.info("worker.draining", holding=len(self._held))
        self._draining.set()
        self._closed.set()
        self._changed.set()

    def hurry(self) -> None:
        """Drain, and hand back at once what runs; no attempt is spent."""
        self.drain()
        for held in self._held.values():
            held.control.end(Ending.HURRY)

    async def wait_drained(self) -> None:
        """Return when the worker drains and nothing runs any more."""
        await self._drained.wait()

    async def on_start(self) -> None:
        """Take the folders, prove the encoders, register, and begin to claim."""
        self._reset()
        self._loop = asyncio.get_running_loop()
        self._identity = self._state.open()
        await asyncio.to_thread(self._scratch.prepare)
        self._proven = await self._prove()
        self._runner = self._make_runner(self._proven)
        self._heart.start()
        await self._register()
        self._claiming = asyncio.create_task(self._claim(), name="claims")

    async def on_stop(self) -> None:
        """Hand everything back, end the threads, let go of the folders."""
        self.hurry()
        claiming = getattr(self, "_claiming", None)
        if claiming is not None:
            await asyncio.wait((claiming,))
        await asyncio.to_thread(self._heart.stop)
        if self._http is not None:
            await self._http.close()
        self._state.close()

    # Start ----------------------------------------------------------------------------------------------------------

    async def _prove(self) -> tuple[Proven, ...]:
        environment = self._engines().environment
        cache = self._terms.proofs or self._terms.state / "proofs.json"
        return tuple(
            [
                await prove(source, cache=cache, environment=environment, clock=self._clock, folder=self._scratch.path)
                for source in self._terms.engines
            ]
        )

    def _engines(self) -> Engines:
        terms = self._terms
        bare = Engines(clock=self._clock, alive=self._alive, stall_s=terms.stall_s, nice=terms.nice)
        if terms.environment is None:
            return bare
        return Engines(
            clock=self._clock, alive=self._alive, stall_s=terms.stall_s, nice=terms.nice, environment=terms.environment
        )

    def _make_runner(self, proven: Sequence[Proven]) -> Runner:
        terms = self._terms
        self._http = HttpFetch(clock=self._clock, draw=self._draw, allow_private=terms.allow_private_inputs)
        remote: dict[str, RemoteFetch] = {
            "http": self._http,
            "https": self._http,
            "upload": UploadFetch(self._client, clock=self._clock, draw=self._draw),
        }
        if terms.open_store is not None:
            remote["s3"] = ObjectFetch(terms.open_store, clock=self._clock, draw=self._draw)
        self._roots = Roots(terms.roots, terms.outputs)
        means = Means(
            client=self._client,
            engines={one.name: one.engine for one in proven},
            running=self._engines(),
            fetcher=Fetcher(self._roots, remote),
            limits=terms.fetch,
            destination=self._destination,
            confirm=self._confirm,
            keep_free_bytes=terms.keep_free_bytes,
        )
        return Runner(
            means=means,
            board=self._board,
            scratch=self._scratch,
            clock=self._clock,
            draw=self._draw,
            default_timeout_s=terms.timeout_s,
        )

    def _destination(self, output: str | None) -> Destination:
        if output is None:
            return MasterDestination(self._client)
        if output.startswith("s3://") and self._terms.open_store is not None:
            return ObjectDestination(self._terms.open_store, output)
        return FolderDestination(self._roots.output(output))

    async def _register(self) -> None:
        """Become a member, however long no master answers. Raises UnauthorizedError or another refusal."""
        terms = self._terms
        request = RegisterRequest(
            fingerprint=self._identity.fingerprint,
            boot_id=self._identity.boot_id,
            name=terms.name,
            slots=terms.slots,
            labels=dict(terms.labels),
            engines=[one.name for one in self._proven],
            encoders=all_reasons(self._proven),
            memory_mb=terms.memory_mb,
            facts={"version": millrace.__version__, **terms.facts},
        )
        sent_s = self._clock.monotonic()
        # The patience of a single call would hide when the answered request was sent, so each try is a call.
        failures = 0
        while True:
            try:
                sent_s = self._clock.monotonic()
                reply = await self._client.do(work.register(request), patience_s=0.0)
                break
            except UnauthorizedError:
                raise
            except ClientError as error:
                if getattr(error, "status", 500) < 500:
                    raise
                failures += 1
                log.warning("worker.not_registered", reason=str(error))
                await self._clock.sleep(REGISTER_BACKOFF.wait_s(failures, self._draw))
        self._membership = Membership(node=reply.node, epoch=reply.epoch, interval_s=reply.heartbeat_s)
        self._heart.join(self._membership, Lease(sent_s=sent_s, ttl_s=reply.lease_ttl_s))
        log.info("worker.registered", node=reply.node, epoch=reply.epoch, lease_s=reply.lease_ttl_s)

    # Claims ---------------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        empties = 0
        while not self._draining.is_set():
            self._changed.clear()
            free = self._terms.slots - len(self._held)
            if free <= 0 or self._closed.is_set():
                await self._changed.wait()
                continue
            began_s = self._clock.monotonic()
            try:
                tasks = await self._ask(free)
            except ClientError as error:
                log.warning("worker.claim_refused", reason=str(error))
                tasks = []
            for task in tasks:
                self._begin(task)
            early = self._clock.monotonic() - began_s < self._terms.claim_wait_s / 2
            empties = empties + 1 if not tasks and early else 0
            if empties:
                await self._claims.rest(empties, self._closed)
        if self._held:
            await asyncio.wait([held.running for held in self._held.values()])
        self._drained.set()

    async def _ask(self, free: int) -> list[TaskView]:
        membership = self._membership
        if membership is None:
            await self._register()
            return []
        try:
            return await self._claims.take(membership, free, self._closed)
        except (StaleError, NotFoundError) as error:
            self._lose_membership(membership, str(error))
            return []

    def _begin(self, task: TaskView) -> None:
        membership = self._membership
        if membership is None or task.task in self._held:
            # The same task under an older attempt is still being ended here; the master takes the new one back by
            # itself, because no heartbeat will name it.
            log.warning("worker.task_not_begun", task=task.task, attempt=task.attempt)
            return
        control = Control(self._clock)
        running = asyncio.create_task(self._run(task, membership.node, control), name=f"task {task.task}")
        self._held[task.task] = _Held(view=task, control=control, running=running)
        if self._draining.is_set():
            control.end(Ending.HURRY)

    async def _run(self, task: TaskView, node: str, control: Control) -> None:
        handed: HandBackError | None = None
        try:
            handed = await self._runner.run(task, node, control)
        except Exception as error:  # noqa: BLE001  one task must not end the worker
            log.error("worker.task_broke", exc=error, task=task.task)  # noqa: TRY400  it takes the error itself
        finally:
            if handed is not None and handed.delay_s > 0:
                await self._rest(handed)
            self._held.pop(task.task, None)
            self._changed.set()

    async def _rest(self, handed: HandBackError) -> None:
        """Keep the slot for a while: the next task would only be handed back for the same reason."""
        log.warning("worker.slot_rests", reason=handed.reason, seconds=handed.delay_s)
        await self._clock.wait_event(self._draining, handed.delay_s)

    # What the heartbeat hears ---------------------------------------------------------------------------------------

    def _heard_answer(self, sent_s: float, reply: HeartbeatReply) -> None:
        self._from_thread(self._on_answer, sent_s, reply)

    def _heard_rejection(self, membership: Membership) -> None:
        self._from_thread(self._lose_membership, membership, "a heartbeat was rejected")

    def _heard_expiry(self) -> None:
        # In the guard's thread, because the event loop may hang: that may be why the lease was lost.
        self._alive.kill_all()
        self._from_thread(self._end_all, Ending.LEASE_LOST)

    def _from_thread(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.debug("worker.loop_closed")

    def _on_answer(self, sent_s: float, reply: HeartbeatReply) -> None:
        for directive in reply.directives:
            held = self._held.get(directive.task)
            if held is None or held.view.attempt != directive.attempt:
                continue
            if directive.action is Action.CANCEL:
                held.control.end(Ending.CANCELED)
            else:
                self._steer(held, pause=directive.action is Action.PAUSE)
        self._obey_drain(wanted=reply.drain)
        for asked_s, future in self._confirmations:
            if asked_s <= sent_s and not future.done():
                future.set_result(None)

    def _steer(self, held: _Held, *, pause: bool) -> None:
        async def steer() -> None:
            await (held.control.pause() if pause else held.control.resume())
            self._board.change(held.view.task, held.view.attempt, paused=held.control.paused)
            self._heart.ask()

        task = asyncio.create_task(steer(), name=f"steer {held.view.task}")
        self._steering.add(task)
        task.add_done_callback(self._steering.discard)

    def _obey_drain(self, *, wanted: bool) -> None:
        if wanted == self._told_to_drain or self._draining.is_set():
            return
        self._told_to_drain = wanted
        log.info("worker.told_to_drain" if wanted else "worker.told_to_resume")
        if wanted:
            self._closed.set()
        else:
            self._closed.clear()
        self._changed.set()

    def _lose_membership(self, membership: Membership, reason: str) -> None:
        """The master gave our tasks away: end them, report nothing, and register again."""
        if self._membership is not membership:
            return
        log.warning("worker.membership_lost", node=membership.node, epoch=membership.epoch, reason=reason)
        self._membership = None
        self._end_all(Ending.LEASE_LOST)
        self._closed.set()  # ends a claim that is under way
        self._closed = asyncio.Event()
        self._changed.set()

    def _end_all(self, ending: Ending) -> None:
        for held in self._held.values():
            held.control.end(ending)

    async def _confirm(self) -> None:
        """Return once a heartbeat that was sent after this call was answered; directives were obeyed by then."""
        future = self._loop.create_future()
        entry = (self._clock.monotonic(), future)
        self._confirmations.append(entry)
        try:
            self._heart.ask()
            await future
            # A directive that came with the answer cancels us here, before anything becomes visible.
            await asyncio.sleep(0)
        finally:
            self._confirmations.remove(entry)
