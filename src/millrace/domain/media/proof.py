"""What proves that an output is the film that was planned, as one document. Pure.

The document says nothing that was not read back from the finished files. It is made only where the check found no
difference; what it adds is the evidence, so that who distrusts a join can look it up instead of searching for it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from msgspec import Struct

from millrace.domain.media.check import Produced, chunk_frames
from millrace.domain.media.outputs import AudioOutput, OutputFile, Plan, VideoOutput
from millrace.domain.media.probe import AudioStream, VideoStream
from millrace.domain.media.quality_search import Choice
from millrace.domain.media.rate_bound import Supply
from millrace.domain.media.vmaf import Measure, Quality

VERSION = 1
NAME = "proof.json"
"""The file's name beside the output."""

Document = dict[str, object]


class Maker(Struct, frozen=True, kw_only=True):
    """Who made a chunk: the node by its name, and the task and attempt in which it did. `beat`: the task that made the same chunk and
    was later, empty where none did.
    """

    node: str
    task: str
    attempt: int
    beat: str = ""

    def to_document(self) -> Document:
        """Plain JSON data."""
        return {
            "node": self.node,
            "task": self.task,
            "attempt": self.attempt,
            **({"beat": self.beat} if self.beat else {}),
        }


class Reused(Struct, frozen=True, kw_only=True):
    """A piece that was not made for this job: what it is (`chunk` where it belongs to one), its key in the cache, who made it, and when
    (UTC).
    """

    piece: str
    chunk: int | None
    key: str
    made_by: Maker
    made_at: str

    def to_document(self) -> Document:
        """Plain JSON data."""
        return {
            "piece": self.piece,
            "chunk": self.chunk,
            "made_by": self.made_by.to_document(),
            "made_at": self.made_at,
            "key": self.key,
        }


def proof(
    plan: Plan,
    produced: Produced,
    headers: Mapping[str, str],
    makers: Mapping[int | None, Maker] | None = None,
    reused: Sequence[Reused] = (),
) -> Document:
    """The evidence; `headers` is the SHA-256 of the initialisation segment that all chunks of a rendition have, `makers` who made
    each chunk (None: sound and text), where it was not the worker that joined them, and `reused` what came from a cache.
    """
    made_by = {number: {"made_by": maker.to_document()} for number, maker in (makers or {}).items()}
    return {
        "version": VERSION,
        "packaging": str(plan.packaging),
        "division": plan.split.reason,
        "frames": plan.frames,
        "frame_tolerance": plan.checks.frame_tolerance,
        "duration_s": _seconds(plan.duration),
        "chunks": [
            {
                "number": chunk.number,
                "first_frame": chunk.first,
                "frames": chunk.frames,
                **made_by.get(chunk.number, {}),
            }
            for chunk in plan.split.chunks
        ],
        "reused": [one.to_document() for one in reused],
        "files": [
            entry if entry["type"] == "video" else {**entry, **made_by.get(None, {})}
            for file in plan.files
            if file.path in produced.probes
            for entry in _streams(plan, file, produced, headers)
        ],
        **({"damage": plan.mending.document} if plan.mending else {}),
    }


def with_origin(document: Mapping[str, object], *, source: object, maker: Maker, encoders: Sequence[str]) -> Document:
    """The document with the source as it was read (None for a generated clip), and who made the output, or joined it, with which
    encoders.
    """
    return {**document, "source": source, "made_by": {**maker.to_document(), "encoders": list(encoders)}}


def with_quality(document: Document, compared: Mapping[str, tuple[Measure, Quality]]) -> Document:
    """The document with how each rendition compares with the source, by path."""
    files = document["files"]
    entries = files if isinstance(files, list) else []
    return {
        **document,
        "files": [
            {**entry, "vmaf": _quality(*compared[entry["path"]])}
            if entry["type"] == "video" and entry["path"] in compared
            else entry
            for entry in entries
        ],
    }


def _search(choice: Choice) -> Document:
    return {
        "wanted_vmaf": choice.wanted_vmaf,
        "crf": choice.crf,
        "expected_vmaf": choice.vmaf,
        "expected_bitrate": choice.bitrate_bps,
        "shortfall": choice.shortfall,
        "frames_of_a_probe": choice.frames,
        "probes": [{"crf": one.crf, "vmaf": one.vmaf, "bitrate": one.bitrate_bps} for one in choice.trials],
    }


def _quality(measure: Measure, found: Quality) -> Document:
    return {
        "model": measure.model,
        "compared_at": f"{measure.size.width}x{measure.size.height}",
        "every": measure.every,
        "frames": found.frames,
        "mean": found.mean,
        "harmonic_mean": found.harmonic_mean,
        "one_percent_low": found.one_percent_low,
        "worst": {"vmaf": found.worst.vmaf, "frame": found.worst.frame, "at_s": found.worst.at_s},
    }


def with_checksums(document: Document, sums: Mapping[str, str], sizes: Mapping[str, int]) -> Document:
    """The document with the SHA-256 and the size in bytes of every file of the output."""
    return {**document, "checksums": {name: {"sha256": sums[name], "size": sizes[name]} for name in sorted(sums)}}


def _streams(plan: Plan, file: OutputFile, produced: Produced, headers: Mapping[str, str]) -> list[Document]:
    probe = produced.probes[file.path]
    entries = []
    if file.video and probe.video:
        entries.append(_video(plan, file, file.video, produced, headers))
    for wanted, found in zip(file.audio, probe.audio, strict=False):
        entries.append(_audio(file, wanted, found))
    entries.extend(
        {"path": file.path, "type": "subtitles", "codec": text.codec, "language": text.language}
        for text in probe.subtitles
    )
    for kind, planned, count in (
        ("chapters", plan.chapters, probe.chapters),
        ("attachments", plan.attachments, probe.attachments),
    ):
        if planned:
            entries.append({"path": file.path, "type": kind, "count": {"planned": planned, "found": count}})
    return entries


def _video(
    plan: Plan, file: OutputFile, wanted: VideoOutput, produced: Produced, headers: Mapping[str, str]
) -> Document:
    found = produced.probes[file.path].video[0]
    document: Document = {
        "path": file.path,
        "type": "video",
        "codec": found.codec,
        "size": f"{found.width}x{found.height}",
        "pix_fmt": found.pix_fmt,
        "color": color_document(found),
        "frames": {"planned": wanted.frames, "found": found.frames},
        "frame_rate": str(wanted.rate),
        "on_the_grid": not found.is_vfr,
        "decoding_times_rise": not found.backsteps,
        "begins_s": _seconds(found.start - plan.origin),
        "ends_s": _seconds(found.end - plan.origin),
        "key_frames": len(found.keyframes),
    }
    if plan.split.chunks:
        document["frames_of_chunks"] = list(chunk_frames(plan, wanted, found))
        document["header_sha256"] = headers.get(wanted.name)
        document["joins"] = [_join(plan, wanted, found, chunk.first) for chunk in plan.split.chunks[1:]]
    if file.path in produced.supplies:
        document["rate_bound"] = _bound(produced.supplies[file.path], wanted.rate)
    if wanted.search:
        document["search"] = _search(wanted.search)
    return document


def color_document(stream: VideoStream) -> Document:
    """How a stream says that it is to be shown, and on what display it was mastered."""
    color, mastering, light, dolby = stream.color, stream.mastering, stream.light, stream.dolby_vision
    points = zip(("red", "green", "blue", "white"), (mastering and mastering.primaries) or (), strict=False)
    document: Document = {
        "space": color.space,
        "transfer": color.transfer,
        "primaries": color.primaries,
        "range": color.range,
        "hdr": color.hdr_name,
    }
    if mastering:
        document["mastering_display"] = {
            **{name: [float(x), float(y)] for name, (x, y) in points},
            **({"luminance": [float(one) for one in mastering.luminance]} if mastering.luminance else {}),
        }
    if light:
        document["light_level"] = {"max_cll": light.max_cll, "max_fall": light.max_fall}
    if dolby:
        document["dolby_vision"] = {"profile": dolby.profile, "compatibility": dolby.compatibility}
    if stream.dynamic_hdr:
        document["dynamic"] = True
    return document


def _bound(supply: Supply, rate: Fraction) -> Document:
    """What was asked for, and how empty a player's buffer gets that bits come into at that rate: below 0, a picture comes late."""
    return {
        "maxrate": supply.bound.rate_bps,
        "buffer": supply.bound.buffer_bits,
        "least_full": round(supply.least, 4),
        "at_s": _seconds(supply.picture / rate),
    }


def _join(plan: Plan, wanted: VideoOutput, found: VideoStream, frame: int) -> Document:
    """One join: where it is, and whether the key frame that begins the second chunk stands exactly there."""
    time = found.start + frame / wanted.rate
    nearest = min(found.keyframes, key=lambda key: abs(key - time), default=None)
    return {
        "frame": frame,
        "at_s": _seconds(time - plan.origin),
        "off_by_s": None if nearest is None else _seconds(nearest - time),
    }


def _audio(file: OutputFile, wanted: AudioOutput, found: AudioStream) -> Document:
    return {
        "path": file.path,
        "type": "audio",
        "codec": found.codec,
        "channels": found.channels,
        "language": wanted.language,
        "duration_s": {"planned": _seconds(wanted.duration), "found": _seconds(found.duration)},
        "samples": round(found.duration * found.sample_rate),
        "pieces": 1,
    }


def _seconds(value: Fraction) -> float:
    return round(float(value), 6)
