"""What a user is told at the end of `transcode`: a table, or one JSON document."""

import sys
from pathlib import Path, PurePosixPath
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import asdict

from millrace.cli import show
from millrace.process.sandbox import SWITCHED_OFF
from millrace.wire.v1.jobs import JobDetail, OutputView

ENTRY_POINTS = ("master.m3u8", "thumbnails.vtt")
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
"""Files that hold one picture, which a probe describes as a film of one frame."""
NOT_PLAYED = PICTURES | {".vtt"}


class Row(Struct, frozen=True, kw_only=True):
    """One rendition as it came out. `speed` is seconds of media made for each second of the whole job.

    What makes no sense for its type is None: a picture has a size, and neither length nor bit rate.
    """

    name: str
    type: str
    codec: str
    size: int
    bitrate: int | None
    duration_s: float | None
    speed: float | None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    channels: int | None = None
    language: str | None = None
    vmaf: float | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """All that is told of the job."""

    state: str
    out: Path
    entry: Path | None
    failure: dict[str, str] | None
    log: Path | None
    seconds: float
    notes: list[str]
    renditions: list[Row]
    files: int
    size: int
    damage: object = None

    @classmethod
    def of(cls, job: JobDetail, out: Path, log: Path | None) -> Self:
        """From the job as the master tells it."""
        seconds = (job.finished - job.started).total_seconds() if job.finished and job.started else 0.0
        return cls(
            state=job.state,
            out=out,
            entry=_entry(job, out),
            failure={"class": job.failure.failure_class, "message": job.failure.message} if job.failure else None,
            log=log,
            seconds=round(seconds, 3),
            notes=_notes(job),
            renditions=[row for output in job.outputs for row in _rows(output, seconds, _vmaf(job, output.name))],
            files=len(job.outputs),
            size=sum(output.size for output in job.outputs),
            damage=(job.facts or {}).get("damage"),
        )

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        plain = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return plain | {
            "renditions": [{k: v for k, v in asdict(row).items() if v is not None} for row in self.renditions]
        }


def _notes(job: JobDetail) -> list[str]:
    facts = job.facts or {}
    notes = [str(note) for note in _listed(facts.get("plan"), "notes")]
    missing = _listed(facts.get("sandbox"), "missing")
    if missing and missing != [SWITCHED_OFF]:
        notes.append(f"This machine shuts FFmpeg in only in part. Not in force: {', '.join(map(str, missing))}.")
    return notes


def _listed(document: object, name: str) -> list[object]:
    listed = document.get(name) if isinstance(document, dict) else None
    return listed if isinstance(listed, list) else []


def _vmaf(job: JobDetail, name: str) -> float | None:
    """The mean VMAF of a rendition, where it was compared with the source."""
    for file in _listed((job.facts or {}).get("proof"), "files"):
        if isinstance(file, dict) and file.get("path") == name and isinstance(file.get("vmaf"), dict):
            return float(file["vmaf"]["mean"])
    return None


def _entry(job: JobDetail, out: Path) -> Path | None:
    """The file that a player opens: the top playlist, or the only file with streams."""
    names = [output.name for output in job.outputs]
    for name in ENTRY_POINTS:
        if name in names:
            return out / name
    media = [output.name for output in job.outputs if output.streams]
    return out / media[0] if media else None


def _rows(output: OutputView, seconds: float, vmaf: float | None) -> list[Row]:
    rows = []
    for stream in output.streams:
        facts: dict[str, Any] = dict(stream)
        if PurePosixPath(output.name).suffix in PICTURES:
            rows.append(_picture(output, facts))
            continue
        duration_s = float(facts.get("duration_s") or 0.0)
        kept = {key: facts.get(key) for key in ("width", "height", "frames", "fps", "channels", "language")}
        rows.append(
            Row(
                name=output.name,
                type=str(facts.get("type", "")),
                codec=str(facts.get("codec", "")),
                size=int(facts.get("size") or output.size),
                bitrate=facts.get("bitrate"),
                duration_s=duration_s,
                speed=round(duration_s / seconds, 2) if seconds else None,
                vmaf=vmaf if facts.get("type") == "video" else None,
                **kept,
            )
        )
    return rows


def _picture(output: OutputView, facts: dict[str, Any]) -> Row:
    return Row(
        name=output.name,
        type="image",
        codec=str(facts.get("codec", "")),
        size=output.size,
        bitrate=None,
        duration_s=None,
        speed=None,
        width=facts.get("width"),
        height=facts.get("height"),
    )


def tell(summary: Summary, *, as_json: bool) -> None:
    """Print it: the result on stdout, why it failed on stderr."""
    if as_json:
        show.json_document(summary.document())
    elif summary.state == "completed":
        _table(summary)
    if summary.failure is not None:
        hint = " (--overwrite)" if summary.failure["message"].endswith("allow overwriting") else ""
        sys.stderr.write(f"millrace: {summary.failure['message']}{hint}\n")
        if summary.log is not None:
            sys.stderr.write(f"  The log is in {summary.log}\n")


def _table(summary: Summary) -> None:
    rows = [
        _cells(row, first=number == 0 or row.name != summary.renditions[number - 1].name)
        for number, row in enumerate(summary.renditions)
    ]
    pictured = any(row.width for row in summary.renditions)
    headings = (
        "rendition",
        "resolution" if pictured else "sound",
        "codec",
        "bitrate",
        "VMAF",
        "frames",
        "size",
        "speed",
    )
    # A column that no row has anything for, such as the frames of an audio file, is left out.
    kept = [number for number in range(len(headings)) if any(row[number] for row in rows)]
    show.table(
        [headings[number] for number in kept],
        [[row[number] for number in kept] for row in rows],
        empty="There are no renditions.",
        blocks=True,
    )
    print()
    for note in summary.notes:
        show.sentences(f"Note: {note}")
    files = "1 file" if summary.files == 1 else f"{summary.files} files"
    entry = summary.entry or summary.out
    verb = "Look at" if entry.suffix in NOT_PLAYED or summary.entry is None else "Play"
    done = f"Done: {files}, {show.size(summary.size)}, in {show.span(summary.seconds)}. {verb}"
    show.sentences(done, last=str(entry))


def _cells(row: Row, *, first: bool) -> list[str]:
    """What the table shows of a stream; size and bit rate are the file's, and stand beside its first stream only."""
    path = PurePosixPath(row.name)
    name = str(path.parent) if path.suffix == ".m3u8" and str(path.parent) != "." else row.name
    if row.width:
        shape = f"{row.width}x{row.height}" + (f" {row.fps:g} fps" if row.fps else "")
    else:
        shape = f"{row.channels} channel{'s' * (row.channels > 1)}" if row.channels else ""
    return [
        show.escape(name) if first else "",
        shape,
        row.codec,
        f"{row.bitrate / 1000:.0f} kbit/s" if row.bitrate and first else "",
        f"{row.vmaf:.1f}" if row.vmaf is not None else "",
        str(row.frames) if row.frames else "",
        show.size(row.size) if first else "",
        f"{row.speed:g}x" if row.speed else "",
    ]
