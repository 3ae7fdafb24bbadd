"""The engine processes of this worker, so that they can be killed by whoever sees the lease run out, and after a crash.

Killing must work while the event loop hangs, so it goes by pid file descriptors, from any thread: a descriptor names one
process for ever, while a pid may already be another's.
"""

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


class EnginesAlive:
    """Which engines run now. Each is also written to a folder, for the next start of a worker that was killed."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds one small file for each running engine."""
        self._folder = folder
        self._lock = threading.Lock()
        self._descriptors: dict[int, int] = {}

    def add(self, pid: int) -> None:
        """An engine was started. Call it before the child can have been collected."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return  # it has ended already, or the kernel is older than 5.3 and only the event loop can stop it
        with self._lock:
            self._descriptors[pid] = descriptor
        with suppress(OSError):  # a full disk must not stop the work; only a crash would miss the note
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{pid}.json").write_text(json.dumps({"pid": pid, "start_ticks": start_ticks(pid)}))

    def remove(self, pid: int) -> None:
        """The engine has ended."""
        with self._lock:
            descriptor = self._descriptors.pop(pid, None)
            if descriptor is not None:
                os.close(descriptor)
        with suppress(OSError):
            (self._folder / f"{pid}.json").unlink()

    def kill_all(self) -> int:
        """SIGKILL every engine at once; how many there were. Safe from any thread."""
        with self._lock:
            for descriptor in self._descriptors.values():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return len(self._descriptors)


def end_leftovers(folder: Path) -> int:
    """Kill the engines that a crashed worker left running, each with its process group; how many there were.

    A process is only touched if pid and start time are those of the note, so never one that got its pid later.
    """
    killed = 0
    for note in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            known = json.loads(note.read_text())
            pid, ticks = int(known["pid"]), known["start_ticks"]
        except (OSError, ValueError, KeyError, TypeError):
            pid, ticks = 0, None
        if pid > 1 and ticks is not None and start_ticks(pid) == ticks:
            # Each engine leads a process group of its own (see `process`).
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
                killed += 1
        note.unlink(missing_ok=True)
    return killed


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)); None where there is none."""
    try:
        raw = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses and may hold any byte, so everything is counted from the last one.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
