"""How things are written on the screen: short, and harmless. Pure."""

import re
from datetime import datetime

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements (ECMA-48, 5.4)
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, clipboards
    r"|\x1b[ -/]*[0-~]?"
)
# What would move the cursor, and what turns the direction of writing (Unicode UAX 9), shows as a mark instead.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Text from elsewhere in one line, without anything that a terminal would obey."""
    return _CONTROL.sub("\ufffd", _SEQUENCE.sub("", text)).expandtabs(4)


def span(seconds: float | None) -> str:
    """A length of time in at most six characters; `-` for none."""
    if seconds is None:
        return "-"
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def size(count: float | None) -> str:
    """Bytes in at most six characters (powers of 1024); `-` for none."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "K", "M", "G"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if unit in "BK" or amount >= 100 else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}T"


def percent(value: float | None) -> str:
    """Of one CPU; `-` for none."""
    return "-" if value is None else f"{value:.1f}%" if value < 1000 else f"{value:.0f}%"


def clock(at: datetime | None) -> str:
    """A time of day on this machine, with its day where that is another one; `-` for none."""
    if at is None:
        return "-"
    here = at.astimezone()
    today = datetime.now(here.tzinfo).date() == here.date()
    return here.strftime("%H:%M:%S" if today else "%m-%d %H:%M")
