"""Reader of `-progress pipe:1`: lines `key=value`, each report closed by `progress=continue` or `progress=end`."""

import math

from millrace.engines.engine import Progress


class FFmpegProgress:
    """Collects the lines of one report at a time."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._values: dict[str, str] = {}

    def feed(self, line: str) -> Progress | None:
        """A whole report when `line` closes one; unknown and torn lines are passed over."""
        key, separator, value = line.strip().partition("=")
        if not separator:
            return None
        self._values[key.strip()] = value.strip()
        if key.strip() != "progress":
            return None
        values, self._values = self._values, {}
        microseconds = _number(values.get("out_time_us"))
        kilobits = _number(values.get("bitrate", "").removesuffix("kbits/s"))
        return Progress(
            frame=int(_number(values.get("frame")) or 0),
            fps=_number(values.get("fps")),
            speed=_number(values.get("speed", "").removesuffix("x")),
            out_time_s=None if microseconds is None or microseconds < 0 else microseconds / 1_000_000,
            bitrate_bps=None if kilobits is None else kilobits * 1000,
            ended=values["progress"] == "end",
        )


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
