"""One attempt of one task, from its input to its published output: the order of the steps."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.domain.failures import FailureClass
from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.proof import with_checksums, with_quality
from millrace.domain.media.quality_search import Choice
from millrace.engines.engine import Engine, Progress
from millrace.wire.v1.work import CompleteRequest, StartRequest, TaskView
from millrace.worker import facts
from millrace.worker.ahead import Ahead
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.control import Control
from millrace.worker.deliver import Delivery, Destination, Product, digests, write_proof
from millrace.worker.disk import check_room
from millrace.worker.engine_run import Engines
from millrace.worker.failure import TaskFailedError, from_os_error
from millrace.worker.fetch import Fetcher, Fetching, FetchLimits, shown
from millrace.worker.media_steps import Made, MediaSteps
from millrace.worker.quality_steps import compared, searched
from millrace.worker.shut_in import admit, record
from millrace.worker.spans import ENCODE_FROM, ENCODE_TO, Spans

Report = Callable[[Mapping[str, object]], None]
"""Changes fields of the task's report in the next heartbeat."""


class Job(Struct, frozen=True, kw_only=True):
    """What the master says is to be done."""

    input: str | None
    output: str | None
    overwrite: bool
    engine: str
    profile: Mapping[str, object]
    parameters: Mapping[str, object]


def job_of(spec: Mapping[str, object]) -> Job:
    """Read a task's spec. Raises TaskFailedError, class `request`, for one that makes no sense."""
    profile, parameters = spec.get("profile"), spec.get("parameters") or {}
    if not isinstance(profile, Mapping) or not isinstance(parameters, Mapping):
        raise TaskFailedError(
            FailureClass.REQUEST, "cannot run the job: it names no profile, or its parameters are none"
        )
    return Job(
        input=_text(spec, "input"),
        output=_text(spec, "output"),
        overwrite=spec.get("overwrite") is True,
        engine=_text(spec, "engine") or "ffmpeg",
        profile=profile,
        parameters=parameters,
    )


def _text(spec: Mapping[str, object], name: str) -> str | None:
    value = spec.get(name)
    if value is not None and not isinstance(value, str):
        raise TaskFailedError(FailureClass.REQUEST, f"cannot run the job: its {name} is no text")
    return value


class Means(Struct, frozen=True, kw_only=True):
    """What every attempt of a worker works with.

    Attributes:
        client: speaks to the masters.
        engines: by name, each bound to the encoders that work.
        running: how children are run.
        fetcher, limits: how inputs come.
        destination: from a job's output to the place that it means. Raises TaskFailedError.
        holds: whether the lease surely holds at this moment.
        confirm: returns when the master has said after the call that the node lives; where the attempt is no longer
            ours, it is cancelled by then.
        keep_free_bytes: room that must stay free in the scratch folder.
        cores: processor cores that one task may keep busy.
        ahead: the probe of an input that was expected.
    """

    client: AsyncClient
    engines: Mapping[str, Engine]
    running: Engines
    fetcher: Fetcher
    limits: FetchLimits
    destination: Callable[[str | None], Destination]
    holds: Callable[[], bool]
    confirm: Callable[[], Awaitable[None]]
    keep_free_bytes: int
    cores: int = 1
    ahead: Ahead | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """Runs once. `folder` is the attempt's private scratch folder, `node` the name under which it is reported."""

    task: TaskView
    node: str
    means: Means
    control: Control
    log: AttemptLog
    report: Report
    folder: Path

    async def run(self) -> CompleteRequest:
        """Do the work; what to report once everything is published.

        Raises:
            TaskFailedError: a step failed.
            HandBackError: this worker cannot do it now.
            StaleError: the attempt is no longer ours.
        """
        if not self.means.holds():
            # Given by a master that had not heard from us for long: nothing starts before it has.
            await self.means.confirm()
        job = job_of(self.task.spec)
        self.log.say(f"job {self.task.number}, attempt {self.task.attempt}, profile {self.task.profile}")
        self.log.say(f"sandbox: {record(self.means.running.able)}")
        self.log.say(f"limits: {self.means.running.bounds}")
        engine = self._engine(job.engine)
        destination = self.means.destination(job.output)
        await destination.check(self.task.job, overwrite=job.overwrite)
        check_room(self.folder, at_least_bytes=self.means.keep_free_bytes)
        source = await self._fetch(job)
        steps = MediaSteps(
            engine=engine,
            engines=self.means.running,
            control=self.control,
            log=self.log,
            folder=self.folder,
            out=self.folder / "out",
            cores=self.means.cores,
            ahead=self.means.ahead,
        )
        self.report({"phase": "probe"})
        probe = await steps.probe(source) if source is not None else None
        plan = steps.plan(job.profile, probe, job.parameters)
        await self.means.client.do(
            work.start(self.task.task, StartRequest(node=self.node, attempt=self.task.attempt)), patience_s=None
        )
        spans = Spans.of(plan)
        plan, chosen = await self._searched(steps, plan, probe, source, spans)
        self.report({"phase": "encode", "fraction": spans.encode_from})
        began_s = self.control.stopwatch.elapsed_s
        await steps.encode(plan, source, self._told(spans.encode_from, spans.encode_to))
        encoded_s = self.control.stopwatch.elapsed_s - began_s
        self.report({"phase": "verify", "fraction": spans.encode_to, "eta_s": None})
        made, _ = await asyncio.gather(self._proven(steps, plan, source, spans, chosen), destination.settle(steps.out))
        known = {
            **_facts(probe, plan, made, encoded_s),
            "sandbox": facts.of_confinement(record(self.means.running.able)),
            "limits": facts.of_bounds(self.means.running.bounds),
        }
        return await self._deliver(job, destination, steps.out, made, known)

    def _engine(self, name: str) -> Engine:
        engine = self.means.engines.get("ffmpeg" if name == "auto" else name)
        if engine is None:
            have = ", ".join(self.means.engines) or "none"
            raise TaskFailedError(
                FailureClass.CAPABILITY, f"cannot run the job: this worker has no engine {name} (it has {have})"
            )
        return engine

    async def _fetch(self, job: Job) -> Path | None:
        if job.input is None:
            self.log.say("fetch: no input is given, a test clip is generated")
            return None
        admit(job.input, self.means.running.able)
        self.report({"phase": "fetch"})
        self.log.say(f"fetch: {shown(job.input)}")

        def told(have: int, total: int | None) -> None:
            if total:
                self.report({"fraction": ENCODE_FROM * min(1.0, have / total)})

        path = await self.means.fetcher.fetch(
            Fetching(
                location=job.input,
                target=self.folder / "input",
                limits=self.means.limits,
                control=self.control,
                told=told,
            )
        )
        self.log.say(f"fetch: {path.stat().st_size / 1e6:,.1f} MB")
        return path

    async def _searched(
        self, steps: MediaSteps, plan: Plan, probe: Probe | None, source: Path | None, spans: Spans
    ) -> tuple[Plan, Mapping[str, Choice]]:
        if not spans.searches:
            return plan, {}
        self.report({"phase": "search", "fraction": ENCODE_FROM})
        return await searched(steps, plan, probe, source, self._told(ENCODE_FROM, spans.encode_from))

    async def _proven(
        self, steps: MediaSteps, plan: Plan, source: Path | None, spans: Spans, chosen: Mapping[str, Choice]
    ) -> Made:
        made = await steps.prove(plan)
        if spans.compares:
            self.report({"phase": "compare"})
        quality = await compared(steps, plan, made.probes, source, self._told(spans.encode_to, ENCODE_TO))
        return replace(made, proof=with_quality(dict(made.proof), plan, compared=quality, chosen=chosen))

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
        reports = await destination.publish(
            Delivery(
                job=self.task.job,
                task=self.task.task,
                node=self.node,
                attempt=self.task.attempt,
                folder=out,
                products=products,
                overwrite=job.overwrite,
            ),
            self.control,
        )
        self.log.say(f"deliver: {len(reports)} files to {shown(job.output) if job.output else 'the master'}")
        self.report({"fraction": 1.0})
        return CompleteRequest(node=self.node, attempt=self.task.attempt, outputs=reports, facts=known)


def _facts(probe: Probe | None, plan: Plan, made: Made, encoded_s: float) -> dict[str, object]:
    duration_s = float(plan.duration)
    return {
        "probe": None if probe is None else facts.of_probe(probe),
        "plan": facts.of_plan(plan),
        "proof": dict(made.proof),
        "encode_s": round(encoded_s, 3),
        "speed": round(duration_s / encoded_s, 2) if encoded_s > 0 else None,
    }
