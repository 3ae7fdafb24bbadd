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
        self._read_bytes = 0

    def look(self, now_s: float, *, cpu_s: float, mark: object, read_bytes: int = 0, paused: bool) -> bool:
        """Whether it has stood still for too long: no new `mark` (frames), no CPU time, and no bytes read. A pause begins the
        time anew.

        What it writes does not count: an engine that has come to a standstill goes on telling its progress.
        """
        worked = cpu_s - self._cpu_s >= LEAST_CPU_S or mark != self._mark or read_bytes != self._read_bytes
        if paused or worked or self._since_s is None:
            self._since_s, self._cpu_s, self._mark, self._read_bytes = now_s, cpu_s, mark, read_bytes
            return False
        return now_s - self._since_s >= self._limit_s
