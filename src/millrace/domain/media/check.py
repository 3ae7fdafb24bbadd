"""Whether what was made is what was planned. No finding means proven."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction

from msgspec import Struct, field

from millrace.domain.failures import FailureClass
from millrace.domain.media.check_color import color_findings
from millrace.domain.media.languages import language_code, language_name, same_language
from millrace.domain.media.outputs import AudioOutput, OutputFile, Plan, Role, SubtitleOutput, VideoOutput
from millrace.domain.media.plan_tracks import WITH_PURPOSES
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.purposes import words
from millrace.domain.media.rate_bound import Supply

CODECS = {"h265": "hevc"}
AUDIO_SLACK = Fraction(1, 10)
"""Seconds that an encoder's frames may add to audio: one Opus or AAC frame and its padding."""


class Produced(Struct, frozen=True, kw_only=True):
    """Probes of what was made by the plan's paths, the size in bytes of every file in the folder, and for each playlist
    its segments: paths within the folder and lengths in seconds. `supplies`: how a player's buffer fares with what was made with a
    bound on its rate.
    """

    probes: Mapping[str, Probe]
    sizes: Mapping[str, int]
    segments: Mapping[str, tuple[tuple[str, Fraction], ...]] = field(default_factory=dict)
    supplies: Mapping[str, Supply] = field(default_factory=dict)


class Finding(Struct, frozen=True, kw_only=True):
    """One difference between plan and output. `failure_class` is what it points to when nothing worse is found."""

    path: str
    text: str
    failure_class: FailureClass = FailureClass.OUTPUT


def cause(findings: Sequence[Finding]) -> FailureClass:
    """What the findings point to: an empty file is a full disk, on which FFmpeg's HLS muxer ends with 0 (measured)."""
    classes = {finding.failure_class for finding in findings}
    return FailureClass.DISK if FailureClass.DISK in classes else FailureClass.OUTPUT


def check(plan: Plan, produced: Produced) -> tuple[Finding, ...]:
    """Every difference between the plan and what was made: files, streams, codecs, sizes, frames, times, alignment."""
    findings: list[Finding] = [
        Finding(path=path, text="is an empty file", failure_class=FailureClass.DISK)
        for path, size in sorted(produced.sizes.items())
        if size == 0
    ]
    for file in plan.files:
        findings.extend(Finding(path=file.path, text=text) for text in _file(plan, file, produced))
    if plan.packaging.is_segmented:
        findings.extend(_alignment(plan, produced))
        findings.extend(_segments(plan, produced))
    return tuple(findings)


def _file(plan: Plan, file: OutputFile, produced: Produced) -> list[str]:
    if not produced.sizes.get(file.path) and file.role is not Role.SUBTITLES:
        return ["is missing or empty"]
    if file.role is Role.SUBTITLES:
        return [] if file.path in produced.sizes else ["is missing"]
    probe = produced.probes.get(file.path)
    if probe is None:
        return ["could not be read back"]
    if file.role is Role.SPRITE:
        return _sprite(plan, file, probe)
    wanted_video = 1 if file.video else 0
    texts = []
    if len(probe.video) != wanted_video or len(probe.audio) != len(file.audio):
        texts.append(
            f"has {len(probe.video)} video and {len(probe.audio)} audio streams; planned: {wanted_video} and {len(file.audio)}"
        )
    if len(probe.subtitles) != len(file.subtitles):
        texts.append(f"has {len(probe.subtitles)} subtitle streams; planned: {len(file.subtitles)}")
    if file.video and probe.video:
        texts += _video(plan, file.video, probe.video[0])
    for wanted, found in zip(file.audio, probe.audio, strict=False):
        texts += _audio(plan, wanted, found)
    return texts + _beside(plan, file, probe)


def _beside(plan: Plan, file: OutputFile, probe: Probe) -> list[str]:
    """What goes along with pictures and sound."""
    texts = []
    if file.role is Role.MOVIE:
        texts += _languages(file.audio, probe.audio, "audio") + _languages(file.subtitles, probe.subtitles, "subtitles")
        if plan.packaging in WITH_PURPOSES:
            texts += _purposes(file.audio, probe.audio, "audio") + _purposes(
                file.subtitles, probe.subtitles, "subtitles"
            )
    if probe.chapters != plan.chapters:
        texts.append(f"has {probe.chapters} chapters; planned: {plan.chapters}")
    if probe.attachments != plan.attachments:
        texts.append(f"has {probe.attachments} attachments; planned: {plan.attachments}")
    return texts


def _languages(
    planned: Sequence[AudioOutput | SubtitleOutput], found: Sequence[AudioStream | SubtitleStream], kind: str
) -> list[str]:
    """Languages that a container can name stand there. Segments tell theirs in their own headers (see `hls_rules`)."""
    return [
        f"has {kind} in {language_name(there.language)}; planned: {language_name(wanted.language)}"
        for wanted, there in zip(planned, found, strict=False)
        if language_code(wanted.language) and not same_language(wanted.language, there.language)
    ]


def _purposes(
    planned: Sequence[AudioOutput | SubtitleOutput], found: Sequence[AudioStream | SubtitleStream], kind: str
) -> list[str]:
    """Who a track is for stands there."""
    return [
        f"has {kind}{words(there.purposes) or ' for everybody'}; planned:{words(wanted.purposes)}"
        for wanted, there in zip(planned, found, strict=False)
        if not set(wanted.purposes) <= set(there.purposes)
    ]


def _video(plan: Plan, wanted: VideoOutput, found: VideoStream) -> list[str]:
    texts = []
    codec = CODECS.get(wanted.settings.codec, str(wanted.settings.codec))
    if found.codec != codec:
        texts.append(f"has video in {found.codec}; planned: {codec}")
    if (found.width, found.height) != (wanted.size.width, wanted.size.height):
        texts.append(f"is {found.width}x{found.height}; planned: {wanted.size.width}x{wanted.size.height}")
    if found.sar != 1:
        texts.append(f"has pixels of shape {found.sar}; planned: square")
    if found.rotation_degrees:
        texts.append(f"is still turned by {found.rotation_degrees} degrees")
    if abs(found.frames - wanted.frames) > plan.checks.frame_tolerance:
        texts.append(f"has {found.frames} frames; planned: {wanted.frames}")
    length = found.end - found.start
    if abs(length - plan.duration) > plan.checks.duration_tolerance_s:
        texts.append(f"has {float(length):.3f} s of video; planned: {float(plan.duration):.3f} s")
    texts += _times(plan, wanted, found)
    if found.bit_depth > wanted.settings.bit_depth:
        texts.append(f"has {found.bit_depth} bits a sample; planned: {wanted.settings.bit_depth}")
    return texts if plan.pictures is None else [*texts, *color_findings(plan.pictures, found)]


def _times(plan: Plan, wanted: VideoOutput, found: VideoStream) -> list[str]:
    """Every frame stands at its own place, is stored after those it needs, and belongs to the chunk that should make it."""
    texts = []
    if found.is_vfr and found.frames > 1:
        texts.append("has frames that do not lie on the grid of its rate: some are missing, doubled or late")
    if found.backsteps:
        texts.append(f"goes back in time at {float(found.backsteps[0] - plan.origin):.3f} s")
    slack = plan.checks.frame_tolerance
    for chunk, frames in zip(plan.split.chunks, chunk_frames(plan, wanted, found), strict=True):
        is_last = chunk is plan.split.chunks[-1]
        if abs(frames - chunk.frames) > (slack if is_last else 0):
            texts.append(f"has {frames} frames from chunk {chunk.number}; planned: {chunk.frames}")
    return texts


def chunk_frames(plan: Plan, wanted: VideoOutput, found: VideoStream) -> tuple[int, ...]:
    """How many of the frames that were found stand in the places of each chunk.

    Chunks begin with key frames, so whole GOPs are counted, each by the place of its key frame.
    """
    counts = [0] * len(plan.split.chunks)
    begins = [chunk.first for chunk in plan.split.chunks]
    for time, frames in zip(found.keyframes, found.gops, strict=False):
        if begins:
            counts[max(0, bisect_right(begins, round((time - found.start) * wanted.rate)) - 1)] += frames
    return tuple(counts)


def _audio(plan: Plan, wanted: AudioOutput, found: AudioStream) -> list[str]:
    texts = []
    if found.codec != wanted.settings.codec:
        texts.append(f"has audio in {found.codec}; planned: {wanted.settings.codec}")
    if found.channels != wanted.channels:
        texts.append(f"has {found.channels} audio channels; planned: {wanted.channels}")
    if abs(found.start - plan.origin) > AUDIO_SLACK:
        texts.append(f"has audio that begins at {float(found.start):.3f} s; planned: {float(plan.origin):g}")
    if abs(found.duration - wanted.duration) > plan.checks.duration_tolerance_s + AUDIO_SLACK:
        texts.append(f"has {float(found.duration):.3f} s of audio; planned: {float(wanted.duration):.3f} s")
    return texts


def _sprite(plan: Plan, file: OutputFile, probe: Probe) -> list[str]:
    sprites = plan.sprites
    if sprites is None or not probe.video:
        return [f"{file.path} holds no picture"]
    wanted = (sprites.size.width * sprites.settings.columns, sprites.size.height * sprites.settings.rows)
    found = (probe.video[0].width, probe.video[0].height)
    return [] if found == wanted else [f"is {found[0]}x{found[1]}; planned: {wanted[0]}x{wanted[1]}"]


def _alignment(plan: Plan, produced: Produced) -> list[Finding]:
    """Key frames must stand at every `gop_frames`-th frame from 0 in each rendition, hence at equal times in all."""
    findings = []
    for file in plan.files:
        probe = produced.probes.get(file.path)
        if file.video is None or probe is None or not probe.video:
            continue
        found = probe.video[0]
        half = 1 / file.video.rate / 2
        wanted = [number / file.video.rate for number in range(0, found.frames, file.video.gop_frames)]
        times = [time - found.start for time in found.keyframes]
        if len(times) != len(wanted) or any(abs(a - b) > half for a, b in zip(times, wanted, strict=False)):
            findings.append(
                Finding(
                    path=file.path,
                    text=f"has {len(times)} key frames that are not exactly {file.video.gop_frames} frames apart ({len(wanted)} planned)",
                )
            )
        if abs(found.start - plan.origin) > half:
            text = f"begins at {float(found.start):.3f} s; planned: {float(plan.origin):g}"
            findings.append(Finding(path=file.path, text=text))
    return findings


def _segments(plan: Plan, produced: Produced) -> list[Finding]:
    """Every segment that a playlist names must be there, and video renditions must change segments together."""
    findings = []
    first: tuple[Fraction, ...] | None = None
    for file in plan.files:
        if file.role not in (Role.VIDEO, Role.AUDIO):
            continue
        segments = produced.segments.get(file.path, ())
        if not segments:
            findings.append(Finding(path=file.path, text="names no segments"))
        findings.extend(
            Finding(path=file.path, text=f"names {path}, which is missing or empty")
            for path, _ in segments
            if not produced.sizes.get(path)
        )
        if file.video is None:
            continue
        lengths = tuple(length for _, length in segments)
        half = 1 / file.video.rate / 2
        if first is None:
            first = lengths
        elif len(lengths) != len(first) or any(abs(a - b) > half for a, b in zip(lengths, first, strict=True)):
            findings.append(Finding(path=file.path, text="has segments of other lengths than the first rendition"))
    return findings
