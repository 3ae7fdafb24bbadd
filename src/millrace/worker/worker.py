"""The worker: a service that takes work from masters and runs it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.client import Client
from millrace.client.errors import ClientError, NotFoundError, StaleError, SupersededError
from millrace.domain.directives import Action
from millrace.runtime.clock import Clock
from millrace.runtime.service import Service
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import HeartbeatReply, NextClaim, ProofRequest, TaskView
from millrace.worker import facts
from millrace.worker.ahead import Ahead
from millrace.worker.board import Board
from millrace.worker.bounds import bounds
from millrace.worker.build import Build
from millrace.worker.cache import Cache
from millrace.worker.claims import Claims
from millrace.worker.control import Control, Ending
from millrace.worker.disk import check_room
from millrace.worker.division import Ability
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.equipment import Equipment, begin, equip, prove_all
from millrace.worker.failure import HandBackError
from millrace.worker.heartbeat import Heartbeat, Listeners, Membership
from millrace.worker.identity import Identity, StateFolder
from millrace.worker.means import Means
from millrace.worker.pieces import Pieces
from millrace.worker.proofs import Proven, all_reasons
from millrace.worker.register import Registrar
from millrace.worker.reuse import Store
from millrace.worker.run_task import Ran, Runner
from millrace.worker.scratch import Scratch
from millrace.worker.shut_in import record, warn_of_gaps, way_in
from millrace.worker.terms import WorkerTerms

__all__ = ["Worker", "WorkerTerms"]

log = logger("worker")

LEASE_LOST = "no master answered before the worker's lease ended, so the worker stopped the task"


class _Held(Struct, frozen=True, eq=False):
    """A task that runs here."""

    view: TaskView
    control: Control
    running: "asyncio.Task[None]"


class Worker(Service):
    """One node of the farm.

    `start` returns when the encoders are proven and a master knows the node; `stop` when everything was handed back and
    nothing runs. `drain` lets it finish what it has, `wait_drained` tells when that is; `hurry` hands everything back.
    All of it happens on one event loop, in the main thread (see `process`); only the heartbeat has threads.
    """

    def __init__(
        self, terms: WorkerTerms, *, client: AsyncClient, heart: Client, clock: Clock, draw: Callable[[], float]
    ) -> None:
        """`heart` is used by the heartbeat's thread alone; both clients stay the caller's to close."""
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
        self._registrar = Registrar(client=client, clock=clock, draw=draw)
        self._held: dict[str, _Held] = {}
        self._resting = 0
        self._known: facts.Document = {}
        self._reset()

    def _reset(self) -> None:
        self.fault = ""
        """Why it has stopped by itself: a sentence; empty as long as it has not."""
        self._membership: Membership | None = None
        self._identity: Identity | None = None
        self._equipment: Equipment | None = None
        self._ahead: Ahead | None = None
        self._runner: Runner | None = None
        self._proven: Sequence[Proven] = ()
        self._facts: facts.Document = {}
        self._claiming: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._confirmations: list[tuple[float, asyncio.Future[None]]] = []
        self._told_to_drain = False
        self._proving = False
        self._draining = asyncio.Event()  # by our own wish: never taken back
        self._closed = asyncio.Event()  # no claims now: we drain, or the master told us to, or the membership is over
        self._changed = asyncio.Event()  # something that the claim loop waits for may have happened
        self._drained = asyncio.Event()

    def __repr__(self) -> str:
        return f"<worker {self._terms.name}>"

    @property
    def node(self) -> str | None:
        """The node's id, while it is a member of the farm."""
        return self._membership.node if self._membership else None

    @property
    def holding(self) -> int:
        """How many tasks run here."""
        return len(self._held)

    def know(self, **known: object) -> None:
        """What the masters are told of this machine, beside what it finds itself. Before the start."""
        self._known |= known

    def drain(self) -> None:
        """Take no more work. What runs goes on; what is paused goes back, because nobody knows when it would end."""
        if not self._draining.is_set():
            log.info("worker.draining", holding=len(self._held))
        self._draining.set()
        self._closed.set()
        self._changed.set()
        for held in list(self._held.values()):
            if held.control.paused:
                held.control.end(Ending.HURRY)

    def hurry(self) -> None:
        """Drain, and hand back at once what runs; no attempt is spent."""
        self.drain()
        self._end_all(Ending.HURRY)

    async def wait_drained(self) -> None:
        """Return when the worker drains and nothing runs any more."""
        await self._drained.wait()

    async def wait_idle(self) -> None:
        """Return when nothing runs here at this moment."""
        while self._held:
            await asyncio.wait([held.running for held in self._held.values()])

    async def on_start(self) -> None:
        """Take the folders, prove the encoders, register, and begin to claim."""
        self._reset()
        self._loop = asyncio.get_running_loop()
        self._identity = self._state.open()
        await asyncio.to_thread(self._scratch.prepare)
        programs = [source.binary for source in self._terms.engines]
        able = await way_in(self._terms.sandbox, programs, clock=self._clock)
        warn_of_gaps(able)
        held = bounds(self._terms.engine_memory_bytes, self._terms.engine_pids, describe_s=self._terms.describe_s)
        self._facts = {"sandbox": facts.of_confinement(record(able)), "limits": facts.of_bounds(held)}
        equipment = equip(
            self._terms, self._client, self._alive, able=able, bounds=held, clock=self._clock, draw=self._draw
        )
        self._equipment = equipment
        await equipment.kept.prepare()
        self._ahead = begin(self._terms, equipment, clock=self._clock, folder=self._scratch.path)
        self._proven = await prove_all(self._terms, equipment.running, clock=self._clock, folder=self._scratch.path)
        self._runner = self._make_runner(equipment)
        self._heart.start()
        await self._register()
        self._claiming = asyncio.create_task(self._claim(), name="claims")

    async def on_stop(self) -> None:
        """Hand everything back, end the threads, let go of the folders."""
        self.hurry()
        if self._claiming is not None:
            await asyncio.wait((self._claiming,))
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await asyncio.to_thread(self._heart.stop)
        if self._ahead is not None:
            await self._ahead.drop()
        if self._equipment is not None:
            await self._equipment.close()
        self._state.close()

    def _make_runner(self, equipment: Equipment) -> Runner:
        means = Means(
            name=self._terms.name,
            client=self._client,
            engines={one.name: one.engine for one in self._proven},
            running=equipment.running,
            fetcher=equipment.fetcher,
            limits=self._terms.fetch,
            destination=equipment.destination,
            holds=self._heart.holds,
            confirm=self._confirm,
            keep_free_bytes=self._terms.keep_free_bytes,
            cores=self._terms.cores,
            ahead=self._ahead,
            abilities={one.name: Ability(name=one.ability, bind=one.bind) for one in self._proven},
            pieces=self._pieces,
            stores=self._stores(equipment),
        )
        return Runner(
            means=means,
            board=self._board,
            scratch=self._scratch,
            clock=self._clock,
            draw=self._draw,
            next_claim=self._next_claim,
            default_timeout_s=self._terms.timeout_s,
        )

    def _stores(self, equipment: Equipment) -> Mapping[str, Store]:
        if self._terms.cache is None:
            return {}
        cache, environment = Cache(self._terms.cache, now=self._clock.now), equipment.running.environment
        return {
            one.name: Store(cache=cache, build=Build(one.binary, clock=self._clock, environment=environment))
            for one in self._terms.engines
        }

    def _pieces(self, task: TaskView, node: str, control: Control, folder: Path) -> Pieces:
        return Pieces(
            client=self._client,
            clock=self._clock,
            draw=self._draw,
            limits=self._terms.fetch,
            control=control,
            task=task.task,
            node=node,
            attempt=task.attempt,
            folder=folder,
            shared=None if self._equipment is None else self._equipment.shared,
        )

    # Claims ---------------------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        if self._identity is None:
            raise RuntimeError("cannot register before the state folder is open")
        terms = replace(self._terms, facts={**self._facts, **self._known, **self._terms.facts})
        self._membership, lease = await self._registrar.register(terms, self._identity, self._proven)
        self._heart.join(self._membership, lease)

    async def _claim(self) -> None:
        """Take work for every free slot until the worker drains, and wait for the end of what runs."""
        empties = 0
        while not self._draining.is_set():
            self._changed.clear()
            free = self._terms.slots - len(self._held) - self._resting
            if free <= 0 or self._closed.is_set():
                await self._changed.wait()
                continue
            began_s = self._clock.monotonic()
            tasks = await self._ask(free)
            for task in tasks:
                self._begin(task)
            early = self._clock.monotonic() - began_s < self._terms.claim_wait_s / 2
            empties = empties + 1 if early and not tasks else 0
            if empties and self._membership is not None:
                await self._claims.rest(empties, self._closed)
        await self.wait_idle()
        self._drained.set()

    async def _ask(self, free: int) -> list[TaskView]:
        membership = self._membership
        try:
            if membership is None:
                await self._register_unless_draining()
                return []
            return await self._claims.take(membership, free, self._closed)
        except (StaleError, NotFoundError) as error:
            if membership is not None:
                self._lose_membership(membership, str(error))
        except SupersededError as error:
            self._give_up(str(error))
        except ClientError as error:
            log.warning("worker.claim_refused", reason=str(error))
            if membership is None:
                await self._claims.rest(10, self._draining)
        return []

    def _give_up(self, reason: str) -> None:
        """Another worker has our identity and came later: two that take turns would take each other's work away for ever."""
        log.error("worker.superseded", reason=reason)
        self.fault = reason
        self._state.give_up(reason)
        self.hurry()

    async def _register_unless_draining(self) -> None:
        registering = asyncio.create_task(self._register())
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((registering, draining), return_when=asyncio.FIRST_COMPLETED)
            if registering.done():
                registering.result()
        finally:
            registering.cancel()
            draining.cancel()
            await asyncio.wait((registering, draining))

    def _begin(self, task: TaskView) -> None:
        membership, runner = self._membership, self._runner
        if membership is None or runner is None:
            return  # the master takes it back with the epoch under which it was given
        before = self._held.get(task.task)
        if before is not None and before.view.attempt < task.attempt:
            # Canceled and retried faster than a heartbeat tells: a directive for the older attempt would find the newer one here.
            before.control.end(Ending.CANCELED)
        control = Control(self._clock)
        running = asyncio.create_task(
            self._run(runner, task, membership, control, before), name=f"task {task.task} attempt {task.attempt}"
        )
        self._held[task.task] = _Held(task, control, running)
        if self._draining.is_set():
            control.end(Ending.HURRY)

    async def _run(
        self, runner: Runner, task: TaskView, membership: Membership, control: Control, before: _Held | None
    ) -> None:
        handed: HandBackError | None = None
        try:
            if before is not None:
                # The same task came back before its older attempt had ended here; two of them never run together.
                await asyncio.wait((before.running,))
            ran = await runner.run(task, membership.node, control)
            handed = ran.handed
            # While this task still holds its slot, so that the claim loop does not claim for it, too.
            for one in await self._given_with_report(ran, membership):
                self._begin(one)
        except Exception as error:  # noqa: BLE001  one task must not end the worker
            log.error("worker.task_broke", exc=error, task=task.task)  # noqa: TRY400  it takes the error itself
        finally:
            if self._held.get(task.task) is not None and self._held[task.task].control is control:
                del self._held[task.task]
            if handed is not None and handed.delay_s > 0 and not self._draining.is_set():
                self._spawn(self._rest(handed))
            if control.ending is Ending.LEASE_LOST:
                self._spawn(self._give_back(task, membership))
            self._changed.set()

    async def _give_back(self, task: TaskView, membership: Membership) -> None:
        """Say that the lease's end ended the task, once a master answers again; for a short silence it is still ours.

        Until then the heartbeat lists it, so that no master takes it for one that never came.
        """
        try:
            if self._membership is membership:
                await self._confirm()
            if self._membership is membership:
                await self._claims.hand_back(membership, task, LEASE_LOST)
        finally:
            self._board.drop(task.task, task.attempt)

    def _next_claim(self) -> NextClaim | None:
        """The claim for a slot that becomes free now: none where the next task would only be handed back."""
        membership = self._membership
        if membership is None or self._closed.is_set() or self._resting or not self._heart.holds():
            return None
        try:
            check_room(self._scratch.path, at_least_bytes=self._terms.keep_free_bytes)
        except (HandBackError, OSError):
            return None
        return self._claims.with_report(membership)

    async def _given_with_report(self, ran: Ran, membership: Membership) -> Sequence[TaskView]:
        if self._membership is not membership:
            return ()  # the master takes them back with the epoch under which they were given
        if ran.unanswered is None:
            return ran.given
        # The report was cut off, by a directive that says that it has arrived or by the worker's end.
        return await self._claims.again(membership, ran.unanswered.request)

    async def _rest(self, handed: HandBackError) -> None:
        """Leave a slot empty for a while: the next task would only be handed back for the same reason."""
        log.warning("worker.slot_rests", reason=handed.reason, seconds=handed.delay_s)
        self._resting += 1
        try:
            await self._clock.wait_event(self._draining, handed.delay_s)
        finally:
            self._resting -= 1
            self._changed.set()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # What the heartbeat hears ---------------------------------------------------------------------------------------

    def _heard_answer(self, sent_s: float, reply: HeartbeatReply) -> None:
        self._from_thread(self._on_answer, sent_s, reply)

    def _heard_rejection(self, membership: Membership) -> None:
        self._from_thread(self._lose_membership, membership, "a heartbeat was rejected")

    def _heard_expiry(self) -> None:
        # Here, in the guard's thread, because the event loop may hang: that may be why the lease was lost.
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
                self._spawn(self._steer(held, pause=directive.action is Action.PAUSE))
        self._obey_drain(wanted=reply.drain)
        if reply.prove and not self._proving and not self._draining.is_set():
            self._proving = True
            self._spawn(self._prove())
        for asked_s, future in self._confirmations:
            if asked_s <= sent_s and not future.done():
                future.set_result(None)

    async def _steer(self, held: _Held, *, pause: bool) -> None:
        await (held.control.pause() if pause else held.control.resume())
        self._board.change(held.view.task, held.view.attempt, paused=held.control.paused)
        log.info("worker.paused" if pause else "worker.resumed", task=held.view.task)
        self._heart.ask()
        if pause and self._draining.is_set():
            held.control.end(Ending.HURRY)

    def _obey_drain(self, *, wanted: bool) -> None:
        if wanted == self._told_to_drain:
            return
        log.info("worker.told_to_drain" if wanted else "worker.told_to_resume")
        self._told_to_drain = wanted
        self._open_or_close()

    async def _prove(self) -> None:
        """We are in quarantine: try every encoder anew, and say what was found. All that works ends it."""
        membership, equipment = self._membership, self._equipment
        try:
            if membership is None or equipment is None:
                return
            log.warning("worker.proves_itself", node=membership.node)
            folder = self._scratch.path
            proven = await prove_all(self._terms, equipment.running, clock=self._clock, folder=folder, anew=True)
            request = ProofRequest(epoch=membership.epoch, encoders=all_reasons(proven))
            reply = await self._client.do(work.prove(membership.node, request))
            log.info("worker.proved_itself", released=reply.released, reason=reply.reason)
            self._heart.ask()
        except (ClientError, OSError) as error:
            log.warning("worker.not_proved", reason=str(error))
        finally:
            self._proving = False

    def _open_or_close(self) -> None:
        if self._told_to_drain or self._draining.is_set():
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
        # An order to drain ends with the membership: who obeyed it for ever would never register again. Where it still
        # stands, the first heartbeat of the next membership says so.
        self._told_to_drain = False
        self._end_all(Ending.LEASE_LOST)
        # A claim that is under way listens to the old event, and ends; the next one listens to the new.
        self._closed.set()
        self._closed = asyncio.Event()
        self._open_or_close()

    def _end_all(self, ending: Ending) -> None:
        for held in list(self._held.values()):
            held.control.end(ending)

    async def _confirm(self) -> None:
        """Return once a heartbeat that was sent after this call was answered; its directives were obeyed by then."""
        future = self._loop.create_future()
        entry = (self._clock.monotonic(), future)
        self._confirmations.append(entry)
        try:
            self._heart.ask()
            await future
            # A directive that came with the answer cancels the caller here, before anything becomes visible.
            await asyncio.sleep(0)
        finally:
            self._confirmations.remove(entry)
