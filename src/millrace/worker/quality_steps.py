"""The steps of a task that look at quality: the search for a CRF before the encode, the comparison with the source after it."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from millrace.domain.failures import FailureClass
from millrace.domain.media.outputs import Plan, VideoOutput
from millrace.domain.media.per_title import without_redundant
from millrace.domain.media.probe import Probe
from millrace.domain.media.quality_search import Choice, Trial, choice, next_crf, refuses
from millrace.domain.media.samples import ProbeEncode, pieces, search_for, with_choices, with_crf
from millrace.domain.media.split import Chunk
from millrace.domain.media.vmaf import Measure, Quality, measure, pooled, shortfalls
from millrace.engines.engine import EngineFailure, Listing
from millrace.worker.failure import TaskFailedError
from millrace.worker.media_steps import MediaSteps, list_folder
from millrace.worker.side_by_side import Told, within

Qualities = Mapping[str, tuple[Measure, Quality]]
"""For each path of a rendition how it was compared, and what was found."""
PROBE_EVERY = 3
"""Of a probe every third frame is compared: half the time, and the same mean within 0.1 (docs/decisions/0041-quality.md)."""
TRIAL = "kept-trial"
ENCODE_PART = 0.7
"""Of a probe's progress: the encode before the comparison."""


async def compared(
    steps: MediaSteps, plan: Plan, probes: Mapping[str, Probe], source: Path | None, told: Told
) -> Qualities:
    """Compare each rendition that asks for it with the source, one after the other, each on all cores. `probes` are of what was made.

    Raises:
        TaskFailedError: class `output`; a floor does not hold, or frames are missing from the comparison.
    """
    files = [(file, file.video) for file in plan.files if file.video and file.video.vmaf]
    if not files:
        return {}
    work = steps.folder / "quality"
    commands = [
        steps.engine.compare(plan, file, source=source, folder=steps.out, work=work, cores=steps.cores)
        for file, _ in files
    ]
    await steps.run(commands, told, at_once=1)
    listing = await asyncio.to_thread(list_folder, work, tuple(steps.engine.scores(video.name) for _, video in files))
    found: dict[str, tuple[Measure, Quality]] = {}
    texts: list[str] = []
    for path, video in ((file.path, video) for file, video in files):
        how, scores = measure(video), _scores(steps, listing, video.name)
        wanted = how.frames_of(probes[path].video[0].frames)
        if len(scores) != wanted:
            sentence = (
                f"cannot prove the quality of {path}: {len(scores)} frames were compared, where {wanted} should be"
            )
            raise TaskFailedError(FailureClass.OUTPUT, sentence)
        quality = pooled(scores, video.rate)
        found[path] = how, quality
        steps.log.say(f"quality: {path}: {quality.sentence}")
        texts += [f"{path} {text}" for text in shortfalls(video, quality)]
    await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
    if texts:
        raise TaskFailedError(FailureClass.OUTPUT, f"the quality is not what was asked for: {'; '.join(texts)}")
    return found


async def searched(steps: MediaSteps, plan: Plan, probe: Probe | None, source: Path | None, told: Told) -> Plan:
    """The plan with a CRF for each rendition that names a quality, without the renditions that add nothing. It is to be divided anew.

    Raises:
        TaskFailedError: class `request`; the profile refuses what cannot be reached.
    """
    videos = [video for video in plan.videos if video.settings.quality]
    parts = pieces(plan, probe)
    choices: dict[str, Choice] = {}
    for number, video in enumerate(videos):
        trials: list[Trial] = []
        search = search_for(plan, video, probe)
        while (crf := next_crf(search, trials)) is not None:
            done = (number + len(trials) / search.target.probes) / len(videos)
            part = 1 / (search.target.probes * len(videos))
            trials.append(
                await _tried(steps, plan, with_crf(video, crf), parts, source=source, told=within(told, done, part))
            )
        choices[video.name] = found = choice(search, trials, sum(piece.frames for piece in parts))
        steps.log.say(f"quality: {video.name}: {found.evidence}")
        if refuses(search, found):
            sentence = (
                f"cannot make {video.name} as good as VMAF {found.wanted_vmaf:g}: {found.shortfall}, and CRF {found.crf:g} gives "
                f"{found.vmaf:.1f} at {found.bitrate_bps / 1000:,.0f} kbit/s; change its quality, or set unreachable to best"
            )
            raise TaskFailedError(FailureClass.REQUEST, sentence)
    return without_redundant(with_choices(plan, choices))


async def _tried(
    steps: MediaSteps, plan: Plan, video: VideoOutput, parts: Sequence[Chunk], *, source: Path | None, told: Told
) -> Trial:
    """Encode every piece with the CRF of `video`, and compare it with the film, unless somebody has."""
    work = steps.folder / "quality"
    how = measure(video, every=PROBE_EVERY)
    probes = [ProbeEncode(video=video, piece=piece, measure=how) for piece in parts]
    kept = None if steps.reuse is None else steps.engine.trial(plan, probes, source, work, steps.folder / TRIAL)
    if steps.reuse is not None and kept is not None and (data := await steps.reuse.recall(kept)) is not None:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found = msgspec.json.decode(data, type=Trial)
            steps.log.say(
                f"quality: {video.name} with CRF {found.crf:g} was tried before, on this film and with this build"
            )
            return found
    trial = await _trial(steps, plan, probes, work, source=source, told=told)
    if steps.reuse is not None and kept is not None:
        await steps.reuse.remember(kept, msgspec.json.encode(trial))
    return trial


async def _trial(
    steps: MediaSteps, plan: Plan, probes: Sequence[ProbeEncode], work: Path, *, source: Path | None, told: Told
) -> Trial:
    """What the probes of one rendition find. Raises TaskFailedError."""
    video, how = probes[0].video, probes[0].measure
    pairs = [steps.engine.probe_encode(plan, probe, source, work) for probe in probes]
    await steps.run([encode for encode, _ in pairs], within(told, 0, ENCODE_PART), at_once=steps.cores)
    await steps.run([look for _, look in pairs], within(told, ENCODE_PART, 1 - ENCODE_PART), at_once=steps.cores)
    listing = await asyncio.to_thread(list_folder, work, tuple(steps.engine.scores(probe.name) for probe in probes))
    scores = [_scores(steps, listing, probe.name) for probe in probes]
    # A seek in a file without an index may land in the middle of a piece: what counts is what was compared.
    frames = sum(min(probe.piece.frames, len(one) * how.every) for probe, one in zip(probes, scores, strict=True))
    if not frames:
        raise TaskFailedError(
            FailureClass.OUTPUT, f"cannot search the quality of {video.name}: no frame could be compared"
        )
    size = sum(listing.sizes.get(steps.engine.probed_file(probe), 0) for probe in probes)
    await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
    found = pooled([pair for one in scores for pair in one], video.rate)
    return Trial(crf=video.settings.crf or 0.0, vmaf=found.mean, bitrate_bps=round(size * 8 * video.rate / frames))


def _scores(steps: MediaSteps, listing: Listing, name: str) -> tuple[tuple[int, float], ...]:
    """The scores of a comparison. Raises TaskFailedError."""
    try:
        return steps.engine.read_scores(listing.contents.get(steps.engine.scores(name), b""))
    except EngineFailure as error:
        raise TaskFailedError(error.failure.failure_class, error.failure.message) from error
