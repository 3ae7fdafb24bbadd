"""What each part of a film needs of an input that comes over the network: found by the worker that divides it, which has all of it."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from millrace.domain.media.byte_ranges import BUNDLE_BYTES, Bundle, Ranges, Span, bundled, length
from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import Probe
from millrace.domain.media.source_map import SourceMap
from millrace.engines.engine import Command, Outcome
from millrace.worker.digest import digest_of
from millrace.worker.division import Shared, part_name
from millrace.worker.engine_run import collect
from millrace.worker.failure import from_os_error
from millrace.worker.media_steps import MediaSteps

READ_BYTES = 1 << 20
LARGEST = 0.8
"""A part that needs more than that of the film gets all of it: then nothing can be missing."""
MOST_BUNDLES = 1000
"""Of a film: their digests stand in what every worker that makes a part is told."""
MOST_AGAIN = 1.5
"""What all chunks together may fetch, of the film: each begins with the head of the file and with frames before its own."""


async def finely(found: SourceMap | None, steps: MediaSteps, plan: Plan, probe: Probe | None, *, helpers: int) -> Plan:
    """Divide a film whose input everybody has to fetch: into more chunks than workers only where each fetches little more than its own
    frames.
    """
    coarse = steps.divided(plan, probe, helpers=helpers, parts_each=1)
    if found is None or probe is None:
        return coarse
    fine = steps.divided(plan, probe, helpers=helpers)
    spans = await asyncio.to_thread(needs, found, fine, probe)
    fetched = sum(length(spans.get(part_name(one), ((0, found.size),))) for one in fine.split.chunks)
    return fine if fetched <= MOST_AGAIN * found.size else coarse


async def shared_out(
    found: SourceMap | None, steps: MediaSteps, plan: Plan, probe: Probe | None, source: Path, *, sha256: str = ""
) -> Shared:
    """What those who make the parts of a plan are told of the input, of which the SHA-256 may be known. Raises TaskFailedError."""
    spans = {} if found is None or probe is None else await asyncio.to_thread(needs, found, plan, probe)
    try:
        ranges = await asyncio.to_thread(_hashed, source, spans)
        whole_sha256 = sha256 or await asyncio.to_thread(digest_of, source)
    except OSError as error:
        raise from_os_error(error, "read the input") from error
    if ranges:
        asked, whole = (
            sum(sizes) / 1e6 for sizes in zip(*((one.needed, one.size) for one in ranges.values()), strict=True)
        )
        steps.log.say(f"ranges: {len(ranges)} parts fetch {asked:,.1f} MB together, in the place of {whole:,.1f} MB")
    return Shared(plan=plan, source_sha256=whole_sha256, ranges=ranges)


def needs(found: SourceMap, plan: Plan, probe: Probe) -> dict[str, tuple[Span, ...]]:
    """By the name of the part, what it needs of the input; nothing of those that are better given all. Pure."""
    by_name = {part_name(chunk): found.chunk(plan, probe, chunk) for chunk in plan.split.chunks}
    by_name[part_name(None)] = found.sides(plan, probe)
    return {name: spans for name, spans in by_name.items() if spans and length(spans) <= LARGEST * found.size}


async def mapped(steps: MediaSteps, source: Path) -> SourceMap | None:
    """Where the packets of the input lie; None where that cannot be known, which the log then explains."""
    # An index that says all of a long film has not told where its packets lie.
    probed = steps.probed or await said(steps, steps.engine.probe(source, sparing=True))
    opened = await said(steps, steps.engine.opening(source))
    try:
        return await asyncio.to_thread(steps.engine.map_source, source, probed, opened)
    except ValueError as error:
        steps.log.say(f"ranges: every part fetches all of the input: {error}")
    except OSError as error:
        raise from_os_error(error, "read the input") from error
    return None


async def said(steps: MediaSteps, command: Command) -> Outcome:
    """How a command that only describes has ended. Raises TaskFailedError."""
    return await collect(command, engines=steps.engines, control=steps.control, log=steps.log, folder=steps.folder)


def _hashed(source: Path, spans: Mapping[str, Sequence[Span]]) -> dict[str, Ranges]:
    """What the parts need, with its digests. Blocking. Raises OSError."""
    size = source.stat().st_size
    each = max(BUNDLE_BYTES, size // MOST_BUNDLES)
    with source.open("rb") as file:
        return {
            name: Ranges(
                size=size,
                bundles=tuple(Bundle(spans=one, sha256=_digest(file, one)) for one in bundled(needed, most_bytes=each)),
            )
            for name, needed in spans.items()
        }


def _digest(file: BinaryIO, spans: Sequence[Span]) -> str:
    found = hashlib.sha256()
    for begin, end in spans:
        file.seek(begin)
        for place in range(begin, end, READ_BYTES):
            found.update(file.read(min(READ_BYTES, end - place)))
    return found.hexdigest()
