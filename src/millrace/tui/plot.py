"""A curve drawn with the eighths of blocks (Unicode U+2581 to U+2588): it needs no colours. Pure."""

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def plot(values: Sequence[float], *, width: int, height: int) -> list[str]:
    """The curve as `height` lines of `width` characters, from the top, the newest value at the right.

    It stands on zero, and the largest value reaches the top. Where there are more values than columns, a column shows the
    largest of its share; where there are fewer, the left stays empty.
    """
    columns = _columns(values, width)
    top = max(columns, default=0.0)
    # What is not nothing is to be seen.
    steps = [max(1, round(value / top * height * 8)) if value > 0 else 0 for value in columns]
    empty = " " * (width - len(columns))
    return [
        empty + "".join(_EIGHTHS[min(8, max(0, step - (height - 1 - row) * 8))] for step in steps)
        for row in range(height)
    ]


def _columns(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    count = len(values)
    return [max(values[each * count // width : (each + 1) * count // width]) for each in range(width)]
