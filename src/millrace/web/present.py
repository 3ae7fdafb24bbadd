"""Numbers as people read them. Pure."""

from datetime import datetime

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in one unit: `3 min ago`."""
    if moment is None:
        return ""
    whole = int((now - moment).total_seconds())
    if whole < 2:
        return "now"
    length, unit = next((length, unit) for length, unit in _UNITS if whole >= length)
    return f"{whole // length} {unit} ago"


def span(seconds: float | None) -> str:
    """A length of time in one or two units."""
    if seconds is None:
        return ""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def size(count: int) -> str:
    """Bytes in a unit that fits."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 100 else f"{amount:.1f} {units[0]}"


def percent(fraction: float) -> str:
    """A share from 0 to 1; never 100 before the end."""
    return f"{int(min(max(fraction, 0), 1) * 100)} %"


def tail(location: str | None) -> str:
    """The last part of a path or URL, for a narrow column."""
    if not location:
        return "test clip"
    return location.rstrip("/").rpartition("/")[2] or location


def streams(found: list[dict[str, object]]) -> str:
    """What is in a file: `h264 1280x720, aac`."""
    parts = []
    for stream in found:
        codec = str(stream.get("codec") or stream.get("codec_name") or stream.get("kind") or "")
        width, height = stream.get("width"), stream.get("height")
        parts.append(f"{codec} {width}×{height}" if width and height else codec)  # noqa: RUF001  the sign for sizes
    return ", ".join(part for part in parts if part)
