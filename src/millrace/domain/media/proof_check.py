"""Whether a finished output is still what its proof says. Pure.

The files are described once more by the code that made the proof, and both descriptions are compared. What only the source could
tell (VMAF, the search for a quality) is not judged.
"""

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from millrace.domain.media.check import Finding, Produced
from millrace.domain.media.ladder import Size
from millrace.domain.media.outputs import AudioOutput, OutputFile, Plan, Role, VideoOutput
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import AudioSettings, Checks, Packaging, VideoSettings
from millrace.domain.media.proof import VERSION, Document, proof
from millrace.domain.media.rate_bound import Bound, Supply
from millrace.domain.media.split import Chunk, Split

COMPARED = (
    "codec", "size", "pix_fmt", "color", "frames", "on_the_grid", "decoding_times_rise", "begins_s", "ends_s", "key_frames",
    "frames_of_chunks", "joins", "header_sha256", "rate_bound", "channels", "duration_s", "samples", "count",
)  # fmt: skip
"""What of a stream's description the finished files tell by themselves."""
PADDING = 1152
"""Samples that a decoder may give more or fewer than the packets say: a frame of MP3, the longest whose end may be padding."""
_RATE = re.compile(r"[1-9]\d{0,8}(/[1-9]\d{0,8})?")
_SIZE = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}")


class Checksum(Struct, frozen=True):
    """A file as the proof knows it: the SHA-256 in hexadecimal, and its bytes."""

    sha256: str
    size: int


class Decoded(Struct, frozen=True, kw_only=True):
    """What a decoder made of a file: pictures, whether each was shown after the one before, and the samples of each sound stream.
    `fault` is what it complained of.
    """

    frames: int = 0
    rises: bool = True
    samples: Sequence[int] = ()
    fault: str = ""


class Found(Struct, frozen=True, kw_only=True):
    """What lies there, by the paths of the proof: files that can be read, what the streams are (None: not to be told), what a
    decoder makes of them, the SHA-256 of each rendition's initialisation segment, and how a player's buffer fares with it.
    """

    checksums: Mapping[str, Checksum]
    probes: Mapping[str, Probe | None]
    decoded: Mapping[str, Decoded]
    headers: Mapping[str, str] = {}
    supplies: Mapping[str, Supply] = {}


class Claims(Struct, frozen=True, kw_only=True):
    """A proof that was read. `plan` is as much of the plan as it tells, `bounds` are those on the rates of some files."""

    document: Document
    plan: Plan
    checksums: Mapping[str, Checksum]
    bounds: Mapping[str, Bound] = {}

    @property
    def media(self) -> tuple[str, ...]:
        """The files (or playlists with their segments) that hold pictures and sound."""
        return tuple(file.path for file in self.plan.files)

    def rate(self, path: str) -> Fraction:
        """Pictures in a second. Raises KeyError for a file without pictures."""
        rates = {file.path: file.video.rate for file in self.plan.files if file.video}
        return rates[path]

    @property
    def joins(self) -> int:
        """How many there are in each rendition."""
        return max(0, len(self.plan.split.chunks) - 1)


def read(data: bytes) -> Claims:
    """The claims of a proof, which anybody may have written.

    Raises:
        ValueError: the bytes are no proof that this version knows; the message says what is wrong with them.
    """
    try:
        document = json.loads(data)
        said = msgspec.convert(document, _Said)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise ValueError(f"it is no proof ({error})") from None
    if said.version != VERSION:
        raise ValueError(f"it is of version {said.version}, and this is known: {VERSION}")
    for name in (*said.checksums, *(entry.path for entry in said.files)):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
            raise ValueError(f"it names {name!r}, which does not lie beside it")
    bounds = {
        entry.path: Bound(rate_bps=entry.rate_bound.maxrate, buffer_bits=max(1, entry.rate_bound.buffer))
        for entry in said.files
        if entry.rate_bound and entry.type == "video"
    }
    return Claims(document=document, plan=_plan(said), checksums=said.checksums, bounds=bounds)


def differences(claims: Claims, found: Found) -> tuple[Finding, ...]:
    """Everything that does not hold: of the claims themselves, of the bytes, of the streams, and of what a decoder gives."""
    return (
        *_contradictions(claims),
        *_bytes(claims, found),
        *_streams(claims, found),
        *(one for path in claims.media for one in _pictures_and_sound(claims, path, found.decoded.get(path))),
    )


def _contradictions(claims: Claims) -> list[Finding]:
    """What the proof says that no good output can be."""
    findings = []
    plan = claims.plan
    place = 0
    for chunk in plan.split.chunks:
        if chunk.first != place or chunk.frames <= 0:
            findings.append(_finding("", f"chunk {chunk.number} begins at frame {chunk.first}, where {place} is next"))
        place = chunk.end
    if plan.split.chunks and place != claims.document["frames"]:
        findings.append(_finding("", f"its chunks end at frame {place} of {claims.document['frames']}"))
    for entry in _entries(claims.document):
        if entry["type"] != "video":
            continue
        path, frames = str(entry["path"]), entry["frames"]
        if abs(frames["found"] - frames["planned"]) > plan.checks.frame_tolerance:
            findings.append(_finding(path, f"had {frames['found']} frames; planned: {frames['planned']}"))
        findings += [
            _finding(path, f"the proof itself says that {key} is {entry.get(key)}")
            for key in ("on_the_grid", "decoding_times_rise")
            if entry.get(key) is not True
        ]
        half = 1 / Fraction(entry["frame_rate"]) / 2
        findings += [
            _finding(path, f"the join at frame {join['frame']} has no key frame at its place")
            for join in entry.get("joins", ())
            if join["off_by_s"] is None or abs(join["off_by_s"]) > half
        ]
    return findings


def _bytes(claims: Claims, found: Found) -> list[Finding]:
    findings = []
    for name, wanted in claims.checksums.items():
        there = found.checksums.get(name)
        if there is None:
            findings.append(_finding(name, "is missing, or is no file"))
        elif there.size != wanted.size:
            findings.append(_finding(name, f"has {there.size} bytes; in the proof: {wanted.size}"))
        elif there.sha256 != wanted.sha256:
            findings.append(_finding(name, "has other bytes than those of the proof"))
    return findings


def _streams(claims: Claims, found: Found) -> list[Finding]:
    findings = [
        _finding(path, "cannot be read as media") for path in claims.media if path in found.probes and not found.probes[path]
    ]  # fmt: skip
    probes = {path: probe for path, probe in found.probes.items() if probe}
    made = proof(claims.plan, Produced(probes=probes, sizes={}, supplies=found.supplies), found.headers)
    again = {(entry["path"], entry["type"], number): entry for number, entry in _numbered(made)}
    for number, claimed in _numbered(claims.document):
        path = str(claimed["path"])
        if path not in probes:
            continue
        now = again.get((path, claimed["type"], number))
        if now is None:
            findings.append(_finding(path, f"has no such {claimed['type']} any more"))
            continue
        keys = [key for key in COMPARED if key in claimed and key in now]
        if claims.plan.packaging is not Packaging.CMAF:  # the header of the pieces is in no file
            keys = [key for key in keys if key != "header_sha256"]
        findings += [
            _finding(path, f"has {key} {now[key]}; in the proof: {claimed[key]}")
            for key in keys
            if _differs(claimed[key], now[key])
        ]
    return findings


def _pictures_and_sound(claims: Claims, path: str, decoded: Decoded | None) -> list[Finding]:
    """What comes out of a decoder, against what the proof counted in packets."""
    if decoded is None:
        return []
    if decoded.fault:
        return [_finding(path, f"does not decode to its end: {decoded.fault}")]
    entries = [entry for entry in _entries(claims.document) if entry["path"] == path]
    findings = [] if decoded.rises else [_finding(path, "shows a picture twice, or out of turn")]
    for entry in entries:
        if entry["type"] == "video" and decoded.frames != entry["frames"]["found"]:
            text = f"gives {decoded.frames} pictures when it is decoded; in the proof: {entry['frames']['found']}"
            findings.append(_finding(path, text))
    sound = [entry["samples"] for entry in entries if entry["type"] == "audio"]
    if len(sound) != len(decoded.samples) or any(
        abs(there - said) > PADDING for there, said in zip(decoded.samples, sound, strict=False)
    ):
        text = f"gives {_list(decoded.samples)} samples of sound when it is decoded; in the proof: {_list(sound)}"
        findings.append(_finding(path, text))
    return findings


def _differs(claimed: object, now: object) -> bool:
    """Whether two parts of a description differ; what only the older one has was planned, and is in no file."""
    if isinstance(claimed, dict) and isinstance(now, dict):
        return any(key not in claimed or _differs(claimed[key], value) for key, value in now.items())
    if isinstance(claimed, list) and isinstance(now, list):
        return len(claimed) != len(now) or any(_differs(one, other) for one, other in zip(claimed, now, strict=True))
    return claimed != now


def _numbered(document: Document) -> list[tuple[int, dict[str, Any]]]:
    """The streams, each with its number among those of its kind in its file."""
    seen: dict[tuple[object, object], int] = {}
    found = []
    for entry in _entries(document):
        key = (entry["path"], entry["type"])
        seen[key] = seen.get(key, -1) + 1
        found.append((seen[key], entry))
    return found


def _entries(document: Document) -> list[dict[str, Any]]:
    files = document["files"]
    return files if isinstance(files, list) else []


def _list(numbers: Sequence[object]) -> str:
    return ", ".join(map(str, numbers)) or "no"


def _finding(path: str, text: str) -> Finding:
    return Finding(path=path or "the proof", text=text)


# The shape of what is read ------------------------------------------------------------------------------------------


class _Counted(Struct):
    planned: int
    found: int


class _Length(Struct):
    planned: float
    found: float


class _Join(Struct):
    frame: int
    off_by_s: float | None


class _Bound(Struct):
    maxrate: int
    buffer: int


class _Stream(Struct):
    path: str
    type: str
    frames: _Counted | None = None
    frame_rate: str = ""
    size: str = ""
    joins: tuple[_Join, ...] = ()
    duration_s: _Length | None = None
    samples: int | None = None
    language: str | None = None
    count: _Counted | None = None
    rate_bound: _Bound | None = None


class _Chunk(Struct):
    number: int
    first_frame: int
    frames: int


class _Said(Struct):
    version: int
    packaging: Packaging
    frames: int
    frame_tolerance: int
    duration_s: float
    chunks: tuple[_Chunk, ...]
    files: tuple[_Stream, ...]
    checksums: dict[str, Checksum]


def _plan(said: _Said) -> Plan:
    chunks = tuple(
        Chunk(number=one.number, first=one.first_frame, end=one.first_frame + one.frames) for one in said.chunks
    )
    files: dict[str, OutputFile] = {}
    counts = {"chapters": 0, "attachments": 0}
    for entry in said.files:
        file = files.setdefault(entry.path, OutputFile(path=entry.path, role=Role.MOVIE))
        if entry.type == "video":
            file = msgspec.structs.replace(file, video=_video(entry))
        elif entry.type == "audio":
            file = msgspec.structs.replace(file, audio=(*file.audio, _audio(entry)))
        elif entry.type in counts and entry.count:
            counts[entry.type] = entry.count.planned
        files[entry.path] = file
    return Plan(
        profile="",
        packaging=said.packaging,
        files=tuple(files.values()),
        duration=Fraction(str(said.duration_s)),
        checks=Checks(frame_tolerance=said.frame_tolerance),
        segment=Fraction(0),
        split=Split(chunks=chunks),
        chapters=counts["chapters"],
        attachments=counts["attachments"],
    )


def _video(entry: _Stream) -> VideoOutput:
    if entry.frames is None or not _RATE.fullmatch(entry.frame_rate) or not _SIZE.fullmatch(entry.size):
        raise ValueError(f"it does not tell the frames, the rate and the size of {entry.path}")
    width, _, height = entry.size.partition("x")
    return VideoOutput(
        name=entry.path,
        size=Size(width=int(width), height=int(height)),
        rate=Fraction(entry.frame_rate),
        frames=entry.frames.planned,
        gop_frames=1,
        settings=VideoSettings(),
    )


def _audio(entry: _Stream) -> AudioOutput:
    if entry.duration_s is None or entry.samples is None:
        raise ValueError(f"it does not tell the length of the sound of {entry.path}")
    return AudioOutput(
        name=entry.path,
        stream=0,
        channels=0,
        duration=Fraction(str(entry.duration_s.planned)),
        settings=AudioSettings(),
        language=entry.language,
    )
