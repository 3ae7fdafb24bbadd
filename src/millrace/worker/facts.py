"""Probes and plans as plain data: what the master keeps with a job and shows to people."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import PurePosixPath

from msgspec import Struct
from msgspec.structs import asdict

from millrace.domain.media.outputs import Plan
from millrace.domain.media.probe import AudioStream, Probe, SubtitleStream, VideoStream
from millrace.domain.media.proof import color_document
from millrace.domain.media.reasons import steps
from millrace.process.sandbox import Confinement
from millrace.worker.bounds import Bounds

Document = dict[str, object]


def plain(value: object) -> object:
    """Any value of the domain as JSON data; fractions as text such as `30000/1001`."""
    if isinstance(value, Struct):
        return {key: plain(inner) for key, inner in asdict(value).items()}
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def of_probe(probe: Probe) -> Document:
    """A source as people want to see it."""
    return {
        "formats": list(probe.formats),
        "duration_s": round(float(probe.duration), 3),
        "size": probe.size_bytes,
        "streams": [
            *({**_video(stream), "key_frames": _key_frames(stream)} for stream in probe.video),
            *_beside_pictures(probe),
        ],
        "chapters": probe.chapters,
        "attachments": probe.attachments,
        "data_streams": probe.data,
    }


def _key_frames(stream: VideoStream) -> Document:
    """How many there are, and the mean and the longest distance between two of them in seconds; None where there is one."""
    apart = [float(later - earlier) for earlier, later in pairwise(stream.keyframes)]
    return {
        "count": len(stream.keyframes),
        "apart_s": round(sum(apart) / len(apart), 3) if apart else None,
        "longest_s": round(max(apart), 3) if apart else None,
    }


def streams(probe: Probe) -> list[Document]:
    """Every stream of a file, video first."""
    return [*(_video(stream) for stream in probe.video), *_beside_pictures(probe)]


def _beside_pictures(probe: Probe) -> list[Document]:
    return [*(_audio(stream) for stream in probe.audio), *(_subtitles(stream) for stream in probe.subtitles)]


def of_confinement(record: Confinement) -> Document:
    """What shuts engines in, what is in force, and what is not and why."""
    return {"mechanism": str(record.mechanism), "in_force": list(record.in_force), "missing": list(record.missing)}


def of_bounds(bounds: Bounds) -> Document:
    """What an engine may take of the machine: what is in force, and what is not and why."""
    return {"in_force": list(bounds.in_force), "missing": list(bounds.missing)}


def of_plan(plan: Plan) -> Document:
    """What was planned."""
    return {
        "packaging": str(plan.packaging),
        "duration_s": round(float(plan.duration), 3),
        "frames": plan.frames,
        "files": [plain(file) for file in plan.files],
        "notes": list(plan.notes),
        "division": plan.split.reason,
        "chunks": [{"first_frame": chunk.first, "frames": chunk.frames} for chunk in plan.split.chunks],
        "decision": plain(plan.split.decision),
        "steps": steps(plan),
    }


def rendition_facts(name: str, probe: Probe, sizes: Mapping[str, int]) -> list[Document]:
    """The streams of one output, with the size of the rendition in bytes and its average bit rate.

    A playlist stands for the segments beside it, so their sizes count.
    """
    size = _rendition_size(name, sizes)
    duration = float(probe.duration)
    bitrate = round(size * 8 / duration) if duration > 0 else None
    return [{**stream, "size": size, "bitrate": bitrate} for stream in streams(probe)]


def _rendition_size(name: str, sizes: Mapping[str, int]) -> int:
    path = PurePosixPath(name)
    if path.suffix != ".m3u8":
        return sizes.get(name, 0)
    return sum(size for other, size in sizes.items() if PurePosixPath(other).parent == path.parent)


def _video(stream: VideoStream) -> Document:
    rate = stream.frame_rate
    return {
        "type": "video",
        "codec": stream.codec,
        "width": stream.width,
        "height": stream.height,
        "frames": stream.frames,
        "frame_rate": None if rate is None else str(rate),
        "fps": None if rate is None else round(float(rate), 3),
        "duration_s": round(float(stream.end - stream.start), 3),
        "pix_fmt": stream.pix_fmt,
        "bit_depth": stream.bit_depth,
        "sar": str(stream.sar),
        "field_order": stream.field_order,
        "rotation_degrees": stream.rotation_degrees,
        "variable_frame_rate": stream.is_vfr,
        "hdr": stream.color.is_hdr,
        "color": color_document(stream),
    }


def _audio(stream: AudioStream) -> Document:
    return {
        "type": "audio",
        "codec": stream.codec,
        "sample_rate": stream.sample_rate,
        "channels": stream.channels,
        "layout": stream.layout,
        "language": stream.language,
        "purposes": list(stream.purposes),
        "duration_s": round(float(stream.duration), 3),
    }


def _subtitles(stream: SubtitleStream) -> Document:
    purposes = [*stream.purposes, *(("forced",) if stream.forced else ())]
    return {"type": "subtitles", "codec": stream.codec, "language": stream.language, "purposes": purposes}
