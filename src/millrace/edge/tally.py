"""Counts and durations of requests by route. Raw paths never become labels: they are the client's words."""

from bisect import bisect_left
from collections.abc import Iterator

from msgspec import Struct

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Row(Struct, frozen=True, kw_only=True):
    """All requests with one method, route and status so far; `buckets` are cumulative, the last one counts all."""

    method: str
    route: str
    status: int
    buckets: tuple[int, ...]
    seconds: float


class Tally:
    """A histogram for each method, route and status."""

    def __init__(self) -> None:
        """Nothing was served yet."""
        self._cells: dict[tuple[str, str, int], tuple[list[int], list[float]]] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method, route, status)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = ([0] * (len(BOUNDS_S) + 1), [0.0])
        cell[0][bisect_left(BOUNDS_S, seconds)] += 1
        cell[1][0] += seconds

    def rows(self) -> Iterator[Row]:
        """What was counted."""
        for (method, route, status), (counts, seconds) in sorted(self._cells.items()):
            total, buckets = 0, []
            for count in counts:
                total += count
                buckets.append(total)
            yield Row(method=method, route=route, status=status, buckets=tuple(buckets), seconds=seconds[0])
