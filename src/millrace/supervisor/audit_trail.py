"""The audit trail: the last entries in memory, and all of them in a file, one JSON document a line."""

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from millrace.edge.audit import AuditEntry
from millrace.supervisor.logs.rotating import RotatingFile
from millrace.supervisor.logs.settings import LogFile
from millrace.supervisor.logs.writer import CannotWrite
from millrace.telemetry.logs import logger

log = logger("supervisor")
KEPT = 1000
_TAIL_BYTES = 1 << 20
_MODE = 0o600
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AuditEntry).decode


class Trail:
    """Keeps entries. A file that cannot be written loses entries, which is told, and holds nothing up."""

    def __init__(self, path: Path | None = None, *, wall_s: Callable[[], float] = time.time) -> None:
        """Without a path, entries are in memory only; with one, its last ones are read back.

        Raises:
            OSError: the file cannot be used.
        """
        self._kept: deque[AuditEntry] = deque(maxlen=KEPT)
        self._file = None
        self.lost = 0
        if path is not None:
            self._file = RotatingFile(LogFile(path=path), wall_s=wall_s, mode=_MODE)
            self._kept.extend(_last(path))

    def add(self, entry: AuditEntry) -> None:
        """Keep one."""
        self._kept.append(entry)
        if self._file is None:
            return
        try:
            self._file.write(_encode(entry) + b"\n")
        except CannotWrite as error:
            self.lost += 1
            log.error("supervisor.audit_lost", why=str(error), lost=self.lost)  # noqa: TRY400  a full disk needs no traceback

    def last(self, wanted: Callable[[AuditEntry], bool], *, limit: int) -> list[AuditEntry]:
        """The newest of those wanted, oldest first."""
        return [entry for entry in self._kept if wanted(entry)][-limit:]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _last(path: Path) -> list[AuditEntry]:
    """The entries at the end of a file; a line that a crash cut off is passed over."""
    found = []
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        for line in file.read().splitlines():
            with suppress(msgspec.DecodeError):
                found.append(_decode(line))
    return found[-KEPT:]
