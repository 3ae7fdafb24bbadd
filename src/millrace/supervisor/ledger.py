"""Counts and the latest records of what happened, for `/metrics` and for people who ask later."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from datetime import datetime
from signal import Signals

from millrace.supervisor.happenings import Checked, Happening, HookRan, JobRan, Restarted, RunEnded, SignSent
from millrace.supervisor.state import Id

KEPT = 1000
"""Records of runs, and of hooks, of all processes together."""
CHECK_BOUNDS_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
HOOK_BOUNDS_S = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0)
SIGN_BOUNDS_S = (0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
JOB_BOUNDS_S = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
WHOLE = ""
"""Whose hooks those of the whole are."""

Key = tuple[str, ...]


class Histogram:
    """Durations by key, the first of which is a process."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        """`bounds_s` are the upper bounds of the buckets; one without a bound comes after them."""
        self.bounds_s = bounds_s
        self._cells: dict[Key, tuple[list[int], float]] = {}

    def add(self, key: Key, seconds: float) -> None:
        """Count one."""
        counts, total_s = self._cells.get(key, ([0] * (len(self.bounds_s) + 1), 0.0))
        counts[bisect_left(self.bounds_s, seconds)] += 1
        self._cells[key] = (counts, total_s + seconds)

    def rows(self) -> Iterator[tuple[Key, list[int], float]]:
        """Each key with the counts of its buckets (not cumulative) and the sum in seconds."""
        for key, (counts, total_s) in sorted(self._cells.items()):
            yield key, counts, total_s

    def keep(self, processes: Container[str]) -> None:
        """Drop the others."""
        self._cells = {key: cell for key, cell in self._cells.items() if key[0] in processes}


class Ledger:
    """What happened since this supervisor started. `note` is told of it."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.exits: Counter[Key] = Counter()  # process, code or signal, why
        self.restarts: Counter[Key] = Counter()  # process, instance, why
        self.checks: Counter[Key] = Counter()  # process, kind, outcome
        self.hooks: Counter[Key] = Counter()  # process, moment, outcome
        self.jobs: Counter[Key] = Counter()  # process, outcome
        self.signs: Counter[Key] = Counter()  # process, sign, outcome
        self.check_s = Histogram(CHECK_BOUNDS_S)  # process, kind
        self.hook_s = Histogram(HOOK_BOUNDS_S)  # process, moment
        self.job_s = Histogram(JOB_BOUNDS_S)  # process
        self.sign_s = Histogram(SIGN_BOUNDS_S)  # process, sign
        self.last_success: dict[str, datetime] = {}
        self.last_heard: dict[str, datetime] = {}
        self._runs: deque[RunEnded] = deque(maxlen=KEPT)
        self._hook_runs: deque[HookRan] = deque(maxlen=KEPT)

    def note(self, one: Happening) -> None:
        """Count it, and keep it where it is a record."""
        match one:
            case RunEnded():
                self.exits[one.id.process, ending(one.code, one.signal), one.why.value] += 1
                self._runs.append(one)
            case Restarted():
                self.restarts[one.id.process, str(one.id), one.why.value] += 1
            case Checked():
                self.checks[one.id.process, one.kind, outcome(one.fault)] += 1
                self.check_s.add((one.id.process, one.kind), one.took_s)
            case HookRan():
                owner = WHOLE if one.id is None else one.id.process
                self.hooks[owner, one.moment.value, outcome(one.fault)] += 1
                self.hook_s.add((owner, one.moment.value), one.took_s)
                self._hook_runs.append(one)
            case JobRan():
                self._note_job(one)
            case SignSent():
                self.signs[one.process, one.sign, outcome(one.fault)] += 1
                self.sign_s.add((one.process, one.sign), one.took_s)
                if one.fault is None:
                    self.last_heard[one.process] = one.at

    def _note_job(self, one: JobRan) -> None:
        run = one.run
        if run.outcome is None or run.ended is None:
            return
        self.jobs[one.process, run.outcome.value] += 1
        self.job_s.add((one.process,), (run.ended - (run.began or run.ended)).total_seconds())
        if run.outcome.value == "succeeded":
            self.last_success[one.process] = run.ended

    def runs(self, processes: Container[str], *, limit: int) -> list[RunEnded]:
        """The newest runs of these processes that ended, oldest first."""
        return [one for one in self._runs if one.id.process in processes][-limit:]

    def hook_runs(self, processes: Container[str], *, limit: int) -> list[HookRan]:
        """The newest attempts of hooks of these processes (WHOLE: of the whole), oldest first."""
        return [one for one in self._hook_runs if (WHOLE if one.id is None else one.id.process) in processes][-limit:]

    def keep(self, processes: Iterable[str]) -> None:
        """Drop what is counted of processes that are no longer there."""
        known = {WHOLE, *processes}
        for counts in (self.exits, self.restarts, self.checks, self.hooks, self.jobs, self.signs):
            for key in [key for key in counts if key[0] not in known]:
                del counts[key]
        for histogram in (self.check_s, self.hook_s, self.job_s, self.sign_s):
            histogram.keep(known)
        self.last_success = {name: at for name, at in self.last_success.items() if name in known}
        self.last_heard = {name: at for name, at in self.last_heard.items() if name in known}

    def forget(self, each: Id) -> None:
        """Drop what is counted of an instance that was scaled away."""
        for key in [key for key in self.restarts if key[:2] == (each.process, str(each))]:
            del self.restarts[key]


def outcome(fault: str | None) -> str:
    """As Prometheus is told of it."""
    return "success" if fault is None else "failure"


def ending(code: int | None, signal: int | None) -> str:
    """An exit code, or the name of the signal; `unknown` where somebody else collected the process."""
    if code is not None:
        return str(code)
    return "unknown" if signal is None else signal_name(signal)


def signal_name(number: int) -> str:
    """The name of a signal; of real-time signals, which have none, the number."""
    try:
        return Signals(number).name
    except ValueError:
        return str(number)
