"""What the heartbeat says of each task. Written by the event loop, read by the heartbeat's thread."""

import threading

import msgspec

from millrace.wire.v1.work import TaskReport


class Board:
    """The newest report of every task that this worker holds."""

    def __init__(self) -> None:
        """Empty: the worker holds nothing."""
        self._lock = threading.Lock()
        self._reports: dict[str, TaskReport] = {}

    def put(self, report: TaskReport) -> None:
        """Add a task or replace what was said of it."""
        with self._lock:
            self._reports[report.task] = report

    def change(self, task: str, attempt: int, **fields: object) -> None:
        """Change fields of a task's report; nothing happens where the attempt is not the one on the board."""
        with self._lock:
            report = self._reports.get(task)
            if report is not None and report.attempt == attempt:
                self._reports[task] = msgspec.structs.replace(report, **fields)

    def drop(self, task: str, attempt: int) -> None:
        """The worker no longer holds this attempt."""
        with self._lock:
            report = self._reports.get(task)
            if report is not None and report.attempt == attempt:
                del self._reports[task]

    def reports(self) -> list[TaskReport]:
        """All reports as they stand."""
        with self._lock:
            return list(self._reports.values())
