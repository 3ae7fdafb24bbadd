"""What a process says of itself, sd_notify(3): from a datagram to a notice. Pure."""

from collections.abc import Mapping

from msgspec import Struct

MAX_STATUS_CHARS = 200
_MAX_USEC = 86_400 * 10**6


class Notice(Struct, frozen=True, kw_only=True):
    """One datagram. None where it says nothing of that; what we do not know, such as FDSTORE and MAINPID, is left out.

    `failed` is WATCHDOG=trigger; `watchdog_s` asks for another interval of the watchdog, 0 for none; `extend_s` for that
    much time from now on.
    """

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    alive: bool = False
    failed: bool = False
    status: str | None = None
    watchdog_s: float | None = None
    extend_s: float | None = None


def notice_from(datagram: bytes) -> Notice:
    """The notice in a datagram of lines `NAME=value`; where a name stands twice, the last one counts."""
    lines = (line.partition("=") for line in datagram.decode("utf-8", "replace").splitlines())
    said = {name: value for name, sign, value in lines if sign}
    watchdog = said.get("WATCHDOG", "")
    return Notice(
        ready=said.get("READY") == "1",
        reloading=said.get("RELOADING") == "1",
        stopping=said.get("STOPPING") == "1",
        alive=watchdog == "1",
        failed=watchdog == "trigger",
        status=_line(said["STATUS"]) if "STATUS" in said else None,
        watchdog_s=_seconds(said, "WATCHDOG_USEC"),
        extend_s=_seconds(said, "EXTEND_TIMEOUT_USEC"),
    )


def _seconds(said: Mapping[str, str], name: str) -> float | None:
    """Microseconds as seconds, a day at most; None for what is no number."""
    text = said.get(name, "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 19:
        return None
    return min(int(text), _MAX_USEC) / 1e6


def _line(text: str) -> str:
    """One line that a terminal can show, and not for ever."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(printable.split())[:MAX_STATUS_CHARS]
