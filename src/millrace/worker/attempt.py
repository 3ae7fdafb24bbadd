"""One attempt of one task: the order of the steps. Of a whole film from its input to its published output or to its division, of a part
to what is handed on, of a join from there to the output.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.client import work
from millrace.client.calls import Call
from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Ranges
from millrace.domain.media.chunks import PER_WORKER
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.proof import Maker, with_checksums, with_origin, with_quality
from millrace.domain.media.split import Chunk
from millrace.domain.needs import EARLY
from millrace.domain.records import Kind
from millrace.engines.engine import Engine, Progress
from millrace.wire.v1.work import CompleteRequest, StartRequest, Taken, TaskView
from millrace.worker import early, facts
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.comparison_steps import illustrated
from millrace.worker.control import Control
from millrace.worker.damage_steps import looked_into
from millrace.worker.deliver import Delivery, Destination, Product, digests, write_proof
from millrace.worker.disk import check_room
from millrace.worker.division import (
    Ability,
    Division,
    Order,
    Shared,
    SharedFilm,
    check_source,
    chunk_of,
    film_of,
    order_for,
    order_of,
    ranges_in,
)
from millrace.worker.failure import DamagedError, NotArrivedError, TaskFailedError, from_os_error
from millrace.worker.fetch import Fetched, Fetching, is_fetched, shown
from millrace.worker.job import Film, Job, job_of
from millrace.worker.means import Means
from millrace.worker.media_steps import Made, MediaSteps
from millrace.worker.part_ranges import finely, mapped, shared_out
from millrace.worker.pieces import OUT, Pieces, Wrong, hand_on, handed_on, makers, wrong_parts
from millrace.worker.quality_steps import compared, searched
from millrace.worker.reuse import Reuse
from millrace.worker.shut_in import admit, record
from millrace.worker.source import identify
from millrace.worker.spans import ENCODE_FROM, ENCODE_TO, Spans
from millrace.worker.with_facts import with_facts

OF_THE_INPUT = frozenset({FailureClass.INPUT, FailureClass.ENGINE, FailureClass.OUTPUT})
"""Failures that a hole in the input may be the cause of."""
MOST_AGAIN = 4
"""A part of a film's chunks beyond which a join does not make them again: then it is not they that are at fault."""
ALONE = "It is made by one worker: what is to be done about damage ({}) is decided for all of the film at once."
FETCHED = 0.5
"""Where a join stands when all pieces are here."""

Report = Callable[[Mapping[str, object]], None]
"""Changes fields of the task's report in the next heartbeat."""


class Attempt(Struct, frozen=True, kw_only=True):
    """Runs once. `folder` is the attempt's private scratch folder, `node` the name under which it is reported."""

    task: TaskView
    node: str
    means: Means
    control: Control
    log: AttemptLog
    report: Report
    folder: Path

    async def run(self) -> CompleteRequest | None:
        """Do the work; what to report once everything is published. None where the attempt has ended already, and others go on: its
        job was divided.

        Raises:
            TaskFailedError: a step failed.
            HandBackError: this worker cannot do it now.
            StaleError: the attempt is no longer ours.
        """
        if not self.means.holds():
            # Given by a master that had not heard from us for long: nothing starts before it has.
            await self.means.confirm()
        await self.means.fetcher.make_room(self.means.keep_free_bytes)
        job, part = job_of(self.task.spec), self.task.part
        what = "" if part is None else f", {part.kind}{f' {part.number}' if part.kind is Kind.CHUNK else ''}"
        self.log.say(f"job {self.task.number}{what}, attempt {self.task.attempt}, profile {self.task.profile}")
        self.log.say(f"sandbox: {record(self.means.running.able)}")
        self.log.say(f"limits: {self.means.running.bounds}")
        for store in self.means.stores.values():
            await asyncio.to_thread(store.cache.trim)
        if part is None:
            return await self._whole(job)
        order, plan = order_of(part)
        steps = self._steps(self.means.ability(job.engine).bind(frozenset(order.encoders)))
        if part.kind is Kind.JOIN:
            return await self._joined(job, steps, order, plan)
        return await self._part(job, steps, order, plan, chunk_of(part, plan))

    async def _whole(self, job: Job) -> CompleteRequest | None:
        """From the input to the output, or to the division of the work."""
        engine = self.means.engine(job.engine)
        destination = await self._destination(job)
        try:
            source = await self._fetch(job)
        except NotArrivedError as error:
            if not error.size:
                raise
            await self._divided_early(job, engine, error.size)
            return None
        async with self._reuse(job, source) as reuse:
            return await self._made(job, self._steps(engine, reuse), destination, source)

    async def _divided_early(self, job: Job, engine: Engine, size: int) -> None:
        """Divide a film of whose upload the beginning has arrived. Raises NotArrivedError where that cannot be."""
        self.report({"phase": "probe"})

        async def fetch(ranges: Ranges) -> Path:
            return _film(await self._fetch(job, ranges))

        steps, ability = self._steps(engine), self.means.ability(job.engine)
        # Shared with those alone who know of uploads that still arrive.
        ability = replace(ability, name=ability.name + EARLY)
        await early.divide(job, steps, lambda plan: self._division(steps, plan, ability), fetch, size)

    def _division(self, steps: MediaSteps, plan: Plan, ability: Ability) -> Division:
        return Division(
            client=self.means.client, task=self.task, node=self.node, ability=ability, encoders=steps.encoders(plan)
        )

    @asynccontextmanager
    async def _reuse(
        self, job: Job, source: Path | None, told: SharedFilm | None = None
    ) -> AsyncIterator[Reuse | None]:
        """What was made before of this film, of which somebody may have `told` what it is. Where what is made now is not as planned, nobody takes a piece of it again."""
        store = self.means.stores.get(job.engine)
        if store is None or source is None:
            yield None
            return
        reuse = Reuse(
            store=store,
            path=source,
            source=asyncio.ensure_future(
                identify(source, None if told is None else told.identity, is_ours=is_fetched(job.input))
            ),
            maker=self._maker(),
            control=self.control,
            log=self.log,
            farm=self._farm() if told is not None and told.is_kept else None,
            small=self._farm(),
        )
        try:
            yield reuse
        except TaskFailedError as error:
            if error.failure.failure_class is FailureClass.OUTPUT:
                await reuse.forget()
            raise
        finally:
            reuse.source.cancel()
            await asyncio.gather(reuse.source, return_exceptions=True)

    async def _made(
        self, job: Job, steps: MediaSteps, destination: Destination, source: Path | None
    ) -> CompleteRequest | None:
        self.report({"phase": "probe"})
        if source is None:
            return await self._film(job, steps, destination, Film())
        probe = None
        await steps.watch(source, is_ours=is_fetched(job.input))
        try:
            probe = await steps.probe(source)
            return await self._film(job, steps, destination, Film(source=source, probe=probe))
        except DamagedError as error:
            probe, damage = await looked_into(steps, source, error, probe=probe, on_damage=job.on_damage)
        await steps.begin_anew()
        return await self._film(job, steps, destination, Film(source=source, probe=probe, damage=damage))

    async def _film(self, job: Job, steps: MediaSteps, destination: Destination, film: Film) -> CompleteRequest | None:
        """From what is known of the source to the output, or to the division of the work.

        Raises:
            DamagedError: the source is damaged.
        """
        source = film.source
        probe = None if film.probe is None else replace(film.probe, size_bytes=steps.source_bytes)
        plan = steps.plan(job.profile, probe, job.parameters, film.damage)
        spans = Spans.of(plan)
        if spans.searches:
            await self._start(_planned(plan, probe))
            self.report({"phase": "search", "fraction": ENCODE_FROM})
            plan = await searched(steps, plan, probe, source, self._told(ENCODE_FROM, spans.encode_from))
            plan = steps.divided(plan, probe)
        here = await steps.known(plan)
        plan = here.plan
        may_divide = plan.split.is_possible and not here.mostly
        if may_divide and job.on_damage is not OnDamage.FAIL:
            # What is to be done about damage is done for the whole film.
            may_divide, plan = False, replace(plan, notes=(*plan.notes, ALONE.format(job.on_damage)))
        if source is not None and may_divide and await self._divided(job, steps, source, probe, plan):
            return None
        steps.probed = None  # as long as the film
        steps.explain(plan)
        if not spans.searches:
            await self._start(_planned(plan, probe))
        self.report({"phase": "encode", "fraction": spans.encode_from})
        began_s, used_s = self.control.stopwatch.elapsed_s, steps.cpu_s
        await steps.encode(plan, source, self._told(spans.encode_from, spans.encode_to))
        encoded_s = self.control.stopwatch.elapsed_s - began_s
        known = {
            "probe": None if probe is None else facts.of_probe(probe),
            "encode_s": round(encoded_s, 3),
            "encode_cpu_s": round(steps.cpu_s - used_s, 3),
            "speed": round(float(plan.duration) / encoded_s, 2) if encoded_s > 0 else None,
        }
        return await self._proved(job, steps, destination, plan, source=source, known=known)

    async def _divided(self, job: Job, steps: MediaSteps, source: Path, probe: Probe | None, plan: Plan) -> bool:
        """Whether the film was divided over several workers, where that pays."""
        division = self._division(steps, plan, self.means.ability(job.engine))
        helpers = await division.helpers()
        shared = steps.divided(plan, probe, helpers=helpers, parts_each=PER_WORKER)
        if not shared.split.workers:
            return False
        await steps.unchanged()
        comes = probe is not None and is_fetched(job.input)
        found = await mapped(steps, source) if comes else None
        if comes:
            # Where it is not known what a part needs of the input, each fetches all of it.
            shared = await finely(found, steps, plan, probe, helpers=helpers)
        film = None
        if steps.reuse is not None and shared.split.workers:
            shared, film = await steps.reuse.shared(steps.engine, shared, steps.chunking, self._farm())
        if not shared.split.workers:
            return False
        out = Shared(plan=shared)
        if comes:
            known = "" if film is None else film.identity.sha256
            out = await shared_out(found, steps, shared, probe, source, sha256=known)
            await self.means.fetcher.keep(job.input or "", out.source_sha256, source)
        steps.explain(shared)
        await self.control.gate()
        # What is said afterwards would lengthen the log of an attempt that has ended.
        await self.log.flush()
        order = order_for(out, division.encoders, source, None if probe is None else facts.of_probe(probe))
        refused = await division.divide(replace(order, film=film), steps.parts(shared), _planned(shared, probe))
        if refused:
            self.log.say(f"divide: {refused}; the film is made here")
        return not refused

    def _farm(self) -> Pieces:
        return self.means.pieces(self.task, self.node, self.control, self.folder)

    async def _part(
        self, job: Job, steps: MediaSteps, order: Order, plan: Plan, chunk: Chunk | None
    ) -> CompleteRequest:
        """One chunk, or sound and text, handed on to whoever joins the film."""
        check_room(self.folder, at_least_bytes=self.means.keep_free_bytes)
        source, is_whole = await self._part_source(job, order, ranges_in(order, chunk))
        await steps.watch(source, is_ours=is_fetched(job.input))
        await self._start()
        self.report({"phase": "encode", "fraction": ENCODE_FROM})
        film = await asyncio.to_thread(film_of, order, source) if order.source_sha256 else order.film
        if order.early is not None:
            steps.read = await early.read_of(source, None if is_whole else ranges_in(order, chunk))
        # Which film it is nobody knows before all of it has arrived.
        async with self._reuse(job, source if order.early is None else None, film) as reuse:
            steps.reuse = reuse
            try:
                made = await steps.encode_part(plan, chunk, source, self._told(ENCODE_FROM, ENCODE_TO))
            except TaskFailedError as error:
                if isinstance(error, DamagedError) and is_whole:
                    await looked_into(steps, source, error, probe=None, on_damage=OnDamage.FAIL)
                if is_whole or error.failure.failure_class not in OF_THE_INPUT:
                    raise
                self.log.say(f"ranges: {error}; it is made once more, from all of the input")
                await asyncio.to_thread(steps.clear)
                source, _ = await self._part_source(job, order, None)
                await steps.watch(source, is_ours=is_fetched(job.input))
                steps.read = None if order.early is None else await early.read_of(source, None)
                made = await steps.encode_part(plan, chunk, source, self._told(ENCODE_FROM, ENCODE_TO))
        await steps.unchanged()
        sizes = {**made, **await hand_on(steps, chunk)}
        self.report({"phase": "deliver", "fraction": ENCODE_TO, "eta_s": None})
        try:
            sums = await digests(self.folder, sizes, self.control)
        except OSError as error:
            raise from_os_error(error, "read the pieces back") from error
        products = [Product(name=name, size=size, sha256=sums[name]) for name, size in sizes.items()]
        reports = await self.means.destination(None).publish(self._delivery(job, self.folder, products), self.control)
        self.log.say(f"deliver: {len(reports)} pieces to the master")
        return CompleteRequest(node=self.node, attempt=self.task.attempt, outputs=reports)

    async def _part_source(self, job: Job, order: Order, ranges: Ranges | None) -> tuple[Path, bool]:
        """The input as it was when the film was divided, and whether it is all there: where only ranges were fetched it has holes."""
        found = await self._fetched(job, ranges=ranges, sha256=order.source_sha256)
        if found is None:
            raise TaskFailedError(FailureClass.REQUEST, "cannot make a part of a film: the job has no input")
        check_source(order, found.path)
        return found.path, found.is_whole

    async def _joined(self, job: Job, steps: MediaSteps, order: Order, plan: Plan) -> CompleteRequest:
        """The output, of the pieces that others have made."""
        destination = await self._destination(job)
        of_source = Spans.of(plan).compares or bool(plan.comparison) or order.early is not None
        needs_source = of_source or steps.engine.joins_from_source(plan)
        source = (await self._part_source(job, order, None))[0] if needs_source else None
        if source is not None:
            await steps.watch(source, is_ours=is_fetched(job.input))
        call = work.parts(self.task.task, node=self.node, attempt=self.task.attempt)
        parts = (await self.means.client.do(call, patience_s=None)).parts
        steps.makers = makers(self.task.job, plan.split.chunks, parts)
        await self._start()
        self.report({"phase": "fetch"})
        lost = await self._farm().fetch(parts, lambda share: self.report({"fraction": FETCHED * share}))
        if wrong := await wrong_parts(steps, plan, parts, lost):
            source = source or (await self._part_source(job, order, None))[0]
            await self._make_again(steps, order, plan, wrong, source)
        handed = await handed_on(steps, parts)
        if order.early is not None:
            await early.check_read(_film(source), order.early, handed.read, parts=len(parts) - len(wrong))
        steps.reused = handed.reused
        self.report({"phase": "join"})
        # That of parts which were made again here is in it, as far as they were encoded.
        cpu_s = None if handed.cpu_s is None else round(handed.cpu_s + steps.cpu_s, 3)
        try:
            await steps.join(plan, source)
            known = {"probe": order.probe, "encode_s": None, "encode_cpu_s": cpu_s, "speed": None}
            return await self._proved(job, steps, destination, plan, source=source, known=known)
        except TaskFailedError as error:
            if error.failure.failure_class is FailureClass.OUTPUT:
                await self._distrust(job, order, handed.keys)
            raise

    async def _distrust(self, job: Job, order: Order, keys: Sequence[str]) -> None:
        """What was joined of these pieces is not as planned: nobody takes them again from this worker's folder or from the masters."""
        store, farm = self.means.stores.get(job.engine), self._farm()
        if store is not None:
            await asyncio.to_thread(store.forget, keys)
        if order.film is not None and order.film.is_kept:
            nothing = self.folder / "nothing"
            await asyncio.to_thread(nothing.write_bytes, b"")
            for key in keys:
                await farm.cache(key, nothing)
        self.log.say(f"cache: {len(keys)} pieces are taken out of it")

    async def _make_again(
        self, steps: MediaSteps, order: Order, plan: Plan, wrong: Sequence[Wrong], source: Path | None
    ) -> None:
        """Make here what of the pieces is not as it should be. Where that fails, another worker has the next attempt."""
        if len(wrong) > max(1, len(plan.split.chunks) // MOST_AGAIN):
            raise TaskFailedError(
                FailureClass.NETWORK,
                f"cannot join the film: {len(wrong)} of its parts are not there; {wrong[0].reason}",
            )
        source = _film(source)
        check_source(order, source)
        for one in wrong:
            self.log.say(f"join: {one.reason}; {one.name} is made again here")
            await steps.encode_part(plan, one.chunk, source, lambda *_: None)
            steps.makers = {**steps.makers, None if one.chunk is None else one.chunk.number: self._maker()}

    async def _proved(
        self,
        job: Job,
        steps: MediaSteps,
        destination: Destination,
        plan: Plan,
        *,
        source: Path | None,
        known: Mapping[str, object],
    ) -> CompleteRequest:
        """Check what was made, and publish it."""
        self.report({"phase": "verify", "fraction": Spans.of(plan).encode_to, "eta_s": None})
        made, _ = await asyncio.gather(self._compared(steps, plan, source), destination.settle(steps.out))
        # All that reads the source has read it by now.
        await steps.unchanged()
        proof = with_origin(made.proof, source=known["probe"], maker=self._maker(), encoders=steps.encoders(plan))
        made = replace(made, proof=proof)
        kept: dict[str, object] = {
            **_facts(plan, made, known),
            "sandbox": facts.of_confinement(record(self.means.running.able)),
            "limits": facts.of_bounds(self.means.running.bounds),
            **({"damage": plan.mending.document} if plan.mending else {}),
        }
        return await self._deliver(job, destination, steps.out, made, kept)

    async def _compared(self, steps: MediaSteps, plan: Plan, source: Path | None) -> Made:
        """What was made and proved, compared with the source where the plan asks for that."""
        made, spans = await steps.prove(plan), Spans.of(plan)
        if plan.comparison:
            made = replace(made, sizes={**made.sizes, **await illustrated(steps, plan, source)})
        if not spans.compares:
            return made
        self.report({"phase": "compare"})
        found = await compared(steps, plan, made.probes, source, self._told(spans.encode_to, ENCODE_TO))
        return replace(made, proof=with_quality(dict(made.proof), found))

    def _maker(self) -> Maker:
        return Maker(node=self.means.name, task=self.task.task, attempt=self.task.attempt)

    def _steps(self, engine: Engine, reuse: Reuse | None = None) -> MediaSteps:
        return MediaSteps(
            engine=engine,
            engines=self.means.running,
            control=self.control,
            log=self.log,
            folder=self.folder,
            out=self.folder / OUT,
            cores=self.means.cores,
            ahead=self.means.ahead,
            reuse=reuse,
        )

    async def _destination(self, job: Job) -> Destination:
        destination = self.means.destination(job.output)
        await destination.check(self.task.job, overwrite=job.overwrite)
        check_room(self.folder, at_least_bytes=self.means.keep_free_bytes)
        return destination

    async def _start(self, planned: Mapping[str, object] | None = None) -> None:
        def call(found: dict[str, object]) -> Call[Taken]:
            return work.start(self.task.task, StartRequest(node=self.node, attempt=self.task.attempt, facts=found))

        await with_facts(self.means.client, call, planned or {})

    def _delivery(self, job: Job, folder: Path, products: Sequence[Product]) -> Delivery:
        return Delivery(
            job=self.task.job,
            task=self.task.task,
            node=self.node,
            attempt=self.task.attempt,
            folder=folder,
            products=products,
            overwrite=job.overwrite,
        )

    async def _fetch(self, job: Job, ranges: Ranges | None = None) -> Path | None:
        found = await self._fetched(job, ranges=ranges)
        return None if found is None else found.path

    async def _fetched(self, job: Job, *, ranges: Ranges | None = None, sha256: str = "") -> Fetched | None:
        if job.input is None:
            self.log.say("fetch: no input is given, a test clip is generated")
            return None
        admit(job.input, self.means.running.able)
        self.report({"phase": "fetch"})
        self.log.say(f"fetch: {shown(job.input)}")

        def told(have: int, total: int | None) -> None:
            if total:
                self.report({"fraction": ENCODE_FROM * min(1.0, have / total)})

        found = await self.means.fetcher.fetch(
            Fetching(
                location=job.input,
                target=self.folder / "input",
                limits=self.means.limits,
                control=self.control,
                told=told,
                ranges=ranges,
                sha256=sha256,
            )
        )
        self.log.say(
            f"fetch: {found.path.stat().st_size / 1e6:,.1f} MB, of which {found.moved / 1e6:,.1f} came over the network"
        )
        return found

    def _told(self, begin: float, end: float) -> Callable[[float, Progress], None]:
        """Reports progress as the part of the attempt between the two; it begins now."""
        began_s = self.control.stopwatch.elapsed_s

        def told(share: float, progress: Progress) -> None:
            # A report out of bounds would be refused together with the whole heartbeat, and cost the node its lease.
            done = min(1.0, max(0.0, share))
            at = begin + (end - begin) * done
            elapsed_s = self.control.stopwatch.elapsed_s - began_s
            self.report(
                {
                    "fraction": at,
                    "frame": max(0, progress.frame),
                    "fps": max(0.0, progress.fps or 0.0),
                    "speed": max(0.0, progress.speed or 0.0),
                    # The first reports say more of the start than of the work.
                    "eta_s": elapsed_s * (ENCODE_TO - at) / (at - begin) if done > 0.01 else None,
                }
            )

        return told

    async def _deliver(
        self, job: Job, destination: Destination, out: Path, made: Made, known: dict[str, object]
    ) -> CompleteRequest:
        self.report({"phase": "deliver", "fraction": 0.98})
        try:
            sums = await digests(out, made.sizes, self.control)
            evidence = with_checksums(dict(made.proof), sums, made.sizes)
            written = await asyncio.to_thread(write_proof, out, evidence)
        except OSError as error:
            raise from_os_error(error, "read the output back") from error
        products = [
            Product(
                name=name,
                size=size,
                sha256=sums[name],
                streams=facts.rendition_facts(name, made.probes[name], made.sizes) if name in made.probes else (),
            )
            for name, size in made.sizes.items()
        ]
        products.append(written)
        # Nothing becomes visible under an attempt that another node may have by now.
        await self.means.confirm()
        reports = await destination.publish(self._delivery(job, out, products), self.control)
        self.log.say(f"deliver: {len(reports)} files to {shown(job.output) if job.output else 'the master'}")
        self.report({"fraction": 1.0})
        return CompleteRequest(node=self.node, attempt=self.task.attempt, outputs=reports, facts=known)


def _film(source: Path | None) -> Path:
    if source is None:
        raise TaskFailedError(FailureClass.REQUEST, "cannot make a part of a film: the job has no input")
    return source


def _planned(plan: Plan, probe: Probe | None) -> dict[str, object]:
    """What is known before the encode begins."""
    return {"probe": None if probe is None else facts.of_probe(probe), "plan": facts.of_plan(plan)}


def _facts(plan: Plan, made: Made, known: Mapping[str, object]) -> dict[str, object]:
    return {**known, "plan": facts.of_plan(plan), "proof": dict(made.proof)}
