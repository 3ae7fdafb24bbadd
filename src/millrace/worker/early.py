"""A film whose upload still arrives: planned by the index at its beginning, divided into parts that wait for their bytes, and compared in
the end with what all of the upload is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import BUNDLE_BYTES, Bundle, Ranges, Span, bundled
from millrace.domain.media.chunks import PER_WORKER
from millrace.domain.media.damage import OnDamage
from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.source_map import SourceMap
from millrace.domain.records import NewPart
from millrace.worker import facts
from millrace.worker.division import Division, Order, Shared, order_for, part_name
from millrace.worker.download import span_digest
from millrace.worker.failure import NotArrivedError, TaskFailedError, from_os_error
from millrace.worker.job import Job
from millrace.worker.media_steps import MediaSteps
from millrace.worker.part_ranges import MOST_BUNDLES, needs, said

FIRST_BYTES = 64 << 10
MOST_LOOKS = 8
"""At the beginning of a film, each for more of it."""
DAMAGE = "what is to be done about damage needs a look at all of it"
SEARCH = "a quality is searched in all of it"
IN_PICTURES = "what it is to be shown on stands in its pictures"
ODD_INDEX = "its index is none of the plain kind that is read here"
APART = "its pictures and its sound do not lie side by side"

Fetch = Callable[[Ranges], Awaitable[Path]]
"""Brings some ranges of the upload into a file of its length. Raises NotArrivedError."""


class Beginning(Struct, frozen=True, kw_only=True):
    """The first bytes of a film, in a file as long as all of it."""

    path: Path
    read: Ranges


async def divide(job: Job, steps: MediaSteps, division_of: Callable[[Plan], Division], fetch: Fetch, size: int) -> None:
    """End the attempt by dividing a film of `size` bytes, of which the beginning has arrived.

    Raises:
        NotArrivedError: the beginning has not arrived, or the film cannot be divided before all of it has.
        TaskFailedError: the job cannot be done.
    """

    def all_of_it(reason: str) -> NotArrivedError:
        return NotArrivedError(size, size, reason)

    beginning = await _beginning(steps, fetch, size)
    source = beginning.path
    try:
        probe = await steps.probed_briefly(source, fewest=0)
    except TaskFailedError:
        probe = None  # the hole behind the beginning may be to blame: who has all of it says what is wrong
    if probe is None:
        raise all_of_it(ODD_INDEX)
    if steps.engine.first_picture(source, probe) is not None:
        raise all_of_it(IN_PICTURES)
    probe = replace(probe, size_bytes=size)
    plan = steps.plan(job.profile, probe, job.parameters)
    if reason := _obstacle(job, plan):
        raise all_of_it(reason)
    division = division_of(plan)
    # Who divides it is free afterwards, so that there is always one to make the parts.
    helpers = max(1, await division.helpers())
    shared = steps.divided(plan, probe, helpers=helpers, parts_each=PER_WORKER, arriving=True)
    if not shared.split.workers:
        raise all_of_it(shared.split.reason)
    try:
        found = await asyncio.to_thread(steps.engine.map_index, source, await said(steps, steps.engine.opening(source)))
    except (ValueError, OSError, TaskFailedError) as error:
        raise all_of_it(str(error)) from None
    if found.opened_end > beginning.read.end:
        raise all_of_it(APART)
    ordered = partial(_ordered, steps, division, beginning, shared, probe=probe, found=found)
    order, parts = await asyncio.to_thread(ordered)
    steps.explain(shared)
    await steps.log.flush()
    known = {"probe": facts.of_probe(probe), "plan": facts.of_plan(shared)}
    if refused := await division.divide(order, parts, known):
        raise all_of_it(refused)


async def _beginning(steps: MediaSteps, fetch: Fetch, size: int) -> Beginning:
    wanted = min(FIRST_BYTES, size)
    for _ in range(MOST_LOOKS):
        path = await fetch(_ranges(size, ((0, wanted),)))
        head = await asyncio.to_thread(steps.engine.head, path, wanted)
        if head.reason:
            raise NotArrivedError(size, size, head.reason)
        if head.bytes <= wanted:
            return Beginning(path=path, read=await read_of(path, _ranges(size, ((0, wanted),))))
        wanted = head.bytes
    raise NotArrivedError(size, size, ODD_INDEX)


def _obstacle(job: Job, plan: Plan) -> str:
    """Why nothing can be begun before all of the film is there, as a clause; empty where something can."""
    if job.on_damage is not OnDamage.FAIL:
        return DAMAGE
    if any(video.settings.quality for video in plan.videos):
        return SEARCH
    return "" if plan.split.is_possible else plan.split.reason


def _ordered(
    steps: MediaSteps, division: Division, beginning: Beginning, plan: Plan, *, probe: Probe, found: SourceMap
) -> tuple[Order, Sequence[NewPart]]:
    """What those go by who make the parts, and the parts, those first whose bytes come first. Blocking."""
    spans = needs(found, plan, probe)
    ranges = {name: _ranges(found.size, one) for name, one in spans.items()}
    order = order_for(Shared(plan=plan, ranges=ranges), division.encoders, beginning.path, facts.of_probe(probe))
    parts = []
    for part in steps.parts(plan):
        chunk = next((one for one in plan.split.chunks if part.frames and one.number == part.number), None)
        own = ranges.get(part_name(chunk))
        parts.append(replace(part, awaits=found.size if own is None else own.end))
    return replace(order, early=beginning.read), sorted(parts, key=lambda part: part.awaits)


def _ranges(size: int, spans: Sequence[Span]) -> Ranges:
    groups = bundled(spans, most_bytes=max(BUNDLE_BYTES, size // MOST_BUNDLES))
    return Ranges(size=size, bundles=tuple(Bundle(spans=one, sha256="") for one in groups))


async def read_of(path: Path, ranges: Ranges | None) -> Ranges:
    """The same ranges of a file (None: all of it) with their digests. Raises TaskFailedError."""
    try:
        return await asyncio.to_thread(_digested, path, ranges)
    except OSError as error:
        raise from_os_error(error, "read the input") from error


def _digested(path: Path, ranges: Ranges | None) -> Ranges:
    size = path.stat().st_size
    ranges = ranges or _ranges(size, ((0, size),))
    with path.open("rb") as file:
        found = [replace(one, sha256=span_digest(file.fileno(), one.spans)) for one in ranges.bundles]
    return replace(ranges, bundles=tuple(found))


async def check_read(path: Path, early: Ranges, read: Sequence[Ranges], *, parts: int) -> None:
    """Pass, if all that was read of a film while it arrived is what stands in it now: by who divided it and by so many `parts`.

    Raises:
        TaskFailedError: class `input`; or `engine`, where some part does not say what it has read.
    """
    if len(read) < parts:
        raise TaskFailedError(
            FailureClass.ENGINE,
            f"cannot join the film: {parts - len(read)} of its parts do not say what they have read",
        )
    try:
        wrong = await asyncio.to_thread(_differs, path, (early, *read))
    except OSError as error:
        raise from_os_error(error, "read the input") from error
    if wrong is not None:
        raise TaskFailedError(
            FailureClass.INPUT,
            f"cannot use the upload: its bytes from {wrong[0]} on are not those that it had while it arrived; it must not change once "
            "it is sent: send it anew",
        )


def _differs(path: Path, read: Sequence[Ranges]) -> Span | None:
    """The first place where a file is not what was read of it. Blocking. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for ranges in read:
            for one in ranges.bundles:
                if ranges.size != size or span_digest(file.fileno(), one.spans) != one.sha256:
                    return one.spans[0]
    return None
