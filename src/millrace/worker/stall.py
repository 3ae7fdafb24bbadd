"""When an engine has come to a standstill. Pure."""

LEAST_CPU_S = 0.05
"""CPU seconds that count as work; a process that only waits uses less."""


class Stall:
    """Remembers when the engine was last seen to work."""

    def __init__(self, *, limit_s: float) -> None:
        """`limit_s` is how long it may stand still."""
        self._limit_s = limit_s
        self._since_s: float | None = None
        self._cpu_s = 0.0
        self._mark: object = None

    def look(self, now_s: float, *, cpu_s: float, mark: object, paused: bool) -> bool:
        """Whether it has stood still for too long: no new `mark` and no CPU time. A pause begins the time anew."""
        worked = cpu_s - self._cpu_s >= LEAST_CPU_S or mark != self._mark
        if paused or worked or self._since_s is None:
            self._since_s, self._cpu_s, self._mark = now_s, cpu_s, mark
            return False
        return now_s - self._since_s >= self._limit_s
