"""The clock of a job's time limit: it stands while the job is paused."""

from millrace.runtime.clock import Clock


class Stopwatch:
    """Seconds of work, without the pauses. Starts running."""

    def __init__(self, clock: Clock) -> None:
        """Measures with the clock's monotonic time."""
        self._clock = clock
        self._before_s = 0.0
        self._since_s: float | None = clock.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        running_s = 0.0 if self._since_s is None else self._clock.monotonic() - self._since_s
        return self._before_s + running_s

    def pause(self) -> None:
        """Stand still. Does nothing where it stands already."""
        self._before_s = self.elapsed_s
        self._since_s = None

    def resume(self) -> None:
        """Go on. Does nothing where it runs already."""
        if self._since_s is None:
            self._since_s = self._clock.monotonic()
